//! TLS in the pods, behind an ingress that has its own.

use ::http::StatusCode;
use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use tokio::task::block_in_place;

use super::{Context, Done};
use crate::client::http;
use crate::product::{addons, certificates};

/// An authority of the namespace, as cert-manager's users make one for certificates inside of the cluster.
const AUTHORITY: &str = "\
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: authority}
spec: {isCA: true, commonName: e2e, secretName: authority, issuerRef: {name: self}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: internal}
spec: {ca: {secretName: authority}}
";

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

/// The pods' by a Certificate of ours, the route's by cert-manager's annotation on the Ingress.
pub async fn cert_manager_makes_the_certificates_of_pods_and_of_the_route(context: &Context) -> Result<Done> {
    block_in_place(|| addons::cert_manager(&context.stage.cluster))?;
    context.apply(AUTHORITY)?;
    let spec = format!(
        "backend: {{builtin: {{}}}}\n\
         tls: {{secretName: demo-pods, issuerRef: {{name: internal}}, caBundle: {{secretKeyRef: {{name: authority, key: ca.crt}}}}}}\n{}",
        context.exposed_to_everybody().replace(
            "tls: {secretName: mcp-tls}",
            "tls: {secretName: demo-route, issuerRef: {kind: Issuer, name: internal}}"
        )
    );
    context.serve("demo", &spec)?;
    context.condition("demo", "Verified", |condition| condition.reason == "Verified").await?;

    let authority: Secret = context.api().get("authority").await?;
    let authority = authority.data.unwrap_or_default().remove("ca.crt").context("the authority's certificate")?;
    let caller = context.caller().trusting(http::trust(&String::from_utf8(authority.0)?)?);
    context
        .eventually("the route has its certificate", async || {
            Ok(caller.list().await.is_ok_and(|answer| answer.status == StatusCode::OK).then_some(()))
        })
        .await?;
    context.ready("demo").await?;
    let owner =
        context.kubectl(&["get", "certificate", "demo", "-o", "jsonpath={.metadata.ownerReferences[*].kind}"])?;
    ensure!(owner == "McpServer", "{owner}");

    context.patch("demo", &serde_json::json!({"spec": {"tls": null}}))?;
    context
        .eventually("the Certificate goes with what asked for it", async || {
            Ok(context
                .kubectl(&["get", "certificate", "demo", "--ignore-not-found", "-o", "name"])?
                .is_empty()
                .then_some(()))
        })
        .await?;
    context.ready("demo").await?;
    Ok(Done::Passed)
}
