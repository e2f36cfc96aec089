//! Who is told of what, how often, and that nothing of it is lost: a real ledger, a real command, a clock that tests move.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use usaged::jobs;
use usaged::model::Problem;
use usaged::wire::AlertLine;

use super::vm::{DAY, HOUR, MINUTE, SECOND, Vm, polled, run, settle};

/// A linked VM whose alerts a command writes down, a line for each; and what else it is told.
async fn telling(more: &str) -> Vm {
    let mut vm = Vm::booted_at("2026-11-05T12:00:00Z", "compute_hours = \"unlimited\", api_credits = 100").await;
    let file = notices_of(&vm);
    let script = format!("cat >> {0}; echo >> {0}", file.display());
    vm.alerts_toml = format!("command = [\"/bin/sh\", \"-c\", \"{script}\"]\n{more}");
    vm.start().await;
    vm.run(2 * SECOND);
    vm.link().await;
    vm.push_now().await.unwrap();
    vm
}

fn notices_of(vm: &Vm) -> PathBuf {
    vm.dir.path().join("notices")
}

/// Every notice that the command was told so far.
fn notices(vm: &Vm) -> Vec<Value> {
    let text = std::fs::read_to_string(notices_of(vm)).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each as `state code about`.
fn told(vm: &Vm) -> Vec<String> {
    let words = |notice: &Value| {
        let word = |field: &str| notice[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", word("state"), word("code"), word("about")).trim_end().to_owned()
    };
    notices(vm).iter().map(words).collect()
}

async fn look(vm: &Vm) {
    jobs::look_for_alerts(vm.context()).await.unwrap();
    jobs::tell(vm.context()).await.unwrap();
}

async fn listed(vm: &Vm) -> Vec<AlertLine> {
    jobs::alerts(vm.context(), 100).await.unwrap().alerts
}

fn wrong() -> Problem {
    Problem::needs_someone("something_wrong", "something is wrong", "put it right")
}

#[test]
fn an_alert_fires_once_clears_and_fires_again_under_another_id() {
    run(async {
        let vm = telling("").await;
        vm.context().raise(wrong());
        for _ in 0..3 {
            look(&vm).await;
            vm.run(MINUTE);
        }
        assert_eq!(told(&vm), ["fired something_wrong"]);
        vm.context().clear("something_wrong");
        look(&vm).await;
        vm.context().raise(wrong());
        look(&vm).await;
        assert_eq!(told(&vm), ["fired something_wrong", "cleared something_wrong", "fired something_wrong"]);
        let notices = notices(&vm);
        assert_eq!(notices[0]["id"], notices[1]["id"], "one alert");
        assert_ne!(notices[0]["id"], notices[2]["id"], "another");
        assert_eq!((&notices[0]["schema"], &notices[0]["severity"]), (&1.into(), &"problem".into()));
        assert_eq!(
            (&notices[0]["customer"], &notices[0]["hint"]),
            (&(*vm.demo.customer).into(), &"put it right".into())
        );
        assert!(notices[0]["period"]["from"].is_string(), "{}", notices[0]);
    });
}

#[test]
fn a_note_is_told_to_nobody_unless_it_is_listed() {
    run(async {
        let vm = telling("").await;
        vm.context().raise(Problem::note("something_nice", "", ""));
        vm.context().raise(Problem::note("payment_overdue", "", ""));
        look(&vm).await;
        assert_eq!(told(&vm), ["fired payment_overdue"]);
    });
}

#[test]
fn marks_are_told_once_a_period_whatever_is_taken_back_and_again_in_the_next() {
    run(async {
        let vm = telling("").await;
        vm.record("a", 49).await;
        look(&vm).await;
        assert_eq!(told(&vm), Vec::<String>::new());
        vm.record("b", 26).await;
        look(&vm).await;
        assert_eq!(told(&vm), ["fired allowance_reached api_credits/50", "fired allowance_reached api_credits/75"]);
        let shown = vm.problem("allowance_reached").await.unwrap();
        assert_eq!(shown.about.as_deref(), Some("api_credits/75"), "only the last is shown");
        vm.void("b").await;
        look(&vm).await;
        vm.record("c", 30).await;
        look(&vm).await;
        assert_eq!(told(&vm).len(), 2, "{:?}", told(&vm));
        vm.record("d", 21).await;
        look(&vm).await;
        assert_eq!(told(&vm).pop().unwrap(), "fired allowance_reached api_credits/100");

        // The demo's subscription goes from the fifth to the fifth.
        vm.run(30 * DAY);
        settle(&vm).await;
        look(&vm).await;
        let cleared = told(&vm).into_iter().filter(|told| told.starts_with("cleared allowance_reached")).count();
        assert_eq!((told(&vm).len(), cleared), (6, 3), "{:?}", told(&vm));
        vm.record("e", 50).await;
        look(&vm).await;
        assert_eq!(told(&vm)[6..], ["fired allowance_reached api_credits/50"]);
    });
}

#[test]
fn a_budget_is_a_note_while_it_is_only_foreseen_and_a_problem_once_it_is_spent() {
    run(async {
        // One cent a credit above the hundredth; what is used on the first day says nothing yet.
        let vm = telling("allowance_at = []\nbudget = \"1.00\"").await;
        vm.record("a", 150).await;
        vm.run(23 * HOUR);
        vm.sample().await;
        look(&vm).await;
        assert_eq!(told(&vm), Vec::<String>::new());
        vm.run(2 * HOUR);
        vm.sample().await;
        look(&vm).await;
        assert_eq!(told(&vm), ["fired budget_estimate"]);
        vm.record("b", 50).await;
        look(&vm).await;
        look(&vm).await;
        assert_eq!(told(&vm)[1..], ["cleared budget_estimate", "fired budget_reached"]);
        let spent = notices(&vm).pop().unwrap();
        assert!(spent["what"].as_str().unwrap().contains("costs 1 EUR, and the budget is 1.00"), "{spent}");
        assert_eq!(spent["severity"], "problem");
    });
}

#[test]
fn no_sample_for_three_intervals_of_running_time_is_told_and_a_suspension_is_not() {
    run(async {
        let vm = telling("").await;
        vm.suspend(HOUR);
        look(&vm).await;
        vm.run(3 * MINUTE);
        look(&vm).await;
        assert_eq!(told(&vm), Vec::<String>::new());
        vm.run(SECOND);
        look(&vm).await;
        vm.sample().await;
        look(&vm).await;
        assert_eq!(told(&vm), ["fired no_sample", "cleared no_sample"]);
    });
}

#[test]
fn what_stands_survives_a_restart_and_is_over_only_after_a_push_has_looked_too() {
    run(async {
        let mut vm = telling("").await;
        vm.context().raise(wrong());
        look(&vm).await;
        vm.kill();
        vm.start().await;
        look(&vm).await;
        assert_eq!(told(&vm), ["fired something_wrong"], "this process has seen nothing yet");
        vm.push_now().await.unwrap();
        look(&vm).await;
        assert_eq!(told(&vm), ["fired something_wrong", "cleared something_wrong"]);
    });
}

#[test]
fn killed_anywhere_an_alert_is_told_all_the_same_and_every_time_under_its_id() {
    run(async {
        let mut vm = telling("").await;
        let mut cut_short = 0;
        for polls in 0..40 {
            vm.context().raise(wrong());
            let context = Arc::clone(vm.context());
            let round = async {
                jobs::look_for_alerts(&context).await.unwrap();
                jobs::tell(&context).await.unwrap();
            };
            cut_short += u32::from(polled(Box::pin(round), polls).await.is_none());
            drop(context);
            vm.kill();
            vm.start().await;
            vm.context().raise(wrong());
            look(&vm).await;
            let newest = listed(&vm).await.remove(0);
            let of_it = notices(&vm).into_iter().filter(|notice| notice["id"] == *newest.id).count();
            assert!((1..=2).contains(&of_it), "told {of_it} times after {polls} polls");
            vm.context().clear("something_wrong");
            vm.push_now().await.unwrap();
            look(&vm).await;
            assert_eq!(told(&vm).pop().unwrap(), "cleared something_wrong", "after {polls} polls");
        }
        assert!(cut_short > 5, "it was hardly ever cut short: {cut_short}");
    });
}

#[test]
fn what_the_ledger_does_not_take_is_told_all_the_same_and_once() {
    run(async {
        let mut vm = telling("").await;
        vm.context().raise(wrong());
        vm.context().store.note_damage("torn");
        for _ in 0..3 {
            assert!(jobs::look_for_alerts(vm.context()).await.is_err());
        }
        assert_eq!(told(&vm), ["fired something_wrong"]);
        vm.kill();
        vm.start().await;
        assert_eq!(listed(&vm).await, [], "nothing of it was stored");
    });
}

#[test]
fn a_restored_disk_at_worst_tells_again_under_another_id() {
    run(async {
        let mut vm = telling("").await;
        let before = vm.snapshot().await;
        vm.context().raise(wrong());
        look(&vm).await;
        vm.restore(&before).await;
        vm.context().raise(wrong());
        look(&vm).await;
        let notices = notices(&vm);
        assert_eq!(told(&vm), ["fired something_wrong", "fired something_wrong"]);
        assert_ne!(notices[0]["id"], notices[1]["id"]);
    });
}

#[test]
fn what_fails_is_tried_again_shown_told_to_nobody_and_given_up_after_a_day() {
    run(async {
        let mut vm = telling("").await;
        vm.alerts_toml = "command = [\"/bin/sh\", \"-c\", \"echo no route >&2; exit 3\"]".to_owned();
        vm.kill();
        vm.start().await;
        vm.push_now().await.unwrap();
        vm.context().raise(wrong());
        look(&vm).await;
        assert_eq!(vm.problem("alert_hook_failing").await, None, "once is nothing");
        for _ in 0..2 {
            vm.run(HOUR);
            vm.sample().await;
            look(&vm).await;
        }
        let shown = vm.problem("alert_hook_failing").await.unwrap();
        assert!(shown.what.contains("/bin/sh: it ended with exit code 3; it said last: no route"), "{}", shown.what);
        vm.context().clear("something_wrong");
        for _ in 0..23 {
            vm.run(HOUR);
            vm.sample().await;
            look(&vm).await;
        }
        let alerts = listed(&vm).await;
        assert_eq!(alerts.len(), 1, "nobody is told of the telling: {alerts:?}");
        let [fired, cleared] = &alerts[0].messages[..] else { panic!("{alerts:?}") };
        assert_eq!((&fired.next_at, &fired.told_at), (&None, &None), "{fired:?}");
        assert!(cleared.next_at.is_some(), "{cleared:?}");
        vm.run(3 * DAY);
        vm.sample().await;
        look(&vm).await;
        assert_eq!(vm.problem("alert_hook_failing").await, None, "what was given up long ago is not said for ever");
        assert_eq!(listed(&vm).await[0].messages[1].next_at, None);
    });
}

#[test]
fn an_end_is_not_told_before_its_beginning() {
    run(async {
        let mut vm = telling("").await;
        let gate = vm.dir.path().join("gate");
        let works = vm.alerts_toml.clone();
        vm.alerts_toml = works.replacen("cat", &format!("test -e {} || exit 1; cat", gate.display()), 1);
        vm.kill();
        vm.start().await;
        vm.push_now().await.unwrap();
        vm.context().raise(wrong());
        look(&vm).await;
        vm.context().clear("something_wrong");
        look(&vm).await;
        std::fs::write(gate, "").unwrap();
        vm.run(HOUR);
        vm.sample().await;
        look(&vm).await;
        assert_eq!(told(&vm), ["fired something_wrong", "cleared something_wrong"]);
    });
}

#[test]
fn where_nothing_changed_nothing_is_written() {
    run(async {
        let vm = telling("").await;
        vm.context().raise(wrong());
        vm.record("a", 60).await;
        look(&vm).await;
        let before = vm.snapshot().await;
        for _ in 0..3 {
            vm.run(SECOND);
            look(&vm).await;
        }
        assert!(vm.snapshot().await == before, "the ledger was written to");
    });
}

#[test]
fn pushes_that_are_mostly_refused_are_told_once_there_are_enough() {
    run(async {
        let vm = telling("allowance_at = []").await;
        let insert = |tx: &usaged::store::Tx<'_>| {
            for n in 1..=20 {
                let sql = "INSERT INTO delivery (usage_record_id, revision, generation_id, idempotency_key, quantity,
                               timestamp_s, state, sends, first_sent_us, settled_us)
                           SELECT (SELECT min(id) FROM usage_record), ?1 + 100, (SELECT max(id) FROM generation),
                               'key' || ?1, 1, 1, 'refused', 1, read_us, read_us FROM subscription";
                tx.execute(sql, [n])?;
            }
            Ok::<_, usaged::store::StoreError>(())
        };
        vm.context().store.write(insert).await.unwrap();
        look(&vm).await;
        assert_eq!(told(&vm), ["fired sync_unreliable"]);
        vm.run(DAY + MINUTE);
        vm.sample().await;
        look(&vm).await;
        assert_eq!(told(&vm), ["fired sync_unreliable", "cleared sync_unreliable"]);
    });
}
