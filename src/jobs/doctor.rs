//! Doctor: look at everything that can be wrong, each with a verdict and a fix.

use std::path::Path;
use std::sync::Arc;

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

use super::{Context, JobError, deliver, roll_up, stands};
use crate::account::{self, AccountError};
use crate::config::{self, KEY_EXPOSED};
use crate::model::{Source, SubscriptionId};
use crate::outbox::{self, RecordState};
use crate::provider::{Provider, RefusalKind};
use crate::wire::{Check, DoctorReport, SCHEMA, Verdict};

/// More than this is not what it needs, and near what its unit lets it have.
const MEMORY_HIGH: u64 = 64 * 1_024 * 1_024;
const ARCHIVED_FIX: &str = "reactivate it in the provider's dashboard, or move the item to a price on another meter";
/// Less than this beside the database is worth a look.
const DISK_LOW: u64 = 200 * 1_024 * 1_024;

/// Runs every check. Reads the provider, and sends nothing to it.
pub async fn doctor(context: &Arc<Context>) -> Result<DoctorReport, JobError> {
    let mut checks = vec![database(context).await, disk(context.store.path()), memory(), clock(context)];
    checks.extend(meters(context));
    checks.push(plans(context).await?);
    checks.push(link(context).await?);
    checks.push(identity(context));
    checks.push(provider(context).await?);
    checks.extend(items(context).await?);
    checks.extend(surroundings(context));
    checks.push(books(context).await?);
    Ok(DoctorReport { schema: SCHEMA, checks })
}

fn check(name: &str, verdict: Verdict, found: impl Into<String>, fix: &str) -> Check {
    Check { name: name.to_owned(), verdict, found: found.into(), fix: fix.to_owned() }
}

async fn database(context: &Context) -> Check {
    let found = context
        .store
        .read(|c| Ok::<String, JobError>(c.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?))
        .await;
    match found {
        Ok(said) if said == "ok" => check("database", Verdict::Ok, "usage.db is sound", ""),
        Ok(said) => check(
            "database",
            Verdict::Fail,
            format!("usage.db is damaged: {said}"),
            "usagectl db recover sets the file aside, and goes on with what can be read of it",
        ),
        Err(error) => check("database", Verdict::Fail, error.to_string(), "see the journal: journalctl -u usaged"),
    }
}

