//! Rules S4 and S5: what a read of the provider means for what this ledger believes.
//!
//! Summaries of meters are put together some time after their events were accepted. So less than was answered is no news
//! for a while, and an answered event is never sent again where events add up.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::json;

use super::delivery::{self, DeliveryState};
use super::hold::{self, Held};
use super::{Generation, OutboxError, UsageRecord, carry, cut, day_share, evidence, record, settle};
use crate::model::{Channel, Formula, MICROS_PER_HOUR, Timestamp};
use crate::store::{Tx, audit};

/// A request that was given up is taken to be on its way for so long; two pushes of an hourly schedule fall into it. A
/// meter's summary may lag as long behind what was answered.
pub(super) const STRAGGLES_US: i64 = 2 * MICROS_PER_HOUR;

/// What stands, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// In the whole period.
    pub total: i64,
    /// By UTC day, where the channel has days.
    pub days: Option<BTreeMap<i64, i64>>,
}

/// In which circumstances something was read.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// The generation in force.
    pub generation: &'a Generation,
    /// Whether the link says that nobody else writes, so that an excess may be adopted without asking (rule S5).
    pub is_single_writer: bool,
    /// When.
    pub now: Timestamp,
}

/// What a read showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadVerdict {
    /// What was noted, or what our attempt in flight would have set.
    AsNoted,
    /// Something this ledger caused and had not noted as standing.
    OursLate,
    /// Less than was answered, as a summary shows that lags behind; what was answered counts.
    Lags,
    /// More than was answered on a day that fell lately, as such a summary shows; what was answered counts, and the next
    /// push reads again.
    FallLags,
    /// Less than was noted. A total is set again; what adds up is not, since it was answered.
    Lower {
        /// What was noted.
        noted: i64,
    },
    /// Where the adopted units lie is known now.
    Probed,
    /// More than this ledger can have caused, and taken over: it was restored from an older copy.
    Adopted {
        /// Units above our own total.
        units: i64,
    },
    /// It waits for a human now.
    Held(Held),
}

/// The first read of an item in a period, made while linking, where the operator has said what to do about what stands.
/// What does, is adopted and gone on top of.
pub fn note_first_read(
    tx: &Tx<'_>,
    id: i64,
    stands: &Stands,
    generation: &Generation,
    now: Timestamp,
) -> Result<(), OutboxError> {
    let record = record::by_id(tx, id)?;
    if stands.total > 0 {
        carry::stop_carrying_into(tx, &record)?;
    }
    note(tx, id, stands, generation, now)?;
    if stands.total > 0 {
        day_share::adopt(tx, id, 0)?;
        // Only a usage record can stand at another timestamp than ours, and be left alone by what we set.
        let elsewhere = if record.channel == Channel::UsageRecords { stands.total } else { 0 };
        tx.execute(
            "UPDATE usage_record SET adopted = ?2, adopted_elsewhere = ?3,
                    probing_from = CASE WHEN ?3 > 0 THEN revision END,
                    target = max(floor, overage + carried_in + ?2 - closed_segments)
             WHERE id = ?1",
            (id, stands.total, elsewhere),
        )?;
        record::note_difference(tx, id, now)?;
    }
    Ok(())
}

/// Compares a read with what was noted, and with everything this ledger may have caused.
pub fn note_read(tx: &Tx<'_>, id: i64, stands: &Stands, reader: &Reader<'_>) -> Result<ReadVerdict, OutboxError> {
    let (generation, now) = (reader.generation, reader.now);
    let record = record::by_id(tx, id)?;
    let verdict = judge(tx, &record, stands, now)?;
    let verdict = match verdict {
        ReadVerdict::Held(Held::HigherThanCaused { .. })
            if reader.is_single_writer && record.adopted == 0 && record.forgotten == 0 && record.fell() == 0 =>
        {
            let because = "more stands than this ledger caused, and nobody else writes: it is older than the provider";
            let units = hold::take_over(tx, &record, stands, true, because, "usaged", now)?;
            ReadVerdict::Adopted { units }
        }
        other => other,
    };
    match &verdict {
        // What is held keeps what was noted: the read is in the reason, and nothing is sent on its strength.
        ReadVerdict::Held(held) => hold::hold(tx, id, held, now)?,
        ReadVerdict::Lower { noted } => {
            if record.channel.formula() == Some(Formula::Sum) {
                // It may be counted yet: each push looks again.
                set_drift(tx, id, Some(&not_counted(*noted, stands.total)))?;
                tx.execute(
                    "UPDATE usage_record SET read_generation = NULL, next_attempt_us = NULL WHERE id = ?1",
                    [id],
                )?;
            } else {
                set_drift(tx, id, Some(&format!("{} stands where {noted} was noted", stands.total)))?;
                note(tx, id, stands, generation, now)?;
            }
        }
        ReadVerdict::Lags => keep_noted(tx, id, generation)?,
        ReadVerdict::FallLags => {
            tx.execute("UPDATE usage_record SET next_attempt_us = NULL WHERE id = ?1", [id])?;
        }
        ReadVerdict::Adopted { .. } => {}
        ReadVerdict::AsNoted if record.channel.formula() == Some(Formula::Sum) => {
            // What was accepted is counted after all.
            set_drift(tx, id, None)?;
            note(tx, id, stands, generation, now)?;
        }
        _ => note(tx, id, stands, generation, now)?,
    }
    let is_known = record.drift.is_some() && record.drift == record::by_id(tx, id)?.drift;
    let is_news = match verdict {
        ReadVerdict::AsNoted | ReadVerdict::Lags | ReadVerdict::FallLags => false,
        ReadVerdict::Lower { .. } => !is_known,
        _ => true,
    };
    if is_news {
        let detail = json!({"total": stands.total, "noted": record.standing, "verdict": format!("{verdict:?}")});
        audit::append(tx, now, "usaged", "read.differs", record.item.as_str(), &detail)?;
    }
    Ok(verdict)
}

