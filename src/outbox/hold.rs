//! What waits for a human, with the reason, and how it is settled.

use serde_json::json;

use super::delivery::{self, DeliveryState};
use super::{OutboxError, Stands, UsageRecord, carry, day_share, record, standing};
use crate::model::{Channel, Formula, Timestamp};
use crate::store::{Tx, audit};

/// Why a record waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Rule S4: something stood before this ledger ever pushed or read.
    SomethingStands {
        /// What stands.
        total: i64,
    },
    /// Rule S5: more stands than this ledger can have caused.
    HigherThanCaused {
        /// What stands.
        total: i64,
        /// The most this ledger may have caused.
        caused: i64,
    },
    /// Rule S5: where adopted units lie could not be told.
    ProbeUnclear {
        /// What stands.
        total: i64,
        /// What we set.
        sent: i64,
        /// What was adopted.
        adopted: i64,
    },
    /// Rule R5: item, price or plan changed inside the period.
    Segment {
        /// What changed, a sentence.
        what: String,
    },
    /// The subscription was ended before its time: what was not invoiced by then may have been dropped.
    Ended {
        /// What was ended, and when, a part of a sentence.
        what: String,
    },
    /// What this ledger knew of it was lost with a damaged database.
    Lost,
    /// The item is not at the provider any more.
    Missing {
        /// The provider's words.
        what: String,
    },
}

impl Held {
    /// A stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SomethingStands { .. } => "something_stands",
            Self::HigherThanCaused { .. } => "higher_than_caused",
            Self::ProbeUnclear { .. } => "probe_unclear",
            Self::Segment { .. } => "segment_changed",
            Self::Ended { .. } => "subscription_ended",
            Self::Lost => "ledger_damaged",
            Self::Missing { .. } => "item_missing",
        }
    }

    /// One sentence.
    #[must_use]
    pub fn because(&self) -> String {
        match self {
            Self::SomethingStands { total } => {
                format!("{total} units stood there before this VM ever pushed or read (rule S4)")
            }
            Self::HigherThanCaused { total, caused } => format!(
                "{total} units stand there and this ledger caused at most {caused}: it was restored from an older copy, or somebody else writes to the item (rule S5)"
            ),
            Self::ProbeUnclear { total, sent, adopted } => format!(
                "{total} units stand there after {sent} were set beside {adopted} adopted ones: where those lie cannot be told (rule S5)"
            ),
            Self::Segment { what } => format!("{what} (rule R5)"),
            Self::Ended { what } => format!(
                "{what}: unless it was canceled with invoice_now=true, the provider drops what was not invoiced by then"
            ),
            Self::Lost => {
                "usage.db was damaged, and what was lost of it leaves open what of this is billed already".to_owned()
            }
            Self::Missing { what } => format!("the item cannot be billed any more: {what}"),
        }
    }
}

/// Whether units that were not billed while held for this reason may be carried into a later period. Not where they may
/// have been billed already, under another price or by another writer.
#[must_use]
pub(super) fn may_be_carried(code: &str) -> bool {
    code == "higher_than_caused"
}

/// Whether another link settles what is held for this reason, and no release.
#[must_use]
pub fn is_of_a_change(code: &str) -> bool {
    matches!(code, "segment_changed" | "item_missing")
}

/// Holds a record. The first reason stays until it is released, unless more is known of a change of item or price now.
pub fn hold(tx: &Tx<'_>, id: i64, held: &Held, now: Timestamp) -> Result<(), OutboxError> {
    let record = record::by_id(tx, id)?;
    let stays = |(code, because): &(String, String)| {
        let is_of_the_change = matches!(held, Held::Segment { .. }) && is_of_a_change(code);
        !is_of_the_change || *because == held.because()
    };
    if record.held.as_ref().is_some_and(stays) {
        return Ok(());
    }
    tx.execute(
        "UPDATE usage_record SET held_code = ?2, held_because = ?3, next_attempt_us = NULL WHERE id = ?1",
        (id, held.code(), held.because()),
    )?;
    let detail = json!({"code": held.code(), "because": held.because()});
    audit::append(tx, now, "usaged", "hold", record.item.as_str(), &detail)?;
    Ok(())
}

