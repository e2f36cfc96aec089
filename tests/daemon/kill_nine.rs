//! SIGKILL at any moment: whatever was acknowledged is billed, and nothing twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use serde_json::json;

use crate::harness::{Stripe, Vm};

/// At least so many, and more on a machine too busy for so many pushes between them.
const KILLS: u32 = 30;
const PUSHES: usize = 50;
const SEED: u64 = 20_260_801;

/// One who records over the socket: the same id until it is answered, then the next.
struct Program<'a> {
    name: &'a str,
    vm: &'a Vm,
    dice: fastrand::Rng,
    acknowledged: BTreeMap<String, Decimal>,
}

impl Program<'_> {
    /// Records until told to stop; the last one, too, until it is answered. `sent` is what all programs ever sent, in
    /// quarters of a credit.
    fn run(mut self, stop: &AtomicBool, sent: &AtomicI64) -> BTreeMap<String, Decimal> {
        while !stop.load(Ordering::Relaxed) {
            let id = format!("{}-{}", self.name, self.acknowledged.len());
            let quarters = self.dice.i64(1..=12);
            sent.fetch_add(quarters, Ordering::Relaxed);
            let quantity = Decimal::new(quarters * 25, 2);
            let end = Instant::now() + Duration::from_mins(2);
            while !self.is_acknowledged(&id, quantity) {
                assert!(Instant::now() < end, "nobody answers {id} any more");
                thread::sleep(Duration::from_millis(5));
            }
            self.acknowledged.insert(id, quantity);
        }
        self.acknowledged
    }

    /// Nobody there, a connection that broke, a "come again": all the same to it.
    fn is_acknowledged(&self, id: &str, quantity: Decimal) -> bool {
        let Ok(answer) = self.vm.record(id, &quantity.to_string()) else { return false };
        match answer.status {
            503 => false,
            200 => {
                let report = answer.json();
                assert_eq!(report["refused"], 0, "{report}");
                true
            }
            _ => panic!("{answer:?}"),
        }
    }
}

/// Tells programs to stop, also where the test fails: or nobody would ever hear of it.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What may go wrong with a request, one of them for a while.
fn something_goes_wrong(stripe: &Stripe, dice: &mut fastrand::Rng) {
    let effects = [
        json!("cut_before_commit"),
        json!("cut_after_commit"),
        json!("error_before_commit"),
        json!("error_after_commit"),
        json!({ "rate_limited": { "reason": "global-rate" } }),
        json!("truncated_json"),
        json!("none"),
    ];
    let fault = json!({ "effect": dice.choice(&effects).unwrap(), "delay_ms": dice.u32(0..300), "times": 2 });
    let path = if dice.u8(0..4) == 0 { "/v1/*/*" } else { "/v1/subscription_items/*/usage_records" };
    stripe.fault(if path == "/v1/*/*" { "GET" } else { "POST" }, path, &fault);
}

fn pushes(stripe: &Stripe) -> usize {
    stripe.books.requests("/usage_records").len()
}

#[test]
fn m8_s2_after_thirty_kills_under_load_what_was_acknowledged_is_in_the_ledger_and_stands_once() {
    let mut dice = fastrand::Rng::with_seed(SEED);
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    vm.start_linked().kill();
    let (stop, sent) = (AtomicBool::new(false), AtomicI64::new(0));
    let (acknowledged, daemon) = thread::scope(|scope| {
        let stopping = Stopping(&stop);
        let programs: Vec<_> = ["web", "batch"]
            .map(|name| Program { name, vm: &vm, dice: dice.fork(), acknowledged: BTreeMap::new() })
            .map(|program| scope.spawn(|| program.run(&stop, &sent)))
            .into();
        // Somebody asks for pushes all the time, so that kills meet them at every step.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(vm.ask("POST", "/v1/sync", r#"{"commit": true}"#));
                thread::sleep(Duration::from_millis(20));
            }
        });
        let mut kills = 0;
        while kills < KILLS || (kills < 4 * KILLS && pushes(&stripe) < PUSHES) {
            kills += 1;
            something_goes_wrong(&stripe, &mut dice);
            let daemon = vm.start();
            thread::sleep(Duration::from_millis(dice.u64(0..1_000)));
            daemon.kill();
            let (most, stands) = (sent.load(Ordering::Relaxed), stripe.books.total(&account.item));
            assert!(stands * 4 <= most, "{stands} stand, and at most {most} quarters were ever sent");
        }
        stripe.books.clear_faults();
        let daemon = vm.start();
        drop(stopping);
        let all: BTreeMap<String, Decimal> = programs.into_iter().flat_map(|program| program.join().unwrap()).collect();
        (all, daemon)
    });
    let sum: Decimal = acknowledged.values().sum();
    let line = vm.settle();
    let used: Decimal = line["used"].as_str().unwrap().parse().unwrap();
    assert_eq!(used, sum, "{line:#}");
    let overage: i64 = (sum - Decimal::from(7)).floor().try_into().unwrap();
    assert_eq!((&line["stands"], stripe.books.total(&account.item)), (&json!(overage), overage), "{line:#}");
    let stored: u32 = vm.query("SELECT count(*) FROM credit");
    assert_eq!(usize::try_from(stored).unwrap(), acknowledged.len());
    for (id, quantity) in acknowledged.iter().take(50) {
        let again = vm.record(id, &quantity.to_string()).unwrap().json();
        assert_eq!(again["duplicate"], 1, "{id}: {again}");
    }
    assert_eq!(vm.problems(), Vec::<String>::new());
    daemon.stop();
    assert_eq!(vm.query::<String>("PRAGMA integrity_check"), "ok");
}
