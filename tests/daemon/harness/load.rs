use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use serde_json::json;

use super::{Account, Process, Stripe, Vm};

/// What was acknowledged, by id.
pub(crate) type Acknowledged = BTreeMap<String, Decimal>;

/// Programs that record while disasters strike, each the same id until it is answered, and somebody who asks for pushes all
/// the time, so that disasters meet them at every step.
pub(crate) struct Load<'a> {
    pub(crate) vm: &'a Vm,
    /// What all programs ever sent, in quarters of a credit.
    sent: AtomicI64,
    stop: AtomicBool,
}

impl<'a> Load<'a> {
    pub(crate) const fn on(vm: &'a Vm) -> Self {
        Self { vm, sent: AtomicI64::new(0), stop: AtomicBool::new(false) }
    }

    /// Lets disasters strike under load. The last daemon that they leave answers what waits still.
    pub(crate) fn meets(
        &self,
        dice: &mut fastrand::Rng,
        disasters: impl FnOnce(&mut fastrand::Rng) -> Process,
    ) -> (Acknowledged, Process) {
        thread::scope(|scope| {
            let stopping = Stopping(&self.stop);
            let programs: Vec<_> = ["web", "batch"]
                .map(|name| Program { name, load: self, dice: dice.fork(), acknowledged: BTreeMap::new() })
                .map(|program| scope.spawn(|| program.run()))
                .into();
            scope.spawn(|| {
                while !self.stop.load(Ordering::Relaxed) {
                    drop(self.vm.ask("POST", "/v1/sync", r#"{"commit": true}"#));
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let daemon = disasters(dice);
            drop(stopping);
            (programs.into_iter().flat_map(|program| program.join().unwrap()).collect(), daemon)
        })
    }

    /// Never more than was ever sent, whatever of it was acknowledged.
    pub(crate) fn assert_not_too_much(&self, stripe: &Stripe, account: &Account) {
        let (most, stands) = (self.sent.load(Ordering::Relaxed), stripe.books.total(&account.item));
        assert!(stands * 4 <= most, "{stands} stand, and at most {most} quarters were ever sent");
    }

    /// What was acknowledged is in the ledger, and stands, once. Seven are included.
    pub(crate) fn assert_all_stand_once(&self, stripe: &Stripe, account: &Account, acknowledged: &Acknowledged) {
        let is_lost = |id: &String, quantity: &Decimal| {
            let again = self.vm.record(id, &quantity.to_string()).unwrap().json();
            again["duplicate"] != 1
        };
        let lost: Vec<&String> =
            acknowledged.iter().filter(|(id, quantity)| is_lost(id, quantity)).map(|(id, _)| id).collect();
        let some: Vec<_> = lost.iter().take(20).collect();
        assert!(lost.is_empty(), "{} of {} were lost: {some:?}…", lost.len(), acknowledged.len());
        let sum: Decimal = acknowledged.values().sum();
        let line = self.vm.settle();
        let used: Decimal = line["used"].as_str().unwrap().parse().unwrap();
        assert_eq!(used, sum, "{line:#}");
        let overage: i64 = (sum - Decimal::from(7)).floor().try_into().unwrap();
        assert_eq!((&line["stands"], stripe.books.total(&account.item)), (&json!(overage), overage), "{line:#}");
    }
}

/// One who records over the socket.
struct Program<'a> {
    name: &'a str,
    load: &'a Load<'a>,
    dice: fastrand::Rng,
    acknowledged: Acknowledged,
}

impl Program<'_> {
    /// Records until told to stop; the last one, too, until it is answered.
    fn run(mut self) -> Acknowledged {
        while !self.load.stop.load(Ordering::Relaxed) {
            let id = format!("{}-{}", self.name, self.acknowledged.len());
            let quarters = self.dice.i64(1..=12);
            self.load.sent.fetch_add(quarters, Ordering::Relaxed);
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
        let Ok(answer) = self.load.vm.record(id, &quantity.to_string()) else { return false };
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
