//! Salvage: everything that can be read of a damaged ledger, row by row, put into an empty one.
//!
//! Rows are read in the order of their keys until the damage, then behind it, and backwards up to it. What an index still
//! knows of rows that are gone is put into the temporary table [`LOST`], for the rooms that can make something of it.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde::{Deserialize, Serialize};

use super::{StoreError, damage};

/// Temporary table of rows that only an index knows: `name` of the table, `id`, and the index's columns `k1`, `k2`, `k3`.
pub const LOST: &str = "lost";

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salvaged {
    /// Its name.
    pub table: String,
    /// Rows that were read.
    pub read: u64,
    /// Rows that were not; `None` where nothing tells how many.
    pub missing: Option<u64>,
}

impl Salvaged {
    /// Whether every row was read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing == Some(0)
    }
}

/// Reads every table of `from` into the empty one of `to`.
pub(super) fn salvage(from: &Connection, to: &Connection) -> Result<Vec<Salvaged>, StoreError> {
    to.execute_batch(&format!("CREATE TEMP TABLE {LOST} (name TEXT, id INTEGER, k1, k2, k3)"))?;
    let sql = "SELECT name, wr FROM pragma_table_list
               WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    let mut statement = to.prepare(sql)?;
    let tables: Vec<(String, bool)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for (name, without_rowid) in tables {
        found.push(table(from, to, &name, without_rowid)?);
    }
    Ok(found)
}

fn table(from: &Connection, to: &Connection, name: &str, without_rowid: bool) -> Result<Salvaged, StoreError> {
    let Some(layout) = Layout::of(from, to, name, without_rowid)? else {
        // A schema before this table, or none that can be read.
        let has_schema = !readable(columns(from, "meta"))?.unwrap_or_default().is_empty();
        return Ok(Salvaged { table: name.to_owned(), read: 0, missing: has_schema.then_some(0) });
    };
    let mut sink = Sink { insert: to.prepare(&layout.insert())?, read: 0, refused: 0 };
    let is_whole = layout.read(from, &mut sink)?;
    let (read, refused) = (sink.read, sink.refused);
    let lost = layout.only_indexed(from, to)?;
    let missing = match lost {
        _ if is_whole && refused == 0 => Some(0),
        Some(lost) => Some(lost),
        None if is_whole => Some(refused),
        None => layout.ever(from)?.map(|ever| ever.saturating_sub(read)),
    };
    Ok(Salvaged { table: name.to_owned(), read, missing })
}

/// Columns of a table in their order, with their place in the primary key; none where there is no such table.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut statement = connection.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?;
    let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// How a table is read.
struct Layout {
    name: String,
    /// Columns that both have.
    columns: Vec<String>,
    /// What its rows are ordered by.
    key: Vec<String>,
}

type Row = Vec<Value>;

/// Which rows, in which order.
#[derive(Debug, Clone)]
enum Part<'a> {
    All,
    From(&'a [Value]),
    /// Backwards, behind the first and before the second.
    Back(Option<&'a [Value]>, Option<&'a [Value]>),
}

struct Sink<'t> {
    insert: rusqlite::Statement<'t>,
    read: u64,
    refused: u64,
}

impl Sink<'_> {
    /// What the schema does not take was damaged, too.
    fn put(&mut self, row: Option<Row>) {
        match row.map(|row| self.insert.execute(params_from_iter(row))) {
            Some(Ok(_)) => self.read = self.read.saturating_add(1),
            Some(Err(_)) | None => self.refused = self.refused.saturating_add(1),
        }
    }
}

impl Layout {
    fn of(from: &Connection, to: &Connection, name: &str, without_rowid: bool) -> Result<Option<Self>, StoreError> {
        let theirs = readable(columns(from, name))?.unwrap_or_default();
        let mut ours = columns(to, name)?;
        ours.retain(|(column, _)| theirs.iter().any(|(theirs, _)| theirs == column));
        if ours.is_empty() {
            return Ok(None);
        }
        let mut key: Vec<(String, i64)> = ours.iter().filter(|(_, place)| *place > 0).cloned().collect();
        key.sort_by_key(|(_, place)| *place);
        let key =
            if without_rowid { key.into_iter().map(|(name, _)| name).collect() } else { vec!["rowid".to_owned()] };
        let columns = ours.into_iter().map(|(name, _)| name).collect();
        Ok(Some(Self { name: name.to_owned(), columns, key }))
    }

    fn insert(&self) -> String {
        let marks = vec!["?"; self.columns.len()].join(", ");
        format!("INSERT INTO main.{} ({}) VALUES ({marks})", self.name, self.columns.join(", "))
    }

    /// Reads all that can be read; false if something could not be.
    fn read(&self, from: &Connection, sink: &mut Sink<'_>) -> Result<bool, StoreError> {
        let mut last: Option<Row> = None;
        if self.scan(from, &Part::All, sink, &mut last)? {
            return Ok(true);
        }
        loop {
            let Some(beyond) = self.beyond(from, last.as_deref())? else {
                self.scan(from, &Part::Back(last.as_deref(), None), sink, &mut None)?;
                return Ok(false);
            };
            self.scan(from, &Part::Back(last.as_deref(), Some(&beyond)), sink, &mut None)?;
            last = Some(beyond.clone());
            if self.scan(from, &Part::From(&beyond), sink, &mut last)? {
                return Ok(false);
            }
        }
    }

