//! Where issuers may be asked: what comes without TLS is anybody's word, so that is for places where nobody else speaks.

use url::{Host, Url};

use crate::check::{check_http_url, invalid};
use crate::{Introspection, Invalid, Issuer};

impl Issuer {
    pub(crate) fn check(&self, field: &str) -> Result<(), Invalid> {
        let Self { url, server_url, audiences: _, jwks_url, algorithms: _, ca_file: _, allow_http, introspection } =
            self;
        let asked = introspection.as_ref().and_then(|introspection| introspection.url.as_ref());
        for (name, address) in
            [("server_url", server_url), ("jwks_url", jwks_url), ("introspection.url", &asked.cloned())]
        {
            let Some(address) = address else { continue };
            let field = format!("{field}.{name}");
            check_http_url(&field, address.as_str())?;
            if !allow_http {
                check_transport(&field, address.as_str())?;
            }
        }
        // With an address of its own for us the issuer's name is only a name.
        if server_url.is_none() && !allow_http {
            check_transport(&format!("{field}.url"), url)?;
        }
        if let Some(Introspection { url: _, client_id, client_secret_file, tokens: _ }) = introspection {
            if client_id.is_empty() {
                return invalid(format!("{field}.introspection.client_id: it is empty: name the client that asks"));
            }
            if client_secret_file.as_os_str().is_empty() {
                return invalid(format!("{field}.introspection.client_secret_file: it is empty: write a path"));
            }
        }
        Ok(())
    }
}

/// HTTP without TLS only where the way is inside of a machine or a cluster.
pub(crate) fn check_transport(field: &str, text: &str) -> Result<(), Invalid> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "http" && !is_inside(&url) => invalid(format!(
            "{field}: {text} is asked without TLS, so that whoever is on the way can make tokens: write https://, or \
             allow_http: true for this issuer"
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A loopback address, a Service of the cluster, or a single word as in compose files.
fn is_inside(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            !name.contains('.') || [".svc", ".cluster.local", ".localhost"].iter().any(|end| name.ends_with(end))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_an_issuer_is_asked_only_inside_of_a_machine_or_cluster() {
        for url in [
            "https://auth.example.com",
            "http://127.0.0.1:9000",
            "http://[::1]/x",
            "http://localhost:8080",
            "http://keycloak:8080",
            "http://keycloak.auth.svc:8080/realms/one",
            "http://keycloak.auth.svc.cluster.local",
        ] {
            assert!(check_transport("f", url).is_ok(), "{url}");
        }
        for url in ["http://auth.example.com", "http://10.0.0.1", "http://[fd00::1]/", "http://svc.example.com"] {
            assert!(check_transport("f", url).is_err(), "{url}");
            let issuer = Issuer { allow_http: true, ..Issuer::new(url.to_owned()) };
            assert!(issuer.check("f").is_ok(), "{url}");
            let elsewhere =
                Issuer { server_url: Url::parse("http://keycloak.auth.svc").ok(), ..Issuer::new(url.to_owned()) };
            assert!(elsewhere.check("f").is_ok(), "{url} is only a name there");
        }
    }
}
