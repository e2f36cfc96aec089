//! The table: each figure with its budget and whether it holds.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Result;

/// What a figure is told in.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Bytes, shown as MB of 1 000 000.
    Bytes,
    /// Microseconds, shown as milliseconds.
    Micros,
    /// Of a whole.
    Thousandths,
    /// Something each second.
    PerSecond,
    /// As it is.
    Count,
}

/// What a figure has to keep.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    most: u64,
    shown: u64,
    sign: &'static str,
}

impl Budget {
    pub(crate) const fn under(limit: u64) -> Self {
        Self { most: limit.saturating_sub(1), shown: limit, sign: "<" }
    }

    pub(crate) const fn at_most(limit: u64) -> Self {
        Self { most: limit, shown: limit, sign: "<=" }
    }
}

/// A sentence beside the table.
pub(crate) fn say(sentence: &str) -> Result<()> {
    Ok(writeln!(stdout(), "{sentence}")?)
}

/// Prints rows as they come, and remembers what was missed.
pub(crate) struct Report {
    missed: usize,
}

impl Report {
    pub(crate) const fn new() -> Self {
        Self { missed: 0 }
    }

    pub(crate) fn line(&mut self, name: &str, value: u64, unit: Unit, budget: Option<Budget>) -> Result<()> {
        let verdict = match budget {
            None => "",
            Some(budget) if value <= budget.most => "ok",
            Some(_) => {
                self.missed += 1;
                "MISSED"
            }
        };
        let budget = budget.map_or_else(String::new, |budget| format!("{} {}", budget.sign, unit.show(budget.shown)));
        Ok(writeln!(stdout(), "{name:<52} {:>14}  {budget:<12} {verdict}", unit.show(value))?)
    }

    pub(crate) fn finish(self) -> Result<ExitCode> {
        if self.missed == 0 {
            say("every budget is kept")?;
            return Ok(ExitCode::SUCCESS);
        }
        say(&format!("{} missed", self.missed))?;
        Ok(ExitCode::FAILURE)
    }
}

impl Unit {
    fn show(self, value: u64) -> String {
        let (scale, places, word) = match self {
            Self::Bytes => (1_000_000, 2, " MB"),
            Self::Micros => (1_000, 2, " ms"),
            Self::Thousandths => (1_000, 2, ""),
            Self::PerSecond => return format!("{value}/s"),
            Self::Count => return value.to_string(),
        };
        let (whole, part) = (value.div_euclid(scale), value.rem_euclid(scale));
        let part = part.saturating_mul(10_u64.pow(places)).div_euclid(scale);
        format!("{whole}.{part:02}{word}")
    }
}
