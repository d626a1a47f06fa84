//! One server, brought to its spec.
