//! Watches and the queue of servers to reconcile.