/// Settles what is held (rule S5), knowing what stands now; returns how many units were adopted. With `adopt`, what stands
/// above our target stays, but for what that fell by lately, and our later usage goes on top of it; without, our total is
/// set over it. Either way the next push reads first, and a usage record is read back: whether it met what stands cannot
/// be known before.
pub fn take_over(
    tx: &Tx<'_>,
    record: &UsageRecord,
    stands: &Stands,
    adopt: bool,
    because: &str,
    actor: &str,
    now: Timestamp,
) -> Result<i64, OutboxError> {
    let was = record.held.as_ref().map(|(code, _)| code.as_str());
    let (id, total) = (record.id, stands.total);
    give_up_in_flight(tx, id, now)?;
    if let Some(days) = &stands.days {
        standing::note_days(tx, id, days)?;
    }
    let released = match record.channel {
        Channel::UsageRecords => released(tx, record, total, adopt)?,
        _ => released_whole(tx, record, total, adopt)?,
    };
    let more = released.adopted.saturating_sub(record.adopted);
    if more > 0 {
        carry::stop_carrying_into(tx, record)?;
    }
    let by_usage = by_usage(record, released.adopted);
    // Noted as standing, so that the read before the next push finds what was released and does not hold it again.
    tx.execute(
        "UPDATE usage_record SET held_code = NULL, held_because = NULL, standing = ?2, standing_us = ?3,
                adopted = ?4, adopted_elsewhere = ?5, probing_from = ?6, forgotten = ?7, adopted_by_usage = ?8,
                spare = NULL, target = max(floor, overage + carried_in + ?4 - closed_segments),
                attempts = 0, next_attempt_us = NULL, last_error = NULL, read_generation = NULL
         WHERE id = ?1",
        (
            id,
            total,
            now.micros(),
            released.adopted,
            released.elsewhere,
            released.probing_from,
            by_usage.forgotten,
            by_usage.units,
        ),
    )?;
    record::note_difference(tx, id, now)?;
    let detail = json!({"was": was, "adopt": adopt, "stands": total, "adopted_more": more, "because": because});
    let action = if actor == "usaged" { "adopt" } else { "release" };
    audit::append(tx, now, actor, action, record.item.as_str(), &detail)?;
    Ok(more)
}

/// What of the adopted units is usage that this ledger forgot.
struct ByUsage {
    forgotten: i64,
    units: i64,
}

/// More than this ledger caused is usage that it forgot: as little as comes to those units, so that a unit it had begun is
/// not finished twice, and the allowance and a void count once with it. So where the allowance is used up, or where the
/// machine can have used as much while this ledger was not kept; else nobody knows what of the allowance was used, and they
/// are units beside it (rule S5). What stood before us is somebody else's, and beside it, too.
fn by_usage(record: &UsageRecord, adopted: i64) -> ByUsage {
    let more = adopted.saturating_sub(record.adopted);
    let is_ours = record.held.as_ref().is_none_or(|(code, _)| code != "something_stands");
    let known = ByUsage { forgotten: record.forgotten, units: record.adopted_by_usage };
    let Some(spare) = record.spare.filter(|_| more > 0 && is_ours) else {
        return if more < 0 { ByUsage { forgotten: 0, units: 0 } } else { known };
    };
    let least = more.saturating_mul(record.unit_micros).saturating_sub(spare);
    if !record.is_used_up() && least > record.forgettable {
        return known;
    }
    ByUsage { forgotten: record.forgotten.saturating_add(least), units: record.adopted_by_usage.saturating_add(more) }
}

/// Where what we send takes the place of all that stands, or adds to it, nothing can stand beside it.
fn released_whole(tx: &Tx<'_>, record: &UsageRecord, total: i64, adopt: bool) -> Result<Released, OutboxError> {
    let more = match (adopt, record.channel.formula()) {
        (false, _) => 0,
        (true, Some(Formula::SumOfDays)) => day_share::adopt(tx, record.id, record.fell())?,
        (true, _) => total.saturating_sub(record.target).saturating_sub(record.fell()).max(0),
    };
    Ok(Released { adopted: record.adopted.saturating_add(more), elsewhere: 0, probing_from: None })
}

/// What is known of adopted units after a release.
struct Released {
    adopted: i64,
    elsewhere: i64,
    probing_from: Option<i64>,
}

