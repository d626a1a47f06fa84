//! Lua scripts that redis runs as one step.

use redis::Cmd;

/// A script, named by the digest of its text: redis is sent the text only when it does not know it yet.
pub struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    /// A script of that text.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Runs what redis knows.
    pub(super) fn by_digest(&self, arguments: impl Fn(&mut Cmd)) -> Cmd {
        command("EVALSHA", &self.digest, arguments)
    }

    /// Runs it, and makes it known.
    pub(super) fn by_text(&self, arguments: impl Fn(&mut Cmd)) -> Cmd {
        command("EVAL", self.text, arguments)
    }
}

fn command(name: &str, script: &str, arguments: impl Fn(&mut Cmd)) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script);
    arguments(&mut command);
    command
}
