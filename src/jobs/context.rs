//! What every job works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::JobError;
use super::alerts::Memory;
use super::intake::Intake;
use super::portal::MayOpen;
use super::sample::HasSampled;
use crate::alerts::Web;
use crate::clock::trust::{self, Placement, ProviderDate};
use crate::clock::{Clock, Reading};
use crate::config::{ClockTrust, Config, ProviderConfig};
use crate::model::{Incarnation, MachineIdentity, Problem, Severity, Timestamp};
use crate::outbox::{Generation, Limits};
use crate::provider::{Answer, Provider};
use crate::sources::Machine;
use crate::store::{Store, meta};

const PROVIDER_DATE: &str = "provider_date";

/// What the operator decided, and the provider built from it. Replaced as a whole on SIGHUP.
#[derive(Debug)]
pub struct Settings {
    /// The configuration.
    pub config: Config,
    /// The provider it names.
    pub provider: Provider,
}

/// Everything a job needs; shared by all.
pub struct Context {
    /// The ledger's file.
    pub store: Store,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The machine that is measured.
    pub machine: Machine,
    /// Where this boot's marks lie.
    pub runtime_dir: PathBuf,
    /// What readings of this boot belong to.
    pub incarnation: Incarnation,
    settings: RwLock<Arc<Settings>>,
    live: Mutex<Live>,
    /// Whether records are taken.
    pub(super) intake: Intake,
    /// One round of samples at a time: a reading must not be stored after a later one.
    pub(super) sampling: tokio::sync::Mutex<()>,
    /// One push at a time: two would only wait for each other's claims.
    pub(super) pushing: tokio::sync::Mutex<()>,
    /// One look for alerts at a time, and one message at a time: a command must not run beside itself.
    pub(super) alerting: tokio::sync::Mutex<()>,
    pub(super) telling: tokio::sync::Mutex<()>,
    /// What alerts are sent by.
    pub(super) web: Web,
    /// One drain at a time: they would close the intake over each other.
    pub(super) draining: tokio::sync::Mutex<()>,
}

/// What is known only while this process lives.
pub(super) struct Live {
    /// Drawn at start, and after a wall-clock jump.
    pub(super) generation: Generation,
    /// Generation in which the subscriptions were last read.
    pub(super) subscriptions_read_in: Option<i64>,
    /// `CLOCK_BOOTTIME` of that read.
    pub(super) subscriptions_read_boottime_us: Option<i64>,
    /// The provider's clock.
    pub(super) provider_date: Option<ProviderDate>,
    /// How far the wall clock is ahead of the time since boot; a jump shows in it.
    pub(super) wall_over_boottime_us: Option<i64>,
    /// Where random numbers come from.
    pub(super) dice: fastrand::Rng,
    /// What needs someone, by code and by what it is about: one item's success says nothing about another's failure.
    pub(super) problems: BTreeMap<(String, String), Problem>,
    /// Pushes are held because the machine's identity changed (rule S11).
    pub(super) identity_changed: bool,
    /// What this process has stored of its samples.
    pub(super) has_sampled: HasSampled,
    /// `CLOCK_MONOTONIC` when it last stored one, and before that when it started.
    pub(super) sampled_monotonic_us: i64,
    /// What this process knows of its alerts.
    pub(super) alerts: Memory,
    /// Whether the customer's portal can be opened.
    pub(super) portal: MayOpen,
}

