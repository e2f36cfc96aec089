//! Rule S11: copies of a disk. None of them may bill beside its original.

use std::path::PathBuf;

use usaged::config::LinkSeed;
use usaged::jobs::{self, Because, JobError, Running, Settings};
use usaged::ledger::credits::{NewCredit, Verdict};
use usaged::model::{CustomerId, Event, MeterName, Micros, SourceName, Subject, SubscriptionId};
use usaged::provider::Provider;
use usaged::store::{self, StoreError};
use usaged::wire::{IdentityReport, IdentityRequest, LinkRequest, PrepareImageRequest, ThisVm};

use super::closing::code;
use super::vm::{DAY, HOUR, MINUTE, SECOND, Vm, linked_at, run};

const ALL_BILLED: &str = "compute_hours = 1000, api_credits = 0";
const UUID: &str = "4c4c4544-0042-3510-8051-c4c04f4a4e32\n";
const ANOTHER_UUID: &str = "00000000-0000-4000-8000-0000000000a1\n";
const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef\n";
const ANOTHER_MACHINE_ID: &str = "fedcba9876543210fedcba9876543210\n";
const PRODUCT_UUID: &str = "sys/class/dmi/id/product_uuid";

/// The disk wakes up in another machine; five credits are used there.
async fn wakes_up_as(vm: &mut Vm, machine_id: &str, product_uuid: &str) {
    vm.kill();
    vm.write("etc/machine-id", machine_id);
    vm.write(PRODUCT_UUID, product_uuid);
    vm.start().await;
    vm.record("on-the-copy", 5).await;
    vm.push_now().await.unwrap();
}

async fn linked() -> Vm {
    let mut vm = Vm::booted_at("2026-11-24T12:00:00Z", ALL_BILLED).await;
    vm.write(PRODUCT_UUID, UUID);
    vm.start().await;
    vm.run(2 * SECOND);
    vm.link().await;
    vm.push_now().await.unwrap();
    vm
}

fn codes(vm: &Vm) -> Vec<String> {
    vm.context().problems().into_iter().map(|problem| problem.code).collect()
}

fn holds(vm: &Vm) -> bool {
    codes(vm).contains(&"identity_changed".to_owned())
}

async fn says(vm: &Vm, this_vm: ThisVm) -> Result<IdentityReport, JobError> {
    let request = IdentityRequest { this_vm, because: "somebody looked".into() };
    jobs::identity(vm.context(), &request, "uid:0").await
}

async fn prepare(vm: &Vm, because: Option<&str>) -> Result<usaged::wire::PrepareImageReport, JobError> {
    let request = PrepareImageRequest { because: because.map(Into::into) };
    jobs::prepare_image(vm.context(), &request, "uid:0").await
}

#[test]
fn s11_a_copy_is_known_by_its_machine_id_or_by_its_product_uuid_and_sends_nothing() {
    run(async {
        for (machine_id, product_uuid, is_another) in [
            (MACHINE_ID, UUID, false),
            (ANOTHER_MACHINE_ID, UUID, true),
            (MACHINE_ID, ANOTHER_UUID, true),
            (MACHINE_ID, "Not Settable", false),
            ("", ANOTHER_UUID, true),
            ("", "", false),
        ] {
            let mut vm = linked().await;
            wakes_up_as(&mut vm, machine_id, product_uuid).await;
            let stands = vm.stands(&vm.demo.item_api);
            assert_eq!(
                (holds(&vm), stands),
                (is_another, if is_another { 0 } else { 5 }),
                "{machine_id}{product_uuid}"
            );
        }
    });
}

#[test]
fn s11_a_uuid_that_becomes_known_later_belongs_to_the_identity_from_then_on() {
    run(async {
        let mut vm = linked_at("2026-11-24T12:00:00Z", ALL_BILLED).await;
        wakes_up_as(&mut vm, MACHINE_ID, UUID).await;
        assert!(!holds(&vm), "it was not known before");
        wakes_up_as(&mut vm, MACHINE_ID, "unreadable").await;
        assert!(!holds(&vm), "that it cannot be read says nothing");
        wakes_up_as(&mut vm, MACHINE_ID, ANOTHER_UUID).await;
        assert!(holds(&vm));
    });
}

#[test]
fn s11_a_vm_that_moved_goes_on_with_its_ledger() {
    run(async {
        let mut vm = linked().await;
        wakes_up_as(&mut vm, ANOTHER_MACHINE_ID, ANOTHER_UUID).await;
        let said = says(&vm, ThisVm::Same).await.unwrap();
        assert_eq!(said.machine, format!("{}/{}", ANOTHER_MACHINE_ID.trim(), ANOTHER_UUID.trim()));
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), holds(&vm)), (5, false));
        vm.kill();
        vm.start().await;
        assert!(!holds(&vm), "the word was kept");
        assert_eq!(code(&says(&vm, ThisVm::New).await.unwrap_err()), "identity_same");
    });
}

