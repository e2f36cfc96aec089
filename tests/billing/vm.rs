//! A VM in virtual time, with a sandbox that lives on the same clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use usaged::clock::{Clock, ManualClock};
use usaged::config::{self, ApiKey, Environment, Paths, Reading};
use usaged::jobs::{self, Context, JobError, Parts, Pushed, Running, Settings, Which};
use usaged::ledger::credits::{NewCredit, Verdict};
use usaged::ledger::voids::Void;
use usaged::model::{Channel, CustomerId, ItemId, MeterName, Micros, Problem, SourceName, Timestamp};
use usaged::outbox;
use usaged::provider::{Destination, Outcome, Provider, SetUsage};
use usaged::sandbox::lemon_squeezy::{LemonSqueezy, seed_lemon_squeezy_demo};
use usaged::sandbox::{
    Demo, Fault, ItemTotal, LoggedRequest, PINNED_VERSION, Sandbox, SandboxClock, seed_demo, seed_meter_demo,
};
use usaged::sources::Machine;
use usaged::store::{self, Depth, Soundness, Store, StoreError};
use usaged::wire::{LinkRequest, Status, SyncRequest};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Where usage is set.
pub(crate) const USAGE: &str = "/v1/subscription_items/*/usage_records";
/// Where what stands is read.
pub(crate) const SUMMARIES: &str = "/v1/subscription_items/*/usage_record_summaries";

/// Where Lemon Squeezy takes usage.
pub(crate) const LEMON_USAGE: &str = "/v1/usage-records";
/// Where it says what stands.
pub(crate) const LEMON_CURRENT: &str = "/v1/subscription-items/*/current-usage";

/// Where meter events are sent.
pub(crate) const EVENTS: &str = "/v1/billing/meter_events";
/// Where what they come to is read.
pub(crate) const EVENT_SUMMARIES: &str = "/v1/billing/meters/*/event_summaries";

/// How the VM's usage is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Billing {
    /// Stripe's legacy usage records.
    UsageRecords,
    /// Stripe's meters, with this formula and event window.
    Meters(&'static str, Option<&'static str>),
    /// Lemon Squeezy's current usage.
    LemonSqueezy,
}

impl Billing {
    /// Where usage is told, and where what stands is read.
    pub(crate) const fn paths(self) -> (&'static str, &'static str) {
        match self {
            Self::UsageRecords => (USAGE, SUMMARIES),
            Self::Meters(..) => (EVENTS, EVENT_SUMMARIES),
            Self::LemonSqueezy => (LEMON_USAGE, LEMON_CURRENT),
        }
    }
}

/// Every way of meters that totals can be set on exactly.
pub(crate) const METERS: [Billing; 3] =
    [Billing::Meters("last", None), Billing::Meters("sum", Some("day")), Billing::Meters("sum", None)];

/// A machine, its disk and the Stripe it is billed at.
pub(crate) struct Vm {
    /// The machine's clocks.
    pub(crate) clock: Arc<ManualClock>,
    /// What time it really is, and at the provider.
    world: Arc<ManualClock>,
    pub(crate) stripe: Sandbox,
    /// In Stripe's place, where usage is billed there.
    pub(crate) lemon: Option<LemonSqueezy>,
    pub(crate) demo: Demo,
    pub(crate) dir: TempDir,
    pub(crate) base_url: String,
    /// More settings of the provider's.
    pub(crate) provider_toml: String,
    plan_toml: String,
    /// Settings above the first section.
    settings_toml: String,
    /// More settings of the schedule's.
    pub(crate) schedule_toml: String,
    /// Who is told of what; usually not even of marks.
    pub(crate) alerts_toml: String,
    /// How long a request may take.
    pub(crate) timeout: &'static str,
    billing: Billing,
    context: Option<Arc<Context>>,
    starts: u64,
    boots: u32,
    _server: Option<JoinHandle<()>>,
}