impl Context {
    pub(super) fn new(
        parts: super::start::Parts,
        incarnation: Incarnation,
        generation: Generation,
        identity_changed: bool,
    ) -> Self {
        let live = Live {
            generation,
            subscriptions_read_in: None,
            subscriptions_read_boottime_us: None,
            provider_date: None,
            wall_over_boottime_us: None,
            dice: parts.dice,
            problems: BTreeMap::new(),
            identity_changed,
            has_sampled: HasSampled::Never,
            sampled_monotonic_us: parts.clock.read().monotonic_us,
            alerts: Memory::default(),
            portal: MayOpen::Unknown,
        };
        Self {
            store: parts.store,
            clock: parts.clock,
            machine: parts.machine,
            runtime_dir: parts.runtime_dir,
            incarnation,
            settings: RwLock::new(Arc::new(parts.settings)),
            live: Mutex::new(live),
            intake: Intake::default(),
            sampling: tokio::sync::Mutex::new(()),
            pushing: tokio::sync::Mutex::new(()),
            alerting: tokio::sync::Mutex::new(()),
            telling: tokio::sync::Mutex::new(()),
            web: Web::default(),
            draining: tokio::sync::Mutex::new(()),
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other settings in force.
    pub fn replace_settings(&self, settings: Settings) {
        self.live().portal = MayOpen::Unknown;
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.live().generation.clone()
    }

    /// What needs someone, as far as this process has seen.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.live().problems.values().cloned().collect()
    }

    /// A state of affairs begins.
    pub fn raise(&self, problem: Problem) {
        self.raise_about("", problem);
    }

    /// A state of affairs is over.
    pub fn clear(&self, code: &str) {
        self.clear_about(code, "");
    }

    /// A state of affairs of one thing among several begins.
    pub(super) fn raise_about(&self, about: &str, problem: Problem) {
        let problem = if about.is_empty() { problem } else { problem.about(about) };
        let mut live = self.live();
        let key = (problem.code.clone(), about.to_owned());
        if live.problems.get(&key) != Some(&problem) {
            match problem.severity {
                Severity::Note => tracing::info!(code = %problem.code, hint = %problem.hint, "{}", problem.what),
                Severity::Problem => tracing::warn!(code = %problem.code, hint = %problem.hint, "{}", problem.what),
            }
            live.problems.insert(key, problem);
        }
    }

    /// A state of affairs of one thing among several is over.
    pub(super) fn clear_about(&self, code: &str, about: &str) {
        self.clear_unless(code, |other| other != about);
    }

    /// A state of affairs is over for all that it is not true of any more.
    pub(super) fn clear_unless(&self, code: &str, stays: impl Fn(&str) -> bool) {
        self.live().problems.retain(|(its_code, about), _| {
            let stays = its_code != code || stays(about);
            if !stays {
                tracing::info!(code, about, "this is over");
            }
            stays
        });
    }

    /// Whether pushes wait because this ledger seems to be on another machine (rule S11).
    #[must_use]
    pub fn identity_changed(&self) -> bool {
        self.live().identity_changed
    }

    /// By what this machine is known (rule S11).
    #[must_use]
    pub fn identity(&self) -> MachineIdentity {
        self.machine.identity(&self.runtime_dir)
    }

    /// The provider's time at a reading of our clocks, once any answer has brought it (rules M5, S6).
    #[must_use]
    pub fn provider_now(&self, reading: Reading) -> Option<Timestamp> {
        let live = self.live();
        live.provider_date.as_ref()?.now(&self.incarnation.boot_id, reading.boottime_us)
    }

    /// Takes the `Date` that came with an answer.
    pub(super) fn note_date<T>(&self, answer: &Answer<T>) {
        if let Some(date) = answer.date {
            let at_boottime_us = self.clock.read().boottime_us;
            let boot_id = self.incarnation.boot_id.clone();
            self.live().provider_date = Some(ProviderDate { date, at_boottime_us, boot_id });
        }
    }

    pub(super) fn note_subscriptions_read(&self, generation: i64, boottime_us: i64) {
        let mut live = self.live();
        live.subscriptions_read_in = Some(generation);
        live.subscriptions_read_boottime_us = Some(boottime_us);
    }

    /// Keeps the provider's clock over a restart within this boot, so that its usage does not wait to be placed again.
    pub(super) async fn keep_date(&self) -> Result<(), JobError> {
        let Some(date) = self.live().provider_date.clone() else { return Ok(()) };
        let text = serde_json::json!(date).to_string();
        Ok(self.store.write(move |tx| meta::set(tx, PROVIDER_DATE, &text)).await?)
    }

    /// What an earlier process of this boot kept.
    pub(super) async fn recall_date(&self) -> Result<(), JobError> {
        let text = self.store.read(|c| meta::get(c, PROVIDER_DATE)).await?;
        let kept: Option<ProviderDate> = text.and_then(|text| serde_json::from_str(&text).ok());
        self.live().provider_date = kept.filter(|date| date.boot_id == self.incarnation.boot_id);
        Ok(())
    }

    /// Where this boot lies on the wall, given since when entries have been waiting to know (rule M5).
    #[must_use]
    pub fn placement(&self, reading: Reading, waiting_since_boottime_us: Option<i64>) -> Placement {
        let operator_trusts = self.settings().config.clock == ClockTrust::Trusted;
        let mark = self.machine.timesync_mark();
        trust::place(operator_trusts, self.provider_now(reading), mark, waiting_since_boottime_us, reading)
    }

    /// The best known UTC time at a reading: what the placement says, else the wall clock.
    #[must_use]
    pub fn utc(&self, reading: Reading) -> Timestamp {
        self.placement(reading, None).wall_at(reading.boottime_us).unwrap_or(reading.wall)
    }

    /// The best known UTC time now. Jobs call it once, where they begin.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.utc(self.clock.read())
    }

    /// This VM's own steady share of a stretch of time, drawn from its machine id, so that a fleet does not push at one
    /// instant.
    #[must_use]
    pub fn steady_offset(&self, spread: Duration) -> Duration {
        let id = self.machine.machine_id().unwrap_or_else(|| self.incarnation.boot_id.clone());
        let mut dice = fastrand::Rng::with_seed(id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            // FNV-1a: spreads ids that differ in one digit.
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }));
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(dice.u64(0..=spread_ms))
    }
}

/// How long a total may be sent, by the configuration.
pub(super) fn limits(config: &ProviderConfig) -> Limits {
    Limits { timeout: config.timeout, draft_grace: config.draft_grace, quiet_before_end: config.quiet_before_end }
}

impl Context {
    /// How long a total may be sent.
    #[must_use]
    pub fn limits(&self) -> Limits {
        limits(&self.settings().config.provider)
    }

    /// When to try again after this many failures in a row.
    #[must_use]
    pub fn retry_delay(&self, failures: u32) -> Duration {
        crate::outbox::retry_delay(failures, None, &mut self.live().dice)
    }
}
