//! SIGKILL at any moment: whatever was acknowledged is billed, and nothing twice.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Load, Stripe, Vm, often};

/// At least so many, and more on a machine too busy for so many pushes between them. `USAGED_KILLS` says how many else.
const KILLS: u32 = 30;
const PUSHES: usize = 50;
const SEED: u64 = 20_260_801;

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
fn m8_s2_after_many_kills_under_load_what_was_acknowledged_is_in_the_ledger_and_stands_once() {
    let kills = often("USAGED_KILLS", KILLS);
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    vm.start_linked().kill();
    let load = Load::on(&vm);
    let mut dice = fastrand::Rng::with_seed(SEED);
    let (acknowledged, daemon) = load.meets(&mut dice, |dice| {
        let mut killed = 0;
        while killed < kills || (killed < 4 * kills && pushes(&stripe) < PUSHES) {
            killed += 1;
            something_goes_wrong(&stripe, dice);
            let daemon = vm.start();
            thread::sleep(Duration::from_millis(dice.u64(0..1_000)));
            daemon.kill();
            load.assert_not_too_much(&stripe, &account);
        }
        stripe.books.clear_faults();
        vm.start()
    });
    load.assert_all_stand_once(&stripe, &account, &acknowledged);
    let stored: u32 = vm.query("SELECT count(*) FROM credit");
    assert_eq!(usize::try_from(stored).unwrap(), acknowledged.len());
    assert_eq!(vm.problems(), Vec::<String>::new());
    daemon.stop();
    assert_eq!(vm.query::<String>("PRAGMA integrity_check"), "ok");
}
