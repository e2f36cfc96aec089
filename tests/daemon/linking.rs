//! `usagectl link` by hand, against a subscription that lives its own life.

use serde_json::{Value, json};

use crate::harness::{Account, Said, Stripe, Vm, config, until};

fn link(vm: &Vm, account: &Account, more: &[&str]) -> Said {
    let words = ["link", "--customer", &account.customer, "--subscription", &account.subscription, "--plan", "small"];
    vm.ctl(&[&words, more].concat())
}

#[test]
fn r1_what_is_used_before_the_link_is_listed_and_what_is_used_after_it_is_billed() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::with_key(&stripe);
    let daemon = vm.start();
    vm.spend("before", "50");
    let status = vm.ctl(&["status"]);
    assert!(status.out.contains("nobody") && status.out.contains("not linked"), "{status:?}");
    let (code, _) = vm.sync(&["--commit"]);
    assert_eq!(code, 4, "there is nothing to send, and that is said");

    let linked = link(&vm, &account, &[]);
    assert_eq!((linked.code, &*linked.err), (0, ""), "{linked:?}");
    for words in [&account.customer, &account.subscription, &account.item] {
        assert!(linked.out.contains(words), "{words} is not in {linked:?}");
    }
    vm.spend("after", "8.5");
    let line = vm.settle();
    assert_eq!((&line["used"], &line["stands"]), (&json!("8.5"), &json!(1)), "{line:#}");
    assert_eq!(stripe.books.total(&account.item), 1);
    let usage: Value = serde_json::from_str(&vm.ctl(&["usage", "--json"]).out).unwrap();
    let meters = usage["meters"].as_array().unwrap();
    let credits = meters.iter().find(|meter| meter["name"] == "api_credits").unwrap();
    assert_eq!(credits["unlinked"], json!(50), "{usage:#}");

    daemon.stop();
    let _daemon = vm.start();
    assert_eq!(vm.status()["link"]["subscription"], account.subscription, "it is remembered");
    assert_eq!(link(&vm, &account, &[]).code, 0, "the same once more changes nothing");
    assert_eq!(vm.settle()["stands"], 1);
}

#[test]
fn r1_the_environment_links_once_and_a_later_difference_is_a_problem_not_a_change() {
    let stripe = Stripe::start();
    let (first, second) = (stripe.books.subscribe("price_api_overage"), stripe.books.subscribe("price_api_overage"));
    let mut vm = Vm::billed(&stripe, &first);
    vm.start_linked().stop();
    vm.set("STRIPE_CUSTOMER_ID", &second.customer);
    vm.set("STRIPE_SUBSCRIPTION_ID", &second.subscription);
    let _daemon = vm.start();
    let problem = vm.problem("seed_differs");
    assert!(problem.contains("usagectl link"), "{problem}");
    assert_eq!(vm.status()["link"]["customer"], first.customer);
}

#[test]
fn s4_s10_what_stands_already_is_refused_naming_the_choices() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    stripe.books.set_usage(&account.item, 30, stripe.books.now());
    let vm = Vm::with_key(&stripe);
    let _daemon = vm.start();
    let refused = link(&vm, &account, &[]);
    assert_eq!((refused.code, &*refused.out), (4, ""), "{refused:?}");
    for words in ["30 units stand", &account.item, "--on-top", "--from-next-period"] {
        assert!(refused.err.contains(words), "{words} is not in {refused:?}");
    }
    assert_eq!(vm.status()["link"], Value::Null);
}

#[test]
fn s5_on_top_adds_to_what_stands_at_another_timestamp_and_never_sets_it_away() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    stripe.books.set_usage(&account.item, 30, stripe.books.now());
    let vm = Vm::with_key(&stripe);
    let daemon = vm.start();
    let linked = link(&vm, &account, &["--on-top"]);
    assert_eq!(linked.code, 0, "{linked:?}");
    for (id, stands) in [("order-1", 35), ("order-2", 47)] {
        vm.spend(id, "12");
        let line = vm.settle();
        assert_eq!((&line["adopted"], &line["stands"]), (&json!(30), &json!(stands)), "{line:#}");
        assert_eq!(stripe.books.total(&account.item), stands);
    }
    daemon.kill();
    let _daemon = vm.start();
    vm.spend("order-3", "1");
    assert_eq!(vm.settle()["stands"], 48);
    assert_eq!(stripe.books.total(&account.item), 48);
    assert_eq!(vm.problems(), Vec::<String>::new());
}

