//! A period that ends at the provider while the daemon runs, or while it does not.

use serde_json::{Value, json};

use crate::harness::{Account, Process, Stripe, Vm, until};

/// Brings the daemon the provider's time, which comes with a start's first read.
fn start_over(vm: &Vm, daemon: Process) -> Process {
    daemon.stop();
    vm.start()
}

/// The month whose last second the period that has just begun will hold (rule R2).
fn first_month(stripe: &Stripe, account: &Account) -> String {
    let subscription = stripe.books.get(&format!("/v1/subscriptions/{}", account.subscription));
    let start = subscription["current_period_start"].as_i64().unwrap();
    chrono::DateTime::from_timestamp(start, 0).unwrap().format("%Y-%m").to_string()
}

/// The metered amount of the subscription's newest invoice, in cents.
fn invoiced(stripe: &Stripe, account: &Account) -> Value {
    let invoices = stripe.books.get(&format!("/v1/invoices?subscription={}&limit=1", account.subscription));
    invoices["data"][0]["amount_due"].clone()
}

#[test]
fn s6_r6_an_ended_period_is_closed_by_two_reads_and_what_missed_it_is_carried() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let daemon = vm.start_linked();
    vm.spend("in time", "107");
    assert_eq!(vm.settle()["stands"], 100);
    let month = first_month(&stripe, &account);

    // The period ends with ten units recorded that no push carried over in time.
    stripe.fault(
        "POST",
        "/v1/subscription_items/*/usage_records",
        &json!({ "effect": "error_before_commit", "times": 1_000 }),
    );
    vm.spend("too late to be pushed", "10");
    stripe.books.advance(31 * 86_400);
    stripe.books.clear_faults();
    let daemon = start_over(&vm, daemon);
    until("the next period is open", || match vm.sync(&[]) {
        (0, line) if line["state"] == "open" && line["period_from"] != json!(null) => Ok(()),
        (code, line) => Err(format!("{code} {line:#}")),
    });
    assert_eq!(invoiced(&stripe, &account), 100);
    // Two reads, minutes apart.
    stripe.books.advance(600);
    let daemon = start_over(&vm, daemon);
    let closed = until("the first period is closed", || match vm.sync(&["--month", &month]) {
        (_, line) if line["state"] == "closed" => Ok(line),
        (code, line) => Err(format!("{code} {line:#}")),
    });
    assert_eq!((&closed["overage"], &closed["stands"], &closed["carried_out"]), (&json!(110), &json!(100), &json!(10)));
    let (code, line) = vm.sync(&["--month", &month, "--commit"]);
    assert_eq!((code, &line["action"]), (4, &json!("closed")), "{line:#}");
    let shown = vm.ctl(&["sync", "--month", &month, "--commit"]);
    assert!(shown.out.contains("100 stood when the period was closed, 10 were carried on"), "{shown:?}");

    let line = vm.settle();
    assert_eq!(
        (&line["carried_in"], &line["overage"], &line["stands"]),
        (&json!(10), &json!(0), &json!(10)),
        "{line:#}"
    );
    assert_eq!(stripe.books.total(&account.item), 10);
    daemon.kill();
    let _daemon = vm.start();
    assert_eq!(vm.settle()["stands"], 10);
}

#[test]
fn r2_a_month_that_no_period_ends_in_is_refused_with_the_reason() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let _daemon = vm.start_linked();
    for month in ["2019-01", "2199-12"] {
        let said = vm.ctl(&["sync", "--month", month, "--commit"]);
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.out.contains("no period of a linked item holds the last second of that month"), "{said:?}");
        assert_eq!(vm.ctl(&["sync", "--month", month]).code, 0, "to look is no fault");
    }
}
