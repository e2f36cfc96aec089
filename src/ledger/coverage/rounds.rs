//! From one round of samples to the next.
//!
//! | what happened between two rounds | what the time between is |
//! |---|---|
//! | the same process took both | observed |
//! | rounds could not be stored | database unavailable |
//! | the agent was stopped, the machine ran on | agent stopped, bridged |
//! | suspended in between | as above, less the suspension, which is put first: when exactly it was is not known |
//! | the clock was set forward by more than 2 s | the wall time that never was: clock untrusted |
//! | reboot; the agent was stopped because the system went down | VM off until boot, then bridged |
//! | reboot; the agent had been stopped cleanly before | agent stopped and lost until boot, then bridged |
//! | reboot; the agent ended uncleanly | lost for at most one sample interval, then VM off until boot, then bridged |
//! | container made anew | as a reboot, but its own start is not known: until now |
//! | the machine's memory was put back to an earlier state | agent stopped and lost |
//! | reboot, and nobody vouched for the clock before | clock untrusted until boot, then bridged |

use rusqlite::{Connection, OptionalExtension};

use super::State;
use super::waiting::{From, Stretch, place_or_hold};
use crate::clock::Reading;
use crate::clock::trust::Placement;
use crate::ledger::LedgerError;
use crate::model::{Incarnation, Timestamp};
use crate::store::Tx;

/// Clocks are read one after the other, and are slewed; what they differ by within this is no event.
const SLACK_US: i64 = 2_000_000;

/// What lies between this round and the one before, if the machine ran through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// This process took and stored the one before.
    Observed,
    /// This is the first round of this process.
    Bridged,
    /// This process took rounds in between that could not be stored.
    Unstored,
}

/// A round of samples.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// Of the machine; its `counter` does not matter here.
    pub incarnation: &'a Incarnation,
    /// When.
    pub now: Reading,
    /// What lies between.
    pub how: How,
    /// The sample interval, microseconds: so much was observed at most, unseen, before an unclean end.
    pub sample_every_us: i64,
}

/// The round before.
struct Before {
    boot_id: String,
    container_mark: String,
    monotonic_us: i64,
    boottime_us: i64,
    wall: Timestamp,
    placed: bool,
    stop: Option<String>,
}

/// Notes a round: what the time since the round before was. The first round ever notes nothing, as M2.
pub fn note(tx: &Tx<'_>, round: &Round<'_>, place: &Placement) -> Result<(), LedgerError> {
    if let Some(before) = load(tx)? {
        for stretch in between(&before, round, place) {
            place_or_hold(tx, &stretch, round.now, place, &round.incarnation.boot_id)?;
        }
    }
    store(tx, round, place)
}

/// Notes, after the last round, that the agent is being stopped, and whether the whole system is.
pub fn note_stop(tx: &Tx<'_>, system_going_down: bool) -> Result<(), LedgerError> {
    tx.execute("UPDATE round SET stop = ?1", [if system_going_down { "system" } else { "clean" }])?;
    Ok(())
}

/// When the last round was taken, by the best clock there was then.
pub fn last_sample(conn: &Connection) -> Result<Option<Timestamp>, LedgerError> {
    Ok(load(conn)?.map(|round| round.wall))
}

/// Whether a stop was noted after the last round; also where there was none yet.
pub fn was_stopped(conn: &Connection) -> Result<bool, LedgerError> {
    Ok(load(conn)?.is_none_or(|round| round.stop.is_some()))
}

fn between(before: &Before, round: &Round<'_>, place: &Placement) -> Vec<Stretch> {
    let now = round.now;
    let same_machine =
        before.boot_id == round.incarnation.boot_id && before.container_mark == round.incarnation.container_mark;
    let whole = |from, to_boottime_us, state| Stretch { from, to_boottime_us, longest_us: None, state };
    if !same_machine {
        return after_restart(before, round);
    }
    if now.monotonic_us < before.monotonic_us || now.boottime_us < before.boottime_us {
        return vec![whole(From::Wall(before.wall), now.boottime_us, State::AgentStoppedLost)];
    }
    let state = match round.how {
        How::Observed => State::Observed,
        How::Bridged => State::AgentStoppedBridged,
        How::Unstored => State::DatabaseUnavailable,
    };
    let mut stretches = Vec::new();
    let mut ran = since(before.monotonic_us, before.boottime_us, now, state);
    // Where the round before was already on the wall, this one joins it there.
    if let (true, Some(from), Some(first)) = (before.placed, place.wall_at(before.boottime_us), ran.first_mut()) {
        if from.since(before.wall).abs() <= SLACK_US {
            first.from = From::Wall(before.wall);
        } else {
            stretches.push(whole(From::Wall(before.wall), before.boottime_us, State::ClockUntrusted));
        }
    }
    stretches.append(&mut ran);
    stretches
}

