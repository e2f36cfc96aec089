//! What events and the schedule tell of customer, subscription and invoices: the same by both ways, however often and in
//! whichever order it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use usaged::api::{self, Limits};
use usaged::jobs::{self, Because, Context, Looked};
use usaged::model::{Event, Subject};
use usaged::sandbox::lemon_squeezy::Status;
use usaged::sandbox::{Effect, Fault, PINNED_VERSION};
use usaged::webhook::{self, Inbox, Refused, Taken};

use crate::vm::{Billing, DAY, HOUR, MINUTE, Vm, linked_at, linked_by, run, settle};

const FAILING: [(&str, &str); 1] = [("default_payment_method", "pm_card_chargeCustomerFail")];

fn event(id: &str, kind: &str, subject: Subject, object: &str, vm: &Vm) -> Event {
    Event {
        id: id.to_owned(),
        kind: kind.to_owned(),
        subject: Some(subject),
        object: object.to_owned(),
        customer: Some(vm.demo.customer.clone()),
        subscription: (subject != Subject::Customer).then(|| vm.demo.subscription.clone()),
    }
}

fn payment_failed(id: &str, vm: &Vm) -> Event {
    event(id, "invoice.payment_failed", Subject::Invoices, "in_1", vm)
}

async fn look(vm: &Vm, because: Because) -> Looked {
    jobs::look(vm.context(), because).await.unwrap()
}

