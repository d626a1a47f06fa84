//! Events on transitions.
