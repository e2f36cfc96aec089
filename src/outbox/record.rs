//! `UsageRecord`: an item in a period, what should stand on it and what does.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};
use rust_decimal::Decimal;

use super::{OutboxError, lost};
use crate::model::{Channel, CustomerId, ItemId, MeterName, PriceId, Rounding, Span, SubscriptionId, Timestamp};
use crate::store::Tx;

/// Where a period is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// Current at the provider.
    Open,
    /// Over; what stands is being read until two reads agree (rule S6).
    Ending,
    /// What stands is settled; the rest was carried (rule R6).
    Closed,
}

impl RecordState {
    /// The word in the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ending => "ending",
            Self::Closed => "closed",
        }
    }
}

/// What becomes of a total that falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Falls {
    /// It is told.
    Sent,
    /// Rule S8: no event lowers what stands any more, since the provider takes none below zero, or none so old.
    Absorbed,
}

/// One row of `usage_record`.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent marks of a row, as the table has them")]
pub struct UsageRecord {
    /// Row id.
    pub id: i64,
    /// Who pays.
    pub customer: CustomerId,
    /// On which subscription.
    pub subscription: SubscriptionId,
    /// On which item.
    pub item: ItemId,
    /// By what means its total is told.
    pub channel: Channel,
    /// Whether other VMs add to the same customer and meter (rule S10).
    pub shared: bool,
    /// For which meter.
    pub meter: MeterName,
    /// In which period.
    pub period: Span,
    /// T of rule S3, seconds.
    pub timestamp_s: i64,
    /// At which price.
    pub price: PriceId,
    /// A unit's price in the currency's smallest unit, where it has one.
    pub unit_amount: Option<Decimal>,
    /// Where the period is in its life.
    pub state: RecordState,
    /// Whether the provider ended the period before its time, with its invoice made there and then.
    pub cut: bool,
    /// False in a trial or pause: nothing is carried out of it.
    pub billable: bool,
    /// Plan it was rated by last; empty before the first rating.
    pub plan: String,
    /// Whether the unreduced total is reported.
    pub gross: bool,
    /// How the overage was rounded.
    pub rounding: Rounding,
    /// Millionths of the base unit.
    pub used: i64,
    /// Likewise; `None` is unlimited.
    pub included: Option<i64>,
    /// Billed units, as everything below.
    pub overage: i64,
    /// Brought from earlier periods.
    pub carried_in: i64,
    /// Rule R5: billed on closed segments of this period, and not here again.
    pub closed_segments: i64,
    /// Rule R5: billed at an earlier price of a meter that adds up, so that no less can stand.
    pub floor: i64,
    /// Rule R5: item or price changed, and no total was sent since that counts at the new price.
    pub begins_anew: bool,
    /// Rule R5: the later segment that bills the rest of the period.
    pub segment_of: Option<i64>,
    /// Rule S5: usage that this ledger forgot, millionths of the base unit, as far as what stood showed it.
    pub forgotten: i64,
    /// Of the adopted units, those that forgotten usage comes to.
    pub adopted_by_usage: i64,
    /// Millionths of the base unit in a billed unit.
    pub unit_micros: i64,
    /// By how much less usage would come to as many units; below zero while the allowance is not used up. `None` where it
    /// has no end.
    pub spare: Option<i64>,
    /// As much usage may be forgotten: what the machine can have used of the period while this ledger was not kept.
    pub forgettable: i64,
    /// Rule R6: units of it may be among those that were taken over in a later period, and are not carried.
    pub may_stand_later: bool,
    /// Rule S5: the most that the target was since what stood was the target. Where this ledger is an older copy, the one
    /// that went on from it may have set as much.
    pub wanted: i64,
    /// Taken over from what stood already.
    pub adopted: i64,
    /// Of what stands, the units at another timestamp, which our own record leaves alone. While that is still to be
    /// found out: as many as there may be.
    pub adopted_elsewhere: i64,
    /// Set while it is still to be found out where adopted units stand: the revision they were adopted at.
    pub probing_from: Option<i64>,
    /// What should stand.
    pub target: i64,
    /// Whether what stands can be lowered.
    pub falls: Falls,
    /// Since when target and standing differ.
    pub differs_since: Option<Timestamp>,
    /// Grows with every changed quantity that is sent.
    pub revision: i64,
    /// What stands, as far as known; `None` before any read.
    pub standing: Option<i64>,
    /// Generation of the last read.
    pub read_generation: Option<i64>,
    /// The last read that did not match.
    pub drift: Option<String>,
    /// First closing read, with its time.
    pub close_read: Option<(i64, Timestamp)>,
    /// After closing: neither billed nor carried.
    pub held_units: i64,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// Not to be tried before.
    pub next_attempt: Option<Timestamp>,
    /// What the last attempt said.
    pub last_error: Option<String>,
    /// Why it waits for a human: code and sentence.
    pub held: Option<(String, String)>,
}

