//! The mutants, as `cargo mutants --list --json` names them.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One mutant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mutant {
    pub file: String,
    pub name: String,
    pub genre: String,
    pub replacement: String,
    pub span: Span,
}

/// Where it lies; lines and columns are counted from 1.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Span {
    pub start: Position,
    pub end: Position,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// Reads the list. A mutant's number is its place in it.
pub fn read(path: &Path) -> anyhow::Result<Vec<Mutant>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a list of mutants", path.display()))
}