/// A VM whose customer's card failed at the first renewal.
async fn unpaid() -> Vm {
    let vm = linked_at("2026-11-30T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
    vm.record("a", 10).await;
    vm.push().await.unwrap();
    look(&vm, Because::Schedule).await;
    vm.operate(&format!("/v1/subscriptions/{}", vm.demo.subscription), &FAILING).await;
    vm.run(DAY);
    vm
}

const LINES: &str = "SELECT count(*) FROM audit WHERE action = 'invoice.payment_failed'";

#[test]
fn a_payment_that_failed_is_told_alike_by_an_event_and_by_the_schedule() {
    run(async {
        for because in [Because::Events, Because::Schedule] {
            let vm = unpaid().await;
            assert_eq!(vm.problem("payment_failed").await, None);
            if because == Because::Events {
                assert!(jobs::take_event(vm.context(), payment_failed("evt_1", &vm)).await.unwrap());
            }
            assert_eq!(look(&vm, because).await, Looked::default());
            let problem = vm.problem("payment_failed").await.unwrap();
            assert!(
                problem.what.contains("EUR of ") && problem.what.contains("not paid after one attempt"),
                "{problem:?}"
            );
            assert!(problem.hint.contains("usagectl stripe portal"), "{problem:?}");
            assert_eq!(vm.ask(LINES).await, 1, "{because:?}");
            let totals = vm.stands(&vm.demo.item_api);
            vm.record("b", 5).await;
            vm.push_now().await.unwrap();
            assert_eq!((totals, vm.stands(&vm.demo.item_api)), (0, 5), "measuring and pushing go on");
        }
    });
}

#[test]
fn events_that_come_twice_and_in_disorder_leave_the_same() {
    run(async {
        let vm = unpaid().await;
        let subscription = vm.demo.subscription.clone();
        let updated = event("evt_2", "customer.subscription.updated", Subject::Subscription, &subscription, &vm);
        let paid = event("evt_0", "invoice.paid", Subject::Invoices, "in_0", &vm);
        // The newest first, an older one after it, and each of them again.
        for round in 0..2 {
            for one in [&updated, &payment_failed("evt_1", &vm), &paid] {
                assert_eq!(jobs::take_event(vm.context(), one.clone()).await.unwrap(), round == 0, "{one:?}");
            }
            look(&vm, Because::Events).await;
        }
        assert!(vm.problem("payment_failed").await.is_some(), "an older event undoes nothing");
        assert_eq!((vm.ask(LINES).await, vm.ask("SELECT count(*) FROM event").await), (1, 3));
        assert_eq!(vm.ask("SELECT count(*) FROM event WHERE done_us IS NULL").await, 0);
    });
}

#[test]
fn it_is_over_with_the_payment_and_the_audit_has_both() {
    run(async {
        let mut vm = unpaid().await;
        vm.reconfigure("", "").await;
        look(&vm, Because::Schedule).await;
        let invoice = vm.stripe.invoices(&vm.demo.subscription).unwrap();
        let open = invoice.iter().find(|one| one["status"] == "open").unwrap()["id"].as_str().unwrap().to_owned();
        vm.operate(&format!("/v1/invoices/{open}/pay"), &[("payment_method", "pm_card_visa")]).await;
        let paid = event("evt_2", "invoice.paid", Subject::Invoices, &open, &vm);
        jobs::take_event(vm.context(), paid).await.unwrap();
        look(&vm, Because::Events).await;
        assert_eq!(vm.problem("payment_failed").await, None);
        assert_eq!(vm.ask("SELECT count(*) FROM audit WHERE action = 'invoice.paid'").await, 1);
    });
}

#[test]
fn the_applications_are_told_to_pause_only_where_that_is_configured() {
    run(async {
        let mut vm = unpaid().await;
        look(&vm, Because::Schedule).await;
        assert_eq!(vm.status().await.paused, None);
        vm.provider_toml = "on_payment_failed = \"pause\"\n".to_owned();
        vm.kill();
        vm.start().await;
        let paused = vm.status().await.paused.unwrap();
        assert!(paused.starts_with("the invoice ") && paused.ends_with(" is not paid"), "{paused}");
        assert!(vm.problem("paused").await.is_some());
    });
}

#[test]
fn a_key_that_may_not_read_invoices_leaves_the_subscriptions_word() {
    run(async {
        let mut vm = unpaid().await;
        vm.provider_toml = "on_payment_failed = \"pause\"\n".to_owned();
        vm.kill();
        vm.start().await;
        vm.stripe.add_restricted_key(&vm.demo.agent_key, &["usage_record_write", "subscription_read"]).unwrap();
        jobs::take_event(vm.context(), payment_failed("evt_1", &vm)).await.unwrap();
        look(&vm, Because::Schedule).await;
        assert_eq!(
            vm.ask("SELECT count(*) FROM event WHERE done_us IS NULL").await,
            0,
            "another read would bring no more"
        );
        vm.push_now().await.unwrap();
        assert_eq!(vm.problem("payment_failed").await, None);
        let paused = vm.status().await.paused.unwrap();
        assert!(paused.ends_with("is past_due"), "{paused}");
    });
}

#[test]
fn what_follows_from_an_event_is_not_lost_where_another_read_fails() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.push().await.unwrap();
        let subscription = vm.demo.subscription.clone();
        let updated = event("evt_1", "customer.subscription.updated", Subject::Subscription, &subscription, &vm);
        for one in [updated, payment_failed("evt_2", &vm)] {
            jobs::take_event(vm.context(), one).await.unwrap();
        }
        vm.fault(Fault::next(Effect::CutBeforeCommit).on("GET", "/v1/invoices"));
        jobs::look(vm.context(), Because::Events).await.unwrap_err();
        assert!(look(&vm, Because::Events).await.push, "the next look says so still");
    });
}

#[test]
fn while_the_key_is_refused_events_wait_for_the_next_one() {
    run(async {
        let vm = unpaid().await;
        jobs::take_event(vm.context(), payment_failed("evt_1", &vm)).await.unwrap();
        vm.fault(Fault::next(Effect::Unauthorized));
        jobs::look(vm.context(), Because::Events).await.unwrap_err();
        look(&vm, Because::Events).await;
        assert!(vm.problem("payment_failed").await.is_some());
    });
}

#[test]
fn an_event_that_was_taken_is_read_after_a_kill_and_after_an_outage() {
    run(async {
        let mut vm = unpaid().await;
        jobs::take_event(vm.context(), payment_failed("evt_1", &vm)).await.unwrap();
        vm.fault(Fault::next(Effect::CutBeforeCommit).times(1_000));
        jobs::look(vm.context(), Because::Events).await.unwrap_err();
        vm.kill();
        vm.clear_faults();
        vm.start().await;
        assert_eq!(vm.problem("payment_failed").await, None);
        look(&vm, Because::Events).await;
        assert!(vm.problem("payment_failed").await.is_some());
        assert!(!jobs::take_event(vm.context(), payment_failed("evt_1", &vm)).await.unwrap(), "not a second time");
    });
}

