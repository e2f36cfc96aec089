//! Plays a month on a VM: whatever is due next, in virtual time, until everything has come to rest.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use usaged::clock::Clock;
use usaged::clock::trust::Placement;
use usaged::fuse::Fuse;
use usaged::jobs::{self, Because, JobError, Pushed, Which};
use usaged::ledger::credits::{NewCredit, Verdict};
use usaged::ledger::voids::Void;
use usaged::model::{Event, Micros, SourceName, Subject, Timestamp, micros_of};
use usaged::sandbox::lemon_squeezy::{self, Zero};
use usaged::sandbox::{Behaviour, Effect, Fault, ItemTotal, LoggedRequest, SwappedUsage};
use usaged::store::{StoreError, Tx};
use usaged::wire::{LinkRequest, ReconcileRequest, ReleaseRequest};

use crate::books::Books;
use crate::calendar::{BEGINS, Happening, Month, On, What};
use crate::truth::{BOTH, Known, Meter, PERIODS, Rate, Truth};
use crate::vm::{Billing, DAY, HOUR, MINUTE, SECOND, Vm};

/// So long everything is left in peace at the end: longer than the provider remembers keys.
const PEACE: i64 = 30 * HOUR;
/// An application that was not answered asks again after this long.
const ASK_AGAIN: i64 = 7 * MINUTE;
/// A person looks at what is held this often.
const LOOKED_AFTER: i64 = 9 * HOUR;

/// The provider tells of the subscription this often.
const TOLD: i64 = 31 * HOUR;

/// So long after a swap it has been noticed, and all that was sent before shows (rule R5).
const TOLD_APART: i64 = 12 * HOUR;

/// A request on its way arrives this late at most where the machine was off meanwhile.
const KEPT_BY_NETWORK: i64 = 10 * MINUTE;

/// So long after its period's end an invoice is certainly final.
const DRAFT: i64 = 65 * MINUTE;

/// More pushes than an hour has reasons for.
const SPINS: u32 = 250;

const ANOTHER_MACHINE: &str = "fedcba9876543210fedcba9876543210\n";

/// The files of a disk.
type Disk = Vec<(PathBuf, Vec<u8>)>;

/// Something that is due.
#[derive(Debug, Clone)]
enum Deed {
    Happens(What),
    Ask(u32),
    TakeBack(u32),
    AgentStarts,
    OutageEnds,
    ClockRight,
    DiskHasRoom,
    /// A request comes late, or again.
    Arrives(Box<LoggedRequest>),
    PlanChange(usize),
    Reconcile,
    Compact,
    /// An event comes, and customer and invoices are looked at.
    Look,
    Release,
    Peace,
}

/// An order that an application has not been told about yet.
#[derive(Debug, Clone, Copy)]
struct Order {
    credits: i64,
    /// When it was used, where that is said.
    at: Option<i64>,
}

/// What became of a price's swap.
#[derive(Debug, Clone, Copy)]
struct Swap {
    at: i64,
    /// Credits that stay at the old price, where the item began anew.
    at_old_price: Option<i64>,
    /// Whether the ledger has not known of it yet.
    is_unnoticed: bool,
    /// Whether the operator was answered in its period, once that could be told.
    could_settle: bool,
}

pub(crate) struct World {
    pub(crate) vm: Vm,
    pub(crate) truth: Truth,
    pub(crate) month: Month,
    pub(crate) books: Books,
    fuse: Arc<Fuse>,
    due: BTreeMap<(i64, u32), Deed>,
    count: u32,
    orders: BTreeMap<u32, Order>,
    /// How long the agent is down after it was killed.
    down_us: i64,
    next_sample: i64,
    next_push: i64,
    wish: i64,
    /// Pushes in a row that stopped early.
    failures: u32,
    snapshot: Option<(Disk, Known)>,
    disk_is_full: bool,
    outages: u32,
    /// Faults that waited for a request when it was last looked whether one met them.
    waiting: Vec<Fault>,
    /// When the peace is over.
    ends: i64,
    /// Since when, and how often, it was pushed within an hour.
    pushes: (i64, u32),
    /// How late the request arrives that is cut next.
    late_us: Option<i64>,
    /// Whether this boot's clock is wrong, and nobody has told the agent the time yet.
    is_astray: bool,
    /// Whether the provider has told it in this boot.
    has_date: bool,
    swap: Option<Swap>,
    /// The plan of the last link that was answered.
    linked_by: usize,
}