/// What is needed to know an item and a period.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Who pays.
    pub customer: CustomerId,
    /// On which subscription.
    pub subscription: SubscriptionId,
    /// On which item.
    pub item: ItemId,
    /// When the item was made, seconds.
    pub item_created_s: i64,
    /// By what means its total is told.
    pub channel: Channel,
    /// Whether other VMs add to the same customer and meter.
    pub shared: bool,
    /// For which meter.
    pub meter: MeterName,
    /// In which period.
    pub period: Span,
    /// At which price.
    pub price: PriceId,
    /// A unit's price.
    pub unit_amount: Option<Decimal>,
    /// False in a trial or pause.
    pub billable: bool,
}

/// A rating's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rated {
    /// By which plan.
    pub plan: String,
    /// Whether the unreduced total is reported.
    pub gross: bool,
    /// How the overage was rounded.
    pub rounding: Rounding,
    /// Millionths of the base unit.
    pub used: i64,
    /// Likewise; `None` is unlimited.
    pub included: Option<i64>,
    /// Billed units.
    pub overage: i64,
    /// Billed units.
    pub carried_in: i64,
    /// Billed units that forgotten usage comes to.
    pub by_forgotten: i64,
    /// Millionths of the base unit in a billed unit.
    pub unit_micros: i64,
    /// By how much less usage would come to as many units; below zero while the allowance is not used up.
    pub spare: Option<i64>,
    /// As much usage may be forgotten.
    pub forgettable: i64,
}

impl UsageRecord {
    /// Whether every further unit of usage is billed.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.gross || self.included.is_some_and(|included| self.used.saturating_add(self.forgotten) >= included)
    }

    /// Rule S5: by as much the target fell since what stood was the target, where nobody was told yet.
    #[must_use]
    pub fn fell(&self) -> i64 {
        self.wanted.saturating_sub(self.target).max(0)
    }

    /// What the books say it owes; below zero where closed segments have more than the whole period comes to.
    #[must_use]
    pub fn owed(&self) -> i64 {
        let own = self.overage.saturating_add(self.carried_in).saturating_add(self.adopted);
        own.saturating_sub(self.closed_segments)
    }

    /// What our own record at T should say.
    #[must_use]
    pub fn quantity_to_send(&self) -> i64 {
        self.target.saturating_sub(self.adopted_elsewhere).max(0)
    }

    /// Whether nothing was ever sent for it and nothing stands on it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.revision == 0 && self.adopted == 0 && self.standing.unwrap_or(0) == 0
    }

    /// Rule S8: units that stand above what should, and that only later usage of the period absorbs.
    #[must_use]
    pub fn to_absorb(&self) -> i64 {
        let above = self.standing.unwrap_or(0).saturating_sub(self.target).max(0);
        match self.falls {
            Falls::Sent => 0,
            Falls::Absorbed => above,
        }
    }

    /// Units that stand above what should at another timestamp than ours, where our own record leaves them alone.
    #[must_use]
    pub fn beside_target(&self) -> i64 {
        let is_known = self.probing_from.is_none();
        if is_known { self.adopted_elsewhere.saturating_sub(self.target).max(0) } else { 0 }
    }

    /// Whether what stands is not what should, as far as our own record can help it.
    #[must_use]
    pub fn differs(&self) -> bool {
        if self.to_absorb() > 0 {
            return false;
        }
        let reachable = self.target.max(self.adopted_elsewhere);
        self.begins_anew || (self.standing != Some(reachable) && (self.standing.is_some() || reachable != 0))
    }
}

