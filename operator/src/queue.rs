//! The servers that wait for a reconcile. Asking twice is asking once: the scheduler behind it removes duplicates.

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};

use crate::cache::Key;

/// Where watches, timers and the verifier ask for a reconcile.
#[derive(Clone, Debug)]
pub struct Queue(UnboundedSender<Key>);

impl Queue {
    /// A queue and its other end.
    #[must_use]
    pub fn new() -> (Self, UnboundedReceiver<Key>) {
        let (sender, receiver) = unbounded();
        (Self(sender), receiver)
    }

    /// Asks for a reconcile of one server. Nothing happens while the operator stops.
    pub fn push(&self, server: Key) {
        let _ = self.0.unbounded_send(server);
    }
}
