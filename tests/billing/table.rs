//! The table: every way of billing, everything that can go wrong with a request, the moment at which it does, and what the
//! agent does then. Each row ends, once the provider is well again and the period is closed, with the figures of a model
//! written from the rules alone. Of all rows, a seeded part is played that holds every pair of a way and an event.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use usaged::model::{Span, Timestamp};
use usaged::sandbox::lemon_squeezy::{self, Zero};
use usaged::sandbox::{Behaviour, Effect, Fault, ItemTotal, LoggedRequest, Newest, Words};

use super::vm::{Billing, DAY, HOUR, MINUTE, SECOND, Vm, run};

/// Units that the plan includes.
const INCLUDED: i64 = 10;
/// Six credits that are taken back.
const TAKEN_BACK: &str = "to be taken back";
/// Units over the allowance of the period after the one in which things go wrong.
const LATER: i64 = 2;

/// A way of billing, and how the provider reads what it leaves open about it.
#[derive(Debug, Clone, Copy)]
struct Way {
    billing: Billing,
    newest: Newest,
    /// So long after they were sent, events are in the summaries; at Lemon Squeezy, requests that were cut are carried out.
    lag_s: i64,
}

/// What goes wrong.
#[derive(Debug, Clone)]
enum Event {
    /// With requests that tell usage.
    Told(Fault),
    /// With requests that read what stands.
    Read(Fault),
    /// With any request.
    Any(Fault),
    /// Usage is told, and carried out after the agent has given up waiting.
    Slow,
    /// Another request of the account was made under the next key.
    KeyTaken,
    /// Another event of the account has the next identifier.
    IdentifierTaken,
    /// The meter is archived, and reactivated later.
    Archived,
    /// Events below zero are refused, for good.
    NegativesRefused,
}

/// At which push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    First,
    Rise,
    Fall,
    /// At a rise that is taken back before it is tried again.
    TakenBack,
    /// Minutes before the period ends, with time to try again.
    LastMinutes,
    /// In the last one before the end, so that every retry comes after it.
    RollOver,
    /// The same, of a fall.
    FallAtRollOver,
    /// While the ended period's invoice is a draft.
    DraftGrace,
}

/// What the agent does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoesOn,
    Restarts,
    Reboots,
    /// It is down for longer than the provider keeps keys and identifiers.
    IsAway,
    /// It is killed inside the push, after so many polls.
    IsKilled(u32),
}

#[derive(Debug, Clone)]
struct Row {
    way: Way,
    event: Event,
    when: When,
    then: Then,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way, event, when, then } = self;
        write!(f, "{way:?} | {event:?} | {when:?} | {then:?}")
    }
}

const WHENS: [When; 8] = [
    When::First,
    When::Rise,
    When::Fall,
    When::TakenBack,
    When::LastMinutes,
    When::RollOver,
    When::FallAtRollOver,
    When::DraftGrace,
];

/// The ways to play.
fn ways(billing: Billing) -> Vec<Way> {
    let readings: &[Newest] = match billing {
        Billing::UsageRecords | Billing::LemonSqueezy => &[Newest::Timestamp],
        Billing::Meters(..) => &[Newest::Timestamp, Newest::Arrival],
    };
    let lags: &[i64] = match billing {
        Billing::UsageRecords => &[0],
        Billing::LemonSqueezy => &[0, 800],
        Billing::Meters(..) => &[0, 1_800],
    };
    let with = |newest: &Newest| lags.iter().map(move |lag| Way { billing, newest: *newest, lag_s: *lag }).collect();
    readings.iter().flat_map(|newest| -> Vec<Way> { with(newest) }).collect()
}

/// Every kind of answer that is none, with what `Stripe-Should-Retry` may say about it.
fn bad_answers() -> Vec<Fault> {
    let limited = |reason: &str, retry_after| Effect::RateLimited { reason: reason.to_owned(), retry_after };
    let timestamp = Words {
        param: Some("timestamp".to_owned()),
        ..Words::new(
            400,
            "Cannot create the usage record with this timestamp because timestamps must be after the start.",
        )
    };
    let effects = [
        limited("global-rate", None),
        limited("endpoint-rate", Some(30)),
        limited("global-concurrency", None),
        limited("endpoint-concurrency", Some(5)),
        limited("resource-specific", None),
        Effect::LockTimeout,
        Effect::KeyInUse,
        Effect::Unauthorized,
        Effect::Refused(not_permitted()),
        Effect::Refused(timestamp),
        Effect::Refused(Words { error_type: "idempotency_error".to_owned(), ..Words::new(400, "Another request.") }),
        Effect::Refused(Words::new(400, "Something else is wrong.")),
        Effect::ErrorBeforeCommit,
        Effect::ErrorAfterCommit,
        Effect::CutBeforeCommit,
        Effect::CutAfterCommit,
        Effect::Html,
        Effect::TruncatedJson,
        Effect::Gigantic,
    ];
    let mut faults: Vec<Fault> = effects.into_iter().map(Fault::next).collect();
    for effect in [Effect::ErrorBeforeCommit, Effect::ErrorAfterCommit, limited("global-rate", None)] {
        for word in [true, false] {
            faults.push(Fault { should_retry: Some(word), ..Fault::next(effect.clone()) });
        }
    }
    faults
}