fn released(tx: &Tx<'_>, record: &UsageRecord, total: i64, adopt: bool) -> Result<Released, OutboxError> {
    let own = record.overage.saturating_add(record.carried_in);
    let was = record.held.as_ref().map(|(code, _)| code.as_str());
    let probed = match record.probing_from.filter(|_| was == Some("probe_unclear")) {
        Some(since) => delivery::last_accepted(tx, record.id, since)?,
        None => None,
    };
    let probing_from = Some(record.revision);
    Ok(match (probed, adopt) {
        // Another probe would find the same: what does not stand at our timestamp stands elsewhere.
        (Some(ours), true) => {
            let elsewhere = total.saturating_sub(ours.quantity).max(0);
            let adopted = total.saturating_sub(own).max(elsewhere);
            Released { adopted, elsewhere, probing_from: None }
        }
        (Some(_), false) => Released { adopted: 0, elsewhere: 0, probing_from },
        (None, true) => {
            // What stood before us is all somebody else's; later, only what goes beyond our own total is.
            let ours = if was == Some("something_stands") { 0 } else { record.target.saturating_add(record.fell()) };
            let excess = total.saturating_sub(ours).max(0);
            // All that stands beside our own record may stand at another timestamp. That is more than the excess where
            // our target has grown since our last push.
            let pushed = delivery::last_accepted(tx, record.id, -1)?.map_or(0, |accepted| accepted.quantity);
            let beside = total.saturating_sub(pushed).max(0);
            let elsewhere = if excess > 0 { beside } else { record.adopted_elsewhere };
            Released { adopted: record.adopted.saturating_add(excess), elsewhere, probing_from }
        }
        (None, false) => Released { adopted: record.adopted, elsewhere: record.adopted_elsewhere, probing_from },
    })
}