/// Runs a test on one thread, as the daemon does.
pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// A VM that was linked two seconds after its boot, and has been sampled once.
pub(crate) async fn linked_at(at: &str, included: &str) -> Vm {
    let mut vm = Vm::booted_at(at, included).await;
    vm.start().await;
    vm.run(2 * SECOND);
    vm.link().await;
    vm.sample().await;
    vm
}

/// The same, billed by this way, on a subscription that began at this midnight.
pub(crate) async fn linked_by(billing: Billing, at: &str, included: &str) -> Vm {
    let mut vm = Vm::booted_by(billing, at, included).await;
    vm.start().await;
    vm.run(90 * SECOND);
    vm.link().await;
    vm.sample().await;
    vm
}

/// Pushes every few minutes, so that a period is ended and closed by two reads.
pub(crate) async fn settle(vm: &Vm) {
    for _ in 0..4 {
        vm.run(4 * MINUTE);
        vm.push_now().await.unwrap();
    }
}

impl Vm {
    /// A VM that has just booted, at a Stripe whose subscription was made at the same moment.
    pub(crate) async fn booted_at(at: &str, included: &str) -> Self {
        Self::booted_by(Billing::UsageRecords, at, included).await
    }

    /// The same, billed by this way.
    pub(crate) async fn booted_by(billing: Billing, at: &str, included: &str) -> Self {
        Self::anchored_by(billing, at, included, None).await
    }

