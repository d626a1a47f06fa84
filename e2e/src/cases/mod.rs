//! What must hold, one function a sentence. The cases run on any cluster that [`crate::clusters`] gives; each has a
//! namespace of its own that enforces Pod Security `restricted`, and a host name of its own behind the ingress.

mod access;
mod admission;
mod chart;
mod configuration;
mod context;
mod encryption;
mod health;
mod input;
mod lifecycle;
mod limits;
mod network;
mod outside;
mod ownership;
mod quiet;
mod recovery;
mod routes;
mod runner;
mod scaling;
mod sessions;
mod stage;
mod streaming;
mod upgrade;

use anyhow::Result;
use futures::future::LocalBoxFuture;

pub use context::Context;
pub use runner::suite;
pub use stage::Stage;

/// What a case came to, if it did not fail.
pub enum Done {
    /// It holds.
    Passed,
    /// It cannot be asked on this cluster; why not.
    Skipped(&'static str),
}

/// One case.
pub struct Case {
    /// Its name: namespace, host name, and what `--only` selects.
    pub name: &'static str,
    /// Whether it changes what others rely on (the operator) and so runs alone.
    pub alone: bool,
    run: for<'a> fn(&'a Context) -> LocalBoxFuture<'a, Result<Done>>,
}

impl Case {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("e2e-{}", self.name)
    }
}

macro_rules! case {
    ($name:literal, $function:path) => {
        Case { name: $name, alone: false, run: |context| Box::pin($function(context)) }
    };
    ($name:literal, $function:path, alone) => {
        Case { name: $name, alone: true, run: |context| Box::pin($function(context)) }
    };
}

/// All cases, in the order in which they run.
pub const ALL: &[Case] = &[
    case!("restricted-builtin", admission::builtin_pods_are_admitted_without_a_warning),
    case!("restricted-container", admission::container_pods_are_admitted_without_a_warning),
    case!("sdk", access::an_official_client_finds_its_way_from_the_url_alone),
    case!("auth", access::wrong_callers_are_refused_with_401_and_403),
    case!("scope-change", access::a_changed_scope_is_enforced_before_verified_returns),
    case!("limits", limits::a_caller_above_its_rate_gets_429),
    case!("buckets", limits::clients_behind_the_ingress_have_their_own_buckets),
    case!("streaming", streaming::events_arrive_while_the_call_runs),
    case!("long-call", streaming::a_call_of_more_than_a_minute_survives),
    case!("inner-tls", encryption::pods_with_tls_are_reached_through_the_ingress_and_take_a_new_certificate),
    case!("cert-manager", encryption::cert_manager_makes_the_certificates_of_pods_and_of_the_route),
    case!("traefik", routes::traefik_serves_an_ingress_of_its_class),
    case!("gateway", routes::a_gateway_serves_a_server_and_says_why_it_does_not),
    case!("session", sessions::a_session_survives_the_loss_of_its_pods),
    case!("redis", health::health_follows_redis_and_readiness_does_not),
    case!("bad-image", configuration::a_bad_image_leaves_the_running_pods_alone),
    case!("bad-live-file", configuration::a_broken_live_file_is_refused_by_running_pods),
    case!("stop-order", lifecycle::the_runtime_stops_after_its_clients_and_before_its_backend),
    case!("deletion", lifecycle::deleting_the_server_leaves_nothing),
    case!("recovery", recovery::what_is_documented_to_be_kept_is_enough),
    case!("scale", scaling::kubectl_scales_a_server),
    case!("autoscaling", scaling::an_autoscaler_follows_the_load_and_hands_over_what_it_has),
    case!("network", network::policies_let_through_what_is_documented_and_nothing_else),
    case!("foreign", ownership::a_foreign_deployment_of_the_same_name_is_left_alone),
    case!("drift", ownership::a_hand_edit_is_repaired),
    case!("refused", input::the_api_server_refuses_what_cannot_work),
    case!("missing-secret", input::a_missing_secret_is_named_and_recovered_from),
    case!("lost-issuer", input::an_unreachable_issuer_is_reported),
    case!("typo", input::a_typo_in_a_configuration_file_ends_the_start),
    case!("quiet", quiet::a_converged_operator_sends_nothing_but_its_lease, alone),
    case!("restart", quiet::a_restarted_operator_writes_nothing_but_its_lease, alone),
    case!("upgrade", upgrade::an_upgrade_restarts_nothing_and_a_new_runtime_rolls_in_stages, alone),
    case!("granted", quiet::the_operator_asked_for_nothing_that_the_chart_does_not_grant, alone),
    case!("outside", outside::the_operator_runs_outside_of_the_cluster, alone),
    case!("uninstall", chart::uninstalling_keeps_the_definitions_when_asked, alone),
];
