//! Rule R7: the books balance.

use rusqlite::Connection;

use super::{OutboxError, UsageRecord, carry, record};
use crate::model::Timestamp;

/// A closed period whose two sides differ. There must never be one; it is an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    /// Which row.
    pub record: i64,
    /// Stands + carried out + held.
    pub accounted: i64,
    /// Overage + carried in + adopted + credits due, without what closed segments have.
    pub owed: i64,
}

/// All imbalances of periods closed since.
pub fn imbalances(connection: &Connection, since: Timestamp) -> Result<Vec<Imbalance>, OutboxError> {
    let mut found = Vec::new();
    for closed in record::closed_since(connection, since)? {
        found.extend(imbalance(connection, &closed)?);
    }
    Ok(found)
}

fn imbalance(connection: &Connection, closed: &UsageRecord) -> Result<Option<Imbalance>, OutboxError> {
    let carried_out = carry::carried_out(connection, closed.id)?;
    let carried_in = carry::carried_in(connection, closed.id)?;
    let credit_due = carry::credit_due(connection, closed.id)?;
    let accounted = sum([closed.standing.unwrap_or(0), carried_out, closed.held_units]);
    let owed = sum([closed.overage, carried_in, closed.adopted, closed.closed_segments.saturating_neg(), credit_due]);
    Ok((accounted != owed).then_some(Imbalance { record: closed.id, accounted, owed }))
}

/// Sums beyond what can be counted come of rows that somebody spoiled, and balance with nothing.
fn sum<const N: usize>(units: [i64; N]) -> i64 {
    units.into_iter().fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Channel, Span};
    use crate::outbox::ensure;
    use crate::outbox::testing::{at, in_store, new};

    #[test]
    fn r7_books_that_do_not_balance_are_found() {
        in_store(|tx| {
            let earlier = ensure(tx, &new(Channel::UsageRecords, Span::new(at(1, 0), at(2, 0)))).unwrap();
            let id = ensure(tx, &new(Channel::UsageRecords, Span::new(at(2, 0), at(9, 0)))).unwrap();
            let sql =
                "UPDATE usage_record SET state = 'closed', standing = 90, held_units = 3, overage = 70, adopted = 11,
                              closed_segments = 5 WHERE id = ?1";
            tx.execute(sql, [id]).unwrap();
            let carry = "INSERT INTO carry (from_record, to_record, units, at_us) VALUES (?1, ?2, ?3, 0)";
            tx.execute(carry, (id, None::<i64>, 20)).unwrap();
            tx.execute(carry, (earlier, id, 7)).unwrap();
            tx.execute("INSERT INTO credit_due (record, units, at_us, because) VALUES (?1, 2, 0, '')", [id]).unwrap();
            let found = Imbalance { record: id, accounted: 90 + 20 + 3, owed: 70 + 7 + 11 - 5 + 2 };
            assert_eq!(imbalances(tx, at(9, 0)).unwrap(), [found]);
            assert_eq!(imbalances(tx, at(9, 1)).unwrap(), []);
            tx.execute("UPDATE usage_record SET held_units = held_units - 28 WHERE id = ?1", [id]).unwrap();
            assert_eq!(imbalances(tx, at(1, 0)).unwrap(), []);
        });
    }
}