/// What stands is read before anything more is sent, as after a start (rule S5).
pub fn read_again(tx: &Tx<'_>) -> Result<(), OutboxError> {
    tx.execute("UPDATE usage_record SET read_generation = NULL WHERE state <> 'closed'", [])?;
    Ok(())
}

/// Whether a request that left may still change the total that stands: another one without an answer, or a larger one
/// that was given up lately.
pub fn may_change(connection: &Connection, id: i64, total: i64, now: Timestamp) -> Result<bool, OutboxError> {
    let record = record::by_id(connection, id)?;
    let sets_the_whole = !matches!(record.channel.formula(), Some(Formula::Sum | Formula::SumOfDays));
    let pending = delivery::in_flight(connection, id)?;
    let is_another = pending
        .is_some_and(|pending| !sets_the_whole || pending.quantity.saturating_add(record.adopted_elsewhere) != total);
    Ok(is_another || may_rise(connection, id, total, now)?)
}

/// Whether every request was answered, or left so long ago that it cannot arrive any more.
pub fn is_answered(connection: &Connection, id: i64, now: Timestamp) -> Result<bool, OutboxError> {
    delivery::is_answered_since(connection, id, now.minus(STRAGGLES_US))
}

/// Whether, beyond that, everything sent was answered so long ago that the provider shows it by now.
pub fn is_quiet(connection: &Connection, id: i64, now: Timestamp) -> Result<bool, OutboxError> {
    delivery::is_quiet_since(connection, id, now.minus(STRAGGLES_US))
}

/// The most that may stand: what was noted, and what is on its way still.
pub fn most_standing(connection: &Connection, id: i64) -> Result<i64, OutboxError> {
    let record = record::by_id(connection, id)?;
    let noted = record.standing.unwrap_or(0);
    let pending = delivery::in_flight(connection, id)?.map_or(0, |pending| pending.quantity.max(0));
    let adds = matches!(record.channel.formula(), Some(Formula::Sum | Formula::SumOfDays));
    let with_pending = pending.saturating_add(if adds { noted } else { record.adopted_elsewhere });
    Ok(noted.max(with_pending))
}

/// Whether a larger total may arrive late. Where nothing tells a repeated request from the first, also one that was sent
/// again and answered.
pub(super) fn may_rise(connection: &Connection, id: i64, total: i64, now: Timestamp) -> Result<bool, OutboxError> {
    let record = record::by_id(connection, id)?;
    let straggler = straggler(connection, &record, now)?.filter(|_| now.since(record.period.from) < STRAGGLES_US);
    let or_resent = record.channel == Channel::CurrentUsage;
    let largest = delivery::largest_late(connection, id, or_resent, now.minus(STRAGGLES_US))?.max(straggler);
    Ok(largest.is_some_and(|largest| largest > total))
}

fn note(tx: &Tx<'_>, id: i64, stands: &Stands, generation: &Generation, now: Timestamp) -> Result<(), OutboxError> {
    if let Some(days) = &stands.days {
        note_days(tx, id, days)?;
    }
    // A larger total that was given up may be on its way still: the next push reads again.
    let holds_in = (!may_rise(tx, id, stands.total, now)?).then_some(generation.id);
    tx.execute(
        "UPDATE usage_record SET standing = ?2, standing_us = ?3, read_generation = ?4, next_attempt_us = NULL WHERE id = ?1",
        (id, stands.total, now.micros(), holds_in),
    )?;
    record::note_difference(tx, id, now)
}