#[test]
fn events_of_others_and_of_other_kinds_leave_nothing() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
        let of_another = Event {
            customer: Some("cus_other".into()),
            subscription: Some("sub_other".into()),
            ..payment_failed("evt_1", &vm)
        };
        // The same customer's other VM.
        let of_a_sibling = Event { subscription: Some("sub_other".into()), ..payment_failed("evt_2", &vm) };
        let of_no_kind = Event { subject: None, ..payment_failed("evt_3", &vm) };
        let of_a_meter = event("evt_4", "v1.billing.meter.error_report_triggered", Subject::Meter, "mtr_other", &vm);
        for one in [of_another, of_a_sibling, of_no_kind, of_a_meter] {
            assert!(!jobs::take_event(vm.context(), one).await.unwrap());
        }
        assert_eq!(vm.ask("SELECT count(*) FROM event").await, 0);
        let requests = vm.requests().len();
        look(&vm, Because::Events).await;
        assert_eq!(vm.requests().len(), requests, "nothing is read for them");
    });
}

#[test]
fn a_meters_errors_have_what_stands_compared() {
    run(async {
        let vm =
            linked_by(Billing::Meters("last", None), "2026-11-24T00:00:00Z", "compute_hours = 100, api_credits = 0")
                .await;
        let meter = vm.meter_of(&vm.demo.item_api).unwrap().to_owned();
        let told = event("evt_1", "v1.billing.meter.error_report_triggered", Subject::Meter, &meter, &vm);
        assert!(jobs::take_event(vm.context(), told).await.unwrap());
        assert_eq!(look(&vm, Because::Events).await, Looked { push: false, reconcile: true });
    });
}

#[test]
fn a_subscription_that_ended_is_known_at_once_and_its_last_total_is_there() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.record("a", 10).await;
        vm.push().await.unwrap();
        vm.run(HOUR);
        vm.cancel(&[("invoice_now", "true")]).await;
        let subscription = vm.demo.subscription.clone();
        let deleted = event("evt_1", "customer.subscription.deleted", Subject::Subscription, &subscription, &vm);
        jobs::take_event(vm.context(), deleted).await.unwrap();
        assert_eq!(look(&vm, Because::Events).await, Looked { push: true, reconcile: false });
        assert!(vm.problem("subscription_ended").await.is_some());
        vm.record("b", 7).await;
        settle(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [10]);
        vm.assert_books().await;
    });
}

#[test]
fn the_customers_name_is_kept_and_a_change_is_told_without_its_words() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
        look(&vm, Because::Schedule).await;
        let customer = vm.demo.customer.clone();
        vm.operate(&format!("/v1/customers/{customer}"), &[("name", "Another Name"), ("email", "a@example.com")]).await;
        jobs::take_event(vm.context(), event("evt_1", "customer.updated", Subject::Customer, &customer, &vm))
            .await
            .unwrap();
        look(&vm, Because::Events).await;
        assert_eq!(vm.status().await.link.unwrap().customer_name.as_deref(), Some("Another Name"));
        let told = "SELECT count(*) FROM audit WHERE action = 'customer.updated' AND detail LIKE '%name%'
                    AND detail NOT LIKE '%Another%'";
        assert_eq!(vm.ask(told).await, 1);
    });
}

#[test]
fn r5_a_plan_that_the_operator_changes_on_the_subscription_is_followed() {
    run(async {
        let mut vm = Vm::booted_at(
            "2026-11-24T12:00:00Z",
            "compute_hours = 0, api_credits = 0 }\n\
             [plans.starter]\nincluded = { compute_hours = 0, api_credits = 3",
        )
        .await;
        vm.start().await;
        vm.run(2 * MINUTE);
        vm.link().await;
        vm.record("a", 10).await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 10);
        let prices = vm.demo.prices.clone();
        let of = |item: &str, key: &str| (item.to_owned(), prices[key].clone());
        for (item, price) in [
            of(&vm.demo.item_base, "price_starter_monthly"),
            of(&vm.demo.item_compute, "price_compute_overage_starter"),
        ] {
            vm.operate_in(
                PINNED_VERSION,
                &format!("/v1/subscription_items/{item}"),
                &[("price", &price), ("proration_behavior", "none")],
            )
            .await;
        }
        let subscription = vm.demo.subscription.clone();
        let updated = event("evt_1", "customer.subscription.updated", Subject::Subscription, &subscription, &vm);
        jobs::take_event(vm.context(), updated).await.unwrap();
        assert!(look(&vm, Because::Events).await.push);
        assert_eq!(vm.status().await.link.unwrap().plan, "starter", "{:?}", vm.status().await.problems);
        settle(&vm).await;
        assert_eq!(vm.stands(&vm.demo.item_api), 7, "three are included in the plan of the period's end");
        vm.assert_books().await;
    });
}