impl World {
    /// Plays it to its end; panics where something is wrong.
    pub(crate) async fn play(month: Month) {
        let mut world = Self::begin(month).await;
        while let Some(at) = world.next() {
            world.pass(at);
            world.do_what_is_due().await;
        }
        world.push("sync", Which::Now).await;
        Books::at_rest(&world).await;
    }

    async fn begin(month: Month) -> Self {
        fastrand::seed(month.seed);
        let fuse = Fuse::light();
        let [pro, team] = month.plans;
        let included = format!(
            "compute_hours = {}, api_credits = {} }}\n[plans.team]\ncurrency = \"eur\"\n\
             included = {{ compute_hours = {}, api_credits = {} }}\n[plans.team.overage]\n\
             compute_hours = {{ price = \"price_compute_overage_pro\", unit_amount = \"0.04\" }}\n\
             api_credits = {{ price = \"price_api_overage\", unit_amount = \"0.01\"",
            pro[0], pro[1], team[0], team[1]
        );
        let included = format!("{included} }}\n[meters.compute_hours]\nsource = \"{}\"\n#", month.source);
        let anchor = Timestamp::parse(BEGINS).unwrap().micros() + month.ends;
        let anchor = month.is_anchored.then(|| anchor.div_euclid(SECOND));
        let mut vm = Vm::anchored_by(month.billing, BEGINS, &included, anchor).await;
        vm.schedule_toml = format!("sample_every = \"{}s\"\n", month.sample_every.div_euclid(SECOND));
        behave(&vm, &month);
        vm.write("proc/stat", &stat(0));
        vm.start().await;
        let begins = vm.now().micros();
        vm.run(90 * SECOND);
        vm.write("proc/stat", &stat(90 * SECOND));
        let single_writer = month.single_writer;
        vm.try_link(LinkRequest { single_writer, ..LinkRequest::default() }).await.unwrap();
        vm.sample().await;
        let now = vm.now().micros();
        let ItemTotal { from, to, .. } = vm.totals(&vm.demo.item_api).remove(0);
        let bounds = vec![from.micros(), to.micros(), to.micros() + 31 * DAY];
        let mut world = Self {
            truth: Truth::begins(bounds, now, pro, rate(month.source)),
            books: Books::default(),
            fuse,
            due: BTreeMap::new(),
            count: 0,
            orders: BTreeMap::new(),
            down_us: 0,
            next_sample: now + month.sample_every,
            next_push: now,
            wish: i64::MAX,
            failures: 0,
            snapshot: None,
            disk_is_full: false,
            outages: 0,
            waiting: Vec::new(),
            ends: i64::MAX,
            pushes: (0, 0),
            late_us: None,
            is_astray: false,
            has_date: false,
            swap: None,
            linked_by: 0,
            vm,
            month,
        };
        for Happening { at, what } in world.month.happenings.clone() {
            world.plan(begins + at, Deed::Happens(what));
        }
        world.plan(begins + LOOKED_AFTER, Deed::Release);
        world.plan(begins + 29 * HOUR + 15 * MINUTE, Deed::Reconcile);
        world.plan(begins + 27 * HOUR + 30 * MINUTE, Deed::Compact);
        world.plan(begins + TOLD, Deed::Look);
        world.plan(begins + world.month.rests(), Deed::Peace);
        world
    }

    pub(crate) fn now(&self) -> i64 {
        self.vm.now().micros()
    }

    fn plan(&mut self, at: i64, deed: Deed) {
        self.count += 1;
        self.due.insert((at, self.count), deed);
    }

    pub(crate) const fn agent_runs(&self) -> bool {
        self.vm.is_started()
    }

    // Time.

    /// When something is due next; nothing once the peace is over.
    fn next(&self) -> Option<i64> {
        let deed = self.due.keys().next().map(|(at, _)| *at);
        let by_agent = [self.next_sample, self.next_push, self.wish].into_iter().min().filter(|_| self.agent_runs());
        let next = deed.into_iter().chain(by_agent).min()?;
        (next < self.ends).then_some(next)
    }

    fn pass(&self, until: i64) {
        let passes = until - self.now();
        if passes > 0 {
            self.vm.run(passes);
        }
        if self.month.source == "cpu" {
            self.vm.write("proc/stat", &stat(self.vm.clock.read().monotonic_us));
        }
    }

