//! The writer's and the reader's thread.

use std::ops::Deref;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;

use super::StoreError;
use super::damage::{self, Noted};

/// Writes that may wait before [`StoreError::Busy`] is answered.
const QUEUE: usize = 1_024;
/// Writes that share one transaction at most, so that the first does not wait long for the last.
const GROUP: usize = 256;

/// A connection inside a write transaction. Only [`super::Store::write`] makes one, so a function that takes it
/// cannot be called outside of a transaction.
pub struct Tx<'c>(&'c Connection);

impl<'c> Tx<'c> {
    /// For a file that is being made, and that no store has open yet.
    pub(super) const fn of(connection: &'c Connection) -> Self {
        Self(connection)
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.0
    }
}

trait Write: Send {
    /// Does it; false if it wants to be rolled back.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Tells the caller, once the group's fate is known.
    fn finish(self: Box<Self>, fate: Result<(), StoreError>);
}

enum Order {
    Write(Box<dyn Write>),
    Checkpoint(oneshot::Sender<Result<(), StoreError>>),
}

struct Call<F, T, E> {
    f: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Write for Call<F, T, E>
where
    F: FnOnce(&Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        self.result = self.f.take().map(|f| f(tx));
        matches!(self.result, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, fate: Result<(), StoreError>) {
        let answer = match (self.result, fate) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(error.into()),
            (None, Ok(())) => Err(StoreError::Gone.into()),
        };
        // A caller that went away has no use for the answer.
        drop(self.reply.send(answer));
    }
}

#[derive(Clone)]
pub(super) struct Writer(SyncSender<Order>);

impl Writer {
    pub(super) fn start(connection: Connection, noted: Noted) -> Result<Self, StoreError> {
        let (orders, queue) = sync_channel(QUEUE);
        spawn("usage.db writer", move || {
            serve(&connection, &queue, &noted);
            close(connection, noted);
        })?;
        Ok(Self(orders))
    }

    pub(super) async fn run<T, E>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call { f: Some(f), result: None, reply };
        self.send(Order::Write(Box::new(call)))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Gone.into()))
    }

    pub(super) async fn checkpoint(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Order::Checkpoint(reply))?;
        answer.await.unwrap_or(Err(StoreError::Gone))
    }

    fn send(&self, order: Order) -> Result<(), StoreError> {
        self.0.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Gone,
        })
    }
}

fn serve(connection: &Connection, queue: &Receiver<Order>, noted: &Noted) {
    let mut left_over = None;
    loop {
        let order = match left_over.take() {
            Some(order) => order,
            None => match queue.recv() {
                Ok(order) => order,
                Err(_) => return,
            },
        };
        match order {
            Order::Write(first) => {
                let mut group = vec![first];
                while group.len() < GROUP {
                    match queue.try_recv() {
                        Ok(Order::Write(next)) => group.push(next),
                        Ok(other) => {
                            left_over = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                match noted.what() {
                    // What a damaged file would take may never be read again.
                    Some(what) => group.into_iter().for_each(|call| call.finish(Err(damaged(&what)))),
                    None => commit_group(connection, group, noted),
                }
            }
            Order::Checkpoint(reply) => {
                let done = match noted.what() {
                    Some(what) => Err(damaged(&what)),
                    None => connection
                        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                        .map_err(StoreError::from),
                };
                drop(reply.send(done));
            }
        }
    }
}

/// Lets go of the file, and then of what shows that somebody has it open. A damaged one is left as it is.
fn close(connection: Connection, noted: Noted) {
    let is_damaged = noted.what().is_some();
    if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_damaged) {
        tracing::debug!("the log is put into the file at the end: {error}");
    }
    drop(connection);
    drop(noted);
}

fn commit_group(connection: &Connection, mut group: Vec<Box<dyn Write>>, noted: &Noted) {
    let fate = run_group(connection, &mut group);
    if fate.is_err() && !connection.is_autocommit() {
        // If even this fails, the next BEGIN says so to its own callers.
        drop(connection.execute_batch("ROLLBACK"));
    }
    // Whoever hears of it finds it said.
    noted.note_met();
    for call in group {
        call.finish(fate.clone());
    }
}

/// A full disk or an I/O error can make SQLite roll back the whole transaction by itself; then every statement after
/// it fails, and so does the whole group: nothing of it is stored, and every caller hears it. So it is where one of them
/// finds the file damaged: what the others would be told of could not be relied on.
fn run_group(connection: &Connection, group: &mut [Box<dyn Write>]) -> Result<(), StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for call in group {
        connection.prepare_cached("SAVEPOINT call")?.execute([])?;
        if !call.run(&Tx(connection)) {
            connection.prepare_cached("ROLLBACK TO call")?.execute([])?;
        }
        connection.prepare_cached("RELEASE call")?.execute([])?;
    }
    match damage::seen() {
        Some(what) => Err(damaged(&what)),
        None => Ok(connection.execute_batch("COMMIT")?),
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged { what: what.to_owned() }
}

type Read = Box<dyn FnOnce(&Connection, &Noted) + Send>;

#[derive(Clone)]
pub(super) struct Reader(SyncSender<Read>);

impl Reader {
    pub(super) fn start(connection: Connection, noted: Noted) -> Result<Self, StoreError> {
        let (reads, queue) = sync_channel::<Read>(QUEUE);
        spawn("usage.db reader", move || {
            while let Ok(read) = queue.recv() {
                read(&connection, &noted);
            }
            close(connection, noted);
        })?;
        Ok(Self(reads))
    }

    pub(super) async fn run<T, E>(&self, f: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection, noted| {
            let said = f(connection);
            noted.note_met();
            drop(reply.send(said));
        });
        self.0.try_send(read).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Gone,
        })?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Gone.into()))
    }
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.to_owned()).stack_size(256 * 1_024).spawn(f);
    match started {
        Ok(_) => Ok(()),
        Err(_) => Err(StoreError::Gone),
    }
}