/// What stands on each day; on a day that the read does not mention, nothing.
pub(super) fn note_days(tx: &Tx<'_>, id: i64, days: &BTreeMap<i64, i64>) -> Result<(), OutboxError> {
    for day in day_share::all(tx, id)? {
        let found = days.get(&day.day_s).copied().unwrap_or(0);
        day_share::set_standing(tx, id, day.day_s, found)?;
    }
    for (day_s, found) in days {
        day_share::set_standing(tx, id, *day_s, *found)?;
    }
    Ok(())
}

/// What was accepted and is not counted, in words.
pub(super) fn not_counted(accepted: i64, counted: i64) -> String {
    format!("{accepted} were accepted, {counted} are counted")
}

fn set_drift(tx: &Tx<'_>, id: i64, drift: Option<&str>) -> Result<(), OutboxError> {
    tx.execute("UPDATE usage_record SET drift = ?2 WHERE id = ?1", (id, drift))?;
    Ok(())
}

fn keep_noted(tx: &Tx<'_>, id: i64, generation: &Generation) -> Result<(), OutboxError> {
    tx.execute(
        "UPDATE usage_record SET read_generation = ?2, next_attempt_us = NULL WHERE id = ?1",
        (id, generation.id),
    )?;
    Ok(())
}

fn judge(tx: &Tx<'_>, record: &UsageRecord, stands: &Stands, now: Timestamp) -> Result<ReadVerdict, OutboxError> {
    let Some(noted) = record.standing else { return judge_first(tx, record, stands.total, now) };
    match (record.channel.formula(), &stands.days) {
        (Some(Formula::Sum), _) => judge_sum(tx, record, stands.total, noted, now),
        (Some(Formula::SumOfDays), Some(days)) => judge_days(tx, record, stands.total, days, now),
        _ => judge_total(tx, record, stands.total, noted, now),
    }
}

/// Rule S4: what stood before this ledger noted anything is its own only if it may have caused it.
fn judge_first(tx: &Tx<'_>, record: &UsageRecord, total: i64, now: Timestamp) -> Result<ReadVerdict, OutboxError> {
    let caused = match record.channel.formula() {
        Some(Formula::Sum | Formula::SumOfDays) => delivery::added_by_unanswered(tx, record.id)?,
        _ => delivery::largest_possible(tx, record.id)?.unwrap_or(0),
    };
    let straggler = straggler(tx, record, now)?.unwrap_or(0).max(cut::sent_into(tx, record)?);
    Ok(match total {
        0 => ReadVerdict::AsNoted,
        _ if total <= caused.max(straggler) => ReadVerdict::OursLate,
        _ => ReadVerdict::Held(Held::SomethingStands { total }),
    })
}

/// Rule S9: the largest total of the period before whose outcome was unknown may arrive in this one. Of a total that was
/// sent again and then answered, the first request may, while it can still be on its way.
fn straggler(connection: &Connection, record: &UsageRecord, now: Timestamp) -> Result<Option<i64>, OutboxError> {
    if record.channel != Channel::CurrentUsage {
        return Ok(None);
    }
    let sql = "SELECT max(d.quantity) FROM delivery d JOIN usage_record r ON r.id = d.usage_record_id
               WHERE r.item = ?1 AND r.period_to_s = ?2
                   AND (d.state IN ('sending', 'unknown', 'abandoned') OR (d.sends > 1 AND d.first_sent_us > ?3))";
    let of = (record.item.as_str(), record.period.from.secs(), now.minus(STRAGGLES_US).micros());
    Ok(connection.query_row(sql, of, |row| row.get(0))?)
}

/// Totals that replace each other.
fn judge_total(
    tx: &Tx<'_>,
    record: &UsageRecord,
    total: i64,
    noted: i64,
    now: Timestamp,
) -> Result<ReadVerdict, OutboxError> {
    if let Some(since) = record.probing_from
        && let Some(verdict) = probe(tx, record, total, since)?
    {
        return Ok(verdict);
    }
    if let Some(pending) = delivery::in_flight(tx, record.id)?
        && pending.quantity.saturating_add(record.adopted_elsewhere) == total
        && noted != total
    {
        delivery::set_state(tx, &pending, DeliveryState::Accepted, now, Some(SEEN))?;
        tx.execute("UPDATE usage_record SET begins_anew = 0 WHERE id = ?1", [record.id])?;
        return Ok(ReadVerdict::AsNoted);
    }
    if total == noted {
        return Ok(ReadVerdict::AsNoted);
    }
    if total < noted {
        let is_ours = delivery::may_have_set(tx, record.id, total.saturating_sub(record.adopted_elsewhere))?;
        return Ok(match lower(tx, record, noted, now)? {
            ReadVerdict::Lower { .. } if is_ours => ReadVerdict::OursLate,
            other => other,
        });
    }
    let largest_sent = delivery::largest_possible(tx, record.id)?.max(straggler(tx, record, now)?);
    let caused = largest_sent.map_or(noted, |largest| largest.saturating_add(record.adopted_elsewhere).max(noted));
    Ok(if total <= caused {
        ReadVerdict::OursLate
    } else {
        ReadVerdict::Held(Held::HigherThanCaused { total, caused })
    })
}