    async fn do_what_is_due(&mut self) {
        let now = self.now();
        if let Some(((at, _), _)) = self.due.first_key_value()
            && *at <= now
            && let Some(((at, _), deed)) = self.due.pop_first()
        {
            // While the machine was off or asleep nothing was carried out; no network keeps a request for so long.
            let is_lost = matches!(deed, Deed::Arrives(_)) && now - at > KEPT_BY_NETWORK;
            if !is_lost {
                self.carry_out(deed).await;
            }
            return;
        }
        if self.wish <= now {
            self.push("retry", Which::Due).await;
        } else if self.next_push <= now {
            self.next_push = now + self.month.push_every;
            self.push("schedule", Which::Scheduled).await;
        } else if self.next_sample <= now {
            self.sample().await;
        }
    }

    async fn carry_out(&mut self, deed: Deed) {
        match deed {
            Deed::Happens(what) => self.happens(what).await,
            Deed::Ask(id) => self.ask(id).await,
            Deed::TakeBack(id) => self.take_back(id).await,
            Deed::AgentStarts => self.agent_starts().await,
            Deed::OutageEnds => self.outage_ends(),
            Deed::ClockRight => self.clock_right(),
            Deed::DiskHasRoom => self.disk_has_room().await,
            Deed::Arrives(request) => self.arrives(&request).await,
            Deed::PlanChange(plan) => self.change_plan(plan).await,
            Deed::Reconcile => {
                self.reconcile().await;
                self.plan(self.now() + DAY, Deed::Reconcile);
            }
            Deed::Compact => {
                self.compact().await;
                self.plan(self.now() + DAY, Deed::Compact);
            }
            Deed::Look => {
                self.look().await;
                self.plan(self.now() + TOLD, Deed::Look);
            }
            Deed::Release => {
                self.release().await;
                self.plan(self.now() + LOOKED_AFTER, Deed::Release);
            }
            Deed::Peace => self.peace().await,
        }
    }

    async fn happens(&mut self, what: What) {
        let now = self.now();
        match what {
            What::Order { id, credits, ago } => {
                self.orders.insert(id, Order { credits, at: ago.map(|ago| now - ago) });
                self.ask(id).await;
            }
            What::TakenBack { id } => self.take_back(id).await,
            What::Fault { on, effect, times } => {
                let (tells, reads) = self.month.billing.paths();
                let fault = Fault::next(effect).times(times);
                self.vm.fault(match on {
                    On::Telling => fault.on("POST", tells),
                    On::Reading => fault.on("GET", reads),
                    On::Any => fault,
                });
                self.books.trouble(now);
            }
            What::Outage { for_us } => self.goes_offline(for_us),
            What::Killed { operations, down_us } => {
                self.down_us = down_us;
                self.fuse.shorten(operations);
            }
            What::Stopped { down_us } => self.stop(down_us).await,
            What::Reboot { in_order, off_us, late_us } => {
                // Placed by a wrong clock, usage may be billed in another period, or not at all (rule M5).
                if !self.is_astray {
                    self.reboot(in_order, off_us, late_us).await;
                }
            }
            What::Suspended { for_us } => self.suspend(for_us),
            What::BootAstray { off_us, wrong_by_us, offline_us } => self.boot_astray(off_us, wrong_by_us, offline_us),
            What::ClockStep { by_us, for_us } => self.step_clock(by_us, for_us),
            // What waits for a place when its boot ends is placed by its own wrong clock (rule M5).
            What::Snapshot if self.is_astray => {}
            What::Snapshot => self.snapshot = Some((self.vm.snapshot().await, self.truth.known(now))),
            What::Restore { off_us } => self.restore(off_us).await,
            What::Clone => self.clone_boots().await,
            What::DiskFull { for_us } => {
                self.fill_disk().await;
                self.plan(now + for_us, Deed::DiskHasRoom);
            }
            What::Cpus { count } => self.change_cpus(count),
            What::PlanChange { plan } => self.change_plan(plan).await,
            What::Swap { plan, linked_after_us } => {
                self.swap_price().await;
                self.plan(now + linked_after_us, Deed::PlanChange(plan));
            }
            What::Duplicate { after_us } => {
                // So long after it was sent: no network keeps a request for hours.
                let arrives = |last: &LoggedRequest| last.at.micros() + after_us;
                let comes_again = |last: &LoggedRequest| last.status < 300 && arrives(last) > now;
                if let Some(last) = self.last_told().filter(comes_again) {
                    self.plan(arrives(&last), Deed::Arrives(Box::new(last)));
                }
            }
            What::Late { after_us } => {
                self.late_us = Some(after_us);
                let (tells, _) = self.month.billing.paths();
                self.vm.fault(Fault::next(Effect::CutBeforeCommit).on("POST", tells));
                self.books.trouble(now);
            }
        }
    }