#[test]
fn s11_a_clone_begins_unlinked_with_an_empty_ledger_and_the_old_one_lies_beside_it() {
    run(async {
        let mut vm = linked().await;
        vm.record("on-the-original", 3).await;
        vm.push_now().await.unwrap();
        wakes_up_as(&mut vm, MACHINE_ID, ANOTHER_UUID).await;
        let aside = PathBuf::from(says(&vm, ThisVm::New).await.unwrap().set_aside.unwrap());

        let late = vm.try_record("too-late", 1).await;
        assert!(
            matches!(late, Err(JobError::Store(StoreError::SettingAside))),
            "what is acknowledged must not be left behind: {late:?}"
        );

        vm.kill();
        vm.start().await;
        assert_eq!(vm.ask("SELECT count(*) FROM link").await, 0);
        assert_eq!(vm.ask("SELECT count(*) FROM credit").await, 0);
        assert!(!holds(&vm), "an empty ledger is the machine's own");
        let old = rusqlite::Connection::open(&aside).unwrap();
        let credits: i64 = old.query_row("SELECT count(*) FROM credit", [], |row| row.get(0)).unwrap();
        assert_eq!(credits, 2, "nothing of it is lost");
        let running = Running {
            since: vm.now(),
            sandbox: true,
            next_push: None,
            next_reconcile: None,
            next_compact: None,
            next_look: None,
            paths: usaged::wire::PathsStatus::default(),
        };
        let status = jobs::status(vm.context(), running).await.unwrap();
        let note = status.problems.iter().find(|problem| problem.code == "ledger_set_aside").unwrap();
        assert!(note.what.contains(aside.file_name().unwrap().to_str().unwrap()), "{}", note.what);

        vm.record("b", 9).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 3, "the original's, and nothing of the clone's");
    });
}

#[test]
fn s11_a_clone_is_not_linked_by_the_ids_that_it_inherited() {
    run(async {
        let mut vm = linked().await;
        wakes_up_as(&mut vm, MACHINE_ID, ANOTHER_UUID).await;
        says(&vm, ThisVm::New).await.unwrap();
        vm.kill();
        vm.start().await;
        let seed = LinkSeed {
            customer: Some(CustomerId::new(&*vm.demo.customer).unwrap()),
            subscription: Some(SubscriptionId::new(&*vm.demo.subscription).unwrap()),
            ..LinkSeed::default()
        };
        let mut config = vm.context().settings().config.clone();
        config.seed = seed;
        let provider = Provider::new(&config.provider).unwrap();
        vm.context().replace_settings(Settings { config, provider });
        jobs::seed(vm.context()).await.unwrap();
        assert_eq!(vm.ask("SELECT count(*) FROM link").await, 0);
        assert!(codes(&vm).contains(&"seed_failed".to_owned()));
    });
}

#[test]
fn s11_nor_is_it_linked_by_an_event_that_names_the_originals_subscription() {
    run(async {
        let mut vm = linked().await;
        let customer = format!("/v1/customers/{}", vm.demo.customer);
        vm.operate(&customer, &[("metadata[magic_box_vm_id]", "vm-17")]).await;
        wakes_up_as(&mut vm, MACHINE_ID, ANOTHER_UUID).await;
        says(&vm, ThisVm::New).await.unwrap();
        vm.provider_toml = "\n[webhook]\nvm_id = \"vm-17\"\n".to_owned();
        vm.kill();
        vm.start().await;
        let created = Event {
            id: "evt_1".to_owned(),
            kind: "customer.subscription.created".to_owned(),
            subject: Some(Subject::Subscription),
            object: vm.demo.subscription.clone(),
            customer: Some(vm.demo.customer.clone()),
            subscription: Some(vm.demo.subscription.clone()),
        };
        assert!(jobs::take_event(vm.context(), created).await.unwrap());
        jobs::look(vm.context(), Because::Events).await.unwrap();
        assert_eq!(vm.ask("SELECT count(*) FROM link").await, 0);
        assert!(codes(&vm).contains(&"first_link_failed".to_owned()), "{:?}", codes(&vm));
    });
}