/// Rule S3: T = max(period start, item created) + 1 s. Computed, so that a rebuilt ledger finds the same.
#[must_use]
pub const fn timestamp_s(period_from_s: i64, item_created_s: i64) -> i64 {
    let later = if period_from_s > item_created_s { period_from_s } else { item_created_s };
    later.saturating_add(1)
}

/// Finds or makes the row of this item and period. An existing row keeps what is known of it, but for its end and
/// whether it is billable, which the provider may change.
pub fn ensure(tx: &Tx<'_>, new: &NewRecord) -> Result<i64, OutboxError> {
    let (from_s, to_s) = (new.period.from.secs(), new.period.to.secs());
    let known = find(tx, &new.item, from_s)?;
    tx.execute(
        "INSERT INTO usage_record (customer, subscription, item, meter, period_from_s, period_to_s, timestamp_s, price,
                                   unit_amount, billable, channel, shared)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (item, period_from_s) DO UPDATE SET
             period_to_s = CASE WHEN state = 'open' THEN excluded.period_to_s ELSE period_to_s END,
             billable    = CASE WHEN state = 'closed' THEN billable ELSE excluded.billable END",
        (
            new.customer.as_str(),
            new.subscription.as_str(),
            new.item.as_str(),
            new.meter.as_str(),
            from_s,
            to_s,
            timestamp_s(from_s, new.item_created_s),
            new.price.as_str(),
            new.unit_amount.map(|amount| amount.to_string()),
            new.billable,
            serde_json::json!(new.channel).to_string(),
            new.shared,
        ),
    )?;
    match (known, find(tx, &new.item, from_s)?) {
        (Some(id), _) => Ok(id),
        (None, Some(id)) => {
            lost::take_a_lost_place(tx, id)?;
            Ok(id)
        }
        (None, None) => Err(rusqlite::Error::QueryReturnedNoRows.into()),
    }
}

fn find(connection: &Connection, item: &ItemId, from_s: i64) -> Result<Option<i64>, OutboxError> {
    let sql = "SELECT id FROM usage_record WHERE item = ?1 AND period_from_s = ?2";
    Ok(connection.prepare_cached(sql)?.query_row((item.as_str(), from_s), |row| row.get(0)).optional()?)
}

/// The period is over, at `at` if that is earlier than was thought. A meter gets its final total at once; nothing else is
/// sent for it any more.
pub fn end_period(tx: &Tx<'_>, id: i64, at: Timestamp) -> Result<(), OutboxError> {
    let is_due = by_id(tx, id)?.channel.meter().is_some();
    tx.execute(
        "UPDATE usage_record SET state = 'ending', period_to_s = min(period_to_s, max(?2, period_from_s)),
                next_attempt_us = ?3, attempts = 0
         WHERE id = ?1 AND state = 'open'",
        (id, at.secs(), is_due.then_some(at.micros())),
    )?;
    Ok(())
}

/// Stores what a period comes to. The target follows from it here and nowhere else.
pub fn save_rating(tx: &Tx<'_>, id: i64, rated: &Rated, now: Timestamp) -> Result<(), OutboxError> {
    tx.prepare_cached(
        "UPDATE usage_record SET plan = ?2, gross = ?3, used = ?4, included = ?5, overage = ?6, carried_in = ?7,
                target = max(floor, ?6 + ?7 + adopted - adopted_by_usage + ?10 - closed_segments), rated_us = ?8,
                rounding = ?9, adopted = adopted - adopted_by_usage + ?10, adopted_by_usage = ?10, unit_micros = ?11,
                spare = ?12, forgettable = ?13
         WHERE id = ?1",
    )?
    .execute((
        id,
        &rated.plan,
        rated.gross,
        rated.used,
        rated.included,
        rated.overage,
        rated.carried_in,
        now.micros(),
        rated.rounding.word(),
        rated.by_forgotten,
        rated.unit_micros,
        rated.spare,
        rated.forgettable,
    ))?;
    note_difference(tx, id, now)
}