fn after_restart(before: &Before, round: &Round<'_>) -> Vec<Stretch> {
    let up_boottime_us = if round.incarnation.is_container { round.now.boottime_us } else { 0 };
    let off = |state, longest_us| Stretch {
        from: From::Wall(before.wall),
        to_boottime_us: up_boottime_us,
        longest_us,
        state,
    };
    let mut stretches = match before.stop.as_deref() {
        _ if !before.placed => vec![off(State::ClockUntrusted, None)],
        Some("system") => vec![off(State::VmOff, None)],
        Some(_) => vec![off(State::AgentStoppedLost, None)],
        None => vec![off(State::AgentStoppedLost, Some(round.sample_every_us)), off(State::VmOff, None)],
    };
    if !round.incarnation.is_container {
        stretches.append(&mut since(0, 0, round.now, State::AgentStoppedBridged));
    }
    stretches
}

/// The time from a point of this boot until now: suspension first, then the state.
fn since(monotonic_us: i64, boottime_us: i64, now: Reading, state: State) -> Vec<Stretch> {
    let ran_us = now.monotonic_us.saturating_sub(monotonic_us);
    let suspended_us = now.boottime_us.saturating_sub(boottime_us).saturating_sub(ran_us);
    let rest =
        |from_us| Stretch { from: From::Boot(from_us), to_boottime_us: now.boottime_us, longest_us: None, state };
    if suspended_us <= SLACK_US {
        return vec![rest(boottime_us)];
    }
    let woke_us = boottime_us.saturating_add(suspended_us);
    let suspended =
        Stretch { from: From::Boot(boottime_us), to_boottime_us: woke_us, longest_us: None, state: State::Suspended };
    vec![suspended, rest(woke_us)]
}

fn load(conn: &Connection) -> Result<Option<Before>, LedgerError> {
    let before = conn
        .prepare_cached("SELECT boot_id, container_mark, monotonic_us, boottime_us, wall_us, placed, stop FROM round")?
        .query_row([], |row| {
            Ok(Before {
                boot_id: row.get(0)?,
                container_mark: row.get(1)?,
                monotonic_us: row.get(2)?,
                boottime_us: row.get(3)?,
                wall: Timestamp::from_micros(row.get(4)?),
                placed: row.get(5)?,
                stop: row.get(6)?,
            })
        })
        .optional()?;
    Ok(before)
}

