//! Sample: read every counter once, and store what was used since the last time, with the coverage of that time.

use std::sync::Arc;

use super::{Context, JobError};
use crate::clock::Reading;
use crate::clock::trust::Placement;
use crate::ledger::coverage::{self, How, Round};
use crate::ledger::{self, placement, samples};
use crate::model::{MICROS_PER_MINUTE, MeterName, Micros, Problem, Sample, micros_of};
use crate::outbox::{self, Break};

/// A wall clock that moves this much against the time since boot has been set (rule S5); less is slewing.
const JUMP_US: i64 = MICROS_PER_MINUTE;

/// What a round of samples came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    /// Usage of each meter since the last round, microseconds, in the order of their names.
    pub used_us: Vec<(MeterName, i64)>,
    /// Whether the clock is trusted, so that usage was placed.
    pub placed: bool,
}

/// Takes a round. A failure loses nothing while the machine runs: the next round counts from the last stored one.
pub async fn sample(context: &Arc<Context>) -> Result<Sampled, JobError> {
    let _one_at_a_time = context.sampling.lock().await;
    let reading = context.clock.read();
    draw_after_jump(context, reading).await?;
    let taken = read_counters(context, reading);
    let job = Arc::clone(context);
    let how = how(context);
    let stored = context.store.write(move |tx| store(tx, &job, &taken, reading, how)).await;
    match stored {
        Ok((sampled, capped)) => {
            context.note_stored(reading);
            context.clear("database_unavailable");
            context.note_capped(&capped);
            context.note_placed(sampled.placed);
            tracing::debug!(target: "usaged::flow", "{}", sampled.in_words());
            Ok(sampled)
        }
        Err(error) => {
            context.note_unstored();
            context.raise(Problem::needs_someone(
                "database_unavailable",
                format!("samples cannot be stored: {error}"),
                "measuring goes on; running time is stored as soon as the database takes it again",
            ));
            Err(error)
        }
    }
}

impl Sampled {
    fn in_words(&self) -> String {
        let seconds = |us: i64| Micros::new(us).to_string();
        let parts: Vec<String> =
            self.used_us.iter().map(|(meter, us)| format!("{meter} +{} s", seconds(*us))).collect();
        let waits = if self.placed { "" } else { ", waiting for a trusted clock" };
        format!("sampled {}{waits}", parts.join(", "))
    }
}

/// What this process has stored so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HasSampled {
    /// Nothing yet.
    Never,
    /// The last round.
    Stored,
    /// Not the last round.
    Unstored,
}

impl Context {
    fn note_stored(&self, reading: Reading) {
        let mut live = self.live();
        live.has_sampled = HasSampled::Stored;
        live.sampled_monotonic_us = reading.monotonic_us;
    }

    /// A round that could not be stored, after one that was.
    fn note_unstored(&self) {
        let mut live = self.live();
        if live.has_sampled == HasSampled::Stored {
            live.has_sampled = HasSampled::Unstored;
        }
    }

    /// What waits does so in plain sight (rule M5).
    fn note_placed(&self, placed: bool) {
        const UNTRUSTED: &str = "clock_untrusted";
        if placed {
            self.clear(UNTRUSTED);
            return;
        }
        self.raise(Problem::note(
            UNTRUSTED,
            "nobody vouches for the wall clock yet: what is used waits to be placed, at most a day",
            "if chrony or ntpd keeps it right, write clock = \"trusted\" in usaged.toml; else: timedatectl set-ntp true",
        ));
    }

    fn note_capped(&self, capped: &[String]) {
        if let Some(first) = capped.first() {
            self.raise(Problem::needs_someone(
                "impossible_rate",
                format!("{first} (rule M6)"),
                "the excess was not counted; look for a counter that another program writes",
            ));
        }
    }
}

fn how(context: &Context) -> How {
    match context.live().has_sampled {
        HasSampled::Never => How::Bridged,
        HasSampled::Stored => How::Observed,
        HasSampled::Unstored => How::Unstored,
    }
}

/// A wall clock that was set means that this may be a copy brought back: what stands is read again before any push.
async fn draw_after_jump(context: &Context, reading: Reading) -> Result<(), JobError> {
    let over = reading.wall.micros().saturating_sub(reading.boottime_us);
    let random = {
        let mut live = context.live();
        if live.wall_over_boottime_us.is_none_or(|before| over.abs_diff(before) < JUMP_US.unsigned_abs()) {
            live.wall_over_boottime_us = Some(over);
            return Ok(());
        }
        live.dice.u64(..)
    };
    let now = context.utc(reading);
    tracing::warn!("the wall clock was set; what stands at the provider is read again before anything is sent");
    let drawn = context.store.write(move |tx| outbox::draw(tx, random, Break::ClockJump, now)).await?;
    // Only now: a jump that could not be noted is seen again by the next round.
    let mut live = context.live();
    live.generation = drawn;
    live.wall_over_boottime_us = Some(over);
    Ok(())
}

/// Reads what can be read; a meter whose counter cannot is named, and the others are measured.
fn read_counters(context: &Context, reading: Reading) -> Vec<Sample> {
    let settings = context.settings();
    let mut samples = Vec::new();
    for meter in settings.config.meters.values() {
        let code = format!("meter_unreadable_{}", meter.name);
        match context.machine.sample(meter, &context.incarnation, reading) {
            Ok(sample) => {
                samples.extend(sample);
                context.clear(&code);
            }
            Err(error) => context.raise(Problem::needs_someone(
                &code,
                format!("{} is not measured: {error}", meter.name),
                "correct the meter's source in usaged.toml, then: systemctl reload usaged",
            )),
        }
    }
    samples
}

fn store(
    tx: &crate::store::Tx<'_>,
    context: &Context,
    taken: &[Sample],
    reading: Reading,
    how: How,
) -> Result<(Sampled, Vec<String>), JobError> {
    let incarnation = &context.incarnation;
    let waiting = placement::waiting_since(tx, &incarnation.boot_id)?;
    let place = context.placement(reading, waiting);
    placement::settle(tx, &place, &incarnation.boot_id)?;
    let mut used_us = Vec::new();
    let mut capped = Vec::new();
    for sample in taken {
        let taken = samples::take(tx, sample, reading, &place)?;
        used_us.push((sample.meter.clone(), taken.usage.get()));
        capped.extend(taken.capped.map(|capped| {
            let (claimed, possible) = (capped.claimed_us, capped.possible_us);
            format!("{} counted {claimed} µs where at most {possible} µs were possible", sample.meter)
        }));
    }
    let sample_every_us = micros_of(context.settings().config.schedule.sample_every);
    coverage::note(tx, &Round { incarnation, now: reading, how, sample_every_us }, &place)?;
    Ok((Sampled { used_us, placed: matches!(place, Placement::Known { .. }) }, capped))
}

/// Notes that this process ends, and whether the whole system does: then the time until the next boot is not lost.
pub async fn note_stop(context: &Arc<Context>, system_going_down: bool) -> Result<(), JobError> {
    Ok(context.store.write(move |tx| ledger::coverage::note_stop(tx, system_going_down)).await?)
}