const SEEN: &str = "its answer was lost; a read shows it stands";

/// Less than was noted: news, unless a summary may not show yet what was answered.
fn lower(tx: &Tx<'_>, record: &UsageRecord, noted: i64, now: Timestamp) -> Result<ReadVerdict, OutboxError> {
    Ok(if evidence::lags(tx, record, now)? { ReadVerdict::Lags } else { ReadVerdict::Lower { noted } })
}

/// Increments, which add up.
fn judge_sum(
    tx: &Tx<'_>,
    record: &UsageRecord,
    total: i64,
    noted: i64,
    now: Timestamp,
) -> Result<ReadVerdict, OutboxError> {
    if total == noted {
        return Ok(ReadVerdict::AsNoted);
    }
    if let Some(pending) = delivery::in_flight(tx, record.id)?
        && noted.saturating_add(pending.quantity) == total
    {
        delivery::set_state(tx, &pending, DeliveryState::Accepted, now, Some(SEEN))?;
        return Ok(ReadVerdict::AsNoted);
    }
    if total < noted {
        return lower(tx, record, noted, now);
    }
    let unseen_falls = delivery::falls_since(tx, record.id, now.minus(STRAGGLES_US))?;
    if total <= noted.saturating_add(unseen_falls) {
        return Ok(ReadVerdict::Lags);
    }
    let caused = noted.saturating_add(delivery::added_by_unanswered(tx, record.id)?);
    Ok(if total <= caused {
        ReadVerdict::OursLate
    } else {
        ReadVerdict::Held(Held::HigherThanCaused { total, caused })
    })
}

/// Shares of days, each replaced by a newer one of its day.
fn judge_days(
    tx: &Tx<'_>,
    record: &UsageRecord,
    total: i64,
    days: &BTreeMap<i64, i64>,
    now: Timestamp,
) -> Result<ReadVerdict, OutboxError> {
    let noted: BTreeMap<i64, (i64, i64)> =
        day_share::all(tx, record.id)?.into_iter().map(|day| (day.day_s, (day.standing, day.stood))).collect();
    let pending = delivery::in_flight(tx, record.id)?;
    let (mut is_late, mut is_lower, mut lags) = (false, false, false);
    let mut caused = 0_i64;
    let mut is_higher = false;
    for day_s in noted.keys().chain(days.keys()).collect::<std::collections::BTreeSet<_>>() {
        let ((was, stood), found) =
            (noted.get(day_s).copied().unwrap_or((0, 0)), days.get(day_s).copied().unwrap_or(0));
        let sent = delivery::largest_possible_on(tx, record.id, *day_s)?.unwrap_or(0).max(was);
        let is_fall_unseen = found > was && delivery::fell_on(tx, record.id, *day_s, found, now.minus(STRAGGLES_US))?;
        // What was taken over on a day stood there before it fell, although nothing that was sent caused it.
        let most = if is_fall_unseen { sent.max(stood) } else { sent };
        caused = caused.saturating_add(most);
        is_higher |= found > most;
        is_lower |= found < was;
        lags |= is_fall_unseen;
        is_late |= found > was && !is_fall_unseen;
        let settles = pending.as_ref().filter(|one| one.day_s == Some(*day_s) && one.quantity == found && found != was);
        if let Some(pending) = settles {
            delivery::set_state(tx, pending, DeliveryState::Accepted, now, Some(SEEN))?;
            settle::note_accepted(tx, pending, now)?;
        }
    }
    Ok(match (is_higher, is_lower, is_late) {
        (true, ..) => ReadVerdict::Held(Held::HigherThanCaused { total, caused }),
        (false, true, _) => lower(tx, record, record.standing.unwrap_or(0), now)?,
        (false, false, true) => ReadVerdict::OursLate,
        (false, false, false) if lags => ReadVerdict::FallLags,
        (false, false, false) => ReadVerdict::AsNoted,
    })
}