#[test]
fn s5_on_top_keeps_what_stands_at_our_own_timestamp() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let subscription = stripe.books.get(&format!("/v1/subscriptions/{}", account.subscription));
    // Where a lost ledger of this very VM would have put it (rule S3).
    stripe.books.set_usage(&account.item, 30, subscription["current_period_start"].as_i64().unwrap() + 1);
    let vm = Vm::with_key(&stripe);
    let _daemon = vm.start();
    assert_eq!(link(&vm, &account, &["--on-top"]).code, 0);
    for (id, stands) in [("order-1", 35), ("order-2", 47)] {
        vm.spend(id, "12");
        assert_eq!(vm.settle()["stands"], stands);
        assert_eq!(stripe.books.total(&account.item), stands);
    }
}

#[test]
fn s4_from_next_period_leaves_this_one_alone() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    stripe.books.set_usage(&account.item, 30, stripe.books.now());
    let vm = Vm::with_key(&stripe);
    let daemon = vm.start();
    let linked = link(&vm, &account, &["--from-next-period"]);
    assert_eq!(linked.code, 0, "{linked:?}");
    vm.spend("this period", "500");
    let (code, line) = vm.sync(&["--commit"]);
    assert_eq!((code, &line), (4, &Value::Null), "no period is open for us");
    assert_eq!(stripe.books.total(&account.item), 30);

    stripe.books.advance(32 * 86_400);
    // A start asks the provider what time it is.
    daemon.stop();
    let _daemon = vm.start();
    until("the next period is open", || match vm.sync(&["--commit"]) {
        (0, line) if line["state"] == "open" => Ok(()),
        (code, line) => Err(format!("{code} {line:#}")),
    });
    vm.spend("next period", "9");
    let line = vm.settle();
    assert_eq!((&line["used"], &line["stands"]), (&json!("9"), &json!(2)), "{line:#}");
    assert_eq!(stripe.books.total(&account.item), 2);
}

#[test]
fn links_that_would_bill_wrongly_are_refused_with_the_reason() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let stranger = stripe.books.subscribe("price_api_overage");
    let vm = Vm::with_key(&stripe);
    vm.configure(
        &(config(&stripe.books.base_url())
            + "[plans.unready]\ncurrency = \"eur\"\noverage = { api_credits = { price = \"price_api_overage\" } }\n"),
    );
    let _daemon = vm.start();
    let with = |customer: &str, subscription: &str, plan: &str| {
        vm.ctl(&["link", "--customer", customer, "--subscription", subscription, "--plan", plan])
    };
    let refused = [
        (with(&stranger.customer, &account.subscription, "small"), "belongs to"),
        (with(&account.customer, &account.subscription, "smal"), "there is no plan"),
        (with(&account.customer, &account.subscription, "unready"), "does not state how much api_credits"),
        (with(&account.customer, &account.subscription, "pro"), "does not state how much"),
        (with(&account.customer, &account.subscription, "small"), ""),
    ];
    for (said, words) in &refused[..4] {
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.err.contains(words) && said.err.contains("hint: "), "{words} is not in {said:?}");
    }
    assert_eq!(refused[4].0.code, 0, "{:?}", refused[4]);
    let missing = with("cus_nobody", "sub_nothing", "small");
    assert_eq!(missing.code, 4, "{missing:?}");
    assert!(missing.err.contains("sub_nothing"), "{missing:?}");
}

#[test]
fn doctor_tells_a_key_that_is_taken_from_one_that_is_not_before_there_is_a_link() {
    let stripe = Stripe::start();
    let mut vm = Vm::with_key(&stripe);
    let daemon = vm.start();
    let said = vm.ctl(&["doctor"]);
    assert!(said.code == 0 && said.out.contains("it answers, and takes the key rk_test_"), "{said:?}");
    daemon.stop();
    vm.set("STRIPE_API_KEY", "rk_test_ofNobody0000000000");
    let _daemon = vm.start();
    let said = vm.ctl(&["doctor"]);
    assert!(said.code == 5 && said.out.contains("FAIL     provider"), "{said:?}");
}
