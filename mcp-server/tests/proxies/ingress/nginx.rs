//! nginx as the two controllers that are made of it would have it.

use std::net::SocketAddr;
use std::path::Path;

use super::Made;

/// ingress-nginx: rootfs/etc/nginx/template/nginx.tmpl of kubernetes/ingress-nginx, and for the hash its balancer in Lua,
/// which is consistent too.
pub fn community(name: &str, value: &str, made: &mut Made) -> bool {
    let Some(name) = name.strip_prefix("nginx.ingress.kubernetes.io/") else { return false };
    match name {
        "proxy-buffering" | "proxy-request-buffering" | "proxy-http-version" => {
            made.proxy.push(format!("{} {value};", name.replace('-', "_")));
        }
        // The template adds the unit.
        "proxy-read-timeout" | "proxy-send-timeout" => {
            made.proxy.push(format!("{} {}s;", name.replace('-', "_"), value.parse::<u32>().unwrap()));
        }
        "proxy-body-size" => made.proxy.push(format!("client_max_body_size {value};")),
        "ssl-redirect" => made.redirect = (value == "true").then_some(308),
        "backend-protocol" => made.inner_tls = value == "HTTPS",
        "upstream-hash-by" => made.balance.push(format!("hash {value} consistent;")),
        _ => return false,
    }
    true
}

/// F5 NGINX: internal/configs/version1/nginx.ingress.tmpl of nginx/kubernetes-ingress.
pub fn f5(name: &str, value: &str, made: &mut Made) -> bool {
    match name.strip_prefix("nginx.org/").unwrap_or(name) {
        // Go's booleans.
        "proxy-buffering" => {
            let on = ["1", "t", "T", "true", "TRUE", "True"].contains(&value);
            assert!(on || ["0", "f", "F", "false", "FALSE", "False"].contains(&value), "{value}");
            made.proxy.push(format!("proxy_buffering {};", if on { "on" } else { "off" }));
        }
        name @ ("proxy-read-timeout" | "proxy-send-timeout" | "client-max-body-size") => {
            made.proxy.push(format!("{} {value};", name.replace('-', "_")));
        }
        "ingress.kubernetes.io/ssl-redirect" => made.redirect = (value == "True").then_some(301),
        "ssl-services" => made.inner_tls = true,
        "lb-method" => made.balance.push(format!("{value};")),
        _ => return false,
    }
    true
}

pub fn file(made: &Made, directory: &Path, [http, https]: [SocketAddr; 2], servers: [SocketAddr; 2]) -> String {
    let at = directory.display();
    let servers: String = servers.iter().map(|server| format!("server {server};\n")).collect();
    let (proxy, balance) = (made.proxy.join("\n"), made.balance.join("\n"));
    let scheme = if made.inner_tls { "https" } else { "http" };
    let plain = match made.redirect {
        Some(status) => format!("return {status} https://$host$request_uri;"),
        None => "include location.conf;".to_owned(),
    };
    let location = format!(
        "location /mcp {{
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_pass {scheme}://pods;
    {proxy}
}}
"
    );
    // A directive that is given twice is refused: the controllers have each once.
    let location = if proxy.contains("proxy_http_version") {
        location.replacen("    proxy_http_version 1.1;\n", "", 1)
    } else {
        location
    };
    std::fs::write(directory.join("location.conf"), location).unwrap();
    format!(
        "pid {at}/nginx.pid;
error_log {at}/errors.log;
events {{}}
http {{
    access_log {at}/access.log;
    client_body_temp_path {at}/body;
    proxy_temp_path {at}/proxy;
    upstream pods {{
        {balance}
        {servers}
        keepalive 320;
    }}
    server {{
        listen {https} ssl;
        ssl_certificate {at}/tls.crt;
        ssl_certificate_key {at}/tls.key;
        include location.conf;
    }}
    server {{
        listen {http};
        {plain}
    }}
}}
"
    )
}