    // The agent.

    /// Does it, unless the process is killed meanwhile.
    async fn alive<T>(&mut self, job: impl Future<Output = T>) -> Option<T> {
        let fuse = Arc::clone(&self.fuse);
        let done = tokio::select! {
            biased;
            done = job => Some(done),
            () = fuse.burned() => None,
        };
        if done.is_none() {
            self.dies();
        }
        done
    }

    fn dies(&mut self) {
        self.vm.kill();
        self.fuse = Fuse::light();
        self.books.trouble(self.now());
        self.plan(self.now() + self.down_us, Deed::AgentStarts);
    }

    async fn sample(&mut self) {
        self.next_sample = self.now() + self.month.sample_every;
        let knew = self.knows_time();
        let context = Arc::clone(self.vm.context());
        match self.alive(jobs::sample(&context)).await {
            Some(Ok(_)) => {
                self.truth.sampled(self.now());
                self.is_astray &= !knew;
            }
            Some(Err(_)) => self.books.trouble(self.now()),
            None => self.truth.perhaps_sampled(self.now()),
        }
    }

    async fn push(&mut self, because: &'static str, which: Which) {
        let now = self.now();
        self.wish = i64::MAX;
        self.does_not_spin(now);
        let knew = self.knows_time();
        let context = Arc::clone(self.vm.context());
        let pushed = self.alive(Box::pin(jobs::push(&context, because, which.clone()))).await;
        drop(context);
        self.look_for_faults();
        // Looking at the books is nothing that the agent does.
        let left = self.fuse.left();
        self.fuse.shorten(u64::MAX);
        self.is_astray &= !(knew && matches!(pushed, Some(Ok(_))));
        self.note_push(now, which, pushed).await;
        self.fuse.shorten(left);
    }

    /// Whether the provider has told this boot's agent the time. What waited for that is placed when it samples next.
    fn knows_time(&self) -> bool {
        let context = self.vm.context();
        matches!(context.placement(self.vm.clock.read(), None), Placement::Known { .. })
    }

    fn does_not_spin(&mut self, now: i64) {
        let (since, count) = self.pushes;
        self.pushes = if now - since > HOUR { (now, 1) } else { (since, count + 1) };
        assert!(count < SPINS, "{count} pushes since {}", Timestamp::from_micros(since));
    }

    async fn note_push(&mut self, now: i64, which: Which, pushed: Option<Result<Pushed, JobError>>) {
        match pushed {
            Some(Ok(pushed)) => {
                self.failures = 0;
                self.truth.sampled(now);
                self.has_date = self.knows_time();
                self.wish = pushed.next.map_or(i64::MAX, |at| at.micros().max(now + SECOND));
                Books::after_push(self, which, &pushed).await;
            }
            Some(Err(error)) => {
                self.truth.perhaps_sampled(now);
                self.books.trouble(now);
                let wait = self.vm.context().retry_delay(self.failures);
                self.failures += 1;
                self.wish = now + micros_of(wait).max(SECOND);
                Books::after_failure(self, &error).await;
            }
            None => {
                self.truth.perhaps_sampled(now);
                Books::never_above(self).await;
            }
        }
    }

    fn look_for_faults(&mut self) {
        let waiting = self.vm.waiting_faults();
        let met = waiting != self.waiting;
        self.waiting = waiting;
        if met || self.outages > 0 {
            self.books.trouble(self.now());
        }
        let cut = |request: &LoggedRequest| request.fault == Some(Effect::CutBeforeCommit);
        if met
            && let Some(after_us) = self.late_us
            && let Some(last) = self.last_told().filter(cut)
        {
            self.late_us = None;
            self.plan(last.at.micros() + after_us, Deed::Arrives(Box::new(last)));
        }
    }

    async fn agent_starts(&mut self) {
        if self.agent_runs() {
            return;
        }
        let fuse = Arc::clone(&self.fuse);
        let started = tokio::select! {
            biased;
            () = self.vm.start() => true,
            () = fuse.burned() => false,
        };
        if !started {
            return self.dies();
        }
        if self.disk_is_full {
            self.fill_disk().await;
        }
        let now = self.now();
        self.books.trouble(now);
        self.failures = 0;
        (self.next_sample, self.next_push) = (now, now);
    }

