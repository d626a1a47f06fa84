//! Writes the children, then removes what is no longer wanted.
