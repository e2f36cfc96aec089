//! What was watched, and what was not, and why (rule M10): "no usage" and "not looking" are never the same number.
//!
//! One timeline for the whole machine. Each round of samples adds the stretch since the round before. Stretches never
//! overlap, and one that goes on as the last did lengthens it, so an ordinary month is a handful of rows.

mod rounds;
mod timeline;
mod waiting;

use rusqlite::Connection;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

pub use rounds::{How, Round, last_sample, note, note_stop, was_stopped};
pub(super) use waiting::settle;

use super::{LedgerError, slices};
use crate::model::{Span, Timestamp};

/// What was going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Samples were taken.
    Observed,
    /// The agent was stopped; the counters ran on and were counted by the next sample.
    AgentStoppedBridged,
    /// The agent was stopped, and what was used is lost.
    AgentStoppedLost,
    /// The VM was off.
    VmOff,
    /// The VM was suspended.
    Suspended,
    /// It is not known when this was: nobody vouched for the clock.
    ClockUntrusted,
    /// The samples could not be stored.
    DatabaseUnavailable,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Observed,
        Self::AgentStoppedBridged,
        Self::AgentStoppedLost,
        Self::VmOff,
        Self::Suspended,
        Self::ClockUntrusted,
        Self::DatabaseUnavailable,
    ];

    /// The word used in tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::AgentStoppedBridged => "agent_stopped_bridged",
            Self::AgentStoppedLost => "agent_stopped_lost",
            Self::VmOff => "vm_off",
            Self::Suspended => "suspended",
            Self::ClockUntrusted => "clock_untrusted",
            Self::DatabaseUnavailable => "database_unavailable",
        }
    }

    /// Where two stretches claim the same time, as after a clock step, the one that knows more stays.
    const fn rank(self) -> u8 {
        match self {
            Self::Observed => 3,
            Self::AgentStoppedBridged => 2,
            Self::ClockUntrusted | Self::DatabaseUnavailable | Self::Suspended => 1,
            Self::AgentStoppedLost | Self::VmOff => 0,
        }
    }

    /// Whether usage was being measured, so that only its place can be in doubt.
    const fn is_watched(self) -> bool {
        matches!(self, Self::Observed | Self::AgentStoppedBridged | Self::DatabaseUnavailable)
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.word().to_sql()
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        let unknown = || FromSqlError::Other(format!("coverage state {word:?} is of a later version").into());
        Self::ALL.into_iter().find(|state| state.word() == word).ok_or_else(unknown)
    }
}

/// A stretch that was not observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// When.
    pub span: Span,
    /// Why; never [`State::Observed`].
    pub reason: State,
}

/// How much of a stretch was watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Observed or bridged, microseconds.
    pub observed_us: i64,
    /// Everything known that was not observed, in order. Bridged stretches are listed, too, although they count as
    /// observed: nothing of them is lost.
    pub gaps: Vec<Gap>,
}

/// How much of a stretch this ledger was not kept in, microseconds: the agent did not run, or nothing is known of that
/// time. A suspended machine and a database that took no writes are no absence: the same process went on.
pub fn absent_us(conn: &Connection, span: Span) -> Result<i64, LedgerError> {
    let coverage = of(conn, span)?;
    let kept_us = coverage.gaps.iter().fold(coverage.observed_us, |kept_us, gap| match gap.reason {
        // Observed all the same, though by the next process.
        State::AgentStoppedBridged => kept_us.saturating_sub(gap.span.micros()),
        State::Suspended | State::DatabaseUnavailable => kept_us.saturating_add(gap.span.micros()),
        _ => kept_us,
    });
    Ok(span.micros().saturating_sub(kept_us).max(0))
}

/// Every stretch that may touch one.
const FROM_ON: &str = "SELECT from_us, to_us, state FROM coverage
     WHERE from_us < ?2 AND from_us >= coalesce((SELECT max(from_us) FROM coverage WHERE from_us <= ?1), ?1)
     ORDER BY from_us";

/// Coverage of a stretch of time. Time before the first sample ever is neither observed nor a gap.
pub fn of(conn: &Connection, span: Span) -> Result<Coverage, LedgerError> {
    let mut rows = conn.prepare_cached(FROM_ON)?;
    let rows = rows.query_map([span.from.micros(), span.to.micros()], stretch)?;
    let mut coverage = Coverage { observed_us: 0, gaps: Vec::new() };
    for row in rows {
        let (stretch, state) = row?;
        let Some(within) = stretch.overlap(span) else { continue };
        if matches!(state, State::Observed | State::AgentStoppedBridged) {
            coverage.observed_us = coverage.observed_us.saturating_add(within.micros());
        }
        if state != State::Observed {
            coverage.gaps.push(Gap { span: within, reason: state });
        }
    }
    Ok(coverage)
}

