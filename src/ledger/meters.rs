//! Meters and their ids.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::LedgerError;
use crate::model::{Meter, MeterName};
use crate::store::Tx;

/// A meter's row. Its own type, so that no other number is taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(i64);

impl ToSql for MeterId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for MeterId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// Makes sure that the meter has a row that fits its configuration.
///
/// # Errors
/// It has data, and in another unit.
pub fn ensure(tx: &Tx<'_>, meter: &Meter) -> Result<MeterId, LedgerError> {
    let stored = tx
        .prepare_cached("SELECT id, micros_per_unit, is_time FROM meter WHERE name = ?1")?
        .query_row([meter.name.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((id, micros, is_time)) = stored else {
        tx.execute(
            "INSERT INTO meter (name, micros_per_unit, is_time) VALUES (?1, ?2, ?3)",
            (meter.name.as_str(), meter.unit.micros, meter.unit.is_time()),
        )?;
        return Ok(MeterId(tx.last_insert_rowid()));
    };
    if (micros, is_time) == (meter.unit.micros, meter.unit.is_time()) {
        return Ok(id);
    }
    // What a unit was may be lost with a damaged database; its name tells.
    if micros != 0 && has_data(tx, id)? {
        return Err(LedgerError::UnitChanged {
            meter: meter.name.clone(),
            stored: base_units(micros, is_time),
            configured: base_units(meter.unit.micros, meter.unit.is_time()),
        });
    }
    let changed = (id, meter.unit.micros, meter.unit.is_time());
    tx.execute("UPDATE meter SET micros_per_unit = ?2, is_time = ?3 WHERE id = ?1", changed)?;
    Ok(id)
}

/// The row of a meter.
///
/// # Errors
/// There is none.
pub fn id(conn: &Connection, name: &MeterName) -> Result<MeterId, LedgerError> {
    conn.prepare_cached("SELECT id FROM meter WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?
        .ok_or_else(|| LedgerError::NoMeter { meter: name.clone() })
}

/// All meters, also those no longer configured.
pub(super) fn ids(conn: &Connection) -> Result<Vec<MeterId>, LedgerError> {
    let mut all = conn.prepare_cached("SELECT id FROM meter ORDER BY id")?;
    Ok(all.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn has_data(conn: &Connection, id: MeterId) -> Result<bool, LedgerError> {
    const ANY: &str = "SELECT EXISTS (SELECT 1 FROM bucket WHERE meter_id = ?1)
        OR EXISTS (SELECT 1 FROM unplaced WHERE meter_id = ?1)
        OR EXISTS (SELECT 1 FROM credit WHERE meter_id = ?1)
        OR EXISTS (SELECT 1 FROM credit_hour WHERE meter_id = ?1)";
    Ok(conn.query_row(ANY, [id], |row| row.get(0))?)
}

fn base_units(micros: i64, is_time: bool) -> String {
    let base = if is_time { "seconds" } else { "counts" };
    format!("{} {base}", crate::model::Micros::new(micros))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, in_ledger, meter};
    use super::super::{LedgerError, buckets};
    use super::*;
    use crate::model::{Micros, Source, Span, Unit};

    #[test]
    fn a_meter_keeps_its_id() {
        in_ledger(|tx| {
            let hours = meter("compute_hours", Source::Uptime);
            let first = ensure(tx, &hours).unwrap();
            assert_eq!(ensure(tx, &hours).unwrap(), first);
            assert_eq!(id(tx, &hours.name).unwrap(), first);
        });
    }

    #[test]
    fn an_unknown_meter_names_the_setting() {
        in_ledger(|tx| {
            let said = id(tx, &MeterName::new("emails").unwrap()).unwrap_err().to_string();
            assert!(said.contains("[meters.emails]"), "{said}");
        });
    }

    #[test]
    fn a_unit_may_change_until_there_is_data() {
        in_ledger(|tx| {
            let mut emails = meter("emails", Source::Push);
            let id = ensure(tx, &emails).unwrap();
            emails.unit = Unit::of("hours");
            assert_eq!(ensure(tx, &emails).unwrap(), id);
            buckets::add(tx, id, Span::new(at(0), at(0)), Micros::ONE).unwrap();
            emails.unit = Unit::of("minutes");
            let said = ensure(tx, &emails).unwrap_err();
            assert!(matches!(said, LedgerError::UnitChanged { .. }));
            assert!(said.to_string().contains("3600 seconds") && said.to_string().contains("60 seconds"), "{said}");
        });
    }
}
