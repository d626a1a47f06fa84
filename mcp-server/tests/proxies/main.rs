//! The reverse proxies of `examples/`, as they are but for ports, paths and certificates: the real nginx, Caddy and HAProxy
//! of the distribution, in front of two real servers that share a real redis. Nothing is pinned to a server.
//! And nginx and HAProxy with what ingress controllers make of the operator's annotations: see `ingress`.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the tests of the shell use the rest")]
#[path = "../shell/client.rs"]
mod client;
#[allow(dead_code, reason = "the tests of the shell use the rest")]
#[path = "../shell/process.rs"]
mod process;
#[allow(dead_code, reason = "the tests of the shell use the rest")]
#[path = "../shell/redis.rs"]
mod redis;
#[allow(dead_code, reason = "the tests of the shell use the rest")]
#[path = "../shell/tls_client.rs"]
mod tls_client;

mod behaviour;
mod examples;
mod ingress;
mod proxy;
mod stage;

/// Every behaviour, behind each proxy.
macro_rules! behind {
    ($($name:ident: $kind:expr),* $(,)?) => { $(
        mod $name {
            use crate::behaviour;
            use crate::proxy::Kind;

            #[tokio::test]
            async fn events_arrive_one_by_one() {
                behaviour::events_arrive_one_by_one($kind).await;
            }

            #[tokio::test]
            async fn a_session_goes_on_at_either_server() {
                behaviour::a_session_goes_on_at_either_server($kind).await;
            }

            #[tokio::test]
            async fn health_checks_are_not_logged() {
                behaviour::health_checks_are_not_logged($kind).await;
            }

            #[tokio::test]
            async fn security_headers_are_there_exactly_once() {
                behaviour::security_headers_are_there_exactly_once($kind).await;
            }

            #[tokio::test]
            async fn plain_http_is_redirected() {
                behaviour::plain_http_is_redirected($kind).await;
            }

            #[tokio::test]
            async fn the_challenge_leads_to_the_authorization_server() {
                behaviour::the_challenge_leads_to_the_authorization_server($kind).await;
            }

            #[tokio::test]
            async fn the_client_is_known_and_cannot_forge_its_address() {
                behaviour::the_client_is_known_and_cannot_forge_its_address($kind).await;
            }

            #[tokio::test]
            async fn a_server_that_ends_loses_no_call() {
                behaviour::a_server_that_ends_loses_no_call($kind).await;
            }
        }
    )* };
}

behind! {
    nginx: Kind::Nginx,
    caddy: Kind::Caddy,
    haproxy: Kind::Haproxy,
}
