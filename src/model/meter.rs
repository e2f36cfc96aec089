//! What is measured, in which unit, from where.

use serde::{Deserialize, Serialize};

use super::{MeterName, Micros};

/// Where a meter's numbers come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Source {
    /// Time this machine ran (`CLOCK_MONOTONIC`), suspension excluded.
    Uptime,
    /// Running time times the number of CPUs.
    Vcpu,
    /// Busy CPU time of the machine, from `/proc/stat`.
    Cpu,
    /// CPU time of one control group, `path` below `/sys/fs/cgroup`.
    Cgroup {
        /// As `system.slice/app.service`.
        path: String,
    },
    /// Records that applications push to the socket.
    Push,
}

impl Source {
    /// The word used in configuration, tables and JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Uptime => "uptime",
            Self::Vcpu => "vcpu",
            Self::Cpu => "cpu",
            Self::Cgroup { .. } => "cgroup",
            Self::Push => "push",
        }
    }

    /// Whether this source counts time, in microseconds.
    #[must_use]
    pub const fn is_time(&self) -> bool {
        !matches!(self, Self::Push)
    }
}

/// The unit a meter is billed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// As people read it: `hours`, `credits`.
    pub label: String,
    /// Millionths of the base unit in one billed unit: 3 600 000 000 for an hour, 1 000 000 for a credit.
    pub micros: i64,
}

impl Unit {
    /// The unit a word names: hours, minutes and seconds are time, anything else counts one by one.
    #[must_use]
    pub fn of(label: &str) -> Self {
        let seconds = match label {
            "hours" => 3_600,
            "minutes" => 60,
            _ => 1,
        };
        Self { label: label.to_owned(), micros: seconds * 1_000_000 }
    }

    /// A quantity in this unit, rounded towards zero to six places. For eyes: rating uses the exact figure.
    #[must_use]
    pub fn decimal(&self, quantity: Micros) -> String {
        let scaled = (i128::from(quantity.get()) * 1_000_000).checked_div(i128::from(self.micros)).unwrap_or(0);
        Micros::new(i64::try_from(scaled).unwrap_or(i64::MAX)).to_string()
    }

    /// The same as a JSON number.
    #[must_use]
    pub fn number(&self, quantity: Micros) -> serde_json::Number {
        // Six places of what a VM uses fit a double; the exact integer travels beside it.
        self.decimal(quantity).parse().unwrap_or_else(|_| serde_json::Number::from(0))
    }

    /// Whether the base unit is the second.
    #[must_use]
    pub fn is_time(&self) -> bool {
        matches!(self.label.as_str(), "hours" | "minutes" | "seconds")
    }
}

/// How an overage becomes whole billed units (rule R3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// Towards zero: never more than true.
    #[default]
    Down,
    /// Any begun unit counts.
    Up,
    /// Half a unit and more counts.
    HalfUp,
}

impl Rounding {
    /// The word used in configuration and tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
            Self::HalfUp => "half_up",
        }
    }

    /// The rounding a word names; what is unknown rounds down, which never bills more than true.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "up" => Self::Up,
            "half_up" => Self::HalfUp,
            _ => Self::Down,
        }
    }
}

/// What is reported to the provider (rule R3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// What lies above the included amount.
    #[default]
    Overage,
    /// The unreduced total, for prices with a free first tier.
    Gross,
}

/// A configured meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Its name.
    pub name: MeterName,
    /// Where its numbers come from.
    pub source: Source,
    /// What it is billed in.
    pub unit: Unit,
    /// How an overage is rounded.
    pub rounding: Rounding,
    /// What is reported.
    pub report: Report,
    /// Largest single push record, in base units; `None` is no limit (rule M9).
    pub max_per_record: Option<Micros>,
    /// Largest sum of push records in one clock hour, in base units (rule M9).
    pub max_per_hour: Option<Micros>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_shown_in_their_unit_rounded_towards_zero() {
        assert_eq!(Unit::of("hours").decimal(Micros::new(5_400_000_000)), "1.5");
        assert_eq!(Unit::of("hours").decimal(Micros::new(3_599_999_999)), "0.999999");
        assert_eq!(Unit::of("credits").decimal(Micros::new(2_000_000)), "2");
        assert_eq!(Unit::of("hours").number(Micros::new(5_400_000_000)).to_string(), "1.5");
    }
}