#[test]
fn a_new_subscription_that_cannot_be_linked_for_good_is_named_and_not_tried_for_ever() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-24T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.provider_toml = "\n[webhook]\nvm_id = \"vm-17\"\n".to_owned();
        vm.start().await;
        let mut created = event("evt_1", "customer.subscription.created", Subject::Subscription, "sub_unheard", &vm);
        created.subscription = Some("sub_unheard".to_owned());
        assert!(jobs::take_event(vm.context(), created).await.unwrap());
        look(&vm, Because::Events).await;
        let problem = vm.problem("first_link_failed").await.unwrap();
        assert!(problem.what.contains("sub_unheard"), "{problem:?}");
        assert_eq!(vm.ask("SELECT count(*) FROM event WHERE done_us IS NULL").await, 0);
    });
}

const SECRET: &str = "a-secret-of-lemons";

/// The receiver's side of this VM.
struct Mail(Arc<Context>);

impl Inbox for Mail {
    fn secrets(&self) -> Vec<SecretString> {
        vec![SecretString::from(SECRET)]
    }

    fn now_s(&self) -> i64 {
        self.0.now().secs()
    }

    fn take(&self, event: Event) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        Box::pin(async move {
            jobs::take_event(&self.0, event).await.unwrap();
            Taken::Done
        })
    }

    /// What is refused does not come, and is waited for in vain.
    fn refused(&self, _why: Refused) {}
}

/// A webhook at Lemon Squeezy for these events, and who takes them.
async fn lemon_webhook(vm: &Vm, events: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/lemon-squeezy", listener.local_addr().unwrap());
    let router = webhook::router(Arc::new(Mail(Arc::clone(vm.context()))));
    #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
    drop(tokio::spawn(api::serve_strangers(listener, router, 4, Limits::new(4_096, 5), std::future::pending())));
    let order = json!({ "data": {
        "type": "webhooks",
        "attributes": { "url": url, "events": events, "secret": SECRET },
        "relationships": { "store": { "data": { "type": "stores", "id": "1" } } },
    } });
    let media_type = "application/vnd.api+json";
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let made = client
        .post(format!("{}/v1/webhooks", vm.base_url))
        .bearer_auth(&vm.demo.secret_key)
        .header("Accept", media_type)
        .header("Content-Type", media_type)
        .body(order.to_string());
    assert_eq!(made.send().await.unwrap().status(), 201);
}

#[test]
fn lemon_squeezys_own_webhooks_are_taken_and_read_again() {
    run(async {
        let mut vm =
            linked_by(Billing::LemonSqueezy, "2026-11-24T00:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.provider_toml = "on_payment_failed = \"pause\"\n".to_owned();
        vm.kill();
        vm.start().await;
        vm.push_now().await.unwrap();
        lemon_webhook(&vm, &["subscription_updated", "subscription_payment_failed"]).await;
        assert_eq!(vm.status().await.paused, None);
        vm.lemon.as_ref().unwrap().set_status(&vm.demo.subscription, Status::PastDue).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while vm.ask("SELECT count(*) FROM event").await == 0 {
            assert!(Instant::now() < until, "nothing came");
            tokio::task::yield_now().await;
        }
        assert!(look(&vm, Because::Events).await.push);
        let paused = vm.status().await.paused.unwrap();
        assert!(paused.ends_with("is past_due"), "{paused}");
        assert_eq!(vm.ask("SELECT count(*) FROM event WHERE done_us IS NULL").await, 0);
    });
}
