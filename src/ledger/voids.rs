//! Mistakes taken back (rule M9). The credit stays, a reversing entry stands beside it, and the audit says who and why.

use rusqlite::{Connection, OptionalExtension};

use super::{LedgerError, MeterId, buckets, meters};
use crate::model::{MeterName, Micros, SourceName, Span, Timestamp};
use crate::store::{self, Tx};

/// Which record to take back, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    /// On which meter.
    pub meter: MeterName,
    /// Who recorded it.
    pub source: SourceName,
    /// Its id.
    pub id: String,
    /// Why; kept in the audit.
    pub because: String,
    /// Who takes it back.
    pub uid: u32,
}

/// What was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voided {
    /// How much.
    pub quantity: Micros,
    /// Where it stood; `None` while it waits for a trusted clock.
    pub at: Option<Timestamp>,
    /// It had been taken back before, and nothing changed.
    pub already: bool,
}

/// Takes a record back where it stood. Doing it again changes nothing.
///
/// # Errors
/// There is no such record, or the database did not take it.
pub fn void(tx: &Tx<'_>, void: &Void, now: Timestamp) -> Result<Voided, LedgerError> {
    let meter = meters::id(tx, &void.meter)?;
    let (credit, voided) = find(tx, meter, void)?.ok_or_else(|| LedgerError::NoCredit {
        meter: void.meter.clone(),
        source_name: void.source.clone(),
        id: void.id.clone(),
    })?;
    if voided.already {
        return Ok(voided);
    }
    tx.execute(
        "INSERT INTO void (credit_id, at_us, uid, because) VALUES (?1, ?2, ?3, ?4)",
        (credit, now.micros(), void.uid, &void.because),
    )?;
    match voided.at {
        Some(at) => buckets::add(tx, meter, Span::new(at, at), Micros::new(-voided.quantity.get()))?,
        None => {
            tx.execute("DELETE FROM unplaced WHERE credit_id = ?1", [credit])?;
        }
    }
    audit(tx, void, &voided, now)?;
    Ok(voided)
}

fn find(conn: &Connection, meter: MeterId, void: &Void) -> Result<Option<(i64, Voided)>, LedgerError> {
    let found = conn
        .prepare_cached(
            "SELECT id, quantity, at_us, EXISTS (SELECT 1 FROM void WHERE credit_id = credit.id)
             FROM credit WHERE meter_id = ?1 AND source = ?2 AND key = ?3",
        )?
        .query_row((meter, void.source.as_str(), &void.id), |row| {
            let at = row.get::<_, Option<i64>>(2)?.map(Timestamp::from_micros);
            Ok((row.get(0)?, Voided { quantity: Micros::new(row.get(1)?), at, already: row.get(3)? }))
        })
        .optional()?;
    Ok(found)
}

/// What was taken back of a meter after this moment.
pub fn since(conn: &Connection, meter: &MeterName, at: Timestamp) -> Result<Micros, LedgerError> {
    let sql = "SELECT ifnull(sum(c.quantity), 0) FROM void v JOIN credit c ON c.id = v.credit_id
               JOIN meter m ON m.id = c.meter_id WHERE m.name = ?1 AND v.at_us > ?2";
    Ok(conn.prepare_cached(sql)?.query_row((meter.as_str(), at.micros()), |row| row.get(0).map(Micros::new))?)
}

