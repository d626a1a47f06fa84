//! The whole runtime in this process: every layer, on sockets, by a configuration that is written as in a file.

use std::net::SocketAddr;
use std::sync::Arc;

use mcp_server::app::App;
use mcp_server::serve::Server;
use mcp_server::settings::{LiveState, Loaded, LoadedLive};
use mcp_server_config::{check_together, parse_boot};
use tokio::sync::mpsc;

use super::{Http, PATIENCE};

pub struct Served {
    pub app: Arc<App>,
    pub mcp: SocketAddr,
    _signals: mpsc::Sender<()>,
}

impl Served {
    /// The sections beside `server` and `metrics`, whose ports are free ones.
    pub async fn start(sections: &str) -> Self {
        let app = App::start(load(sections)).await.expect("the runtime starts");
        let server = Server::bind(Arc::clone(&app)).await.expect("bound");
        let mcp = server.mcp_address().expect("bound");
        let (signals, receiver) = mpsc::channel(1);
        tokio::spawn(server.run(receiver));
        let ready = async {
            while !(app.endpoint.ready_once() && app.live.current().authenticator.loaded_once()) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("it becomes ready");
        Self { app, mcp, _signals: signals }
    }

    /// What a changed live file does.
    pub fn reload(&self, sections: &str) {
        let Loaded { config, live, warnings: _ } = load(sections);
        let current = self.app.live.current();
        self.app.live.replace(LiveState::new(&config, live, Some(&current)).expect("a usable configuration"));
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.mcp)
    }

    pub fn client(&self) -> Http {
        Http::new(&self.url())
    }

    /// The value of a series; nothing counted is 0.
    pub fn metric(&self, series: &str) -> f64 {
        let text = String::from_utf8(self.app.metrics.render().expect("rendered")).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The attempts with that result.
    pub fn attempts(&self, result: &str) -> f64 {
        self.metric(&format!("mcp_auth_attempts_total{{endpoint=\"mcp-server\",result=\"{result}\"}}"))
    }
}

fn load(sections: &str) -> Loaded {
    let text = format!("server: {{port: 0}}\nmetrics: {{port: 0}}\n{sections}");
    let config = parse_boot(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let live = config.live();
    check_together(&config, &live, false).expect("a configuration");
    Loaded { config, live: LoadedLive { live, digest: String::new() }, warnings: Vec::new() }
}