/// How much was observed between each two neighbouring moments of `cuts`, which are in order, microseconds: what [`of`]
/// says of each, in one pass.
pub fn observed_between(conn: &Connection, cuts: &[Timestamp]) -> Result<Vec<i64>, LedgerError> {
    let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else { return Ok(Vec::new()) };
    let mut rows = conn.prepare_cached(FROM_ON)?;
    let rows = rows.query_map([first.micros(), last.micros()], stretch)?;
    slices::pour(cuts, rows, |_, state, within| match state {
        State::Observed | State::AgentStoppedBridged => within.micros(),
        _ => 0,
    })
}

/// When the first stretch begins.
pub fn first(conn: &Connection) -> Result<Option<Timestamp>, LedgerError> {
    let first: Option<i64> =
        conn.prepare_cached("SELECT min(from_us) FROM coverage")?.query_row([], |row| row.get(0))?;
    Ok(first.map(Timestamp::from_micros))
}

fn stretch(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Span, State)> {
    let span = Span::new(Timestamp::from_micros(row.get(0)?), Timestamp::from_micros(row.get(1)?));
    Ok((span, row.get(2)?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, in_ledger};
    use super::*;

    #[test]
    fn m10_a_part_of_the_timeline_is_cut_out_with_its_gaps() {
        in_ledger(|tx| {
            for (from, to, state) in
                [(0, 10, State::Observed), (10, 20, State::VmOff), (20, 30, State::AgentStoppedBridged)]
            {
                timeline::lay(tx, Span::new(at(from), at(to)), state).unwrap();
            }
            let coverage = of(tx, Span::new(at(5), at(25))).unwrap();
            assert_eq!(coverage.observed_us, 10_000_000);
            let gap = |from, to, reason| Gap { span: Span::new(at(from), at(to)), reason };
            assert_eq!(coverage.gaps, [gap(10, 20, State::VmOff), gap(20, 25, State::AgentStoppedBridged)]);
            assert_eq!(of(tx, Span::new(at(-9), at(-5))).unwrap(), Coverage { observed_us: 0, gaps: vec![] });
            assert_eq!(of(tx, Span::new(at(10), at(12))).unwrap().gaps, [gap(10, 12, State::VmOff)]);
        });
    }

    #[test]
    fn slices_of_the_timeline_are_what_each_would_be_alone() {
        in_ledger(|tx| {
            for (from, to, state) in
                [(0, 10, State::Observed), (10, 20, State::VmOff), (20, 30, State::AgentStoppedBridged)]
            {
                timeline::lay(tx, Span::new(at(from), at(to)), state).unwrap();
            }
            let cuts = [-5, 5, 15, 16, 25, 40].map(at);
            let alone: Vec<_> =
                cuts.windows(2).map(|pair| of(tx, Span::new(pair[0], pair[1])).unwrap().observed_us).collect();
            assert_eq!(observed_between(tx, &cuts).unwrap(), alone);
            assert_eq!(alone, [5_000_000, 5_000_000, 0, 5_000_000, 5_000_000]);
            assert_eq!(first(tx).unwrap(), Some(at(0)));
        });
    }

    #[test]
    fn s5_a_ledger_was_absent_where_no_process_of_its_own_went_on() {
        in_ledger(|tx| {
            use State::{AgentStoppedBridged, DatabaseUnavailable, Observed, Suspended, VmOff};
            let states = [Observed, Suspended, DatabaseUnavailable, AgentStoppedBridged, VmOff];
            for (state, from) in states.into_iter().zip((0..).step_by(10)) {
                timeline::lay(tx, Span::new(at(from), at(from + 10)), state).unwrap();
            }
            let absent = |from, to| absent_us(tx, Span::new(at(from), at(to))).unwrap();
            assert_eq!((absent(0, 30), absent(5, 35), absent(0, 50)), (0, 5_000_000, 20_000_000));
            assert_eq!(absent(45, 60), 15_000_000, "what is not known was no presence either");
        });
    }

    #[test]
    fn a_state_of_a_later_version_is_an_error() {
        in_ledger(|tx| {
            tx.execute("INSERT INTO coverage VALUES (0, 1000000, 'dreaming')", []).unwrap();
            assert!(of(tx, Span::new(at(0), at(1))).unwrap_err().to_string().contains("dreaming"));
        });
    }

    #[test]
    fn every_state_is_read_as_it_is_written() {
        for state in State::ALL {
            assert_eq!(State::column_result(state.word().into()), Ok(state));
        }
    }
}