/// Keeps since when target and standing differ, which is the age `status` shows, and the most that was wanted since.
pub(super) fn note_difference(tx: &Tx<'_>, id: i64, now: Timestamp) -> Result<(), OutboxError> {
    tx.prepare_cached(
        "UPDATE usage_record SET differs_since_us =
             CASE WHEN target = ifnull(standing, 0) THEN NULL ELSE ifnull(differs_since_us, ?2) END,
             wanted = CASE WHEN target = ifnull(standing, 0) THEN target ELSE max(wanted, target) END
         WHERE id = ?1",
    )?
    .execute((id, now.micros()))?;
    Ok(())
}

/// One row.
pub fn by_id(connection: &Connection, id: i64) -> Result<UsageRecord, OutboxError> {
    let sql = format!("{SELECT} WHERE id = ?1");
    let found = connection.prepare_cached(&sql)?.query_row([id], raw).optional()?;
    found.ok_or(OutboxError::NoSuchRecord(id))
}

/// Rows that are open or ending, oldest period first.
pub fn unfinished(connection: &Connection) -> Result<Vec<UsageRecord>, OutboxError> {
    many(connection, &format!("{SELECT} WHERE state <> 'closed' ORDER BY period_from_s, id"), None)
}

/// Closed rows whose period ended at or after this moment, oldest period first.
pub fn closed_since(connection: &Connection, since: Timestamp) -> Result<Vec<UsageRecord>, OutboxError> {
    let sql = format!("{SELECT} WHERE state = 'closed' AND period_to_s >= ?1 ORDER BY period_from_s, id");
    many(connection, &sql, Some(since.secs()))
}

fn many(connection: &Connection, sql: &str, bound: Option<i64>) -> Result<Vec<UsageRecord>, OutboxError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = match bound {
        Some(bound) => statement.query_map([bound], raw)?,
        None => statement.query_map([], raw)?,
    };
    Ok(rows.collect::<Result<_, _>>()?)
}

const SELECT: &str = "SELECT id, customer, subscription, item, meter, period_from_s, period_to_s, timestamp_s, price,
    unit_amount, state, billable, plan, gross, rounding, used, included, overage, carried_in, adopted, adopted_elsewhere, probing_from,
    target, differs_since_us, revision, standing, read_generation, drift, close_read, close_read_us, held_units,
    attempts, next_attempt_us, last_error, held_code, held_because, channel, shared, closed_segments, floor, begins_anew,
    segment_of, cut, cannot_fall, forgotten, adopted_by_usage, unit_micros,
    spare, forgettable, may_stand_later, wanted FROM usage_record";

