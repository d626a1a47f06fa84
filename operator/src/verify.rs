//! Asks the running server whether it serves.