    async fn stop(&mut self, down_us: i64) {
        if !self.agent_runs() {
            return;
        }
        self.sample().await;
        self.note_stop(false).await;
        self.vm.kill();
        self.books.trouble(self.now());
        self.plan(self.now() + down_us, Deed::AgentStarts);
    }

    async fn note_stop(&mut self, system: bool) {
        if !self.agent_runs() {
            return;
        }
        let context = Arc::clone(self.vm.context());
        // A database that does not take it makes no difference to what is billed.
        drop(self.alive(jobs::note_stop(&context, system)).await);
    }

    async fn reboot(&mut self, in_order: bool, off_us: i64, late_us: i64) {
        if in_order && self.agent_runs() {
            self.sample().await;
            self.note_stop(true).await;
        }
        self.goes_down(off_us);
        self.plan(self.now() + late_us, Deed::AgentStarts);
    }

    /// Off and on again.
    fn goes_down(&mut self, off_us: i64) {
        self.truth.goes_down(self.now());
        self.vm.boot(off_us);
        self.truth.comes_up(self.now());
        self.books.trouble(self.now());
        self.fuse = Fuse::light();
        self.has_date = false;
    }

    fn suspend(&mut self, for_us: i64) {
        let from = self.now();
        self.vm.suspend(for_us);
        self.truth.suspended(from, self.now());
        self.books.trouble(self.now());
    }

    /// Two changes between two readings nobody could see.
    fn change_cpus(&mut self, count: i64) {
        if self.truth.has_seen_cpus() {
            self.vm.write("sys/devices/system/cpu/online", &format!("0-{}\n", count - 1));
            self.truth.cpus_changed(self.now(), count);
        }
    }

    fn outage_ends(&mut self) {
        self.outages = self.outages.saturating_sub(1);
        if self.outages == 0 {
            self.vm.clear_faults();
        }
        self.books.trouble(self.now());
    }

    fn boot_astray(&mut self, off_us: i64, wrong_by_us: i64, offline_us: i64) {
        if self.is_astray {
            return;
        }
        self.goes_down(off_us);
        self.vm.clock.step_wall(wrong_by_us);
        self.is_astray = true;
        let now = self.now();
        self.goes_offline(offline_us);
        self.plan(now + offline_us, Deed::ClockRight);
        self.plan(now, Deed::AgentStarts);
    }

    /// Where a boot has seen no date yet, its usage would be placed by a wrong clock (rule M5).
    fn step_clock(&mut self, by_us: i64, for_us: i64) {
        if self.has_date && !self.is_astray {
            self.vm.clock.step_wall(by_us);
            self.plan(self.now() + for_us, Deed::ClockRight);
            self.books.trouble(self.now());
        }
    }

    fn clock_right(&mut self) {
        self.vm.clock.step_wall(self.vm.now().since(self.vm.clock.read().wall));
        self.books.trouble(self.now());
    }

    fn goes_offline(&mut self, for_us: i64) {
        self.outages += 1;
        self.vm.fault(Fault::next(Effect::CutBeforeCommit).times(1_000_000));
        self.plan(self.now() + for_us, Deed::OutageEnds);
        self.books.trouble(self.now());
    }

    /// The disk as it was then, in the same machine. Not over a change of plan, which whoever put it back would repeat.
    async fn restore(&mut self, off_us: i64) {
        let Some((disk, known)) = self.snapshot.take() else { return };
        if self.is_astray || self.truth.plan_differs_since(&known) {
            return;
        }
        self.goes_down(off_us);
        self.vm.put_back(&disk).await;
        self.truth.forgets(&known, self.now());
        self.plan(self.now() + MINUTE, Deed::AgentStarts);
    }

    /// Rule S11: it sends nothing.
    async fn clone_boots(&mut self) {
        let (left, stood) = (self.fuse.left(), BOTH.map(|meter| self.in_all(meter)));
        self.fuse.shorten(u64::MAX);
        let copy = self.vm.copied_to(ANOTHER_MACHINE).await;
        let sent = copy.ask("SELECT count(*) FROM delivery").await;
        copy.record("on-the-copy", 1_000).await;
        drop(copy.push_now().await);
        assert_eq!(copy.ask("SELECT count(*) FROM delivery").await, sent, "a clone sends nothing");
        assert_eq!(BOTH.map(|meter| self.in_all(meter)), stood, "a clone changes nothing");
        self.fuse.shorten(left);
    }