fn audit(tx: &Tx<'_>, void: &Void, voided: &Voided, now: Timestamp) -> Result<(), LedgerError> {
    let detail = serde_json::json!({
        "source": void.source,
        "quantity": voided.quantity.to_string(),
        "at": voided.at,
        "because": void.because,
    });
    let (actor, subject) = (SourceName::of_uid(void.uid), format!("{}/{}", void.meter, void.id));
    store::audit::append(tx, now, actor.as_str(), "void", &subject, &detail)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::credits::{self, Limits, NewCredit, Verdict};
    use super::super::testing::{HOUR, at, in_ledger, meter, rows, total, trusted};
    use super::super::{boundaries, compaction, placement};
    use super::*;
    use crate::clock::Reading;
    use crate::clock::trust::Placement;
    use crate::model::Source;

    const T0: i64 = 1_800_000_000;

    fn record(tx: &Tx<'_>, id: &str, quantity: i64, secs: i64, place: Option<Placement>) -> Verdict {
        let now = Reading { wall: at(T0 + secs), monotonic_us: HOUR, boottime_us: HOUR };
        let new = NewCredit {
            meter: MeterName::new("api_credits").unwrap(),
            source: SourceName::of_uid(7),
            id: id.to_owned(),
            quantity: Micros::new(quantity),
            at: None,
            uid: 7,
        };
        let limits = Limits { max_per_record: None, max_per_hour: None, dedupe_days: 35 };
        credits::accept(tx, &new, now, &place.unwrap_or_else(|| trusted(now)), "a", &limits).unwrap()
    }

    fn take_back(tx: &Tx<'_>, id: &str) -> Result<Voided, LedgerError> {
        let order = Void {
            meter: MeterName::new("api_credits").unwrap(),
            source: SourceName::of_uid(7),
            id: id.to_owned(),
            because: "test \"order\"".to_owned(),
            uid: 0,
        };
        void(tx, &order, at(T0 + 900))
    }

    fn ready(tx: &Tx<'_>) -> MeterId {
        meters::ensure(tx, &meter("api_credits", Source::Push)).unwrap()
    }

    #[test]
    fn m9_a_mistake_is_taken_back_where_it_stood_and_only_once() {
        in_ledger(|tx| {
            let id = ready(tx);
            record(tx, "order-1", 5, 0, None);
            record(tx, "order-2", 7, 0, None);
            let voided = Voided { quantity: Micros::new(5), at: Some(at(T0)), already: false };
            assert_eq!(take_back(tx, "order-1").unwrap(), voided);
            assert_eq!(take_back(tx, "order-1").unwrap(), Voided { already: true, ..voided });
            assert_eq!(rows(tx, id), [(T0, 60, 7)]);
            assert_eq!(record(tx, "order-1", 5, 0, None), Verdict::Duplicate);
            assert_eq!(total(tx, id), Micros::new(7));
        });
    }

    #[test]
    fn m9_the_audit_says_who_took_what_back_and_why() {
        in_ledger(|tx| {
            ready(tx);
            record(tx, "order-1", 5_000_000, 0, None);
            take_back(tx, "order-1").unwrap();
            take_back(tx, "order-1").unwrap();
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let (actor, subject, detail): (String, String, String) =
                tx.query_row("SELECT actor, subject, detail FROM audit WHERE action = 'void'", [], read).unwrap();
            assert_eq!((actor.as_str(), subject.as_str()), ("uid:0", "api_credits/order-1"));
            let detail: serde_json::Value = serde_json::from_str(&detail).unwrap();
            assert_eq!((&detail["quantity"], &detail["because"]), (&"5".into(), &"test \"order\"".into()));
        });
    }

    #[test]
    fn m9_a_record_that_still_waits_for_the_clock_can_be_taken_back() {
        in_ledger(|tx| {
            let id = ready(tx);
            record(tx, "order-1", 5, 0, Some(Placement::Waiting));
            assert_eq!(take_back(tx, "order-1").unwrap().at, None);
            let now = Reading { wall: at(T0), monotonic_us: HOUR, boottime_us: HOUR };
            assert_eq!(placement::settle(tx, &trusted(now), "a").unwrap().placed, 0);
            assert_eq!(total(tx, id), Micros::ZERO);
        });
    }

    #[test]
    fn m9_a_record_beside_a_boundary_found_later_is_taken_back_on_its_own_side() {
        in_ledger(|tx| {
            let id = ready(tx);
            record(tx, "early", 5, 10, None);
            record(tx, "late", 7, 40, None);
            boundaries::note(tx, at(T0 + 30), "period").unwrap();
            assert_eq!(rows(tx, id), [(T0, 30, 5), (T0 + 30, 30, 7)]);
            take_back(tx, "late").unwrap();
            assert_eq!(rows(tx, id), [(T0, 30, 5), (T0 + 30, 30, 0)]);
        });
    }

    #[test]
    fn m9_a_record_in_a_compacted_hour_lowers_the_hour() {
        in_ledger(|tx| {
            let id = ready(tx);
            record(tx, "early", 5, 10, None);
            record(tx, "late", 7, 140, None);
            compaction::compact(tx, id, Span::new(at(T0), at(T0 + 3_600)), 10).unwrap();
            take_back(tx, "late").unwrap();
            assert_eq!(rows(tx, id), [(T0, 3_600, 5)]);
        });
    }

    #[test]
    fn m9_an_unknown_record_is_an_error_that_helps() {
        in_ledger(|tx| {
            ready(tx);
            let said = take_back(tx, "order-9").unwrap_err().to_string();
            assert!(said.contains("order-9") && said.contains("hint:") && said.contains("--source"), "{said}");
        });
    }
}
