//! Exports.

/// What goes in.
#[derive(Debug, Clone)]
pub struct Selection;