/// Of the file system that the service sees there, which a list of disks need not have.
fn disk(path: &Path) -> Check {
    let found = match rustix::fs::statvfs(path) {
        Ok(found) => found,
        Err(error) => return check("disk", Verdict::Skipped, format!("its file system cannot be asked: {error}"), ""),
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let found = format!("{} MB free beside usage.db", free.div_euclid(1_000_000));
    if free < DISK_LOW {
        check("disk", Verdict::Warn, found, "free space; on a full disk records are answered with 503")
    } else {
        check("disk", Verdict::Ok, found, "")
    }
}

/// What this process holds: it runs beside the customer's work.
fn memory() -> Check {
    let resident = get_current_pid().ok().and_then(|pid| {
        let mut system = System::new().ok()?;
        let memory = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
        Some(system.process(pid)?.memory())
    });
    let Some(resident) = resident else {
        return check("memory", Verdict::Skipped, "/proc does not show this process", "");
    };
    let found = format!("{} MB resident", resident.div_euclid(1_000_000));
    if resident > MEMORY_HIGH {
        check("memory", Verdict::Warn, found, "sudo systemctl restart usaged, and please report what it was doing")
    } else {
        check("memory", Verdict::Ok, found, "")
    }
}

fn clock(context: &Context) -> Check {
    use crate::clock::trust::Placement;
    match context.placement(context.clock.read(), None) {
        Placement::Known { by, wall_ahead_us: None, .. } => {
            check("clock", Verdict::Ok, format!("trusted by {}", by.word()), "")
        }
        Placement::Known { wall_ahead_us: Some(ahead), .. } => {
            let found = format!("the wall clock is {} s from the provider's", ahead.div_euclid(1_000_000));
            check("clock", Verdict::Fail, found, "timedatectl set-ntp true")
        }
        Placement::Waiting => check(
            "clock",
            Verdict::Warn,
            "nobody vouches for the wall clock; usage waits to be placed, at most a day",
            "if chrony or ntpd keeps it right, write clock = \"trusted\" in usaged.toml; else: timedatectl set-ntp true",
        ),
    }
}

fn meters(context: &Context) -> Vec<Check> {
    let settings = context.settings();
    let reading = context.clock.read();
    let measured = settings.config.meters.values().filter(|meter| meter.source != Source::Push);
    measured
        .map(|meter| {
            let name = format!("meter {}", meter.name);
            match context.machine.sample(meter, &context.incarnation, reading) {
                Ok(_) => check(&name, Verdict::Ok, format!("measured by {}", meter.source.word()), ""),
                Err(error) => check(&name, Verdict::Fail, error.to_string(), "correct its source in usaged.toml"),
            }
        })
        .collect()
}

async fn plans(context: &Context) -> Result<Check, JobError> {
    let settings = context.settings();
    let Some(link) = context.store.read(account::in_force).await? else {
        return Ok(check("plan", Verdict::Skipped, "this VM is not linked, so no plan applies", ""));
    };
    let Some(plan) = settings.config.plans.get(&link.plan) else {
        let found = format!("the plan {} is linked and not configured", link.plan);
        return Ok(check("plan", Verdict::Fail, found, "add it to usaged.toml, then: systemctl reload usaged"));
    };
    Ok(match config::plan_ready(plan, &settings.config.meters) {
        Ok(()) => check("plan", Verdict::Ok, format!("{} states what it includes", plan.name), ""),
        Err(why) => check("plan", Verdict::Fail, why.to_string(), &why.hint()),
    })
}

async fn link(context: &Context) -> Result<Check, JobError> {
    let link = context.store.read(account::in_force).await?;
    let seed = context.settings().config.seed.clone();
    Ok(match link {
        None => check(
            "link",
            Verdict::Warn,
            "this VM is not linked: usage is measured and not billed",
            "usagectl link --customer cus_… --subscription sub_…",
        ),
        Some(link) if seed.subscription.as_ref().is_some_and(|seeded| *seeded != link.subscription) => check(
            "link",
            Verdict::Warn,
            format!("linked to {}, while the environment names another subscription", link.subscription),
            "usagectl link to change it; the environment only seeds the first link (rule R1)",
        ),
        Some(link) => {
            check("link", Verdict::Ok, format!("{} on {}, plan {}", link.customer, link.subscription, link.plan), "")
        }
    })
}

fn identity(context: &Context) -> Check {
    if context.identity_changed() {
        return check(
            "identity",
            Verdict::Fail,
            "this ledger was made on another machine: nothing is sent",
            "if this VM was moved: usagectl identity same --because …; if it is a clone: usagectl identity new --because …",
        );
    }
    let machine = context.identity();
    match (machine.machine_id.is_some(), machine.product_uuid.is_some()) {
        (true, true) => {
            check("identity", Verdict::Ok, "this ledger is this machine's, by machine id and product uuid", "")
        }
        (true, false) => check(
            "identity",
            Verdict::Ok,
            "this ledger is this machine's, by machine id; there is no product uuid to tell a copy that kept the id",
            "",
        ),
        (false, true) => check("identity", Verdict::Ok, "this ledger is this machine's, by product uuid", ""),
        (false, false) => check(
            "identity",
            Verdict::Warn,
            "this machine has neither machine id nor product uuid, so a clone would not be noticed",
            "systemd-machine-id-setup",
        ),
    }
}

async fn provider(context: &Arc<Context>) -> Result<Check, JobError> {
    let settings = context.settings();
    if matches!(settings.provider, Provider::None) {
        return Ok(check(
            "provider",
            Verdict::Warn,
            "no provider is in force: nothing is billed",
            "set provider.kind and a key, see usaged.toml",
        ));
    }
    let key = settings.provider.key_kind().unwrap_or("none").to_owned();
    let link = context.store.read(account::in_force).await?;
    // Without a link any subscription does: that it is not there is an answer that only a good key is given.
    let subscription = match &link {
        Some(link) => link.subscription.clone(),
        None => SubscriptionId::new("sub_of_nobody").map_err(AccountError::from)?,
    };
    let answer = settings.provider.read_subscription(&subscription).await;
    context.note_date(&answer);
    if link.is_none() && answer.value.as_ref().is_err_and(|error| error.refusal.kind == RefusalKind::Missing) {
        return Ok(check("provider", Verdict::Ok, format!("it answers, and takes the key {key}"), ""));
    }
    Ok(match answer.value {
        Ok(view) if key.starts_with("sk_live") => check(
            "provider",
            Verdict::Warn,
            format!("{} is {}; the key {key} may do everything on the account", view.id, view.status),
            "give this VM a restricted key, rk_live_…, of its own",
        ),
        Ok(view) => check("provider", Verdict::Ok, format!("{} is {}, key {key}", view.id, view.status), ""),
        Err(error) => check("provider", Verdict::Fail, error.to_string(), error.refusal.hint()),
    })
}

/// What each linked item's channel needs of the provider: a meter that takes events, and a total that can be read.
async fn items(context: &Arc<Context>) -> Result<Vec<Check>, JobError> {
    let settings = context.settings();
    let records = context.store.read(outbox::unfinished).await?;
    let mut checks = Vec::new();
    for record in records.iter().filter(|record| record.state == RecordState::Open && record.segment_of.is_none()) {
        let name = format!("item {}", record.item);
        if let Some(meter) = record.channel.meter() {
            let answer = settings.provider.read_meter(&meter.id).await;
            context.note_date(&answer);
            match answer.value {
                Ok(found) if !found.is_active => {
                    let found = format!("the meter {} is archived and takes no events", meter.id);
                    checks.push(check(&name, Verdict::Fail, found, ARCHIVED_FIX));
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    let found = format!("the meter {} cannot be read: {error}", meter.id);
                    checks.push(check(&name, Verdict::Fail, found, error.refusal.hint()));
                    continue;
                }
            }
        }
        let answer = settings.provider.read_current(&stands::destination(record), stands::window(record)).await;
        context.note_date(&answer);
        checks.push(match answer.value {
            Ok(_) => check(&name, Verdict::Ok, format!("what stands can be read, by {}", record.channel.words()), ""),
            Err(error) => {
                let found = format!("what stands cannot be read: {error}");
                check(&name, Verdict::Fail, found, error.refusal.hint())
            }
        });
    }
    Ok(checks)
}

/// What was seen at the start, the last reload, or the last push: to send is what cannot be tried here.
fn surroundings(context: &Context) -> impl Iterator<Item = Check> {
    const SEEN: [&str; 3] = [KEY_EXPOSED, "command_group_missing", deliver::REFUSED];
    let problems = context.problems().into_iter();
    let seen = problems.filter(|problem| SEEN.contains(&problem.code.as_str()));
    seen.map(|problem| check(&problem.code.replace('_', " "), Verdict::Fail, problem.what, &problem.hint))
}

async fn books(context: &Context) -> Result<Check, JobError> {
    let since = roll_up::looked_back_to(&context.settings().config, context.now());
    let imbalances = context.store.read(move |c| outbox::imbalances(c, since)).await?;
    Ok(match imbalances.first() {
        None => check("books", Verdict::Ok, "every closed period balances (rule R7)", ""),
        Some(first) => check(
            "books",
            Verdict::Fail,
            format!("usage record {}: {} accounted for, {} owed", first.record, first.accounted, first.owed),
            "please report this with the output of usagectl sync --month",
        ),
    })
}
