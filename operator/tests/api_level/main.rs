//! The operator's promises to a real API server: etcd, kube-apiserver and kube-controller-manager, without a node.
//!
//! One control plane for all cases, each in a namespace of its own: it takes ten seconds to start. All of it twice, by the
//! rights that the chart gives: in the whole cluster, and in single namespaces.

mod cases;
mod stage;

use anyhow::{Result, ensure};
use stage::{Scope, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_keeps_its_promises_with_the_rights_of_a_cluster() -> Result<()> {
    keeps_its_promises(Scope::Cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_keeps_its_promises_with_rights_in_single_namespaces() -> Result<()> {
    keeps_its_promises(Scope::Namespaces).await
}

async fn keeps_its_promises(scope: Scope) -> Result<()> {
    let mut stage = Stage::start(scope).await?;
    let version = stage.level.client().await?.apiserver_version().await?.git_version;
    println!("Kubernetes {version}");
    let pins = match std::env::var("MCP_E2E_KUBERNETES").as_deref() {
        Ok("next") => include_str!("../../../e2e/kubernetes/next/go.mod"),
        _ => include_str!("../../../e2e/kubernetes/node/go.mod"),
    };
    ensure!(pins.contains(&format!("k8s.io/kubernetes {version}\n")), "{version} is not what is pinned");
    let mut failed = Vec::new();
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {$(
            let start = std::time::Instant::now();
            let result = cases::$case(&mut stage).await;
            println!("{} {} ({:.1} s)", if result.is_ok() { "ok    " } else { "FAILED" }, stringify!($case), start.elapsed().as_secs_f64());
            if let Err(error) = result {
                failed.push(format!("{}: {error:#}", stringify!($case)));
            }
        )+};
    }
    run!(
        a_server_becomes_its_children,
        every_condition_is_there_from_the_first_write,
        a_missing_secret_is_named_and_its_appearance_is_enough,
        a_deleted_secret_leaves_the_children,
        a_foreign_deployment_is_left_alone_and_reported,
        a_hand_edit_is_repaired,
        a_removed_label_is_restored,
        what_others_add_stays_and_costs_nothing,
        what_a_webhook_adds_stays_and_costs_nothing,
        a_field_that_somebody_fights_for_is_contested,
        the_route_goes_when_expose_does,
        the_number_of_pods_is_handed_over_and_back_without_a_reset,
        a_budget_comes_and_goes_with_the_second_pod,
        an_api_that_comes_later_completes_the_route,
        what_others_define_is_made_where_it_is_defined,
        old_boot_configurations_go_with_their_replica_sets,
        a_suspended_server_is_left_alone,
        what_is_ours_and_not_wanted_goes,
        a_class_that_appears_completes_the_route,
        without_a_class_to_look_up_the_profile_is_asked_for,
        the_keys_are_made_once,
        keys_are_announced_when_an_annotation_asks_for_new_ones,
        migrations_come_before_the_pods_and_a_failed_one_keeps_those_of_before,
        a_quota_that_refuses_pods_is_told_in_its_own_words,
        an_admission_policy_that_refuses_a_child_is_told_in_its_own_words,
        every_trouble_of_a_pod_reaches_ready,
        kubectl_wait_waits_for_the_newest_generation,
        a_pod_that_flaps_is_no_storm_of_writes,
        each_deleted_child_comes_back,
        a_drifted_port_and_selector_are_repaired,
        rapid_updates_end_with_the_last_one,
        a_bad_image_can_be_scaled_and_mended,
        the_same_name_in_two_namespaces_is_two_servers,
        orphans_do_not_keep_a_new_server_from_coming,
        deleted_keys_are_made_anew,
        an_optional_reference_is_not_waited_for,
        no_reference_leads_into_another_namespace,
        the_labels_that_select_are_not_the_users,
        no_object_of_somebody_else_is_adopted,
        a_converged_operator_sends_nothing_and_a_restart_writes_only_the_lease,
        a_second_operator_waits_for_the_lease,
        children_go_with_their_server,
        // After those that look at all servers: statuses that lack something are completed by the next operator.
        a_newer_definition_does_no_harm,
        an_older_definition_still_has_the_conditions,
        what_the_table_grants_is_asked_for_and_nothing_else,
    );
    let log = std::fs::read_to_string(stage.operator_log()).unwrap_or_default();
    let tail: Vec<_> = log.lines().rev().take(40).collect();
    ensure!(
        failed.is_empty(),
        "{}\n\nthe end of the operator's log, last line first:\n{}",
        failed.join("\n"),
        tail.join("\n")
    );
    Ok(())
}
