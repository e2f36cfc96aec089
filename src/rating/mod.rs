//! rating.