/// Sent again under its key, an attempt would be answered with what it once did, which is what was just looked at.
fn give_up_in_flight(tx: &Tx<'_>, id: i64, now: Timestamp) -> Result<(), OutboxError> {
    match delivery::in_flight(tx, id)? {
        Some(pending) => delivery::set_state(tx, &pending, DeliveryState::Abandoned, now, Some("it was released")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, by, in_store, new, record};
    use super::*;
    use crate::model::Span;
    use crate::outbox::{Break, NewRecord, draw, ensure};

    /// Ten are included and four are used, in units of seven.
    fn below_the_allowance(forgettable: i64) -> UsageRecord {
        let (used, included) = (4 * 7, 10 * 7);
        UsageRecord {
            unit_micros: 7,
            used,
            included: Some(included),
            spare: Some(used - included),
            forgettable,
            ..record(Channel::UsageRecords)
        }
    }

    #[test]
    fn s5_below_the_allowance_units_are_usage_only_where_the_machine_can_have_used_as_much() {
        for (forgettable, forgotten, units) in [(8 * 7, 8 * 7, 2), (8 * 7 - 1, 0, 0)] {
            let by_usage = by_usage(&below_the_allowance(forgettable), 2);
            assert_eq!((by_usage.forgotten, by_usage.units), (forgotten, units), "{forgettable}");
        }
    }

    #[test]
    fn s5_beyond_the_allowance_all_units_are_usage() {
        let used_up = UsageRecord { used: 10 * 7 + 3, spare: Some(3), ..below_the_allowance(0) };
        let by_usage = by_usage(&used_up, 2);
        assert_eq!((by_usage.forgotten, by_usage.units), (2 * 7 - 3, 2));
    }

    #[test]
    fn s4_what_stood_before_is_never_usage_of_this_ledger() {
        let before = Some(("something_stands".to_owned(), String::new()));
        let by_usage = by_usage(&UsageRecord { held: before, ..below_the_allowance(1_000) }, 2);
        assert_eq!((by_usage.forgotten, by_usage.units), (0, 0));
    }

    #[test]
    fn s5_units_that_were_usage_stay_so_until_they_are_given_back() {
        let row = UsageRecord { adopted: 4, adopted_by_usage: 3, forgotten: 5, ..below_the_allowance(1_000) };
        let by_usage = |adopted| {
            let by_usage = by_usage(&row, adopted);
            (by_usage.forgotten, by_usage.units)
        };
        assert_eq!(by_usage(4), (5, 3), "nothing more was taken over");
        assert_eq!(by_usage(0), (0, 0), "they are overwritten");
    }

    #[test]
    fn every_reason_has_a_word_and_a_sentence_of_its_own() {
        let what = "the price of si_1 changed".to_owned();
        for (held, code, says) in [
            (Held::SomethingStands { total: 7 }, "something_stands", "7 units stood there"),
            (Held::HigherThanCaused { total: 9, caused: 4 }, "higher_than_caused", "9 units stand there"),
            (Held::ProbeUnclear { total: 9, sent: 4, adopted: 3 }, "probe_unclear", "after 4 were set beside 3"),
            (Held::Segment { what: what.clone() }, "segment_changed", "the price of si_1 changed"),
            (Held::Ended { what: what.clone() }, "subscription_ended", "the price of si_1 changed"),
            (Held::Lost, "ledger_damaged", "usage.db was damaged"),
            (Held::Missing { what }, "item_missing", "the price of si_1 changed"),
        ] {
            assert_eq!(held.code(), code);
            assert!(held.because().contains(says), "{}", held.because());
            assert_eq!(is_of_a_change(code), matches!(held, Held::Segment { .. } | Held::Missing { .. }));
            assert_eq!(may_be_carried(code), matches!(held, Held::HigherThanCaused { .. }));
        }
    }

    #[test]
    fn the_first_reason_stays_unless_more_is_known_of_a_change() {
        let segment = |what: &str| Held::Segment { what: what.to_owned() };
        let missing = || Held::Missing { what: "gone".to_owned() };
        let stands = || Held::SomethingStands { total: 7 };
        for (first, then, is_replaced) in [
            (stands(), Held::Lost, false),
            (stands(), segment("price"), false),
            (segment("price"), stands(), false),
            (segment("price"), segment("price"), false),
            (segment("price"), segment("price and item"), true),
            (segment("price"), missing(), false),
            (missing(), segment("price"), true),
        ] {
            in_store(move |tx| {
                let id = ensure(tx, &new(Channel::UsageRecords, Span::new(at(1, 0), at(30, 0)))).unwrap();
                hold(tx, id, &first, at(2, 0)).unwrap();
                hold(tx, id, &then, at(2, 1)).unwrap();
                let why = if is_replaced { &then } else { &first };
                let expected = Some((why.code().to_owned(), why.because()));
                assert_eq!(record::by_id(tx, id).unwrap().held, expected);
                let said: i64 = tx.query_row("SELECT count(*) FROM audit", [], |row| row.get(0)).unwrap();
                assert_eq!(said, 1 + i64::from(is_replaced));
            });
        }
    }

    #[test]
    fn r6_only_units_that_are_taken_over_keep_earlier_ones_from_being_carried() {
        for (adopt, is_carried) in [(false, true), (true, false)] {
            in_store(move |tx| {
                let earlier = NewRecord {
                    item: "si_0".parse().unwrap(),
                    ..new(by(Formula::Last), Span::new(at(1, 0), at(5, 0)))
                };
                let earlier = ensure(tx, &earlier).unwrap();
                tx.execute("UPDATE usage_record SET state = 'closed' WHERE id = ?1", [earlier]).unwrap();
                tx.execute("INSERT INTO carry (from_record, units, at_us) VALUES (?1, 3, 0)", [earlier]).unwrap();
                draw(tx, 1, Break::StartWithoutStop, at(6, 0)).unwrap();
                let id = ensure(tx, &new(by(Formula::Last), Span::new(at(5, 0), at(30, 0)))).unwrap();
                let row = record::by_id(tx, id).unwrap();
                let stands = Stands { total: 9, days: None };
                let more = take_over(tx, &row, &stands, adopt, "looked at it", "uid:0", at(6, 1)).unwrap();
                assert_eq!(more, if adopt { 9 } else { 0 });
                assert_eq!(carry::carried_out(tx, earlier).unwrap() == 3, is_carried);
                let said: String = tx.query_row("SELECT action FROM audit", [], |row| row.get(0)).unwrap();
                assert_eq!(said, "release");
            });
        }
    }
}
