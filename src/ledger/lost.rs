//! Rows that were lost with a damaged database, as far as an index still knows of them.

use super::LedgerError;
use crate::model::Timestamp;
use crate::store::{LOST, Tx};

/// Keeps the ids of credits whose content is gone, so that one that is sent again does not count twice (rule M8), and the ids
/// of meters, so that no other meter takes what was measured.
pub fn make_good(tx: &Tx<'_>, now: Timestamp) -> Result<(), LedgerError> {
    // A unit of zero is one that is not known: the configuration tells it.
    tx.execute_batch(&format!(
        "INSERT OR IGNORE INTO meter (id, name, micros_per_unit, is_time)
             SELECT id, k1, 0, 0 FROM temp.{LOST} WHERE name = 'meter' AND typeof(k1) = 'text';
         INSERT OR IGNORE INTO meter (id, name, micros_per_unit, is_time)
             SELECT meter_id, 'lost-' || meter_id, 0, 0 FROM
                 (SELECT meter_id FROM bucket UNION SELECT meter_id FROM credit UNION SELECT meter_id FROM reading
                  UNION SELECT meter_id FROM unplaced UNION SELECT meter_id FROM credit_hour
                  UNION SELECT meter_id FROM credit_rate)
             WHERE meter_id NOT IN (SELECT id FROM meter);"
    ))?;
    tx.execute(
        &format!(
            "INSERT OR IGNORE INTO credit (id, meter_id, source, key, quantity, at_us, arrived_us, uid)
             SELECT id, k1, k2, k3, 0, ?1, ?1, 0 FROM temp.{LOST}
             WHERE name = 'credit' AND k1 IN (SELECT id FROM meter) AND typeof(k2) = 'text' AND typeof(k3) = 'text'"
        ),
        [now.micros()],
    )?;
    tx.execute_batch("UPDATE unplaced SET credit_id = NULL WHERE credit_id NOT IN (SELECT id FROM credit)")?;
    Ok(())
}
