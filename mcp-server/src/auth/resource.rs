//! The server as an OAuth resource: its identifiers, the audiences that mean it, and its RFC 9728 document.

use mcp_server_config::PublicUrl;
use serde_json::{Value, json};

/// The path under which RFC 9728 documents live.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A request for it is between client and issuer; a resource does not name it.
pub(super) const OFFLINE_ACCESS: &str = "offline_access";

/// The `resource` of an origin: lower case, no slash at the end (MCP authorization, "Canonical Server URI").
pub(super) fn resource(origin: &PublicUrl, path: &str) -> String {
    format!("{}{}", origin.origin(), path.trim_end_matches('/'))
}

/// Where the document of an origin is served: between host and path (RFC 9728, section 3.1).
pub(super) fn metadata_url(origin: &PublicUrl, path: &str) -> String {
    format!("{}{WELL_KNOWN}{}", origin.origin(), path.trim_end_matches('/'))
}

/// The document (RFC 9728, section 2).
pub(super) fn document<'a>(resource: &str, issuers: impl Iterator<Item = &'a str>, scopes: &[String]) -> Value {
    let mut document = json!({
        "resource": resource,
        "authorization_servers": issuers.collect::<Vec<_>>(),
        "bearer_methods_supported": ["header"],
    });
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).filter(|scope| *scope != OFFLINE_ACCESS).collect();
    if !scopes.is_empty() {
        document["scopes_supported"] = json!(scopes);
    }
    document
}

/// An audience in the form in which ours are kept: scheme and host in lower case, no default port, no slash at the end.
/// Nothing else is normalised: an issuer that writes another path means another resource.
pub(super) fn canonical(audience: &str) -> String {
    let Some((scheme, rest)) = audience.split_once("://") else {
        return audience.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = scheme.to_ascii_lowercase();
    let authority = authority.to_ascii_lowercase();
    let authority = match scheme.as_str() {
        "https" => authority.strip_suffix(":443").unwrap_or(&authority),
        "http" => authority.strip_suffix(":80").unwrap_or(&authority),
        _ => &authority,
    };
    format!("{scheme}://{authority}{}", path.strip_suffix('/').unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> PublicUrl {
        PublicUrl::try_from(text.to_owned()).expect("an origin")
    }

    #[test]
    fn the_well_known_path_stands_between_host_and_path() {
        let origin = origin("https://MCP.example.com:8443");
        assert_eq!(resource(&origin, "/mcp"), "https://mcp.example.com:8443/mcp");
        assert_eq!(
            metadata_url(&origin, "/mcp"),
            "https://mcp.example.com:8443/.well-known/oauth-protected-resource/mcp"
        );
        assert_eq!(resource(&origin, "/"), "https://mcp.example.com:8443");
        assert_eq!(metadata_url(&origin, "/"), "https://mcp.example.com:8443/.well-known/oauth-protected-resource");
    }

    #[test]
    fn equal_audiences_have_one_canonical_form_and_others_do_not() {
        for equal in [
            "https://mcp.example.com/mcp",
            "https://mcp.example.com/mcp/",
            "HTTPS://MCP.Example.COM/mcp",
            "https://mcp.example.com:443/mcp",
        ] {
            assert_eq!(canonical(equal), "https://mcp.example.com/mcp", "{equal}");
        }
        for other in [
            "http://mcp.example.com/mcp",
            "https://mcp.example.com/MCP",
            "https://mcp.example.com/mcp//",
            "https://mcp.example.com/other/../mcp",
            "https://mcp.example.com/mcp#x",
            "https://mcp.example.com/mcp?x",
            "https://user@mcp.example.com/mcp",
            "https://mcp.example.com",
        ] {
            assert_ne!(canonical(other), "https://mcp.example.com/mcp", "{other}");
        }
        assert_eq!(canonical("weather-api"), "weather-api");
    }

    #[test]
    fn the_document_names_no_scope_that_is_not_the_resource_s() {
        let scopes = ["read".to_owned(), "offline_access".to_owned()];
        let document = document("https://a/mcp", ["https://auth.example.com"].into_iter(), &scopes);
        assert_eq!(
            document,
            json!({
                "resource": "https://a/mcp",
                "authorization_servers": ["https://auth.example.com"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["read"],
            })
        );
    }
}
