//! Stretches that never overlap.

use super::State;
use crate::ledger::LedgerError;
use crate::model::{Span, Timestamp};
use crate::store::Tx;

type Stretch = (Span, State);

/// Lays a stretch onto the timeline. What lies there and knows at least as much stays; what knows less gives way.
/// Neighbours of one state become one row.
pub(super) fn lay(tx: &Tx<'_>, span: Span, state: State) -> Result<(), LedgerError> {
    if span.micros() == 0 || lengthen_last(tx, span, state)? {
        return Ok(());
    }
    let there = take_out(tx, span)?;
    for (span, state) in merge(&there, (span, state)) {
        tx.prepare_cached("INSERT INTO coverage (from_us, to_us, state) VALUES (?1, ?2, ?3)")?.execute((
            span.from.micros(),
            span.to.micros(),
            state,
        ))?;
    }
    Ok(())
}

/// The ordinary case: time went on, and so did the state.
fn lengthen_last(tx: &Tx<'_>, span: Span, state: State) -> Result<bool, LedgerError> {
    let lengthened = tx
        .prepare_cached(
            "UPDATE coverage SET to_us = ?2
             WHERE from_us = (SELECT max(from_us) FROM coverage) AND to_us = ?1 AND state = ?3",
        )?
        .execute((span.from.micros(), span.to.micros(), state))?;
    Ok(lengthened == 1)
}

/// Removes and returns what touches the stretch, in order.
fn take_out(tx: &Tx<'_>, span: Span) -> Result<Vec<Stretch>, LedgerError> {
    let ends = [span.from.micros(), span.to.micros()];
    let there = tx
        .prepare_cached(
            "SELECT from_us, to_us, state FROM coverage WHERE from_us <= ?2 AND to_us >= ?1 ORDER BY from_us",
        )?
        .query_map(ends, super::stretch)?
        .collect::<Result<_, _>>()?;
    tx.prepare_cached("DELETE FROM coverage WHERE from_us <= ?2 AND to_us >= ?1")?.execute(ends)?;
    Ok(there)
}

/// Cuts everything at every end, lets the one that knows more have each piece, and joins what is alike.
fn merge(there: &[Stretch], new: Stretch) -> Vec<Stretch> {
    let mut ends: Vec<Timestamp> = there.iter().chain([&new]).flat_map(|(span, _)| [span.from, span.to]).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut merged: Vec<Stretch> = Vec::new();
    for (from, to) in ends.iter().zip(ends.iter().skip(1)) {
        let holds = |(span, _): &&Stretch| span.contains(*from);
        let old = there.iter().find(holds).map(|(_, state)| *state);
        let fresh = Some(&new).filter(holds).map(|(_, state)| *state);
        let winner = match (old, fresh) {
            (Some(old), Some(fresh)) if fresh.rank() > old.rank() => fresh,
            (Some(state), _) | (None, Some(state)) => state,
            (None, None) => continue,
        };
        match merged.last_mut() {
            Some((last, state)) if last.to == *from && *state == winner => last.to = *to,
            _ => merged.push((Span::new(*from, *to), winner)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::State::{AgentStoppedLost, Observed, VmOff};
    use super::*;
    use crate::ledger::testing::{at, in_ledger};

    /// Lays stretches and returns the timeline, in seconds.
    fn laid(stretches: &'static [(i64, i64, State)], expected: &'static [(i64, i64, State)]) {
        in_ledger(move |tx| {
            for (from, to, state) in stretches {
                lay(tx, Span::new(at(*from), at(*to)), *state).unwrap();
            }
            let all = take_out(tx, Span::new(at(-999), at(999))).unwrap();
            let all: Vec<_> = all.into_iter().map(|(span, state)| (span.from.secs(), span.to.secs(), state)).collect();
            assert_eq!(all, expected);
        });
    }

    #[test]
    fn m10_time_that_goes_on_lengthens_the_row() {
        laid(&[(0, 1, Observed), (1, 2, Observed), (2, 3, Observed)], &[(0, 3, Observed)]);
    }

    #[test]
    fn a_stretch_without_length_leaves_no_row() {
        laid(&[(5, 5, Observed), (6, 4, VmOff)], &[]);
    }

    #[test]
    fn what_was_observed_is_never_made_a_gap() {
        laid(&[(2, 4, Observed), (0, 9, VmOff)], &[(0, 2, VmOff), (2, 4, Observed), (4, 9, VmOff)]);
    }

    #[test]
    fn a_gap_gives_way_to_what_was_observed() {
        laid(&[(0, 9, VmOff), (2, 4, Observed)], &[(0, 2, VmOff), (2, 4, Observed), (4, 9, VmOff)]);
        laid(&[(0, 2, Observed), (2, 4, VmOff), (4, 6, Observed), (1, 5, Observed)], &[(0, 6, Observed)]);
    }

    #[test]
    fn of_two_gaps_the_first_word_stays() {
        laid(&[(0, 2, AgentStoppedLost), (0, 9, VmOff)], &[(0, 2, AgentStoppedLost), (2, 9, VmOff)]);
    }

    #[test]
    fn holes_stay_holes() {
        laid(&[(0, 1, Observed), (3, 4, Observed)], &[(0, 1, Observed), (3, 4, Observed)]);
    }
}