    /// Puts rows into the sink until the end, or false: until the damage. `last` is the key of the last one.
    fn scan(
        &self,
        from: &Connection,
        part: &Part<'_>,
        sink: &mut Sink<'_>,
        last: &mut Option<Row>,
    ) -> Result<bool, StoreError> {
        let (sql, bound) = self.select(part, false);
        let Some(mut statement) = readable(from.prepare(&sql))? else { return Ok(false) };
        let mut rows = statement.query(params_from_iter(bound))?;
        while let Some(next) = readable(rows.next())? {
            let Some(row) = next else { return Ok(true) };
            if let Some(key) = values(row, 0, self.key.len()) {
                *last = Some(key);
            }
            sink.put(values(row, self.key.len(), self.columns.len()));
        }
        Ok(false)
    }

    /// The key of the first row behind the damage that a leap finds; leaps double. `None` where none does.
    fn beyond(&self, from: &Connection, last: Option<&[Value]>) -> Result<Option<Row>, StoreError> {
        let start = last.map_or_else(|| vec![Value::Integer(0); self.key.len()], <[Value]>::to_vec);
        let Some((Value::Integer(at), before)) = start.split_last() else { return Ok(None) };
        let mut leap = Some(1_i64);
        while let Some(to) = leap.and_then(|leap| at.checked_add(leap)) {
            let mut there = before.to_vec();
            there.push(Value::Integer(to));
            match self.first(from, &there)? {
                Found::Key(key) => return Ok(Some(key)),
                Found::Nothing => return Ok(None),
                Found::Damage => leap = leap.and_then(|leap| leap.checked_mul(2)),
            }
        }
        Ok(None)
    }

    /// The first row at or behind a key.
    fn first(&self, from: &Connection, there: &[Value]) -> Result<Found, StoreError> {
        let (sql, bound) = self.select(&Part::From(there), true);
        let Some(mut statement) = readable(from.prepare_cached(&sql))? else { return Ok(Found::Damage) };
        let mut rows = statement.query(params_from_iter(bound))?;
        Ok(match readable(rows.next())? {
            None => Found::Damage,
            Some(None) => Found::Nothing,
            Some(Some(row)) => values(row, 0, self.key.len()).map_or(Found::Damage, Found::Key),
        })
    }

    /// Keeps what only the index that makes rows unique knows of, and counts it; `None` where there is no such index, or not
    /// all of it can be read.
    fn only_indexed(&self, from: &Connection, to: &Connection) -> Result<Option<u64>, StoreError> {
        let name = &self.name;
        let index = format!("sqlite_autoindex_{name}_1");
        let mut statement = to.prepare("SELECT name FROM pragma_index_info(?1) ORDER BY seqno")?;
        let keys: Vec<String> = statement.query_map([&index], |row| row.get(0))?.collect::<Result<_, _>>()?;
        if keys.is_empty() || self.key != ["rowid"] {
            return Ok(None);
        }
        let mut shown = keys;
        shown.resize(3, "NULL".to_owned());
        let sql = format!("SELECT rowid, {} FROM {name} INDEXED BY {index}", shown.join(", "));
        let Some(mut statement) = readable(from.prepare(&sql))? else { return Ok(None) };
        let keep = format!(
            "INSERT INTO temp.{LOST} (name, id, k1, k2, k3) SELECT '{name}', ?1, ?2, ?3, ?4
             WHERE NOT EXISTS (SELECT 1 FROM main.{name} WHERE rowid = ?1)"
        );
        let mut keep = to.prepare(&keep)?;
        let mut rows = statement.query([])?;
        let mut lost = 0_u64;
        while let Some(next) = readable(rows.next())? {
            let Some(row) = next else { return Ok(Some(lost)) };
            if let Some(values) = values(row, 0, 4) {
                let kept = keep.execute(params_from_iter(values))?;
                lost = lost.saturating_add(u64::try_from(kept).unwrap_or(0));
            }
        }
        Ok(None)
    }

    /// How many rows the table ever had, where it is numbered through and none is ever deleted.
    fn ever(&self, from: &Connection) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
        let found = readable(from.query_row(sql, [&self.name], |row| row.get::<_, i64>(0)).optional())?.flatten();
        Ok(found.and_then(|seq| u64::try_from(seq).ok()))
    }

    fn select(&self, part: &Part<'_>, one: bool) -> (String, Row) {
        let key = format!("({})", self.key.join(", "));
        let marks = format!("({})", vec!["?"; self.key.len()].join(", "));
        let mut wanted = Vec::new();
        let mut bound = Vec::new();
        let mut want = |operator: &str, value: &[Value]| {
            wanted.push(format!("{key} {operator} {marks}"));
            bound.extend_from_slice(value);
        };
        let mut order = "";
        match part {
            Part::All => {}
            Part::From(at) => want(">=", at),
            Part::Back(low, high) => {
                order = " DESC";
                if let Some(low) = low {
                    want(">", low);
                }
                if let Some(high) = high {
                    want("<", high);
                }
            }
        }
        let wanted = if wanted.is_empty() { String::new() } else { format!(" WHERE {}", wanted.join(" AND ")) };
        let order = self.key.iter().map(|column| format!("{column}{order}")).collect::<Vec<_>>().join(", ");
        let columns = [self.key.join(", "), self.columns.join(", ")].join(", ");
        let limit = if one { " LIMIT 1" } else { "" };
        // By its own order alone: an index may be sound where the table is not, and the other way round.
        (format!("SELECT {columns} FROM {} NOT INDEXED{wanted} ORDER BY {order}{limit}", self.name), bound)
    }
}

enum Found {
    Key(Row),
    Nothing,
    Damage,
}

/// `None` where the file is damaged there.
fn readable<T>(result: rusqlite::Result<T>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if damage::of(&error).is_some() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Some columns of a row; `None` where one is no text although it says so.
fn values(row: &rusqlite::Row<'_>, from: usize, count: usize) -> Option<Row> {
    (from..from.saturating_add(count)).map(|at| Value::try_from(row.get_ref(at).ok()?).ok()).collect()
}
