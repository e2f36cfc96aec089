//! How fast records become durable: the daemon's answers beside a bare SQLite that syncs as often, round by round.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::baseline::Baseline;
use super::daemon::Daemon;
use super::http::Connection;
use super::numbers::{median, per, thousandths};
use super::report::{Report, Unit};

const ROUNDS: usize = 5;
/// As many as a request may hold.
const BATCH: usize = 1_000;
/// With all rounds these are the 100 000 credits.
const BATCHES: usize = 20;
const CONNECTIONS: usize = 64;
const EACH: usize = 100;
/// Commits of a single row are slow, and say the same after fewer.
const ALONE: usize = 300;

/// Records a second, round by round.
#[derive(Default)]
pub(crate) struct Rates {
    daemon: Vec<u64>,
    grouped: Vec<u64>,
    alone: Vec<u64>,
}

/// One connection, [`BATCH`] lines in a request and in a baseline's transaction.
pub(crate) fn batches(daemon: &Daemon) -> Result<Rates> {
    let (runtime, directory) = (runtime()?, tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?);
    let mut baseline = Baseline::open(directory.path())?;
    let mut rates = Rates::default();
    for round in 0..ROUNDS {
        let bodies: Vec<String> = (0..BATCHES).map(|batch| lines(&format!("b{round}-{batch}"), BATCH)).collect();
        let began = Instant::now();
        runtime.block_on(send(&daemon.socket(), &bodies, BATCH))?;
        rates.daemon.push(rate(BATCH * BATCHES, began));
        let began = Instant::now();
        baseline.insert(BATCHES, BATCH)?;
        rates.grouped.push(rate(BATCH * BATCHES, began));
    }
    Ok(rates)
}

/// One record in a request, over many connections at once. The baseline's transactions hold as many as can wait together,
/// which is the most that a group can become.
pub(crate) fn singles(daemon: &Daemon) -> Result<Rates> {
    let (runtime, directory) = (runtime()?, tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?);
    let mut baseline = Baseline::open(directory.path())?;
    let mut rates = Rates::default();
    for round in 0..ROUNDS {
        let bodies: Vec<Vec<String>> = (0..CONNECTIONS)
            .map(|connection| (0..EACH).map(|n| lines(&format!("s{round}-{connection}-{n}"), 1)).collect())
            .collect();
        let began = Instant::now();
        runtime.block_on(send_together(&daemon.socket(), bodies))?;
        rates.daemon.push(rate(CONNECTIONS * EACH, began));
        let began = Instant::now();
        baseline.insert(EACH, CONNECTIONS)?;
        rates.grouped.push(rate(CONNECTIONS * EACH, began));
        let began = Instant::now();
        baseline.insert(ALONE, 1)?;
        rates.alone.push(rate(ALONE, began));
    }
    Ok(rates)
}

async fn send_together(socket: &Path, bodies: Vec<Vec<String>>) -> Result<()> {
    let mut open = JoinSet::new();
    for bodies in bodies {
        let socket = socket.to_owned();
        open.spawn(async move { send(&socket, &bodies, 1).await });
    }
    while let Some(ended) = open.join_next().await {
        ended??;
    }
    Ok(())
}

async fn send(socket: &Path, bodies: &[String], records: usize) -> Result<()> {
    let mut connection = Connection::open(socket).await.context("cannot connect")?;
    for body in bodies {
        connection.record(body, records).await?;
    }
    Ok(())
}

fn lines(id: &str, records: usize) -> String {
    let line = |n| format!("{{\"meter\":\"api_credits\",\"quantity\":\"1.25\",\"id\":\"{id}-{n}\"}}\n");
    (0..records).map(line).collect()
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_io().build()?)
}

fn rate(records: usize, began: Instant) -> u64 {
    per(u64::try_from(records).unwrap_or(u64::MAX), Duration::from_secs(1), began.elapsed())
}

pub(crate) fn report_batches(report: &mut Report, rates: &Rates) -> Result<()> {
    report.line("acknowledged, batches of 1000 lines, median", median(&rates.daemon), Unit::PerSecond, None)?;
    report.line("  bare SQLite, 1000 rows a commit", median(&rates.grouped), Unit::PerSecond, None)?;
    report.line("  ratio, median of rounds", ratio(&rates.daemon, &rates.grouped), Unit::Thousandths, None)
}

pub(crate) fn report_singles(report: &mut Report, rates: &Rates) -> Result<()> {
    report.line("acknowledged, one by one on 64 connections, median", median(&rates.daemon), Unit::PerSecond, None)?;
    report.line("  bare SQLite, 64 rows a commit", median(&rates.grouped), Unit::PerSecond, None)?;
    report.line("  ratio, median of rounds", ratio(&rates.daemon, &rates.grouped), Unit::Thousandths, None)?;
    report.line("  bare SQLite, 1 row a commit", median(&rates.alone), Unit::PerSecond, None)?;
    report.line("  ratio, median of rounds", ratio(&rates.daemon, &rates.alone), Unit::Thousandths, None)
}

/// Of each round with its own baseline, so that what else the machine did weighs on both.
fn ratio(of: &[u64], whole: &[u64]) -> u64 {
    median(&of.iter().zip(whole).map(|(of, whole)| thousandths(*of, *whole)).collect::<Vec<_>>())
}
