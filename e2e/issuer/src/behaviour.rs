//! What the issuer does wrong on purpose, and how often it was asked.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::watch;

/// How the issuer answers requests for its metadata and its keys, and questions about tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    #[default]
    Healthy,
    /// With this HTTP status.
    Status(u16),
    /// Not at all, until the behaviour changes.
    Hang,
    /// With 200 and a body that is no JSON.
    Garbage,
    /// With 200 and a body of this many bytes.
    Oversized(usize),
    /// With a redirect to its own healthy document.
    Redirect,
    /// Metadata names another issuer.
    OtherIssuer,
    /// Metadata names no key set.
    NoKeys,
}

/// How often each document was asked for, failures included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetches {
    /// Metadata, all forms.
    pub metadata: u32,
    /// The key set.
    pub keys: u32,
    /// Tokens.
    pub tokens: u32,
    /// Questions about tokens.
    pub introspections: u32,
}

/// The switch and the counters.
pub(crate) struct Control {
    behaviour: watch::Sender<Behaviour>,
    metadata: AtomicU32,
    keys: AtomicU32,
    tokens: AtomicU32,
    introspections: AtomicU32,
}

/// A counted document.
#[derive(Clone, Copy)]
pub(crate) enum Document {
    Metadata,
    Keys,
    Token,
    Introspection,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            behaviour: watch::Sender::new(Behaviour::Healthy),
            metadata: AtomicU32::new(0),
            keys: AtomicU32::new(0),
            tokens: AtomicU32::new(0),
            introspections: AtomicU32::new(0),
        }
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Counts a request and says how to answer it, after a hang has ended.
    pub(crate) async fn asked(&self, document: Document) -> Behaviour {
        let counter = match document {
            Document::Metadata => &self.metadata,
            Document::Keys => &self.keys,
            Document::Token => &self.tokens,
            Document::Introspection => &self.introspections,
        };
        counter.fetch_add(1, Ordering::SeqCst);
        let mut watch = self.behaviour.subscribe();
        watch
            .wait_for(|behaviour| *behaviour != Behaviour::Hang)
            .await
            .map_or(Behaviour::Healthy, |behaviour| *behaviour)
    }

    pub(crate) fn fetches(&self) -> Fetches {
        Fetches {
            metadata: self.metadata.load(Ordering::SeqCst),
            keys: self.keys.load(Ordering::SeqCst),
            tokens: self.tokens.load(Ordering::SeqCst),
            introspections: self.introspections.load(Ordering::SeqCst),
        }
    }
}