fn not_permitted() -> Words {
    Words::new(403, "Having the 'rak_billing_meter_event_write' permission would allow this request to continue.")
}

/// Once, since twice in a row means that the item is gone.
fn missing() -> Fault {
    let code = Some("resource_missing".to_owned());
    Fault::next(Effect::Refused(Words { code, ..Words::new(404, "No such thing.") }))
}

/// Everything that can go wrong by this way. Of a passing fault one or three in a row, as the dice fall.
fn events(way: Way, dice: &mut fastrand::Rng) -> Vec<Event> {
    let mut events = vec![Event::Told(missing()), Event::Read(missing())];
    // Lemon Squeezy knows no keys.
    if way.billing != Billing::LemonSqueezy {
        events.push(Event::KeyTaken);
    }
    for fault in bad_answers() {
        events.push(Event::Told(fault.clone().times(if dice.bool() { 1 } else { 3 })));
    }
    for effect in [
        Effect::CutBeforeCommit,
        Effect::Html,
        Effect::TruncatedJson,
        Effect::Gigantic,
        Effect::Unauthorized,
        Effect::Refused(not_permitted()),
        Effect::ErrorBeforeCommit,
        Effect::LockTimeout,
    ] {
        events.push(Event::Read(Fault::next(effect.clone()).times(if dice.bool() { 1 } else { 3 })));
    }
    for effect in [Effect::Html, Effect::Unauthorized, Effect::CutAfterCommit, Effect::Gigantic] {
        events.push(Event::Any(Fault::next(effect).times(dice.u32(1..6))));
    }
    if matches!(way.billing, Billing::Meters(..)) {
        events.extend([Event::IdentifierTaken, Event::Archived, Event::NegativesRefused]);
    }
    // In real time, and so only once for each way.
    if way.lag_s == 0 && way.newest == Newest::Timestamp {
        events.push(Event::Slow);
    }
    events
}

/// Moments that each event is played at; all of them, where `USAGED_TABLE_MOMENTS=8` asks for it.
fn moments() -> usize {
    std::env::var("USAGED_TABLE_MOMENTS").map_or(1, |moments| moments.parse().unwrap())
}

/// Every way and event, with so many draws of the rest.
fn rows(billing: Billing, seed: u64) -> Vec<Row> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut rows = Vec::new();
    for way in ways(billing) {
        for event in events(way, &mut dice) {
            let mut whens = WHENS;
            dice.shuffle(&mut whens);
            if matches!(event, Event::NegativesRefused) {
                whens.sort_by_key(|when| *when != When::Fall && *when != When::FallAtRollOver);
            }
            for when in whens.into_iter().take(moments()) {
                let thens = [
                    Then::GoesOn,
                    Then::Restarts,
                    Then::Reboots,
                    Then::IsAway,
                    Then::IsKilled(dice.u32(0..40)),
                    Then::IsKilled(dice.u32(0..40)),
                ];
                let then = thens[dice.usize(..thens.len())];
                rows.push(Row { way, event: event.clone(), when, then });
            }
        }
    }
    rows
}

/// A row that is being played, beside the model: what was used so far, and the most that may stand.
struct Play {
    vm: Vm,
    november: Span,
    used: i64,
    /// What is owed, or was before falls that may still be on their way.
    most: i64,
    /// When usage was taken back, where what is told sets totals.
    taken_back: Option<Timestamp>,
    later: i64,
}

impl Play {
    async fn begin(row: &Row) -> Self {
        let mut vm =
            Vm::booted_by(row.way.billing, "2026-11-29T00:00:00Z", "compute_hours = \"unlimited\", api_credits = 10")
                .await;
        row.behave(&vm);
        if matches!(row.event, Event::Slow) {
            vm.timeout = "1s";
        }
        vm.start().await;
        vm.run(90 * SECOND);
        vm.link().await;
        let period = vm.totals(&vm.demo.item_api).remove(0);
        let november = Span::new(period.from, period.to);
        Self { vm, november, used: 0, most: 0, taken_back: None, later: 0 }
    }