#[test]
fn s11_an_image_is_prepared_only_when_everything_was_sent() {
    run(async {
        let mut vm = linked().await;
        vm.record("a", 7).await;
        vm.run(SECOND);
        let prepared = prepare(&vm, None).await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 7, "it is sent first");
        assert_eq!(prepared.unlinked.as_deref(), Some(&*vm.demo.subscription));
        assert!(prepared.unsent.is_empty() && prepared.still_claimed.is_empty(), "{prepared:?}");
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 7, "what was used before the link's end stays (rule M7)");
        wakes_up_as(&mut vm, ANOTHER_MACHINE_ID, ANOTHER_UUID).await;
        assert!(!holds(&vm));
        assert_eq!(vm.ask("SELECT count(*) FROM link").await, 0);
        assert!(PathBuf::from(prepared.set_aside).exists());
        let before = vm.context().store.read(store::begun_anew).await.unwrap().unwrap();
        assert_eq!(before.subscription.as_deref(), Some(&*vm.demo.subscription));
    });
}

/// A caller's clock may be ahead (rule M8), and so may its credit, of the end of the link.
#[test]
fn s11_what_stands_is_not_lowered_by_the_end_of_the_link() {
    run(async {
        let vm = linked().await;
        let credit = NewCredit {
            meter: MeterName::new("api_credits").unwrap(),
            source: SourceName::of_uid(1_000),
            id: "ahead".to_owned(),
            quantity: Micros::from_units(7).unwrap(),
            at: Some(vm.now().plus(2 * MINUTE)),
            uid: 1_000,
        };
        assert_eq!(jobs::record(vm.context(), vec![credit]).await.unwrap(), [Verdict::Accepted]);
        prepare(&vm, None).await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 7);
        vm.run(SECOND);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 7);
    });
}

#[test]
fn s11_what_is_unsent_keeps_an_image_from_being_prepared_unless_somebody_says_why() {
    run(async {
        let mut vm = linked().await;
        wakes_up_as(&mut vm, MACHINE_ID, ANOTHER_UUID).await;
        let error = prepare(&vm, None).await.unwrap_err();
        assert_eq!(code(&error), "unsent");
        assert!(error.to_string().contains("5 should stand on"), "{error}");
        assert_eq!(vm.record("after-the-refusal", 1).await, Verdict::Accepted, "records are taken again");
        let prepared = prepare(&vm, Some("the usage of a test machine")).await.unwrap();
        assert_eq!(prepared.unsent.len(), 1);
    });
}

#[test]
fn m5_what_waits_for_a_trusted_clock_is_unsent_too_and_is_placed_before_an_image_is_prepared() {
    run(async {
        let mut vm = linked().await;
        vm.reboot(HOUR).await;
        vm.record("before-anybody-told-the-time", 6).await;
        let unsent = vm.context().store.read(jobs::unsent).await.unwrap();
        assert!(unsent.iter().any(|line| line.starts_with("api_credits: what was used lately waits")), "{unsent:?}");
        vm.run(SECOND);
        let prepared = prepare(&vm, None).await.unwrap();
        assert!(prepared.unsent.is_empty(), "{prepared:?}");
        assert_eq!(vm.stands(&vm.demo.item_api), 6);
    });
}

#[test]
fn s10_a_prepared_machines_mark_is_taken_from_its_items() {
    run(async {
        let vm = linked().await;
        let item = format!("/v1/subscription_items/{}", vm.demo.item_api);
        let marked = vm.operate(&item, &[("metadata[usaged_machine]", "left by an earlier link")]).await;
        assert_eq!(marked["metadata"]["usaged_machine"], "left by an earlier link");
        // With a key that may write it.
        let mut config = vm.context().settings().config.clone();
        config.provider.key =
            Some(usaged::config::ApiKey { secret: vm.demo.secret_key.clone().into(), from: "test".into() });
        let provider = Provider::new(&config.provider).unwrap();
        vm.context().replace_settings(Settings { config, provider });
        prepare(&vm, None).await.unwrap();
        let after = vm.operate(&item, &[("metadata[other]", "x")]).await;
        assert_eq!(after["metadata"], serde_json::json!({"other": "x"}));
    });
}

/// What a disk measured before it was copied is nobody's: it was never linked there.
#[test]
fn r1_a_link_never_reaches_back_to_what_another_machine_used() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-22T12:00:00Z", "compute_hours = 0, api_credits = 0").await;
        vm.start().await;
        vm.run(20 * HOUR);
        vm.push_now().await.unwrap();
        wakes_up_as(&mut vm, ANOTHER_MACHINE_ID, UUID).await;
        assert!(!holds(&vm), "a ledger that was never linked takes the identity by itself");
        let since = vm.now();
        vm.run(2 * DAY);
        let from = |at: usaged::model::Timestamp| LinkRequest { from: Some(at.to_string()), ..LinkRequest::default() };
        let error = vm.try_link(from(since.minus(HOUR))).await.unwrap_err();
        assert_eq!(code(&error), "from_another_machine");
        vm.try_link(from(since.plus(SECOND))).await.unwrap();
        vm.push_now().await.unwrap();
        assert_eq!(vm.targets().await["compute_hours"], 47);
    });
}
