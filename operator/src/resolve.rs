//! Looks up what a spec refers to.