    /// Rule R3.
    fn owed(&self) -> i64 {
        (self.used - INCLUDED).max(0)
    }

    /// Usage, told by an application that heard no answer and asks again.
    async fn uses(&mut self, id: &str, credits: i64) {
        self.vm.record(id, credits).await;
        self.vm.record(id, credits).await;
        self.used += credits;
        self.most = self.most.max(self.owed());
    }

    /// What stands is not raised above what is owed from then on. Increments are answered first, one after the other.
    async fn takes_back(&mut self, row: &Row) {
        self.vm.run(SECOND);
        self.vm.void(TAKEN_BACK).await;
        self.used -= 6;
        if row.way.billing != Billing::Meters("sum", None) && !matches!(row.event, Event::Slow) {
            self.most = self.most.min(self.stands().0.max(self.owed()));
            self.taken_back = Some(self.vm.now());
        }
    }

    /// Goes to so long before the end of the period, or after it.
    fn go_to_end(&self, offset: i64) {
        self.vm.run(self.november.to.plus(offset).since(self.vm.now()));
    }

    /// What stands in November, and since.
    fn stands(&self) -> (i64, i64) {
        let (vm, item) = (&self.vm, &self.vm.demo.item_api);
        if let Some(meter) = vm.meter_of(item) {
            let total = |from, to| vm.stripe.meter_total(meter, &vm.demo.customer, from, to).unwrap();
            let far = self.november.to.plus(31 * DAY);
            return (total(self.november.from, self.november.to), total(self.november.to, far));
        }
        let (november, later): (Vec<_>, Vec<_>) =
            vm.totals(item).into_iter().partition(|one| one.to <= self.november.to);
        let sum = |totals: Vec<ItemTotal>| totals.iter().map(|one| one.total).sum();
        (sum(november), sum(later))
    }

    /// Rule R7, after every step.
    fn never_above_true(&self) {
        let (november, later) = self.stands();
        assert!(november <= self.most, "{november} stand, {} are owed", self.most);
        let most = self.most + self.later;
        assert!(november + later <= most, "{november} and {later} stand, {most} are owed");
        let told = self.told().into_iter().max().unwrap_or(0);
        assert!(told <= most, "{told} was told, {most} are owed");
    }

    /// Totals that were accepted since usage was taken back.
    fn told(&self) -> Vec<i64> {
        let Some(since) = self.taken_back else { return Vec::new() };
        let requests = self.vm.requests().into_iter();
        let accepted = requests.filter(|one| one.method == "POST" && one.status < 300 && one.at >= since);
        accepted.filter_map(|one| quantity_of(&one)).collect()
    }

    async fn pushes(&mut self) {
        // A push that cannot be made is the next one's to make up for.
        drop(self.vm.push().await);
        self.never_above_true();
    }

    /// Up to the moment at which something goes wrong.
    async fn comes_to(&mut self, row: &Row) {
        let when = row.when;
        self.vm.run(10 * MINUTE);
        self.uses("a", 15).await;
        let is_fall = matches!(when, When::Fall | When::FallAtRollOver);
        if is_fall {
            self.uses(TAKEN_BACK, 6).await;
        }
        if when == When::First {
            return;
        }
        self.pushes().await;
        self.vm.run(HOUR);
        match when {
            When::LastMinutes => self.go_to_end(-12 * MINUTE),
            When::RollOver | When::FallAtRollOver => self.go_to_end(-3 * MINUTE),
            When::DraftGrace => self.go_to_end(-MINUTE),
            _ => {}
        }
        match when {
            When::Fall | When::FallAtRollOver => self.takes_back(row).await,
            When::TakenBack => self.uses(TAKEN_BACK, 6).await,
            _ => self.uses("b", 4).await,
        }
        if when == When::DraftGrace {
            self.go_to_end(5 * MINUTE);
        }
    }

    async fn goes_wrong(&self, row: &Row) {
        let (vm, (tells, reads)) = (&self.vm, row.way.billing.paths());
        match &row.event {
            Event::Told(fault) => vm.fault(fault.clone().on("POST", tells)),
            Event::Read(fault) => vm.fault(fault.clone().on("GET", reads)),
            Event::Any(fault) => vm.fault(fault.clone()),
            Event::Slow => vm.fault(Fault::next(Effect::None).on("POST", tells).delayed(1_200)),
            Event::KeyTaken => {
                vm.operate_under(&vm.next_key().await, "/v1/customers", &[("name", "Another")]).await;
            }
            Event::IdentifierTaken => {
                let key = vm.next_key().await;
                let form = [
                    ("event_name", "compute_hours"),
                    ("identifier", &key),
                    ("payload[stripe_customer_id]", "cus_another"),
                    ("payload[value]", "1"),
                ];
                vm.operate("/v1/billing/meter_events", &form).await;
            }
            Event::Archived => self.archive("deactivate").await,
            Event::NegativesRefused => {}
        }
    }