    /// The same; where it is billed by meters, with this anchor of its subscription's periods, in unix seconds.
    pub(crate) async fn anchored_by(billing: Billing, at: &str, included: &str, anchor: Option<i64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::booted_at(Timestamp::parse(at).unwrap()));
        let world = Arc::new(ManualClock::booted_at(Timestamp::parse(at).unwrap()));
        let its_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&world);
        let its_clock = SandboxClock::following(its_clock);
        let stripe = Sandbox::open(&dir.path().join("stripe"), its_clock.clone()).unwrap();
        let lemon = (billing == Billing::LemonSqueezy)
            .then(|| LemonSqueezy::open(&dir.path().join("lemon"), its_clock).unwrap());
        let demo = match (billing, &lemon) {
            (Billing::Meters(formula, window), _) => seed_meter_demo(&stripe, formula, window, anchor).unwrap(),
            (_, None) => seed_demo(&stripe).unwrap(),
            (_, Some(lemon)) => lemon_demo(lemon),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let (serving, lemon_serving) = (stripe.clone(), lemon.clone());
        // One task that lives as long as the test's runtime.
        #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
        let server = tokio::spawn(async move {
            match lemon_serving {
                Some(lemon) => lemon.serve(listener, std::future::pending()).await,
                None => serving.serve(listener, std::future::pending()).await,
            }
        });
        let plan_toml = format!("[plans.pro]\nincluded = {{ {included} }}\n");
        let mut vm = Self {
            clock,
            world,
            stripe,
            lemon,
            demo,
            dir,
            base_url,
            provider_toml: String::new(),
            plan_toml,
            settings_toml: String::new(),
            schedule_toml: String::new(),
            alerts_toml: "allowance_at = []".to_owned(),
            timeout: "5s",
            billing,
            context: None,
            starts: 0,
            boots: 0,
            _server: Some(server),
        };
        vm.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        vm.write("sys/devices/system/cpu/online", "0-1\n");
        vm.new_boot();
        vm
    }

    /// A copy of the disk as it is now, booted in another machine beside this one. Its clock is the caller's to move.
    pub(crate) async fn copied_to(&self, machine_id: &str) -> Self {
        let mut copy = Self {
            clock: Arc::new(ManualClock::booted_at(self.now())),
            world: Arc::clone(&self.world),
            stripe: self.stripe.clone(),
            lemon: self.lemon.clone(),
            demo: self.demo.clone(),
            dir: tempfile::tempdir().unwrap(),
            base_url: self.base_url.clone(),
            plan_toml: self.plan_toml.clone(),
            provider_toml: self.provider_toml.clone(),
            settings_toml: self.settings_toml.clone(),
            schedule_toml: self.schedule_toml.clone(),
            alerts_toml: self.alerts_toml.clone(),
            timeout: self.timeout,
            billing: self.billing,
            context: None,
            starts: self.starts,
            boots: self.boots,
            _server: None,
        };
        for (path, bytes) in self.snapshot().await {
            std::fs::write(copy.dir.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
        copy.write("etc/machine-id", machine_id);
        copy.write("sys/devices/system/cpu/online", "0-1\n");
        copy.new_boot();
        copy.start().await;
        copy
    }

    /// A file of the machine's.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join("root").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Another boot id. The clock is the caller's to move.
    pub(crate) fn new_boot(&mut self) {
        self.boots += 1;
        let boot_id = format!("00000000-0000-4000-8000-{:012}\n", self.boots);
        self.write("proc/sys/kernel/random/boot_id", &boot_id);
    }

    /// The agent starts.
    pub(crate) async fn start(&mut self) {
        self.starts += 1;
        let config_file = self.dir.path().join("usaged.toml");
        let text = format!(
            "clock = \"auto\"\n{}[provider]\nkind = \"{}\"\nbase_url = \"{}\"\ntimeout = \"{}\"\n{}\
             [schedule]\nspread = \"0s\"\n{}\n[alerts]\n{}\n{}",
            self.settings_toml,
            self.kind(),
            self.base_url,
            self.timeout,
            self.provider_toml,
            self.schedule_toml,
            self.alerts_toml,
            self.plan_toml
        );
        std::fs::write(&config_file, text).unwrap();
        let paths = Paths {
            state: self.dir.path().to_owned(),
            runtime: self.dir.path().join("run"),
            config: config_file,
            reading: Reading::Named,
        };
        let variable = if self.billing == Billing::LemonSqueezy { "LEMONSQUEEZY_API_KEY" } else { "STRIPE_API_KEY" };
        let env = Environment::of(&[(variable, &self.demo.agent_key)], None);
        let config = config::load(&paths, &env).unwrap().config;
        let provider = Provider::new(&config.provider).unwrap();
        std::fs::create_dir_all(&paths.runtime).unwrap();
        store::set_aside_if_marked(&paths.database()).unwrap();
        let found = store::check(&paths.database(), Depth::Quick, Duration::from_mins(1)).unwrap();
        if let Soundness::Damaged(found) = found {
            jobs::recover(&paths.database(), found, self.clock.read().wall).unwrap();
        }
        let parts = Parts {
            store: Store::open(&paths.database()).unwrap(),
            clock: Arc::<ManualClock>::clone(&self.clock),
            machine: Machine { root: self.dir.path().join("root") },
            runtime_dir: paths.runtime,
            settings: Settings { config, provider },
            dice: fastrand::Rng::with_seed(self.starts),
        };
        self.context = Some(jobs::start(parts).await.unwrap());
    }

    /// The agent starts anew, with these settings and one more plan.
    pub(crate) async fn reconfigure(&mut self, settings: &str, plan: &str) {
        settings.clone_into(&mut self.settings_toml);
        self.plan_toml.push_str(plan);
        self.kill();
        self.start().await;
    }

    const fn kind(&self) -> &'static str {
        match self.billing {
            Billing::UsageRecords => "stripe-usage-records",
            Billing::Meters(..) => "stripe-meters",
            Billing::LemonSqueezy => "lemon-squeezy",
        }
    }

    /// The agent is killed: whatever it was doing is dropped where it stood.
    pub(crate) fn kill(&mut self) {
        self.context = None;
    }

    /// Whether the agent runs.
    pub(crate) const fn is_started(&self) -> bool {
        self.context.is_some()
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        self.context.as_ref().expect("the agent runs")
    }

    pub(crate) async fn link(&self) {
        self.try_link(LinkRequest::default()).await.unwrap();
    }

    /// Links to the demo's subscription, with whatever else the request says.
    pub(crate) async fn try_link(&self, request: LinkRequest) -> Result<(), JobError> {
        let request = LinkRequest {
            customer: self.demo.customer.clone(),
            subscription: self.demo.subscription.clone(),
            plan: request.plan.clone().or(Some("pro".into())),
            items: self.items_by_name(request.items.clone()),
            ..request
        };
        jobs::link(self.context(), &request, "uid:0").await.map(drop)
    }

    /// Prices of Lemon Squeezy have no lookup keys, so its items are named.
    fn items_by_name(&self, named: BTreeMap<String, String>) -> BTreeMap<String, String> {
        if self.billing != Billing::LemonSqueezy || !named.is_empty() {
            return named;
        }
        let demo = &self.demo;
        [("compute_hours", &demo.item_compute), ("api_credits", &demo.item_api)]
            .map(|(meter, item)| (meter.to_owned(), item.clone()))
            .into()
    }

    /// Makes something go wrong at whoever this VM is billed by.
    pub(crate) fn fault(&self, fault: Fault) {
        match &self.lemon {
            Some(lemon) => lemon.fault(fault),
            None => self.stripe.fault(fault),
        }
    }

    /// Nothing more goes wrong there.
    pub(crate) fn clear_faults(&self) {
        match &self.lemon {
            Some(lemon) => lemon.clear_faults(),
            None => self.stripe.clear_faults(),
        }
    }

    /// Faults that no request met yet.
    pub(crate) fn waiting_faults(&self) -> Vec<Fault> {
        match &self.lemon {
            Some(lemon) => lemon.waiting_faults(),
            None => self.stripe.waiting_faults(),
        }
    }

    /// What was asked there so far.
    pub(crate) fn requests(&self) -> Vec<LoggedRequest> {
        match &self.lemon {
            Some(lemon) => lemon.requests(),
            None => self.stripe.requests(),
        }
    }

    /// What stands on an item, period by period.
    pub(crate) fn totals(&self, item: &str) -> Vec<ItemTotal> {
        match &self.lemon {
            Some(lemon) => lemon.totals(item).unwrap(),
            None => self.stripe.totals(item).unwrap(),
        }
    }

    /// Time passes on a running machine.
    pub(crate) fn run(&self, micros: i64) {
        self.clock.run(micros);
        self.world.run(micros);
    }

    /// Time passes on a suspended machine.
    pub(crate) fn suspend(&self, micros: i64) {
        self.clock.suspend(micros);
        self.world.run(micros);
    }

    /// The machine is off for so long and boots again; the agent is started anew.
    pub(crate) async fn reboot(&mut self, off: i64) {
        self.boot(off);
        self.start().await;
    }

    /// The same, and the agent is not started yet.
    pub(crate) fn boot(&mut self, off: i64) {
        self.kill();
        self.clock.reboot(off);
        self.world.run(off);
        // The battery-backed clock was right all the time.
        self.clock.step_wall(self.now().since(self.clock.read().wall));
        self.new_boot();
    }

    /// Somebody writes to an item behind our back.
    pub(crate) async fn write_behind(&self, item: &str, quantity: i64, timestamp_s: i64) {
        let mut config = self.context().settings().config.provider.clone();
        config.key = Some(ApiKey { secret: self.demo.secret_key.clone().into(), from: "test".into() });
        let set = SetUsage {
            to: self.usage_records(item),
            quantity,
            timestamp_s,
            idempotency_key: format!("behind-{item}-{timestamp_s}-{quantity}"),
            identifier: String::new(),
        };
        let answer = Provider::new(&config).unwrap().set_usage(&set).await;
        assert_eq!(answer.value, Outcome::Accepted);
    }

    fn usage_records(&self, item: &str) -> Destination {
        let (item, customer) = (ItemId::new(item).unwrap(), CustomerId::new(&*self.demo.customer).unwrap());
        Destination { item, customer, channel: Channel::UsageRecords }
    }

    /// The operator's request to the provider.
    pub(crate) async fn operate(&self, path: &str, form: &[(&str, &str)]) -> Value {
        self.operate_in(self.version(), path, form).await
    }

    /// The same, in another version of the API.
    pub(crate) async fn operate_in(&self, version: &str, path: &str, form: &[(&str, &str)]) -> Value {
        stripe(&self.base_url, &self.demo.secret_key, version, "POST", path, form, "").await
    }

    /// The first version that knows all meters, where they are billed by.
    const fn version(&self) -> &'static str {
        match self.billing {
            Billing::UsageRecords | Billing::LemonSqueezy => PINNED_VERSION,
            Billing::Meters(..) => "2025-03-31.basil",
        }
    }

    /// The same, under this idempotency key.
    pub(crate) async fn operate_under(&self, key: &str, path: &str, form: &[(&str, &str)]) -> Value {
        let header = format!("Idempotency-Key: {key}\r\n");
        stripe(&self.base_url, &self.demo.secret_key, self.version(), "POST", path, form, &header).await
    }

    /// A request that Stripe was sent arrives, late or once more. Nobody hears the answer.
    pub(crate) async fn arrive(&self, request: &LoggedRequest) {
        let LoggedRequest { path, parameters, .. } = request;
        let version = request.stripe_version.as_deref().unwrap_or_default();
        let key = request.idempotency_key.as_deref().unwrap_or_default();
        let header = format!("Idempotency-Key: {key}\r\n");
        let (base_url, agent_key) = (&self.base_url, &self.demo.agent_key);
        exchange(base_url, agent_key, version, "POST", path, parameters, &header).await;
    }

    /// The operator deletes something at the provider.
    pub(crate) async fn take_away(&self, path: &str) {
        stripe(&self.base_url, &self.demo.secret_key, self.version(), "DELETE", path, &[], "").await;
    }

    /// The operator ends the subscription at once.
    pub(crate) async fn cancel(&self, form: &[(&str, &str)]) {
        let path = format!("/v1/subscriptions/{}", self.demo.subscription);
        stripe(&self.base_url, &self.demo.secret_key, self.version(), "DELETE", &path, form, "").await;
    }

    /// What status says.
    pub(crate) async fn status(&self) -> Status {
        let running = Running {
            since: self.now(),
            sandbox: false,
            next_push: None,
            next_reconcile: None,
            next_compact: None,
            next_look: None,
            paths: usaged::wire::PathsStatus::default(),
        };
        jobs::status(self.context(), running).await.unwrap()
    }

    /// What status says of a problem, if it stands.
    pub(crate) async fn problem(&self, code: &str) -> Option<Problem> {
        self.status().await.problems.into_iter().find(|problem| problem.code == code)
    }

    /// A copy of the disk as it is now: of one moment, so nothing moves from the log to the file meanwhile.
    pub(crate) async fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        if !self.is_started() {
            self.await_closed().await;
        }
        let files = ["usage.db", "usage.db-wal"].map(|name| self.dir.path().join(name));
        files.into_iter().filter_map(|path| std::fs::read(&path).ok().map(|bytes| (path, bytes))).collect()
    }

    /// The killed agent's threads close the old file on their own time, and delete its WAL by name before they do; where
    /// both close at once, neither does.
    async fn await_closed(&self) {
        let closed = Instant::now() + Duration::from_secs(20);
        while self.holds_database_open() {
            assert!(Instant::now() < closed, "the killed agent still holds usage.db open");
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }

    /// The disk as it was then; the agent is started on it.
    pub(crate) async fn restore(&mut self, snapshot: &[(PathBuf, Vec<u8>)]) {
        self.put_back(snapshot).await;
        self.start().await;
    }

    /// The disk as it was then; the agent is not started yet.
    pub(crate) async fn put_back(&mut self, snapshot: &[(PathBuf, Vec<u8>)]) {
        self.kill();
        self.await_closed().await;
        for name in ["usage.db", "usage.db-wal", "usage.db-shm"] {
            drop(std::fs::remove_file(self.dir.path().join(name)));
        }
        for (path, bytes) in snapshot {
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// The agent is killed, something happens to the file, which is whole but for that, and it is started again.
    pub(crate) async fn damage(&mut self, how: impl FnOnce(&Path)) {
        self.kill();
        self.await_closed().await;
        let path = self.dir.path().join("usage.db");
        // The last connection puts the log into the file.
        rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        how(&path);
        self.start().await;
    }

    fn holds_database_open(&self) -> bool {
        let database = self.dir.path().join("usage.db");
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|path| path == database)
    }

    pub(crate) async fn sample(&self) {
        jobs::sample(self.context()).await.unwrap();
    }

    /// The push that the schedule activates.
    pub(crate) async fn push(&self) -> Result<Pushed, JobError> {
        jobs::push(self.context(), "schedule", Which::Scheduled).await
    }

    /// The push that somebody asks for, at once.
    pub(crate) async fn push_now(&self) -> Result<Pushed, JobError> {
        jobs::push(self.context(), "sync", Which::Now).await
    }

    /// A push that is killed after it was polled so often, and the agent's next start. Returns whether it got to its end.
    pub(crate) async fn push_killed_after(&mut self, polls: u32) -> bool {
        let context = Arc::clone(self.context());
        let finished = {
            let push = jobs::push(&context, "schedule", Which::Scheduled);
            polled(Box::pin(push), polls).await.is_some()
        };
        drop(context);
        self.kill();
        self.start().await;
        finished
    }

    /// Records credits and says what became of them.
    pub(crate) async fn record(&self, id: &str, credits: i64) -> Verdict {
        self.try_record(id, credits).await.unwrap()
    }

    pub(crate) async fn try_record(&self, id: &str, credits: i64) -> Result<Verdict, JobError> {
        let credit = NewCredit {
            meter: MeterName::new("api_credits").unwrap(),
            source: SourceName::of_uid(1_000),
            id: id.to_owned(),
            quantity: Micros::from_units(credits).unwrap(),
            at: None,
            uid: 1_000,
        };
        Ok(jobs::record(self.context(), vec![credit]).await?.remove(0))
    }

    pub(crate) async fn void(&self, id: &str) {
        let void = Void {
            meter: MeterName::new("api_credits").unwrap(),
            source: SourceName::of_uid(1_000),
            id: id.to_owned(),
            because: "a mistake".to_owned(),
            uid: 0,
        };
        jobs::void(self.context(), void).await.unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.world.read().wall
    }

    /// What stands at the provider on an item in the current period.
    pub(crate) fn stands(&self, item: &str) -> i64 {
        if let Some(lemon) = &self.lemon {
            return lemon.total(item, self.now()).unwrap();
        }
        if let Some(meter) = self.meter_of(item) {
            let period = self.stripe.totals(item).unwrap().remove(0);
            return self.stripe.meter_total(meter, &self.demo.customer, period.from, period.to).unwrap();
        }
        self.stripe.total(item, self.now()).unwrap()
    }

    /// The meter that an item's price is on.
    pub(crate) fn meter_of(&self, item: &str) -> Option<&str> {
        if item == self.demo.item_api { self.demo.meter_api.as_deref() } else { self.demo.meter_compute.as_deref() }
    }

    /// What the ledger says should stand, by meter, in the open period.
    pub(crate) async fn targets(&self) -> BTreeMap<String, i64> {
        let report = jobs::sync(self.context(), &SyncRequest::default()).await.unwrap();
        let open = report.lines.into_iter().filter(|line| line.state == "open");
        open.map(|line| (line.meter, line.target)).collect()
    }

    /// Units that were billed for an item, invoice by invoice, but for the one that the subscription began with.
    pub(crate) fn invoiced_units(&self, item: &str) -> Vec<i64> {
        if self.lemon.is_some() {
            let mut totals = self.totals(item);
            totals.retain(|total| total.invoice.is_some());
            totals.sort_by_key(|total| total.from);
            return totals.into_iter().map(|total| total.total).collect();
        }
        let mut invoices = self.stripe.invoices(&self.demo.subscription).unwrap();
        invoices.retain(|invoice| invoice["billing_reason"] != "subscription_create");
        invoices.sort_by_key(|invoice| invoice["created"].as_i64());
        let of_item =
            |line: &&Value| line["subscription_item"] == item && line["price"]["recurring"]["usage_type"] == "metered";
        invoices
            .iter()
            .filter_map(|invoice| {
                let lines = invoice["lines"]["data"].as_array().unwrap();
                let units = lines.iter().filter(of_item).map(|line| line["quantity"].as_i64().unwrap());
                units.reduce(|all, units| all + units)
            })
            .collect()
    }

    /// Rule R7: every closed period balances.
    pub(crate) async fn assert_books(&self) {
        let found = self.context().store.read(|c| outbox::imbalances(c, Timestamp::from_micros(0))).await.unwrap();
        assert_eq!(found, [], "the books do not balance");
    }

    /// What `status` says needs someone, or is good to know; but not that time passed without a sample, as it does here, or
    /// that attempts were refused lately, as they are to be.
    pub(crate) async fn problems(&self) -> Vec<Problem> {
        let running = Running {
            since: self.now(),
            sandbox: true,
            next_push: None,
            next_reconcile: None,
            next_compact: None,
            next_look: None,
            paths: usaged::wire::PathsStatus::default(),
        };
        let mut problems = jobs::status(self.context(), running).await.unwrap().problems;
        problems.retain(|problem| problem.code != "no_sample" && problem.code != "sync_unreliable");
        problems
    }

    /// The key, and identifier, under which the next total of API credits will leave.
    pub(crate) async fn next_key(&self) -> String {
        let sql = "SELECT item || ':' || period_from_s || ':' || (revision + 1) || ':' ||
                          (SELECT token FROM generation ORDER BY id DESC LIMIT 1)
                   FROM usage_record WHERE meter = 'api_credits' ORDER BY period_from_s LIMIT 1";
        self.context()
            .store
            .read(move |c| Ok::<String, StoreError>(c.query_row(sql, [], |row| row.get(0))?))
            .await
            .unwrap()
    }

    /// One number from the ledger.
    pub(crate) async fn ask(&self, sql: &'static str) -> i64 {
        self.context()
            .store
            .read(move |c| Ok::<i64, StoreError>(c.query_row(sql, [], |row| row.get(0))?))
            .await
            .unwrap()
    }
}

/// Lemon Squeezy's demo in the words of Stripe's.
fn lemon_demo(lemon: &LemonSqueezy) -> Demo {
    let demo = seed_lemon_squeezy_demo(lemon).unwrap();
    Demo {
        agent_key: demo.key.clone(),
        secret_key: demo.key,
        customer: demo.customer,
        subscription: demo.subscription,
        item_base: String::new(),
        item_compute: demo.item_compute,
        item_api: demo.item_api,
        item_seconds: String::new(),
        prices: demo.prices,
        meter_api: None,
        meter_compute: None,
    }
}

/// Polls a future so often at most; `None` where it was dropped before its end.
pub(crate) async fn polled<T>(mut future: Pin<Box<impl Future<Output = T>>>, polls: u32) -> Option<T> {
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// One form-encoded request to the sandbox, as any Stripe client would send it.
async fn stripe(
    base_url: &str,
    key: &str,
    version: &str,
    method: &str,
    path: &str,
    form: &[(&str, &str)],
    header: &str,
) -> Value {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let answer = exchange(base_url, key, version, method, path, &body, header).await;
    let (head, json) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    serde_json::from_str(json).unwrap()
}

/// The same, of an encoded form; the whole answer.
async fn exchange(
    base_url: &str,
    key: &str,
    version: &str,
    method: &str,
    path: &str,
    body: &str,
    header: &str,
) -> String {
    let address = base_url.trim_start_matches("http://");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nStripe-Version: {version}\r\n{header}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
