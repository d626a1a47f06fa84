//! Conditions, from what was observed.
