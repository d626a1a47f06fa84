//! TLS in the pods, behind an ingress that has its own.

use anyhow::{Result, ensure};
use http::StatusCode;
use tokio::task::block_in_place;

use super::{Context, Done};
use crate::product::certificates;

/// Ends so soon that it is time to say so: a week before.
const DAYS: i64 = 3;

pub async fn pods_with_tls_are_reached_through_the_ingress_and_take_a_new_certificate(
    context: &Context,
) -> Result<Done> {
    let (cluster, namespace) = (&context.stage.cluster, &context.namespace);
    let names = ["demo".to_owned(), format!("demo.{namespace}.svc"), format!("demo.{namespace}.svc.cluster.local")];
    let names = names.each_ref().map(String::as_str);
    let file = super::stage::work_folder().join("inner-tls-pods.crt");
    block_in_place(|| certificates::ensure(cluster, namespace, "pod-tls", &names, &file))?;
    let spec = "backend: {builtin: {}}\n\
                tls: {secretName: pod-tls, caBundle: {secretKeyRef: {name: pod-tls, key: ca.crt}}}\n";
    context.serve("demo", &format!("{spec}{}", context.exposed_to_everybody()))?;
    context.served("demo").await?;
    // The operator has checked the certificate too, by the name of the Service.
    context.condition("demo", "Verified", |condition| condition.reason == "Verified").await?;
    context.caller().list().await?.expect(StatusCode::OK)?;
    let pods = context.pod_uids("demo").await?;

    block_in_place(|| certificates::renew(cluster, namespace, "pod-tls", &names, DAYS))?;
    context.condition("demo", "Verified", |condition| condition.reason == "CertificateExpiring").await?;
    context.condition("demo", "Ready", |condition| condition.status == "True").await?;
    context.caller().list().await?.expect(StatusCode::OK)?;
    ensure!(context.pod_uids("demo").await? == pods, "pods take a new certificate without a restart");
    Ok(Done::Passed)
}
