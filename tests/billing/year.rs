//! Twelve months at each provider, with everything that happens to a VM in a year: twelve invoices that are those of an
//! independent model.

use std::collections::BTreeMap;

use usaged::jobs::{self, Running};
use usaged::ledger::credits::{NewCredit, Verdict};
use usaged::model::{Micros, SourceName, Timestamp};
use usaged::sandbox::lemon_squeezy::{Aggregation, Behaviour, NewItem, NewSubscription, Zero};
use usaged::sandbox::{Effect, Fault};
use usaged::wire::{IdentityRequest, LinkRequest, ReleaseRequest, SyncLine, SyncRequest, ThisVm};

use super::closing::code;
use super::model::{BOTH, Deadline, Meter, Model, Plan, Snapshot};
use super::vm::{Billing, DAY, EVENTS, HOUR, LEMON_USAGE, MINUTE, SECOND, USAGE, Vm, run};

const PRO: (&str, Plan) = ("pro", [500, 4_000]);
const TEAM: (&str, Plan) = ("team", [600, 9_000]);
const STARTER: (&str, Plan) = ("starter", [200, 1_000]);

const PLANS: &str = r#"compute_hours = 500, api_credits = 4000 }
[plans.team]
currency = "eur"
included = { compute_hours = 600, api_credits = 9000 }
[plans.team.overage]
compute_hours = { price = "price_compute_overage_pro", unit_amount = "0.04" }
api_credits = { price = "price_api_overage", unit_amount = "0.01" }
[plans.starter]
included = { compute_hours = 200, api_credits = 1000"#;

const ANOTHER_MACHINE: &str = "fedcba9876543210fedcba9876543210\n";

/// A VM, and the model of what its customer owes.
struct Year {
    vm: Vm,
    model: Model,
    billing: Billing,
    dice: fastrand::Rng,
    records: u32,
    /// When the job wants to push again by itself.
    wish: Option<Timestamp>,
    /// Until then pushes may still have something to make up for.
    rough_until: i64,
    /// Whether nothing happens but what the script says.
    quiet: bool,
}

impl Year {
    /// A VM on a subscription that is anchored in the middle of a month.
    async fn begin(billing: Billing, time_of_day: &str) -> Self {
        let bounds: Vec<i64> = (0..14).map(|month| bound(month, time_of_day)).collect();
        let begins = Timestamp::from_micros(bounds[0]).to_string();
        let mut vm = Vm::booted_by(billing, &begins, PLANS).await;
        subscribe(&mut vm).await;
        vm.start().await;
        let deadline = match billing {
            Billing::UsageRecords => Deadline::BeforeTheEnd,
            Billing::Meters(..) => Deadline::WhileTheInvoiceIsADraft,
            Billing::LemonSqueezy => Deadline::BeforeTheQuietMinutes,
        };
        let mut year = Self {
            vm,
            model: Model::new(deadline, matches!(billing, Billing::Meters(_, Some(_))), bounds),
            billing,
            dice: fastrand::Rng::with_seed(12),
            records: 0,
            wish: None,
            rough_until: 0,
            quiet: false,
        };
        year.run(90 * SECOND);
        year.link(PRO, LinkRequest::default()).await;
        year.vm.sample().await;
        year
    }

    fn now(&self) -> i64 {
        self.vm.now().micros()
    }

    fn run(&mut self, micros: i64) {
        let from = self.now();
        self.vm.run(micros);
        self.model.ran(from, from + micros);
    }

    fn day(&self, period: usize, day: i64) -> i64 {
        self.model.period(period).0 + day * DAY
    }

    async fn link(&mut self, (plan, included): (&str, Plan), request: LinkRequest) {
        let items = BTreeMap::from([
            ("compute_hours".to_owned(), self.vm.demo.item_compute.clone()),
            ("api_credits".to_owned(), self.vm.demo.item_api.clone()),
        ]);
        let (_, next) = self.model.period(self.model.period_at(self.now()));
        let from = if request.from_next_period { next } else { self.now() };
        self.model.linked(from, included, request.single_writer);
        self.vm.try_link(LinkRequest { plan: Some(plan.to_owned()), items, ..request }).await.unwrap();
    }

    async fn record(&mut self, credits: i64) -> String {
        self.record_at(credits, self.now()).await
    }

    async fn record_at(&mut self, credits: i64, at: i64) -> String {
        self.records += 1;
        let id = format!("order-{}", self.records);
        let credit = NewCredit {
            meter: "api_credits".parse().unwrap(),
            source: SourceName::of_uid(1_000),
            id: id.clone(),
            quantity: Micros::from_units(credits).unwrap(),
            at: (at < self.now()).then(|| Timestamp::from_micros(at)),
            uid: 1_000,
        };
        let verdict = jobs::record(self.vm.context(), vec![credit]).await.unwrap().remove(0);
        assert_eq!(verdict, Verdict::Accepted);
        self.model.recorded(&id, at, credits);
        id
    }

    async fn void(&mut self, id: &str) {
        self.vm.void(id).await;
        self.model.voided(id);
    }

    /// The schedule's push, which gets through.
    async fn push(&mut self) {
        let pushed = self.vm.push().await.unwrap();
        self.wish = pushed.next;
        self.model.pushed(self.now());
        self.check();
    }

    /// Time goes by until a moment, with a push every few hours and what happens meanwhile.
    async fn live_to(&mut self, until: i64) {
        while self.now() < until {
            let step = self.dice.i64(15 * HOUR..30 * HOUR);
            self.run(step.min(until - self.now()));
            self.happen().await;
        }
    }

    async fn happen(&mut self) {
        for _ in 0..self.dice.u32(1..6) {
            let credits = self.dice.i64(1..500);
            self.record(credits).await;
        }
        if self.quiet {
            return self.push().await;
        }
        match self.dice.u32(0..12) {
            0 => self.lose_an_answer().await,
            1 => self.be_killed_while_pushing().await,
            2 => {
                self.vm.kill();
                self.vm.start().await;
                self.push().await;
            }
            3 => {
                let off = self.dice.i64(MINUTE..2 * HOUR);
                self.reboot(off).await;
            }
            4 => {
                let period = self.model.period_at(self.now());
                let (from, to) = self.model.period(period);
                let ids = self.model.voidable(from, to);
                if !ids.is_empty() {
                    let id = ids[self.dice.usize(..ids.len())].clone();
                    self.void(&id).await;
                }
                self.push().await;
            }
            _ => self.push().await,
        }
    }

    /// The machine goes down in good order, is off for so long, and the agent pushes as it starts.
    async fn reboot(&mut self, off: i64) {
        self.vm.sample().await;
        self.vm.reboot(off).await;
        self.start_up().await;
    }

    /// The agent comes up some time after the machine. Its first push brings the provider's clock, by which what follows is
    /// placed.
    async fn start_up(&mut self) {
        let late = self.dice.i64(MINUTE..HOUR);
        self.run(late);
        self.wish = self.vm.push().await.unwrap().next;
        self.push().await;
    }

    async fn lose_an_answer(&mut self) {
        let effects = [
            Effect::CutBeforeCommit,
            Effect::CutAfterCommit,
            Effect::ErrorBeforeCommit,
            Effect::ErrorAfterCommit,
            Effect::LockTimeout,
            Effect::TruncatedJson,
        ];
        let effect = effects[self.dice.usize(..effects.len())].clone();
        self.vm.fault(Fault::next(effect).on("POST", self.sends_to()));
        self.vm.push().await.unwrap();
        self.vm.clear_faults();
        self.assert_never_above_true();
        self.retry().await;
    }

    async fn be_killed_while_pushing(&mut self) {
        let polls = self.dice.u32(0..40);
        self.vm.push_killed_after(polls).await;
        self.assert_never_above_true();
        self.retry().await;
    }

    /// Somebody asks until it is settled.
    async fn retry(&mut self) {
        for _ in 0..3 {
            self.run(MINUTE);
            self.vm.push_now().await.unwrap();
        }
        self.push().await;
    }

    const fn sends_to(&self) -> &'static str {
        match self.billing {
            Billing::UsageRecords => USAGE,
            Billing::Meters(..) => EVENTS,
            Billing::LemonSqueezy => LEMON_USAGE,
        }
    }

    /// Until a period is over, and closed.
    async fn live_over_the_end_of(&mut self, period: usize) {
        let (_, end) = self.model.period(period);
        self.live_to(end - 6 * HOUR).await;
        self.rough_until = end + 4 * HOUR;
        self.live_to(end - HOUR).await;
        self.live_finely_to(end + 4 * HOUR).await;
        jobs::compact(self.vm.context(), "schedule").await.unwrap();
    }

    /// Every five minutes, with a push on the hour, and whenever the job asks for one.
    async fn live_finely_to(&mut self, until: i64) {
        while self.now() < until {
            self.run(5 * MINUTE);
            if self.dice.u32(0..6) == 0 {
                let credits = self.dice.i64(1..40);
                self.record(credits).await;
            }
            let on_the_hour = self.now().rem_euclid(HOUR) < 5 * MINUTE;
            if on_the_hour || self.wish.is_some_and(|at| at <= self.vm.now()) {
                self.push().await;
            }
        }
        self.push().await;
    }

    // What stands.

    fn item(&self, meter: Meter) -> &str {
        match meter {
            Meter::Compute => &self.vm.demo.item_compute,
            Meter::Credits => &self.vm.demo.item_api,
        }
    }

    fn stands(&self, meter: Meter, period: usize) -> i64 {
        let (from, to) = self.model.period(period);
        let (from, to) = (Timestamp::from_micros(from), Timestamp::from_micros(to));
        if let Some(lemon) = &self.vm.lemon {
            return lemon.total(self.item(meter), from).unwrap();
        }
        match self.vm.meter_of(self.item(meter)) {
            Some(on) => self.vm.stripe.meter_total(on, &self.vm.demo.customer, from, to).unwrap(),
            None => self.vm.stripe.total(self.item(meter), to).unwrap(),
        }
    }

    fn check(&self) {
        self.assert_never_above_true();
        if self.now() < self.rough_until {
            return;
        }
        let period = self.model.period_at(self.now());
        for meter in BOTH {
            let model = self.model.figures(meter, period);
            assert_eq!(self.stands(meter, period), model.stands, "{meter:?}, {}: {model:?}", self.vm.now());
        }
    }

    fn assert_never_above_true(&self) {
        let current = self.model.period_at(self.now());
        for meter in BOTH {
            let stands: i64 = (0..=current).map(|period| self.stands(meter, period)).sum();
            let is_true = self.model.true_overage(meter);
            let due = self.model.credits_due(meter);
            assert!(stands - due <= is_true, "{meter:?}, {}: {stands} less {due} due, {is_true}", self.vm.now());
        }
    }

    /// The codes of what status lists.
    async fn listed(&self) -> Vec<String> {
        let running = Running {
            since: self.vm.now(),
            sandbox: true,
            next_push: None,
            next_compact: None,
            next_look: None,
            next_reconcile: None,
            paths: usaged::wire::PathsStatus::default(),
        };
        let status = jobs::status(self.vm.context(), running).await.unwrap();
        status.problems.into_iter().map(|problem| problem.code).collect()
    }

    /// Twelve invoices, and what `usagectl sync` says of their periods.
    async fn assert_twelve_invoices(&self) {
        for meter in BOTH {
            let invoiced = self.vm.invoiced_units(self.item(meter));
            let expected: Vec<i64> = (0..12).map(|period| self.model.figures(meter, period).stands).collect();
            assert_eq!(invoiced, expected, "{meter:?}");
        }
        for period in 0..12 {
            let month = self.month(period);
            let request = SyncRequest { month: Some(month.clone()), ..SyncRequest::default() };
            let report = jobs::sync(self.vm.context(), &request).await.unwrap();
            for meter in BOTH {
                let line = report.lines.iter().find(|line| line.item == self.item(meter)).unwrap();
                self.assert_line(line, meter, period);
            }
        }
        let carried: i64 = (0..12).map(|period| self.model.figures(Meter::Credits, period).carried_out).sum();
        assert!(carried > 0, "the year has carries");
        let due: i64 = BOTH.iter().map(|meter| self.model.credits_due(*meter)).sum();
        assert!(due > 0 && self.listed().await.contains(&"credit_due".to_owned()), "{due} are due");
        assert_eq!(self.vm.ask("SELECT ifnull(sum(units), 0) FROM credit_due").await, due);
        assert_eq!(self.vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL").await, 0);
        assert_eq!(self.vm.ask("SELECT ifnull(sum(held_units), 0) FROM usage_record").await, 0);
        self.vm.assert_books().await;
    }

    /// Rule R2: a month means the period that holds its last second.
    fn month(&self, period: usize) -> String {
        Timestamp::from_micros(self.model.period(period).0).to_string()[..7].to_owned()
    }

    fn assert_line(&self, line: &SyncLine, meter: Meter, period: usize) {
        let model = self.model.figures(meter, period);
        let said = (line.stands, line.overage + line.adopted, line.carried_in, line.carried_out, line.credit_due);
        let expected = (Some(model.stands), model.own, model.carried_in, model.carried_out, model.credit_due);
        assert_eq!(said, expected, "{meter:?} from {}: {line:?}", line.period_from);
        assert_eq!(line.state, "closed");
    }
}

/// The 17th of each month.
fn bound(month: i64, time_of_day: &str) -> i64 {
    let (year, month) = (2026 + month.div_euclid(12), month.rem_euclid(12) + 1);
    Timestamp::parse(&format!("{year}-{month:02}-17T{time_of_day}Z")).unwrap().micros()
}

/// From here on `vm.demo` is a customer whose periods begin at this moment of the month.
async fn subscribe(vm: &mut Vm) {
    if let Some(lemon) = &vm.lemon {
        // Refused, a fall to zero would stand, and be alarmed about, until more is used.
        lemon.behave(Behaviour { zero: Zero::Accepted, ..lemon.behaviour().unwrap() }).unwrap();
        let item = |cents: i64| NewItem { aggregation: Some(Aggregation::LastDuringPeriod), unit_price: cents.into() };
        let order = NewSubscription { items: vec![item(4), item(1)], anchor: None, trial_days: 0 };
        let made = lemon.subscribe(&order).unwrap();
        (vm.demo.customer, vm.demo.subscription) = (made.customer, made.subscription);
        (vm.demo.item_compute, vm.demo.item_api) = (made.items[0].clone(), made.items[1].clone());
        return;
    }
    let customer = vm.operate("/v1/customers", &[("name", "Anchored"), ("payment_method", "pm_card_visa")]).await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let customer = text(&customer["id"]);
    let form = [
        ("customer", &*customer),
        ("items[0][price]", &vm.demo.prices["price_pro_monthly"]),
        ("items[1][price]", &vm.demo.prices["price_compute_overage_pro"]),
        ("items[2][price]", &vm.demo.prices["price_api_overage"]),
    ];
    let subscription = vm.operate("/v1/subscriptions", &form).await;
    vm.demo.customer = customer;
    vm.demo.subscription = text(&subscription["id"]);
    vm.demo.item_compute = text(&subscription["items"]["data"][1]["id"]);
    vm.demo.item_api = text(&subscription["items"]["data"][2]["id"]);
}

// The year.

/// Off for a week over the end of a period, with credits that nobody was told of: they are carried (R6). One of them is
/// taken back, and one that was invoiced (M9).
async fn off_for_a_week(year: &mut Year, period: usize) {
    let (_, end) = year.model.period(period);
    year.live_to(end - 3 * DAY).await;
    let invoiced = year.record(310).await;
    year.push().await;
    let carried = [year.record(70).await, year.record(41).await];
    year.rough_until = end + 5 * DAY;
    year.reboot(7 * DAY).await;
    year.live_finely_to(year.now() + 4 * HOUR).await;
    year.live_to(end + 5 * DAY).await;
    year.void(&carried[0]).await;
    year.push().await;
    year.void(&invoiced).await;
    year.push().await;
    year.record_at(17, end - 4 * DAY).await;
    year.push().await;
    year.push().await;
}

/// The wall clock is wrong for a day, over the end of a period (M5).
async fn a_wrong_clock(year: &mut Year, period: usize, step: i64) {
    let (_, end) = year.model.period(period);
    year.live_to(end - 12 * HOUR).await;
    year.vm.clock.step_wall(step);
    year.quiet = true;
    year.live_over_the_end_of(period).await;
    year.live_to(end + 12 * HOUR).await;
    year.vm.clock.step_wall(-step);
    year.quiet = false;
}

/// A plan change: the same items, another allowance.
async fn change_plan(year: &mut Year, plan: (&str, Plan), request: LinkRequest) {
    year.link(plan, request).await;
    year.push().await;
}

async fn two_days_after_a_snapshot(year: &mut Year) -> Snapshot {
    year.push().await;
    let (disk, known) = (year.vm.snapshot().await, year.model.snapshot(year.now()));
    year.quiet = true;
    year.live_to(year.now() + 2 * DAY).await;
    year.quiet = false;
    year.vm.reboot(10 * MINUTE).await;
    year.vm.restore(&disk).await;
    year.model.restored(&known, year.now());
    year.start_up().await;
    known
}

/// The disk is put back by two days: what stands is taken over, since nobody else writes (S5).
async fn restore(year: &mut Year) {
    two_days_after_a_snapshot(year).await;
    assert!(BOTH.iter().all(|meter| !year.model.is_held(*meter, year.now())));
    assert!(year.listed().await.contains(&"units_adopted".to_owned()));
}

/// The same where somebody else may write: it waits for a human.
async fn restore_and_release(year: &mut Year) {
    two_days_after_a_snapshot(year).await;
    year.quiet = true;
    year.live_to(year.now() + DAY).await;
    year.quiet = false;
    assert!(year.listed().await.contains(&"held_higher_than_caused".to_owned()));
    for meter in BOTH {
        if !year.model.is_held(meter, year.now()) {
            continue;
        }
        let item = year.item(meter).to_owned();
        let request = ReleaseRequest { item, adopt: true, because: "the disk was put back".into() };
        jobs::release(year.vm.context(), &request, "uid:0").await.unwrap();
        year.model.released(meter, year.now(), 3 * DAY);
    }
    year.push().await;
    assert!(!year.listed().await.contains(&"held_higher_than_caused".to_owned()));
}

/// A copy of the disk boots in another machine beside the original (S11).
async fn clone(year: &mut Year) {
    let mut copy = year.vm.copied_to(ANOTHER_MACHINE).await;
    copy.record("on-the-copy", 1_000).await;
    // Before and after the original goes on.
    for _ in 0..2 {
        let sent = copy.ask("SELECT count(*) FROM delivery").await;
        copy.push_now().await.unwrap();
        assert_eq!(copy.ask("SELECT count(*) FROM delivery").await, sent, "it sends nothing");
        year.check();
        year.live_to(year.now() + DAY).await;
        copy.clock.run(DAY);
    }
    let request = IdentityRequest { this_vm: ThisVm::New, because: "it is a clone".into() };
    jobs::identity(copy.context(), &request, "uid:0").await.unwrap();
    copy.kill();
    copy.start().await;
    for table in ["SELECT count(*) FROM link", "SELECT count(*) FROM credit", "SELECT count(*) FROM usage_record"] {
        assert_eq!(copy.ask(table).await, 0, "{table}");
    }
    copy.record("as-a-machine-of-its-own", 500).await;
    copy.push_now().await.unwrap();
    let refused = copy.try_link(LinkRequest::default()).await.unwrap_err();
    assert_eq!(code(&refused), "something_stands");
    year.check();
}

/// The machine crashes: what ran since the last sample is lost (M3).
async fn crash(year: &mut Year) {
    year.vm.run(3 * HOUR);
    year.vm.reboot(HOUR).await;
    year.start_up().await;
}

/// Nothing gets through from three hours before the end of a period until it can no longer be billed in it.
async fn cut_off(year: &mut Year, period: usize) {
    let (_, end) = year.model.period(period);
    year.live_to(end - 3 * HOUR).await;
    year.vm.fault(Fault::next(Effect::CutBeforeCommit).on("POST", year.sends_to()).times(10_000));
    while year.now() < end + 55 * MINUTE {
        year.record(3).await;
        year.run(20 * MINUTE);
        year.vm.push().await.unwrap();
        year.assert_never_above_true();
    }
    year.vm.clear_faults();
    year.rough_until = end + 5 * HOUR;
    year.live_finely_to(end + 5 * HOUR).await;
}

async fn twelve_months(billing: Billing, time_of_day: &str) {
    let mut year = Year::begin(billing, time_of_day).await;
    for period in 0..12 {
        let mid = year.day(period, 10);
        match period {
            1 => {
                year.live_to(mid).await;
                change_plan(&mut year, TEAM, LinkRequest { single_writer: true, ..LinkRequest::default() }).await;
            }
            2 => {
                off_for_a_week(&mut year, period).await;
                continue;
            }
            3 => {
                a_wrong_clock(&mut year, period, 5 * DAY).await;
                continue;
            }
            4 => {
                year.live_to(year.day(period, 26)).await;
                restore(&mut year).await;
            }
            5 => {
                year.live_to(mid).await;
                change_plan(&mut year, STARTER, LinkRequest::default()).await;
            }
            6 => {
                year.live_to(mid).await;
                clone(&mut year).await;
            }
            7 => {
                year.live_to(mid).await;
                crash(&mut year).await;
            }
            8 => {
                year.live_to(year.day(period, 1)).await;
                restore_and_release(&mut year).await;
            }
            9 => {
                year.live_to(mid).await;
                change_plan(&mut year, PRO, LinkRequest { from_next_period: true, ..LinkRequest::default() }).await;
            }
            10 => {
                cut_off(&mut year, period).await;
                continue;
            }
            _ => {}
        }
        year.live_over_the_end_of(period).await;
    }
    year.assert_twelve_invoices().await;
}

#[test]
fn r7_twelve_invoices_are_those_of_the_model_by_usage_records() {
    run(twelve_months(Billing::UsageRecords, "09:47:13"));
}

#[test]
fn r7_twelve_invoices_are_those_of_the_model_by_meters_that_take_the_last() {
    run(twelve_months(Billing::Meters("last", None), "09:47:13"));
}

#[test]
fn r7_twelve_invoices_are_those_of_the_model_by_meters_that_sum_days() {
    run(twelve_months(Billing::Meters("sum", Some("day")), "00:00:00"));
}

#[test]
fn r7_twelve_invoices_are_those_of_the_model_by_meters_that_sum() {
    run(twelve_months(Billing::Meters("sum", None), "09:47:13"));
}

#[test]
fn r7_twelve_invoices_are_those_of_the_model_at_lemon_squeezy() {
    run(twelve_months(Billing::LemonSqueezy, "09:47:13"));
}