fn raw(row: &Row<'_>) -> rusqlite::Result<UsageRecord> {
    let close_read: Option<i64> = row.get("close_read")?;
    let close_read_us: Option<i64> = row.get("close_read_us")?;
    let held_code: Option<String> = row.get("held_code")?;
    let held_because: Option<String> = row.get("held_because")?;
    let unit_amount: Option<String> = row.get("unit_amount")?;
    Ok(UsageRecord {
        id: row.get("id")?,
        customer: parsed(row, "customer")?,
        subscription: parsed(row, "subscription")?,
        item: parsed(row, "item")?,
        channel: serde_json::from_str(&row.get::<_, String>("channel")?).map_err(unreadable)?,
        shared: row.get("shared")?,
        meter: parsed(row, "meter")?,
        period: Span::new(
            Timestamp::from_secs(row.get("period_from_s")?),
            Timestamp::from_secs(row.get("period_to_s")?),
        ),
        timestamp_s: row.get("timestamp_s")?,
        price: parsed(row, "price")?,
        unit_amount: unit_amount.map(|text| text.parse().map_err(unreadable)).transpose()?,
        state: match row.get::<_, String>("state")?.as_str() {
            "open" => RecordState::Open,
            "ending" => RecordState::Ending,
            _ => RecordState::Closed,
        },
        cut: row.get("cut")?,
        billable: row.get("billable")?,
        plan: row.get("plan")?,
        gross: row.get("gross")?,
        rounding: Rounding::of(&row.get::<_, String>("rounding")?),
        used: row.get("used")?,
        included: row.get("included")?,
        overage: row.get("overage")?,
        carried_in: row.get("carried_in")?,
        closed_segments: row.get("closed_segments")?,
        floor: row.get("floor")?,
        begins_anew: row.get("begins_anew")?,
        segment_of: row.get("segment_of")?,
        forgotten: row.get("forgotten")?,
        adopted_by_usage: row.get("adopted_by_usage")?,
        unit_micros: row.get("unit_micros")?,
        spare: row.get("spare")?,
        forgettable: row.get("forgettable")?,
        may_stand_later: row.get("may_stand_later")?,
        wanted: row.get("wanted")?,
        adopted: row.get("adopted")?,
        adopted_elsewhere: row.get("adopted_elsewhere")?,
        probing_from: row.get("probing_from")?,
        target: row.get("target")?,
        falls: if row.get("cannot_fall")? { Falls::Absorbed } else { Falls::Sent },
        differs_since: row.get::<_, Option<i64>>("differs_since_us")?.map(Timestamp::from_micros),
        revision: row.get("revision")?,
        standing: row.get("standing")?,
        read_generation: row.get("read_generation")?,
        drift: row.get("drift")?,
        close_read: close_read.zip(close_read_us.map(Timestamp::from_micros)),
        held_units: row.get("held_units")?,
        attempts: row.get("attempts")?,
        next_attempt: row.get::<_, Option<i64>>("next_attempt_us")?.map(Timestamp::from_micros),
        last_error: row.get("last_error")?,
        held: held_code.zip(held_because),
    })
}

fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, String>(column)?.parse().map_err(unreadable)
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}