/// After the first push on top of adopted units: either both are in the total, so they stand at another timestamp, or
/// only ours is, so it overwrote them and has to include them. Anything else is held.
fn probe(tx: &Tx<'_>, record: &UsageRecord, total: i64, since: i64) -> Result<Option<ReadVerdict>, OutboxError> {
    let Some(ours) = delivery::last_accepted(tx, record.id, since)? else { return Ok(None) };
    let elsewhere = if total == ours.quantity.saturating_add(record.adopted_elsewhere) {
        record.adopted_elsewhere
    } else if total == ours.quantity {
        0
    } else {
        return Ok(Some(ReadVerdict::Held(Held::ProbeUnclear { total, sent: ours.quantity, adopted: record.adopted })));
    };
    tx.execute(
        "UPDATE usage_record SET probing_from = NULL, adopted_elsewhere = ?2 WHERE id = ?1",
        (record.id, elsewhere),
    )?;
    Ok(Some(ReadVerdict::Probed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::outbox::testing::{at, attempted, by, in_store, new};
    use crate::outbox::{Break, draw, ensure};

    /// Quantity, how it came out, and at which hour of the second.
    type Attempt = (i64, &'static str, u32);

    /// What a read at five o'clock means for a row with these attempts.
    fn read(channel: &Channel, noted: Option<i64>, attempts: &'static [Attempt], total: i64) -> ReadVerdict {
        let channel = channel.clone();
        let (sender, verdict) = std::sync::mpsc::channel();
        in_store(move |tx| {
            let generation = draw(tx, 1, Break::Start, at(1, 0)).unwrap();
            let id = ensure(tx, &new(channel, Span::new(at(1, 0), at(30, 0)))).unwrap();
            tx.execute("UPDATE usage_record SET standing = ?2 WHERE id = ?1", (id, noted)).unwrap();
            for (revision, (quantity, state, hour)) in (1..).zip(attempts) {
                attempted(tx, id, revision, *quantity, state, at(2, *hour), None);
            }
            let reader = Reader { generation: &generation, is_single_writer: false, now: at(2, 5) };
            let verdict = note_read(tx, id, &Stands { total, days: None }, &reader).unwrap();
            let pending = delivery::in_flight(tx, id).unwrap();
            assert!(pending.is_none() || verdict != ReadVerdict::AsNoted, "what was seen to stand is settled");
            sender.send(verdict).unwrap();
        });
        verdict.recv().unwrap()
    }

    fn higher(total: i64, caused: i64) -> ReadVerdict {
        ReadVerdict::Held(Held::HigherThanCaused { total, caused })
    }

    #[test]
    fn s4_what_stood_before_anything_was_noted_is_ours_only_as_far_as_it_was_caused() {
        use ReadVerdict::{AsNoted, OursLate};
        let foreign = |total| ReadVerdict::Held(Held::SomethingStands { total });
        let lost: &[Attempt] = &[(5, "abandoned", 2), (2, "unknown", 3), (9, "refused", 4)];
        for (channel, most) in [
            (Channel::UsageRecords, 5),
            (Channel::CurrentUsage, 5),
            (by(Formula::Last), 5),
            (by(Formula::Sum), 7),
            (by(Formula::SumOfDays), 7),
        ] {
            assert_eq!(read(&channel, None, &[], 0), AsNoted);
            assert_eq!(read(&channel, None, &[], 1), foreign(1));
            assert_eq!(read(&channel, None, lost, most), OursLate, "{channel:?}");
            assert_eq!(read(&channel, None, lost, most + 1), foreign(most + 1), "{channel:?}");
        }
    }

    #[test]
    fn s5_a_total_is_compared_with_what_was_noted_and_what_may_have_arrived() {
        use ReadVerdict::{AsNoted, Lags, Lower, OursLate};
        let lost: &[Attempt] = &[(9, "accepted", 3), (12, "unknown", 4)];
        for channel in [Channel::UsageRecords, by(Formula::Last)] {
            assert_eq!(read(&channel, Some(9), &[(9, "accepted", 3)], 9), AsNoted);
            assert_eq!(read(&channel, Some(9), lost, 12), AsNoted);
            assert_eq!(read(&channel, Some(9), lost, 11), OursLate);
            assert_eq!(read(&channel, Some(9), lost, 13), higher(13, 12));
        }
        assert_eq!(read(&Channel::UsageRecords, Some(9), lost, 8), Lower { noted: 9 });
        assert_eq!(read(&by(Formula::Last), Some(9), &[(9, "accepted", 4)], 8), Lags);
        assert_eq!(read(&by(Formula::Last), Some(9), &[(9, "accepted", 3)], 8), Lower { noted: 9 });
    }

    #[test]
    fn s8_increments_are_compared_by_what_they_add() {
        use ReadVerdict::{AsNoted, Lags, Lower, OursLate};
        let sum = by(Formula::Sum);
        let lost: &[Attempt] = &[(3, "unknown", 4)];
        for (total, verdict) in [(12, AsNoted), (11, OursLate), (13, higher(13, 12)), (8, Lower { noted: 9 })] {
            assert_eq!(read(&sum, Some(9), lost, total), verdict);
        }
        // A fall that a summary may not show for two hours.
        for (hour, total, verdict) in
            [(4, 9, AsNoted), (4, 11, Lags), (4, 12, higher(12, 9)), (3, 11, higher(11, 9)), (4, 8, Lags)]
        {
            let fall: &[Attempt] = if hour == 4 { &[(-2, "accepted", 4)] } else { &[(-2, "accepted", 3)] };
            assert_eq!(read(&sum, Some(9), fall, total), verdict, "{hour} {total}");
        }
    }

    #[test]
    fn s9_a_late_total_of_the_period_before_is_our_own_where_it_counts_in_this_one() {
        for (channel, state, sends, total, is_ours) in [
            (Channel::CurrentUsage, "unknown", 1, 8, true),
            (Channel::CurrentUsage, "unknown", 1, 9, false),
            (Channel::CurrentUsage, "abandoned", 1, 8, true),
            (Channel::CurrentUsage, "accepted", 2, 8, true),
            (Channel::CurrentUsage, "accepted", 1, 8, false),
            (Channel::CurrentUsage, "refused", 1, 8, false),
            (Channel::UsageRecords, "unknown", 1, 8, false),
        ] {
            in_store(move |tx| {
                let generation = draw(tx, 1, Break::Start, at(1, 0)).unwrap();
                let before = ensure(tx, &new(channel.clone(), Span::new(at(1, 0), at(2, 0)))).unwrap();
                attempted(tx, before, 1, 8, state, at(2, 0).minus(1), None);
                tx.execute("UPDATE delivery SET sends = ?1", [sends]).unwrap();
                let id = ensure(tx, &new(channel, Span::new(at(2, 0), at(30, 0)))).unwrap();
                let reader = Reader { generation: &generation, is_single_writer: false, now: at(2, 1) };
                let verdict = note_read(tx, id, &Stands { total, days: None }, &reader).unwrap();
                let foreign = ReadVerdict::Held(Held::SomethingStands { total });
                assert_eq!(verdict, if is_ours { ReadVerdict::OursLate } else { foreign }, "{state} {sends} {total}");
            });
        }
    }

    #[test]
    fn s5_what_was_read_at_first_and_is_gone_on_top_of_is_adopted() {
        for (channel, total, elsewhere) in
            [(Channel::UsageRecords, 7, 7), (Channel::CurrentUsage, 7, 0), (Channel::UsageRecords, 0, 0)]
        {
            in_store(move |tx| {
                let generation = draw(tx, 1, Break::Start, at(1, 0)).unwrap();
                let id = ensure(tx, &new(channel, Span::new(at(1, 0), at(30, 0)))).unwrap();
                note_first_read(tx, id, &Stands { total, days: None }, &generation, at(2, 0)).unwrap();
                let row = record::by_id(tx, id).unwrap();
                assert_eq!((row.adopted, row.adopted_elsewhere, row.target), (total, elsewhere, total));
                assert_eq!(row.probing_from.is_some(), elsewhere > 0);
                assert_eq!((row.standing, row.read_generation), (Some(total), Some(generation.id)));
            });
        }
    }

    /// A row of November with these attempts of the second, and what it noted.
    fn row(tx: &Tx<'_>, channel: Channel, noted: Option<i64>, attempts: &[Attempt]) -> (i64, Generation) {
        let generation = draw(tx, 1, Break::Start, at(1, 0)).unwrap();
        let id = ensure(tx, &new(channel, Span::new(at(1, 0), at(30, 0)))).unwrap();
        tx.execute("UPDATE usage_record SET standing = ?2 WHERE id = ?1", (id, noted)).unwrap();
        for (revision, (quantity, state, hour)) in (1..).zip(attempts) {
            attempted(tx, id, revision, *quantity, state, at(2, *hour), None);
        }
        (id, generation)
    }

    fn count(tx: &Tx<'_>, sql: &str) -> i64 {
        tx.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn s5_what_differs_is_in_the_audit_once_and_what_does_not_is_not() {
        // Totals that are read one after another, and lines of the audit after each.
        let sum: &[Attempt] = &[(9, "accepted", 1)];
        let fall: &[Attempt] = &[(11, "accepted", 1), (-2, "accepted", 4)];
        let lost: &[Attempt] = &[(12, "abandoned", 1)];
        let late: &[Attempt] = &[(9, "accepted", 4)];
        for (channel, attempts, reads) in [
            (by(Formula::Sum), sum, vec![(9, 0), (8, 1), (8, 1), (7, 2), (9, 2), (8, 3)]),
            (by(Formula::Sum), fall, vec![(11, 0), (9, 0)]),
            (by(Formula::Last), late, vec![(8, 0)]),
            (Channel::UsageRecords, lost, vec![(9, 0), (11, 1), (30, 2)]),
            (Channel::UsageRecords, sum, vec![(8, 1), (8, 1)]),
        ] {
            in_store(move |tx| {
                let (id, generation) = row(tx, channel.clone(), Some(9), attempts);
                let reader = Reader { generation: &generation, is_single_writer: false, now: at(2, 5) };
                for (total, lines) in reads {
                    note_read(tx, id, &Stands { total, days: None }, &reader).unwrap();
                    let found = count(tx, "SELECT count(*) FROM audit WHERE action = 'read.differs'");
                    assert_eq!(found, lines, "{channel:?}: {total}");
                }
            });
        }
    }

    #[test]
    fn s5_what_is_not_counted_is_said_until_it_is() {
        in_store(|tx| {
            let (id, generation) = row(tx, by(Formula::Sum), Some(9), &[(9, "accepted", 1)]);
            let reader = Reader { generation: &generation, is_single_writer: false, now: at(2, 5) };
            let read = |total| {
                note_read(tx, id, &Stands { total, days: None }, &reader).unwrap();
                let row = record::by_id(tx, id).unwrap();
                (row.drift, row.standing, row.read_generation.is_some())
            };
            assert_eq!(read(7), (Some("9 were accepted, 7 are counted".to_owned()), Some(9), false));
            assert_eq!(read(9), (None, Some(9), true));
        });
        in_store(|tx| {
            let (id, generation) = row(tx, Channel::UsageRecords, Some(9), &[(9, "accepted", 1)]);
            tx.execute("UPDATE usage_record SET drift = 'before'", []).unwrap();
            let reader = Reader { generation: &generation, is_single_writer: false, now: at(2, 5) };
            note_read(tx, id, &Stands { total: 9, days: None }, &reader).unwrap();
            assert_eq!(
                record::by_id(tx, id).unwrap().drift.as_deref(),
                Some("before"),
                "a total's drift stays for people"
            );
        });
    }

    #[test]
    fn s5_a_summary_that_lags_is_read_in_this_generation_all_the_same() {
        in_store(|tx| {
            let (id, generation) = row(tx, by(Formula::Last), Some(9), &[(9, "accepted", 4)]);
            tx.execute("UPDATE usage_record SET next_attempt_us = 1", []).unwrap();
            let reader = Reader { generation: &generation, is_single_writer: false, now: at(2, 5) };
            assert_eq!(note_read(tx, id, &Stands { total: 8, days: None }, &reader).unwrap(), ReadVerdict::Lags);
            let row = record::by_id(tx, id).unwrap();
            assert_eq!((row.standing, row.read_generation, row.next_attempt), (Some(9), Some(generation.id), None));
        });
    }

    #[test]
    fn s4_s5_what_waits_to_be_carried_stays_where_nothing_stood() {
        for (total, carried) in [(0, 1), (1, 0)] {
            in_store(move |tx| {
                let before = ensure(tx, &new(Channel::UsageRecords, Span::new(at(1, 0), at(3, 0)))).unwrap();
                let id = ensure(tx, &new(Channel::UsageRecords, Span::new(at(3, 0), at(30, 0)))).unwrap();
                let sql = "INSERT INTO carry (from_record, units, at_us) VALUES (?1, 4, 0)";
                tx.execute(sql, [before]).unwrap();
                let generation = draw(tx, 1, Break::Start, at(4, 0)).unwrap();
                note_first_read(tx, id, &Stands { total, days: None }, &generation, at(4, 0)).unwrap();
                assert_eq!(count(tx, "SELECT count(*) FROM carry"), carried, "{total}");
                assert_eq!(record::by_id(tx, before).unwrap().may_stand_later, total > 0);
            });
        }
    }

    #[test]
    fn s5_a_total_may_change_while_another_request_is_under_way_or_a_larger_one_was_given_up_lately() {
        let pending: &[Attempt] = &[(9, "unknown", 4)];
        for (channel, attempts, total, may) in [
            (Channel::UsageRecords, pending, 9, false),
            (Channel::UsageRecords, pending, 8, true),
            (by(Formula::Last), pending, 9, false),
            (by(Formula::Sum), pending, 9, true),
            (by(Formula::SumOfDays), pending, 9, true),
            (Channel::UsageRecords, &[(9, "abandoned", 4)], 8, true),
            (Channel::UsageRecords, &[(9, "abandoned", 4)], 9, false),
            (Channel::UsageRecords, &[(9, "abandoned", 3)], 8, false),
            (Channel::UsageRecords, &[(9, "accepted", 4)], 8, false),
        ] {
            in_store(move |tx| {
                let (id, _) = row(tx, channel.clone(), Some(5), attempts);
                assert_eq!(may_change(tx, id, total, at(2, 5)).unwrap(), may, "{channel:?} {attempts:?} {total}");
            });
        }
    }

    #[test]
    fn s9_a_total_of_the_period_before_may_rise_for_two_hours_after_its_end() {
        for (now, may) in [(at(2, 1), true), (at(2, 2).minus(1), true), (at(2, 2), false)] {
            in_store(move |tx| {
                draw(tx, 1, Break::Start, at(1, 0)).unwrap();
                let before = ensure(tx, &new(Channel::CurrentUsage, Span::new(at(1, 0), at(2, 0)))).unwrap();
                attempted(tx, before, 1, 8, "unknown", at(2, 0).minus(1), None);
                let id = ensure(tx, &new(Channel::CurrentUsage, Span::new(at(2, 0), at(30, 0)))).unwrap();
                assert_eq!(may_rise(tx, id, 7, now).unwrap(), may, "{now}");
                assert!(!may_rise(tx, id, 8, now).unwrap(), "not above what it was");
            });
        }
    }

    #[test]
    fn r5_s5_what_left_lately_is_neither_answered_nor_quiet() {
        for (state, hour, answered, quiet) in [
            ("accepted", 4, true, false),
            ("accepted", 3, true, true),
            ("unknown", 4, false, false),
            ("unknown", 3, true, true),
            ("refused", 4, true, true),
        ] {
            in_store(move |tx| {
                let (id, _) = row(tx, Channel::UsageRecords, Some(5), &[(9, state, hour)]);
                let found = (is_answered(tx, id, at(2, 5)).unwrap(), is_quiet(tx, id, at(2, 5)).unwrap());
                assert_eq!(found, (answered, quiet), "{state} {hour}");
            });
        }
    }

    /// What a read at five o'clock of the second means for a row with shares of days: each day with what stood, what was
    /// tried on it, and what is found.
    fn read_days(days: &[(u32, i64, &'static [Attempt], i64)]) -> (ReadVerdict, i64) {
        let days = days.to_vec();
        let (sender, verdict) = std::sync::mpsc::channel();
        in_store(move |tx| {
            let noted = days.iter().map(|(_, was, ..)| was).sum();
            let (id, generation) = row(tx, by(Formula::SumOfDays), Some(noted), &[]);
            let mut revision = 0;
            for (day, was, attempts, _) in &days {
                day_share::set_standing(tx, id, at(*day, 0).secs(), *was).unwrap();
                for (quantity, state, hour) in *attempts {
                    revision += 1;
                    attempted(tx, id, revision, *quantity, state, at(2, *hour), Some(at(*day, 0)));
                }
            }
            let found: BTreeMap<i64, i64> = days.iter().map(|(day, .., found)| (at(*day, 0).secs(), *found)).collect();
            let reader = Reader { generation: &generation, is_single_writer: false, now: at(2, 5) };
            let stands = Stands { total: found.values().sum(), days: Some(found) };
            let verdict = note_read(tx, id, &stands, &reader).unwrap();
            sender.send((verdict, count(tx, "SELECT count(*) FROM delivery WHERE state = 'accepted'"))).unwrap();
        });
        verdict.recv().unwrap()
    }

    #[test]
    fn s8_each_days_share_is_compared_with_what_was_sent_for_it() {
        use ReadVerdict::{AsNoted, FallLags, Lower, OursLate};
        const LOST: &[Attempt] = &[(8, "unknown", 4)];
        const SENT: &[Attempt] = &[(5, "accepted", 1)];
        const FELL: &[Attempt] = &[(5, "accepted", 1), (3, "accepted", 4)];
        const GAVE_UP: &[Attempt] = &[(8, "abandoned", 4)];
        for (days, verdict, accepted) in [
            (vec![(1, 5, SENT, 5), (2, 3, SENT, 3)], AsNoted, 2),
            (vec![(1, 5, LOST, 8)], OursLate, 1),
            (vec![(1, 5, LOST, 7)], OursLate, 0),
            // Of two days that show as much, only the one that it was sent for settles it.
            (vec![(1, 5, GAVE_UP, 8), (2, 3, LOST, 3)], OursLate, 0),
            (vec![(1, 8, SENT, 8), (2, 8, LOST, 8)], AsNoted, 1),
            (vec![(1, 5, LOST, 9)], higher(9, 8), 0),
            (vec![(1, 5, SENT, 6), (2, 3, SENT, 3)], higher(9, 10), 2),
            (vec![(1, 5, SENT, 4), (2, 3, &[], 3)], Lower { noted: 8 }, 1),
            (vec![(1, 3, FELL, 5)], FallLags, 2),
            (vec![(1, 3, FELL, 4), (2, 5, GAVE_UP, 6)], OursLate, 2),
            (vec![(1, 3, FELL, 6)], higher(6, 5), 2),
        ] {
            assert_eq!(read_days(&days), (verdict, accepted), "{days:?}");
        }
    }
}
