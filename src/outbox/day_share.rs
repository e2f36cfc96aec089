//! Rule S8: a period's target by UTC day, for meters that put each day's events together.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::OutboxError;
use crate::model::{MICROS_PER_DAY, Timestamp};
use crate::store::Tx;

/// The provider takes events up to 35 days old; a day older than this is left as it stands.
/// <https://docs.stripe.com/api/billing/meter-event/create>
const SETTABLE_US: i64 = 34 * MICROS_PER_DAY;

/// One day of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DayShare {
    /// Its first second.
    pub(super) day_s: i64,
    /// What should stand on it.
    pub(super) share: i64,
    /// What was taken over from what stood on it; part of the share.
    pub(super) adopted: i64,
    /// What does stand, as far as known.
    pub(super) standing: i64,
    /// The most that was ever known to.
    pub(super) stood: i64,
}

/// Every day of a row, in order.
pub(super) fn all(connection: &Connection, record: i64) -> Result<Vec<DayShare>, OutboxError> {
    let sql = "SELECT day_s, share, adopted, standing, stood FROM day_share WHERE usage_record_id = ?1 ORDER BY day_s";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([record], |row| {
        Ok(DayShare {
            day_s: row.get(0)?,
            share: row.get(1)?,
            adopted: row.get(2)?,
            standing: row.get(3)?,
            stood: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a day should come to.
pub(super) fn share_of(connection: &Connection, record: i64, day_s: i64) -> Result<i64, OutboxError> {
    Ok(all(connection, record)?.into_iter().find(|day| day.day_s == day_s).map_or(0, |day| day.share))
}

/// The next day to be set, those that fall first (rule S1).
pub(super) fn next(connection: &Connection, record: i64) -> Result<Option<DayShare>, OutboxError> {
    let days = all(connection, record)?;
    let falls = days.iter().find(|day| day.share < day.standing);
    Ok(falls.or_else(|| days.iter().find(|day| day.share > day.standing)).copied())
}

/// Stores what each day should come to: `overage` by day, and `moved` units that belong to no day of their own: carried
/// in, taken over, or billed elsewhere.
pub fn save_days(
    tx: &Tx<'_>,
    record: i64,
    overage: &BTreeMap<i64, i64>,
    moved: i64,
    now: Timestamp,
) -> Result<(), OutboxError> {
    let known = all(tx, record)?;
    // What was taken over on a day is part of its share, and falls with it where a void takes more than all else.
    let mut shares = overage.clone();
    for day in &known {
        let share = shares.entry(day.day_s).or_default();
        *share = share.saturating_add(day.adopted);
    }
    let moved = known.iter().fold(moved, |moved, day| moved.saturating_sub(day.adopted));
    let oldest = now.minus(SETTABLE_US).secs();
    let fixed: BTreeMap<i64, i64> =
        known.iter().filter(|day| day.day_s < oldest).map(|day| (day.day_s, day.standing)).collect();
    let (shares, above) = spread(&shares, moved, &fixed);
    tx.prepare_cached("UPDATE usage_record SET cannot_fall = ?2 WHERE id = ?1 AND cannot_fall <> ?2")?
        .execute((record, above > 0))?;
    for (day_s, share) in shares {
        let sql = "INSERT INTO day_share (usage_record_id, day_s, share) VALUES (?1, ?2, ?3)
                   ON CONFLICT (usage_record_id, day_s) DO UPDATE SET share = excluded.share";
        tx.prepare_cached(sql)?.execute((record, day_s, share))?;
    }
    Ok(())
}

/// What stands on a day now.
pub(super) fn set_standing(tx: &Tx<'_>, record: i64, day_s: i64, units: i64) -> Result<(), OutboxError> {
    tx.execute(
        "INSERT INTO day_share (usage_record_id, day_s, share, standing, stood) VALUES (?1, ?2, 0, ?3, ?3)
         ON CONFLICT (usage_record_id, day_s) DO UPDATE SET standing = excluded.standing, stood = max(stood, excluded.standing)",
        (record, day_s, units),
    )?;
    Ok(())
}

/// Takes over what stands above the days' shares, but for `fell` units of it.
pub(super) fn adopt(tx: &Tx<'_>, record: i64, mut fell: i64) -> Result<i64, OutboxError> {
    let mut adopted = 0_i64;
    for day in all(tx, record)? {
        let above = day.standing.saturating_sub(day.share).max(0);
        let falls = above.min(fell);
        let more = above.saturating_sub(falls);
        tx.execute(
            "UPDATE day_share SET adopted = adopted + ?3, share = share + ?3 WHERE usage_record_id = ?1 AND day_s = ?2",
            (record, day.day_s, more),
        )?;
        fell = fell.saturating_sub(falls);
        adopted = adopted.saturating_add(more);
    }
    Ok(adopted)
}

/// What stands on all days together.
pub(super) fn standing(connection: &Connection, record: i64) -> Result<i64, OutboxError> {
    let sql = "SELECT ifnull(sum(standing), 0) FROM day_share WHERE usage_record_id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([record], |row| row.get(0))?)
}

/// Days that can no longer be set keep what stands on them; what they miss or have too much moves to the others, from the
/// first one on and never below zero. Beside the shares: what stands too high all the same.
fn spread(overage: &BTreeMap<i64, i64>, moved: i64, fixed: &BTreeMap<i64, i64>) -> (BTreeMap<i64, i64>, i64) {
    let whole = overage.values().fold(moved, |sum, units| sum.saturating_add(*units));
    let mut shares = overage.clone();
    shares.extend(fixed);
    let mut rest = shares.values().fold(whole, |rest, units| rest.saturating_sub(*units));
    for (day, share) in &mut shares {
        if !fixed.contains_key(day) {
            let changed = share.saturating_add(rest).max(0);
            rest = rest.saturating_sub(changed.saturating_sub(*share));
            *share = changed;
        }
    }
    (shares, rest.saturating_neg().max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Formula, Span};
    use crate::outbox::testing::{at, by, in_store, new};
    use crate::outbox::{Falls, by_id, ensure};

    fn days(units: &[i64]) -> BTreeMap<i64, i64> {
        units.iter().zip(0..).map(|(units, day)| (day * 86_400, *units)).collect()
    }

    #[test]
    fn s8_days_add_up_to_the_period() {
        assert_eq!(spread(&days(&[0, 3, 4]), 0, &days(&[])), (days(&[0, 3, 4]), 0));
        assert_eq!(spread(&days(&[0, 3, 4]), 2, &days(&[])), (days(&[2, 3, 4]), 0), "what was carried in");
        assert_eq!(spread(&days(&[1, 3, 4]), -3, &days(&[])), (days(&[0, 1, 4]), 0), "what is billed elsewhere");
    }

    #[test]
    fn s8_a_day_that_cannot_be_set_any_more_stays_and_the_others_make_up_for_it() {
        assert_eq!(spread(&days(&[5, 3, 4]), 0, &days(&[2])), (days(&[2, 6, 4]), 0));
        assert_eq!(spread(&days(&[1, 3, 4]), 0, &days(&[6])), (days(&[6, 0, 2]), 0));
    }

    #[test]
    fn s8_never_below_zero_so_the_rest_is_a_credit_due() {
        assert_eq!(spread(&days(&[1, 1, 0]), 0, &days(&[5])), (days(&[5, 0, 0]), 3));
    }

    fn a_row(tx: &Tx<'_>) -> i64 {
        ensure(tx, &new(by(Formula::SumOfDays), Span::new(at(1, 0), at(30, 0)))).unwrap()
    }

    fn day(day: u32) -> i64 {
        at(day, 0).secs()
    }

    #[test]
    fn s1_a_day_that_falls_is_set_before_one_that_rises() {
        in_store(|tx| {
            let id = a_row(tx);
            for (day_s, stands) in [(day(1), 5), (day(2), 3), (day(3), 4)] {
                set_standing(tx, id, day_s, stands).unwrap();
            }
            save_days(tx, id, &[(day(1), 7), (day(2), 2), (day(3), 4)].into(), 0, at(4, 0)).unwrap();
            let next = || next(tx, id).unwrap().map(|next| (next.day_s, next.share));
            assert_eq!(next(), Some((day(2), 2)));
            set_standing(tx, id, day(2), 2).unwrap();
            assert_eq!(next(), Some((day(1), 7)));
            set_standing(tx, id, day(1), 7).unwrap();
            assert_eq!(next(), None);
            assert_eq!((share_of(tx, id, day(3)).unwrap(), share_of(tx, id, day(9)).unwrap()), (4, 0));
            assert_eq!(standing(tx, id).unwrap(), 2 + 7 + 4);
        });
    }

    #[test]
    fn s5_what_stands_above_a_days_share_is_taken_over_on_that_day() {
        in_store(|tx| {
            let id = a_row(tx);
            let overage = [(day(1), 5), (day(2), 4)].into();
            save_days(tx, id, &overage, 0, at(4, 0)).unwrap();
            set_standing(tx, id, day(1), 9).unwrap();
            set_standing(tx, id, day(2), 3).unwrap();
            assert_eq!(adopt(tx, id, 0).unwrap(), 4);
            save_days(tx, id, &overage, 4, at(4, 0)).unwrap();
            let shares: Vec<_> = all(tx, id).unwrap().iter().map(|day| (day.share, day.adopted)).collect();
            assert_eq!(shares, [(9, 4), (4, 0)]);
        });
    }

    #[test]
    fn s5_what_fell_is_not_taken_over_on_any_day() {
        in_store(|tx| {
            let id = a_row(tx);
            save_days(tx, id, &[(day(1), 5), (day(2), 4)].into(), 0, at(4, 0)).unwrap();
            set_standing(tx, id, day(1), 9).unwrap();
            set_standing(tx, id, day(2), 7).unwrap();
            assert_eq!(adopt(tx, id, 6).unwrap(), 1);
            let shares: Vec<_> = all(tx, id).unwrap().iter().map(|day| (day.share, day.adopted)).collect();
            assert_eq!(shares, [(5, 0), (5, 1)]);
        });
    }

    #[test]
    fn s8_a_day_older_than_34_days_keeps_what_stands_on_it() {
        let settable = at(1, 0).plus(34 * MICROS_PER_DAY);
        for (now, share, cannot_fall) in [(settable, 1, false), (settable.plus(1_000_000), 5, true)] {
            in_store(move |tx| {
                let id = a_row(tx);
                set_standing(tx, id, day(1), 5).unwrap();
                save_days(tx, id, &[(day(1), 1)].into(), 0, now).unwrap();
                assert_eq!(share_of(tx, id, day(1)).unwrap(), share);
                assert_eq!(by_id(tx, id).unwrap().falls == Falls::Absorbed, cannot_fall);
            });
        }
    }
}