/// What this ledger noted as standing on an item, or on the customer's meter, in the period that began then; `None` where
/// it never did.
pub fn known_standing(
    connection: &Connection,
    item: &ItemId,
    customer: &CustomerId,
    channel: &Channel,
    period_from: Timestamp,
) -> Result<Option<i64>, OutboxError> {
    let sql = "SELECT max(standing) FROM usage_record
               WHERE period_from_s = ?2 AND (item = ?1 OR (?3 AND customer = ?4 AND channel = ?5))";
    let channel_text = serde_json::json!(channel).to_string();
    let bound = (item.as_str(), period_from.secs(), channel.meter().is_some(), customer.as_str(), channel_text);
    Ok(connection.prepare_cached(sql)?.query_row(bound, |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Formula;
    use crate::outbox::testing::{at, by, in_store, new, record};

    #[test]
    fn s3_the_timestamp_is_one_second_after_the_later_of_period_and_item() {
        assert_eq!(timestamp_s(1_000, 900), 1_001);
        assert_eq!(timestamp_s(1_000, 1_500), 1_501);
    }

    #[test]
    fn a_timestamp_is_ahead_of_an_item_that_was_made_last() {
        // The provider's summaries are start-exclusive, so the start itself would fall into the period before.
        assert!(timestamp_s(1_000, 1_000) > 1_000);
    }

    #[test]
    fn only_a_row_that_nothing_was_done_with_is_blank() {
        let blank = record(Channel::UsageRecords);
        assert!(blank.is_blank());
        assert!(UsageRecord { standing: Some(0), ..blank.clone() }.is_blank());
        assert!(!UsageRecord { standing: Some(1), ..blank.clone() }.is_blank());
        assert!(!UsageRecord { revision: 1, ..blank.clone() }.is_blank());
        assert!(!UsageRecord { adopted: 1, ..blank }.is_blank());
    }

    #[test]
    fn s8_what_cannot_fall_is_absorbed_by_later_usage_and_differs_no_more() {
        let above = UsageRecord { target: 7, standing: Some(9), ..record(Channel::UsageRecords) };
        assert_eq!((above.to_absorb(), above.differs()), (0, true));
        let above = UsageRecord { falls: Falls::Absorbed, ..above };
        assert_eq!((above.to_absorb(), above.differs()), (2, false));
        let below = UsageRecord { target: 10, ..above };
        assert_eq!((below.to_absorb(), below.differs()), (0, true));
    }

    #[test]
    fn s5_units_at_another_timestamp_stay_where_our_own_record_cannot_reach_them() {
        let row = UsageRecord { target: 3, adopted_elsewhere: 5, standing: Some(5), ..record(Channel::UsageRecords) };
        assert_eq!((row.beside_target(), row.differs(), row.quantity_to_send()), (2, false, 0));
        let unknown = UsageRecord { probing_from: Some(1), ..row.clone() };
        assert_eq!(unknown.beside_target(), 0);
        let above = UsageRecord { target: 8, ..row };
        assert_eq!((above.beside_target(), above.differs(), above.quantity_to_send()), (0, true, 3));
    }

    #[test]
    fn s1_a_row_differs_when_what_stands_is_not_what_should() {
        let row = record(Channel::UsageRecords);
        for (standing, target, begins_anew, differs) in [
            (None, 0, false, false),
            (None, 1, false, true),
            (Some(0), 0, false, false),
            (Some(1), 0, false, true),
            (Some(1), 1, false, false),
            (Some(1), 1, true, true),
        ] {
            let row = UsageRecord { begins_anew, target, standing, ..row.clone() };
            assert_eq!(row.differs(), differs, "{standing:?} {target} {begins_anew}");
        }
    }

    #[test]
    fn since_when_a_row_differs_is_kept_until_it_does_not() {
        in_store(|tx| {
            let id = ensure(tx, &new(Channel::UsageRecords, Span::new(at(1, 0), at(30, 0)))).unwrap();
            let differs_since = |target: i64, now| {
                tx.execute("UPDATE usage_record SET target = ?2, standing = 4 WHERE id = ?1", (id, target)).unwrap();
                note_difference(tx, id, now).unwrap();
                by_id(tx, id).unwrap().differs_since
            };
            assert_eq!(differs_since(4, at(2, 0)), None);
            assert_eq!(differs_since(5, at(2, 1)), Some(at(2, 1)));
            assert_eq!(differs_since(6, at(2, 2)), Some(at(2, 1)));
            assert_eq!(differs_since(4, at(2, 3)), None);
        });
    }

    #[test]
    fn s10_what_is_known_to_stand_is_known_of_an_item_and_of_a_customers_meter() {
        in_store(|tx| {
            let id = ensure(tx, &new(by(Formula::Last), Span::new(at(1, 0), at(30, 0)))).unwrap();
            let known = |item: &str, customer: &str, channel: &Channel, from| {
                known_standing(tx, &item.parse().unwrap(), &customer.parse().unwrap(), channel, from).unwrap()
            };
            let meter = by(Formula::Last);
            assert_eq!(known("si_1", "cus_1", &meter, at(1, 0)), None);
            tx.execute("UPDATE usage_record SET standing = 7 WHERE id = ?1", [id]).unwrap();
            assert_eq!(known("si_1", "cus_1", &meter, at(1, 0)), Some(7));
            assert_eq!(known("si_1", "cus_1", &meter, at(2, 0)), None);
            assert_eq!(known("si_2", "cus_1", &meter, at(1, 0)), Some(7));
            assert_eq!(known("si_2", "cus_2", &meter, at(1, 0)), None);
            assert_eq!(known("si_2", "cus_1", &by(Formula::Sum), at(1, 0)), None);
        });
    }
}