fn store(tx: &Tx<'_>, round: &Round<'_>, place: &Placement) -> Result<(), LedgerError> {
    let placed = place.wall_at(round.now.boottime_us);
    tx.prepare_cached(
        "INSERT OR REPLACE INTO round
             (one, boot_id, container_mark, monotonic_us, boottime_us, wall_us, placed, stop)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, NULL)",
    )?
    .execute((
        &round.incarnation.boot_id,
        &round.incarnation.container_mark,
        round.now.monotonic_us,
        round.now.boottime_us,
        placed.unwrap_or(round.now.wall).micros(),
        placed.is_some(),
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Gap, of};
    use super::*;
    use crate::clock::trust::TrustedBy;
    use crate::clock::{Clock, ManualClock};
    use crate::ledger::coverage::State::{
        AgentStoppedBridged, AgentStoppedLost, ClockUntrusted, DatabaseUnavailable, Observed, Suspended, VmOff,
    };
    use crate::ledger::placement;
    use crate::ledger::testing::{HOUR, MINUTE, SECOND, at, in_ledger, trusted, vm};
    use crate::model::Span;

    const T0: i64 = 1_800_000_000;

    fn round_in(tx: &Tx<'_>, now: Reading, incarnation: &Incarnation, how: How, place: &Placement) {
        placement::settle(tx, place, &incarnation.boot_id).unwrap();
        note(tx, &Round { incarnation, now, how, sample_every_us: MINUTE }, place).unwrap();
    }

    fn round(tx: &Tx<'_>, clock: &ManualClock, boot: &str, how: How) {
        let now = clock.read();
        round_in(tx, now, &vm(boot), how, &trusted(now));
    }

    /// The timeline, in seconds after `T0`.
    fn timeline(tx: &Tx<'_>) -> Vec<(i64, i64, State)> {
        let mut rows = tx.prepare("SELECT from_us, to_us, state FROM coverage ORDER BY from_us").unwrap();
        let secs = |micros: i64| (micros - T0 * SECOND).div_euclid(SECOND);
        let rows = rows.query_map([], |row| Ok((secs(row.get(0)?), secs(row.get(1)?), row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn m10_an_ordinary_day_is_one_row_although_clocks_are_slewed() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            for minute in 0..=1_440 {
                round(tx, &clock, "a", How::Observed);
                clock.run(MINUTE);
                clock.step_wall(if minute % 2 == 0 { 300 } else { -200 });
            }
            assert_eq!(timeline(tx), [(0, 86_400, Observed)]);
        });
    }

    #[test]
    fn m10_an_agent_that_was_stopped_on_a_running_vm_is_bridged() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            round(tx, &clock, "a", How::Bridged);
            note_stop(tx, false).unwrap();
            clock.run(HOUR);
            round(tx, &clock, "a", How::Bridged);
            clock.run(MINUTE);
            round(tx, &clock, "a", How::Unstored);
            assert_eq!(timeline(tx), [(0, 3_600, AgentStoppedBridged), (3_600, 3_660, DatabaseUnavailable)]);
            let coverage = of(tx, Span::new(at(T0), at(T0 + 3_660))).unwrap();
            let bridged = Gap { span: Span::new(at(T0), at(T0 + 3_600)), reason: AgentStoppedBridged };
            assert_eq!((coverage.observed_us, coverage.gaps[0]), (HOUR, bridged));
        });
    }

    #[test]
    fn m10_a_reboot_is_told_by_how_the_agent_had_stopped() {
        let lost_then_off = vec![(0, 60, AgentStoppedLost), (60, 3_600, VmOff)];
        for (stop, off) in [
            (Some(true), vec![(0, 3_600, VmOff)]),
            (Some(false), vec![(0, 3_600, AgentStoppedLost)]),
            (None, lost_then_off),
        ] {
            in_ledger(move |tx| {
                let clock = ManualClock::booted_at(at(T0));
                round(tx, &clock, "a", How::Bridged);
                if let Some(system_going_down) = stop {
                    note_stop(tx, system_going_down).unwrap();
                }
                clock.reboot(HOUR);
                clock.run(30 * SECOND);
                round(tx, &clock, "b", How::Bridged);
                let expected: Vec<_> = off.into_iter().chain([(3_600, 3_630, AgentStoppedBridged)]).collect();
                assert_eq!(timeline(tx), expected, "{stop:?}");
            });
        }
    }

    #[test]
    fn m10_a_quick_reboot_loses_no_more_than_the_time_until_boot() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            round(tx, &clock, "a", How::Bridged);
            clock.reboot(10 * SECOND);
            clock.run(5 * SECOND);
            round(tx, &clock, "b", How::Bridged);
            assert_eq!(timeline(tx), [(0, 10, AgentStoppedLost), (10, 15, AgentStoppedBridged)]);
        });
    }

    #[test]
    fn m10_a_stop_is_forgotten_once_the_agent_is_back() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            round(tx, &clock, "a", How::Bridged);
            note_stop(tx, true).unwrap();
            round(tx, &clock, "a", How::Bridged);
            clock.reboot(HOUR);
            round(tx, &clock, "b", How::Bridged);
            assert_eq!(timeline(tx)[0], (0, 60, AgentStoppedLost));
        });
    }

    #[test]
    fn m10_a_suspension_is_named_with_its_length() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            round(tx, &clock, "a", How::Bridged);
            clock.run(30 * SECOND);
            clock.suspend(HOUR);
            clock.run(30 * SECOND);
            round(tx, &clock, "a", How::Observed);
            assert_eq!(timeline(tx), [(0, 3_600, Suspended), (3_600, 3_660, Observed)]);
        });
    }

    #[test]
    fn m10_a_container_made_anew_was_not_watched_until_now() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            let container = |mark: &str| Incarnation { container_mark: mark.into(), is_container: true, ..vm("host") };
            let now = clock.read();
            round_in(tx, now, &container("one"), How::Bridged, &trusted(now));
            clock.run(HOUR);
            let now = clock.read();
            round_in(tx, now, &container("two"), How::Bridged, &trusted(now));
            assert_eq!(timeline(tx), [(0, 60, AgentStoppedLost), (60, 3_600, VmOff)]);
        });
    }

    #[test]
    fn m4_wall_time_that_a_step_jumped_over_is_untrusted_and_a_step_back_is_nothing() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            round(tx, &clock, "a", How::Bridged);
            clock.run(MINUTE);
            clock.step_wall(HOUR);
            round(tx, &clock, "a", How::Observed);
            assert_eq!(timeline(tx), [(0, 3_600, ClockUntrusted), (3_600, 3_660, Observed)]);
            clock.run(MINUTE);
            clock.step_wall(-HOUR);
            round(tx, &clock, "a", How::Observed);
            assert_eq!(timeline(tx)[0], (0, 60, ClockUntrusted));
            assert_eq!(timeline(tx)[1], (60, 120, Observed));
        });
    }

    #[test]
    fn m5_coverage_waits_for_the_clock_as_usage_does() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(0));
            for _ in 0..=60 {
                round_in(tx, clock.read(), &vm("a"), How::Observed, &Placement::Waiting);
                clock.run(MINUTE);
            }
            let waiting: i64 = tx.query_row("SELECT count(*) FROM unplaced_coverage", [], |row| row.get(0)).unwrap();
            assert_eq!((timeline(tx), waiting), (vec![], 1));
            clock.step_wall(T0 * SECOND);
            round(tx, &clock, "a", How::Observed);
            assert_eq!(timeline(tx), [(0, 3_660, Observed)]);
        });
    }

    #[test]
    fn m5_a_boot_nobody_vouched_for_is_marked() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            for _ in 0..2 {
                round_in(tx, clock.read(), &vm("a"), How::Observed, &Placement::Waiting);
                clock.run(MINUTE);
            }
            clock.reboot(HOUR);
            round(tx, &clock, "b", How::Bridged);
            assert_eq!(timeline(tx), [(0, 3_720, ClockUntrusted)]);
        });
    }

    #[test]
    fn m5_what_is_placed_only_because_a_day_went_by_is_marked() {
        in_ledger(|tx| {
            let clock = ManualClock::booted_at(at(T0));
            round_in(tx, clock.read(), &vm("a"), How::Observed, &Placement::Waiting);
            clock.run(MINUTE);
            let waited = Placement::Known { boot_zero: at(T0), by: TrustedBy::Waited, wall_ahead_us: None };
            round_in(tx, clock.read(), &vm("a"), How::Observed, &waited);
            assert_eq!(timeline(tx), [(0, 60, ClockUntrusted)]);
        });
    }

    #[test]
    fn a_machine_put_back_to_an_earlier_state_was_not_watched() {
        let (early, late) = (MINUTE, 3 * HOUR);
        for (monotonic_us, boottime_us) in [(early, early), (early, late), (late, early)] {
            in_ledger(move |tx| {
                let clock = ManualClock::booted_at(at(T0));
                clock.run(HOUR);
                round(tx, &clock, "a", How::Bridged);
                let earlier = Reading { wall: at(T0 + 7_200), monotonic_us, boottime_us };
                round_in(tx, earlier, &vm("a"), How::Observed, &trusted(earlier));
                assert_eq!(timeline(tx), [(3_600, 7_200, AgentStoppedLost)], "{monotonic_us} {boottime_us}");
            });
        }
    }

    #[test]
    fn the_last_sample_is_where_the_last_round_was_placed() {
        in_ledger(|tx| {
            assert_eq!(last_sample(tx).unwrap(), None);
            let clock = ManualClock::booted_at(at(T0));
            round(tx, &clock, "a", How::Bridged);
            clock.run(MINUTE);
            round(tx, &clock, "a", How::Observed);
            assert_eq!(last_sample(tx).unwrap(), Some(at(T0 + 60)));
        });
    }
}
