//! Plays a month on a VM: whatever is due next, in virtual time, until everything has come to rest.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use usaged::fuse::Fuse;
use usaged::jobs::{self, JobError, Pushed, Which};
use usaged::ledger::credits::{NewCredit, Verdict};
use usaged::ledger::voids::Void;
use usaged::model::{Micros, SourceName, Timestamp};
use usaged::sandbox::lemon_squeezy::{self, Zero};
use usaged::sandbox::{Behaviour, Effect, Fault, ItemTotal};
use usaged::wire::{LinkRequest, ReleaseRequest};

use crate::books::Books;
use crate::calendar::{BEGINS, Happening, Month, On, RESTS, What};
use crate::truth::{BOTH, Known, Meter, Truth};
use crate::vm::{Billing, DAY, HOUR, MINUTE, SECOND, Vm};

/// So long everything is left in peace at the end: longer than the provider remembers keys.
const PEACE: i64 = 30 * HOUR;
/// An application that was not answered asks again after this long.
const ASK_AGAIN: i64 = 7 * MINUTE;
/// A person looks at what is held this often.
const LOOKED_AFTER: i64 = 9 * HOUR;

const ANOTHER_MACHINE: &str = "fedcba9876543210fedcba9876543210\n";

/// Something that is due.
#[derive(Debug, Clone)]
enum Deed {
    Happens(What),
    Ask(u32),
    TakeBack(u32),
    AgentStarts,
    OutageEnds,
    ClockSet(i64),
    DiskHasRoom,
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

pub(crate) struct World {
    pub(crate) vm: Vm,
    pub(crate) truth: Truth,
    pub(crate) month: Month,
    pub(crate) books: Books,
    fuse: Arc<Fuse>,
    begins: i64,
    due: BTreeMap<(i64, u32), Deed>,
    count: u32,
    orders: BTreeMap<u32, Order>,
    /// How long the agent is down after it was killed.
    down_us: i64,
    next_sample: i64,
    next_push: i64,
    wish: i64,
    snapshot: Option<(Vec<(PathBuf, Vec<u8>)>, Known)>,
    disk_is_full: bool,
    outages: u32,
    /// Faults that waited for a request when it was last looked whether one met them.
    waiting: Vec<Fault>,
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
        let included = included + " ";
        let mut vm = Vm::booted_by(month.billing, BEGINS, &included).await;
        vm.schedule_toml = format!("sample_every = \"{}s\"\n", month.sample_every / SECOND);
        behave(&vm, &month);
        vm.start().await;
        let begins = vm.now().micros();
        vm.run(90 * SECOND);
        let single_writer = month.single_writer;
        vm.try_link(LinkRequest { single_writer, ..LinkRequest::default() }).await.unwrap();
        vm.sample().await;
        let now = vm.now().micros();
        let ItemTotal { from, to, .. } = vm.totals(&vm.demo.item_api).remove(0);
        let bounds = vec![from.micros(), to.micros(), to.micros() + 31 * DAY];
        let mut world = Self {
            truth: Truth::begins(bounds, now, pro),
            books: Books::default(),
            fuse,
            begins,
            due: BTreeMap::new(),
            count: 0,
            orders: BTreeMap::new(),
            down_us: 0,
            next_sample: now + month.sample_every,
            next_push: now,
            wish: i64::MAX,
            snapshot: None,
            disk_is_full: false,
            outages: 0,
            waiting: Vec::new(),
            vm,
            month,
        };
        for Happening { at, what } in world.month.happenings.clone() {
            world.plan(begins + at, Deed::Happens(what));
        }
        world.plan(begins + LOOKED_AFTER, Deed::Release);
        world.plan(begins + RESTS, Deed::Peace);
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
        (next < self.begins + RESTS + PEACE).then_some(next)
    }

    fn pass(&self, until: i64) {
        let passes = until - self.now();
        if passes > 0 {
            self.vm.run(passes);
        }
    }

