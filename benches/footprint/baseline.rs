//! The same rows in the same table without a daemon around it, and the disk's sync alone.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use rusqlite::Connection;

use super::numbers::{median, micros};

const SYNCS: usize = 200;

/// A database with the ledger's own tables.
pub(crate) struct Baseline {
    connection: Connection,
    next: usize,
}

impl Baseline {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let connection = Connection::open(directory.join("baseline.db"))?;
        let mode: String = connection.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))?;
        ensure!(mode == "wal", "the journal mode is {mode}");
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -512")?;
        connection.execute_batch(include_str!("../../src/store/schema/ledger.sql"))?;
        connection.execute_batch("INSERT INTO meter VALUES (1, 'api_credits', 1000000, 0)")?;
        Ok(Self { connection, next: 0 })
    }

    /// Commits so many transactions of so many rows.
    pub(crate) fn insert(&mut self, transactions: usize, rows: usize) -> Result<()> {
        for _ in 0..transactions {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..rows {
                self.row()?;
            }
            self.connection.execute_batch("COMMIT")?;
        }
        Ok(())
    }

    fn row(&mut self) -> Result<()> {
        let at_us = 1_800_000_000_000_000_i64.saturating_add(i64::try_from(self.next)?);
        let key = format!("key-{}", self.next);
        self.next += 1;
        let sql = "INSERT INTO credit (meter_id, source, key, quantity, at_us, at_given_us, arrived_us, uid)
                   VALUES (1, 'uid:0', ?1, 1250000, ?2, NULL, ?2, 0) ON CONFLICT DO NOTHING";
        self.connection.prepare_cached(sql)?.execute((key, at_us))?;
        Ok(())
    }
}

/// Of a page that is appended, microseconds.
pub(crate) fn sync_median(directory: &Path) -> Result<u64> {
    let mut file = File::create(directory.join("synced"))?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0x55; 4_096])?;
        file.sync_data()?;
        times.push(micros(began.elapsed()));
    }
    Ok(median(&times))
}