    async fn archive(&self, verb: &str) {
        let meter = self.vm.demo.meter_api.as_deref().unwrap();
        self.vm.operate(&format!("/v1/billing/meters/{meter}/{verb}"), &[]).await;
    }

    /// The push at which something goes wrong, and what the agent does then.
    async fn then(&mut self, row: &Row) {
        let then = row.then;
        if let Then::IsKilled(polls) = then {
            self.vm.push_killed_after(polls).await;
        } else {
            self.pushes().await;
        }
        match then {
            Then::GoesOn | Then::IsKilled(_) => {}
            Then::Restarts => {
                self.vm.kill();
                self.vm.start().await;
            }
            Then::Reboots => self.vm.reboot(20 * SECOND).await,
            Then::IsAway => {
                self.vm.kill();
                self.comes_late(row).await;
                self.vm.run(25 * HOUR);
                self.vm.start().await;
            }
        }
        self.never_above_true();
    }

    /// A slow request comes to its end: seconds later, which are real ones, and not hours.
    async fn comes_late(&self, row: &Row) {
        if !matches!(row.event, Event::Slow) || !self.vm.waiting_faults().is_empty() {
            return;
        }
        let late = || self.vm.requests().iter().any(|request| request.fault.is_some());
        let until = Instant::now() + Duration::from_secs(20);
        while !late() {
            assert!(Instant::now() < until, "the late request never came to its end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.never_above_true();
    }

    /// Tries again while it is still wrong; then it is not any more.
    async fn gets_well(&mut self, row: &Row) {
        if matches!(row.when, When::RollOver | When::FallAtRollOver) && self.vm.now() < self.november.to {
            self.go_to_end(20 * SECOND);
        }
        if row.when == When::TakenBack {
            self.takes_back(row).await;
        }
        self.pushes().await;
        self.vm.run(5 * SECOND);
        self.pushes().await;
        self.comes_late(row).await;
        self.vm.clear_faults();
        if matches!(row.event, Event::Archived) {
            self.archive("reactivate").await;
        }
    }

    /// The agent does what its schedule and its own wishes say, until the period is closed.
    async fn lives_on(&mut self) {
        let until = self.november.to.max(self.vm.now()).plus(6 * HOUR);
        while self.vm.now() < until {
            let pushed = self.vm.push().await.unwrap();
            self.never_above_true();
            self.forgets_falls().await;
            let wish = pushed.next.map_or(HOUR, |at| at.since(self.vm.now()));
            self.vm.run(wish.clamp(SECOND, 6 * HOUR));
        }
    }

    /// A fall that was told lowers what may stand.
    async fn forgets_falls(&mut self) {
        let unsettled = "SELECT (SELECT count(*) FROM delivery WHERE state IN ('sending', 'unknown'))
             + (SELECT count(*) FROM usage_record WHERE target <> ifnull(standing, 0))";
        if self.vm.ask(unsettled).await == 0 {
            self.most = self.owed();
        }
    }
}

/// The quantity that a request tells.
fn quantity_of(request: &LoggedRequest) -> Option<i64> {
    let parameters = request.parameters.as_bytes();
    if let Ok(document) = serde_json::from_slice::<serde_json::Value>(parameters) {
        return document["data"]["attributes"]["quantity"].as_i64();
    }
    let is_quantity = |name: &str| name == "quantity" || name == "payload[value]";
    let mut form = form_urlencoded::parse(parameters);
    form.find(|(name, _)| is_quantity(name)).map(|(_, value)| value.parse().unwrap())
}

const CARRIED: &str = "SELECT ifnull(sum(units), 0) FROM carry";
const HELD: &str = "SELECT ifnull(sum(held_units), 0) FROM usage_record";
const CREDIT_DUE: &str = "SELECT ifnull(sum(units), 0) FROM credit_due";
const OPEN: &str = "SELECT count(*) FROM usage_record WHERE state <> 'closed' AND meter = 'api_credits'";
const OUT_OF_ORDER: &str = "SELECT count(*) FROM delivery a JOIN delivery b
    ON a.usage_record_id = b.usage_record_id AND a.day_s IS b.day_s AND a.revision < b.revision
    WHERE a.timestamp_s >= b.timestamp_s";
const IN_FLIGHT: &str = "SELECT count(*) FROM delivery WHERE state IN ('sending', 'unknown')";

impl Row {
    /// Whether all that was used can still be billed in its own period.
    fn is_in_time(&self) -> bool {
        match self.when {
            When::First | When::Rise | When::Fall => true,
            // Where it had left already, it cannot be lowered.
            When::TakenBack => !matches!(self.event, Event::NegativesRefused),
            _ => matches!(self.way.billing, Billing::Meters(..)) && self.then != Then::IsAway,
        }
    }

    /// Rule S8: what was billed before a fall that a plain sum cannot be told, and so is a credit due.
    fn cannot_fall(&self) -> bool {
        matches!(self.event, Event::NegativesRefused)
            && matches!(self.when, When::Fall | When::FallAtRollOver)
            && self.way.billing == Billing::Meters("sum", None)
    }

    /// Reads what the provider leaves open as this way says.
    fn behave(&self, vm: &Vm) {
        let Way { newest, lag_s, .. } = self.way;
        if let Some(lemon) = &vm.lemon {
            // Where 0 is refused, what arrives late in a period without usage cannot be lowered: that is an alarm.
            let zero = if lag_s == 0 { Zero::Refused } else { Zero::Accepted };
            let usual = lemon.behaviour().unwrap();
            lemon.behave(lemon_squeezy::Behaviour { zero, straggles_after_s: lag_s, ..usual }).unwrap();
            return;
        }
        let behaviour = Behaviour {
            last: newest,
            window: newest,
            summary_lag_s: lag_s,
            negative_values: !matches!(self.event, Event::NegativesRefused),
            ..Behaviour::default()
        };
        vm.stripe.behave(behaviour).unwrap();
    }

    async fn play(&self) {
        let mut play = Play::begin(self).await;
        play.comes_to(self).await;
        play.goes_wrong(self).await;
        play.then(self).await;
        play.gets_well(self).await;
        play.lives_on().await;
        play.later = LATER;
        play.vm.record("later", INCLUDED + LATER).await;
        play.vm.push_now().await.unwrap();
        play.never_above_true();
        self.comes_out(&play).await;
    }

    async fn comes_out(&self, play: &Play) {
        let vm = &play.vm;
        let invoiced = vm.invoiced_units(&vm.demo.item_api)[0];
        let (carried, held, due) = (vm.ask(CARRIED).await, vm.ask(HELD).await, vm.ask(CREDIT_DUE).await);
        let figures = format!("{invoiced} invoiced, {carried} carried, {held} held, {due} due back");
        assert_eq!(invoiced + carried + held - due, play.owed(), "{figures}");
        assert_eq!((vm.ask(OPEN).await, vm.ask(IN_FLIGHT).await), (1, 0), "all else is settled: {figures}");
        if matches!(self.way.billing, Billing::Meters(..)) {
            assert_eq!(vm.ask(OUT_OF_ORDER).await, 0, "rule S7: timestamps grow strictly");
        }
        let later = play.stands().1;
        assert_eq!(later, carried + LATER, "December: {figures}");
        if self.cannot_fall() {
            assert_eq!((invoiced, due), (11, 6), "{figures}");
        } else if self.is_in_time() {
            assert_eq!(invoiced, play.owed(), "{figures}");
        }
        let left = vm.problems().await.into_iter().filter(|problem| due == 0 || problem.code != "credit_due");
        assert_eq!(left.collect::<Vec<_>>(), [], "{figures}");
        vm.assert_books().await;
    }
}

/// Plays rows one after the other; all that fail are named.
fn play(rows: &[Row]) {
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| catch_unwind(AssertUnwindSafe(|| run(row.play()))).is_err())
        .map(ToString::to_string)
        .collect();
    assert!(failed.is_empty(), "{} of {} rows failed:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

#[test]
fn r7_every_row_of_usage_records_balances() {
    play(&rows(Billing::UsageRecords, 1));
}

#[test]
fn r7_every_row_of_meters_that_take_the_last_balances() {
    play(&rows(Billing::Meters("last", None), 2));
}

#[test]
fn r7_every_row_of_meters_that_sum_days_balances() {
    play(&rows(Billing::Meters("sum", Some("day")), 3));
}

#[test]
fn r7_every_row_of_meters_that_sum_balances() {
    play(&rows(Billing::Meters("sum", None), 4));
}

#[test]
fn r7_every_row_of_lemon_squeezy_balances() {
    play(&rows(Billing::LemonSqueezy, 5));
}