    async fn do_what_is_due(&mut self) {
        let now = self.now();
        if let Some(((at, _), _)) = self.due.first_key_value()
            && *at <= now
            && let Some((_, deed)) = self.due.pop_first()
        {
            return self.carry_out(deed).await;
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
            Deed::ClockSet(by) => self.vm.clock.step_wall(by),
            Deed::DiskHasRoom => self.disk_has_room().await,
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
            What::Outage { for_us } => {
                self.outages += 1;
                self.vm.fault(Fault::next(Effect::CutBeforeCommit).times(1_000_000));
                self.plan(now + for_us, Deed::OutageEnds);
                self.books.trouble(now);
            }
            What::Killed { operations, down_us } => {
                self.down_us = down_us;
                self.fuse.shorten(operations);
            }
            What::Stopped { down_us } => self.stop(down_us).await,
            What::Reboot { in_order, off_us, late_us } => self.reboot(in_order, off_us, late_us).await,
            What::Suspended { for_us } => self.suspend(for_us),
            _ => {}
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
        let context = Arc::clone(self.vm.context());
        match self.alive(jobs::sample(&context)).await {
            Some(Ok(_)) => self.truth.sampled(self.now()),
            Some(Err(_)) => self.books.trouble(self.now()),
            None => self.truth.perhaps_sampled(self.now()),
        }
    }

    async fn push(&mut self, because: &'static str, which: Which) {
        let now = self.now();
        self.wish = i64::MAX;
        let context = Arc::clone(self.vm.context());
        let pushed = self.alive(jobs::push(&context, because, which)).await;
        drop(context);
        self.look_for_faults();
        // Looking at the books is nothing that the agent does.
        let left = self.fuse.left();
        self.fuse.shorten(u64::MAX);
        self.note_push(now, pushed).await;
        self.fuse.shorten(left);
    }

    async fn note_push(&mut self, now: i64, pushed: Option<Result<Pushed, JobError>>) {
        match pushed {
            Some(Ok(pushed)) => {
                self.truth.sampled(now);
                self.wish = pushed.next.map_or(i64::MAX, |at| at.micros().max(now + SECOND));
                Books::after_push(self, &pushed).await;
            }
            Some(Err(error)) => {
                self.truth.perhaps_sampled(now);
                self.books.trouble(now);
                self.wish = now + MINUTE;
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
    }

    fn suspend(&mut self, for_us: i64) {
        let from = self.now();
        self.vm.suspend(for_us);
        self.truth.suspended(from, self.now());
        self.books.trouble(self.now());
    }

    fn outage_ends(&mut self) {
        self.outages = self.outages.saturating_sub(1);
        if self.outages == 0 {
            self.vm.clear_faults();
        }
        self.books.trouble(self.now());
    }

    async fn fill_disk(&mut self) {}

    async fn disk_has_room(&mut self) {}

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
        self.fuse.shorten(u64::MAX);
        self.outages = 0;
        self.vm.clear_faults();
        self.vm.clock.step_wall(self.vm.now().since(usaged::clock::Clock::read(&*self.vm.clock).wall));
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
        match self.vm.meter_of(self.item(meter)) {
            Some(on) => self.vm.stripe.meter_total(on, &self.vm.demo.customer, from, to).unwrap(),
            None => self.vm.stripe.total(self.item(meter), to).unwrap(),
        }
    }

    pub(crate) fn in_all(&self, meter: Meter) -> i64 {
        (0..self.truth.periods()).map(|period| self.stands(meter, period)).sum()
    }
}

/// The provider reads what it leaves open as this month says.
fn behave(vm: &Vm, month: &Month) {
    if let Some(lemon) = &vm.lemon {
        let usual = lemon.behaviour().unwrap();
        let straggles_after_s = month.lag_s;
        lemon.behave(lemon_squeezy::Behaviour { zero: Zero::Accepted, straggles_after_s, ..usual }).unwrap();
        return;
    }
    let (newest, summary_lag_s) = (month.newest, month.lag_s);
    vm.stripe.behave(Behaviour { last: newest, window: newest, summary_lag_s, ..Behaviour::default() }).unwrap();
}