    /// The database may not grow.
    async fn fill_disk(&mut self) {
        self.disk_is_full = true;
        self.books.trouble(self.now());
        self.limit_pages(1).await;
    }

    async fn disk_has_room(&mut self) {
        if std::mem::take(&mut self.disk_is_full) {
            self.books.trouble(self.now());
            self.limit_pages(0x3fff_ffff).await;
        }
    }

    async fn limit_pages(&self, most: u32) {
        if !self.agent_runs() {
            return;
        }
        let left = self.fuse.left();
        self.fuse.shorten(u64::MAX);
        let sql = format!("PRAGMA max_page_count = {most}");
        let limit = move |tx: &Tx<'_>| Ok::<i64, StoreError>(tx.query_row(&sql, [], |row| row.get(0))?);
        self.vm.context().store.write(limit).await.unwrap();
        self.fuse.shorten(left);
    }

    fn last_told(&self) -> Option<LoggedRequest> {
        let (tells, _) = self.month.billing.paths();
        let end = tells.rsplit('/').next().unwrap();
        let told = |request: &LoggedRequest| request.method == "POST" && request.path.ends_with(end);
        // At Lemon Squeezy what was cut arrives late by itself.
        self.vm.requests().into_iter().rev().find(told).filter(|_| self.vm.lemon.is_none())
    }

    /// Not once the invoice is final: the event would be counted, and billed by nobody.
    async fn arrives(&mut self, request: &LoggedRequest) {
        let is_final = self.truth.period(0).1 + DRAFT;
        if request.at.micros() < is_final && self.now() >= is_final {
            return;
        }
        self.vm.arrive(request).await;
        self.books.trouble(self.now());
        let left = self.fuse.left();
        self.fuse.shorten(u64::MAX);
        Books::never_above(self).await;
        self.fuse.shorten(left);
    }

    /// The operator links anew, by another plan, until it is done.
    async fn change_plan(&mut self, plan: usize) {
        let now = self.now();
        let linked = if self.agent_runs() { self.link(plan).await } else { Some(false) };
        let included = self.month.plans[plan];
        self.books.trouble(now);
        let is_in_period = self.truth.period_at(now) == 0;
        if let Some(swap) = &mut self.swap {
            swap.could_settle |= is_in_period && now - swap.at > TOLD_APART && linked == Some(true);
        }
        match linked {
            Some(true) => {
                self.linked_by = plan;
                return self.truth.plan_changed(now, included, true);
            }
            Some(false) => {}
            None => self.truth.plan_changed(now, included, false),
        }
        self.plan(now + ASK_AGAIN, Deed::PlanChange(plan));
    }

    /// The operator's own requests meet no faults.
    async fn swap_price(&mut self) {
        let faults = self.vm.waiting_faults();
        self.vm.clear_faults();
        let mut price = vec![
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount", "2"),
            ("recurring[interval]", "month"),
            ("recurring[usage_type]", "metered"),
        ];
        let meter = self.vm.demo.meter_api.clone();
        price.extend(meter.as_deref().map(|meter| ("recurring[meter]", meter)));
        let made = self.vm.operate("/v1/prices", &price).await;
        let item = format!("/v1/subscription_items/{}", self.vm.demo.item_api);
        let stood = self.stands(Meter::Credits, 0);
        self.vm.operate(&item, &[("price", made["id"].as_str().unwrap())]).await;
        let at_old_price = match self.month.swapped {
            SwappedUsage::AtNewPrice => None,
            SwappedUsage::AtOldPrice => Some(stood),
            SwappedUsage::Dropped => Some(0),
        };
        let is_unnoticed = at_old_price.is_some();
        self.swap = Some(Swap { at: self.now(), at_old_price, is_unnoticed, could_settle: false });
        for fault in faults {
            self.vm.fault(fault);
        }
        self.books.trouble(self.now());
    }

    /// Rule R5: what nobody settled before the period ended is listed.
    pub(crate) const fn is_unsettled(&self) -> bool {
        matches!(self.swap, Some(Swap { could_settle: false, .. }))
    }

    pub(crate) const fn swap_is_known(&mut self) {
        if let Some(swap) = &mut self.swap {
            swap.is_unnoticed = false;
        }
    }

    /// Rule R5: what is billed at the old price is told once more at the new one, until the swap is noticed and settled.
    pub(crate) fn at_unnoticed_price(&self, meter: Meter) -> i64 {
        let unnoticed = self.swap.filter(|swap| swap.is_unnoticed && meter == Meter::Credits);
        unnoticed.and_then(|swap| swap.at_old_price).unwrap_or(0)
    }

    async fn link(&mut self, plan: usize) -> Option<bool> {
        let items = BOTH.map(|meter| (meter.name().to_owned(), self.item(meter).to_owned())).into();
        let request = LinkRequest {
            customer: self.vm.demo.customer.clone(),
            subscription: self.vm.demo.subscription.clone(),
            plan: Some(["pro", "team"][plan].to_owned()),
            items,
            single_writer: self.month.single_writer,
            ..LinkRequest::default()
        };
        let context = Arc::clone(self.vm.context());
        let linked = self.alive(jobs::link(&context, &request, "uid:0")).await?;
        Some(linked.is_ok())
    }

    async fn reconcile(&mut self) {
        if self.agent_runs() {
            let context = Arc::clone(self.vm.context());
            // What cannot be read is compared another day.
            let request = ReconcileRequest::default();
            drop(self.alive(Box::pin(jobs::reconcile(&context, "schedule", &request))).await);
            self.look_for_faults();
        }
    }

    async fn compact(&mut self) {
        if self.agent_runs() {
            let context = Arc::clone(self.vm.context());
            drop(self.alive(jobs::compact(&context, "schedule")).await);
        }
    }

    /// The event comes again and again until it is taken, as a look that failed.
    async fn look(&mut self) {
        if !self.agent_runs() {
            return;
        }
        let demo = &self.vm.demo;
        let event = Event {
            id: format!("evt_{}", self.count),
            kind: "customer.subscription.updated".to_owned(),
            subject: Some(Subject::Subscription),
            object: demo.subscription.clone(),
            customer: Some(demo.customer.clone()),
            subscription: Some(demo.subscription.clone()),
        };
        let context = Arc::clone(self.vm.context());
        drop(self.alive(jobs::take_event(&context, event)).await);
        if self.agent_runs() {
            drop(self.alive(Box::pin(jobs::look(&context, Because::Schedule))).await);
            self.look_for_faults();
        }
    }

    /// A person settles what is held.
    async fn release(&mut self) {
        if !self.agent_runs() {
            return;
        }
        for meter in BOTH {
            let left = self.fuse.left();
            self.fuse.shorten(u64::MAX);
            let held = Books::held(self, meter).await;
            self.fuse.shorten(left);
            let Some(code) = held else { continue };
            if code == "segment_changed" {
                // Only another link settles it (rule R5).
                self.change_plan(self.linked_by).await;
                continue;
            }
            // What stood before the ledger noted anything is its own, forgotten: to go on top of it would bill it twice.
            let adopt = code != "something_stands";
            let request = ReleaseRequest { item: self.item(meter).to_owned(), adopt, because: "looked at".into() };
            let context = Arc::clone(self.vm.context());
            drop(self.alive(jobs::release(&context, &request, "uid:0")).await);
            self.books.trouble(self.now());
        }
    }

    /// From here on nothing goes wrong any more.
    async fn peace(&mut self) {
        self.ends = self.now() + PEACE;
        self.fuse.shorten(u64::MAX);
        self.outages = 0;
        self.vm.clear_faults();
        self.clock_right();
        self.disk_has_room().await;
        self.agent_starts().await;
        self.books.trouble(self.now());
    }

    // Applications.

    /// An application records an order, until it hears that it was taken.
    async fn ask(&mut self, id: u32) {
        let Some(order) = self.orders.get(&id).copied() else { return };
        let now = self.now();
        let told = if self.agent_runs() { self.record(id, order).await } else { None };
        match told {
            Some(Ok(Verdict::Accepted | Verdict::Duplicate)) => {
                self.truth.acknowledged(id);
                self.orders.remove(&id);
            }
            Some(Ok(Verdict::Refused { .. }) | Err(_)) => {
                self.truth.refused(id);
                self.plan(now + ASK_AGAIN, Deed::Ask(id));
            }
            None => self.plan(now + ASK_AGAIN, Deed::Ask(id)),
        }
    }

    async fn record(&mut self, id: u32, order: Order) -> Option<Result<Verdict, JobError>> {
        self.truth.told(id, order.at.unwrap_or(self.now()), order.credits);
        let credit = NewCredit {
            meter: "api_credits".parse().unwrap(),
            source: SourceName::of_uid(1_000),
            id: format!("order-{id}"),
            quantity: Micros::from_units(order.credits).unwrap(),
            at: order.at.map(Timestamp::from_micros),
            uid: 1_000,
        };
        let context = Arc::clone(self.vm.context());
        let recorded = self.alive(jobs::record(&context, vec![credit])).await?;
        Some(recorded.map(|mut verdicts| verdicts.remove(0)))
    }

    async fn take_back(&mut self, id: u32) {
        if !self.truth.is_acknowledged(id) {
            return;
        }
        let void = Void {
            meter: "api_credits".parse().unwrap(),
            source: SourceName::of_uid(1_000),
            id: format!("order-{id}"),
            because: "a mistake".to_owned(),
            uid: 0,
        };
        let voided = if self.agent_runs() {
            self.truth.perhaps_taken_back(id);
            let context = Arc::clone(self.vm.context());
            self.alive(jobs::void(&context, void)).await
        } else {
            None
        };
        match voided {
            Some(Ok(_)) => {
                self.truth.taken_back(id);
                self.books.trouble(self.now());
            }
            _ => self.plan(self.now() + ASK_AGAIN, Deed::TakeBack(id)),
        }
    }

    // What stands.

    pub(crate) fn item(&self, meter: Meter) -> &str {
        match meter {
            Meter::Compute => &self.vm.demo.item_compute,
            Meter::Credits => &self.vm.demo.item_api,
        }
    }

    pub(crate) fn stands(&self, meter: Meter, period: usize) -> i64 {
        let (from, to) = self.truth.period(period);
        let (from, to) = (Timestamp::from_micros(from), Timestamp::from_micros(to));
        if let Some(lemon) = &self.vm.lemon {
            return lemon.total(self.item(meter), from).unwrap();
        }
        let is_final = self.now() > to.micros() + DRAFT;
        // An event that arrives once the invoice is final is taken, and not billed.
        let invoiced = if is_final { self.vm.invoiced_units(self.item(meter)).get(period).copied() } else { None };
        if let Some(units) = invoiced {
            return units;
        }
        let swap = self.swap.filter(|_| meter == Meter::Credits && period == 0);
        let began_anew = swap.and_then(|swap| Some((swap.at_old_price?, Timestamp::from_micros(swap.at))));
        let (at_old_price, anew) = began_anew.unwrap_or((0, from));
        let at_price = match (self.vm.meter_of(self.item(meter)), self.month.billing) {
            // Both prices together.
            (Some(on), Billing::Meters("sum", _)) => {
                return self.vm.stripe.meter_total(on, &self.vm.demo.customer, from, to).unwrap();
            }
            (Some(on), _) => self.vm.stripe.meter_total(on, &self.vm.demo.customer, anew, to).unwrap(),
            (None, _) => self.vm.stripe.total(self.item(meter), to).unwrap(),
        };
        at_old_price + at_price
    }

    pub(crate) fn in_all(&self, meter: Meter) -> i64 {
        (0..PERIODS).map(|period| self.stands(meter, period)).sum()
    }
}

/// The provider reads what it leaves open as this month says.
fn behave(vm: &Vm, month: &Month) {
    if let Some(lemon) = &vm.lemon {
        let usual = lemon.behaviour().unwrap();
        let straggles_after_s = month.lag_s;
        let zero = if month.takes_zero { Zero::Accepted } else { Zero::Refused };
        lemon.behave(lemon_squeezy::Behaviour { zero, straggles_after_s, ..usual }).unwrap();
        return;
    }
    let (newest, summary_lag_s) = (month.newest, month.lag_s);
    let swapped = month.swapped;
    let usual = Behaviour::default();
    vm.stripe.behave(Behaviour { last: newest, window: newest, summary_lag_s, swapped, ..usual }).unwrap();
}

/// What a counter counts in so much running time, on two CPUs that are busy half the time of one.
fn rate(source: &str) -> Rate {
    match source {
        "vcpu" => Rate { cpus: 2, in_so_many: 1 },
        "cpu" => Rate { cpus: 1, in_so_many: 2 },
        _ => Rate { cpus: 1, in_so_many: 1 },
    }
}

/// The kernel's counters after so much running time, in hundredths of a second.
fn stat(ran_us: i64) -> String {
    let ran = ran_us.div_euclid(10_000);
    let (user, idle) = (rate("cpu").of(ran), 2 * ran - rate("cpu").of(ran));
    format!("cpu  {user} 0 0 {idle} 0 0 0 0 0 0\n")
}
