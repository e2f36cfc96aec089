//! All problems that stand now: what this process has seen, and what the database tells, so that it survives a restart.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;

use super::context::limits;
use super::{Context, JobError, Settings, drift, look, make_good, release, roll_up, watch};
use crate::account::{self, Link};
use crate::alerts::Wanted;
use crate::clock::trust::Placement;
use crate::ledger;
use crate::model::{Formula, Problem, Timestamp};
use crate::outbox::{self, Unseen, UsageRecord};
use crate::provider::Provider;
use crate::store;

/// What is known without asking the database, at one moment.
pub(super) struct Seen {
    /// The moment.
    pub(super) now: Timestamp,
    pub(super) settings: Arc<Settings>,
    /// Where the wall clock's trust comes from.
    pub(super) placement: Placement,
    /// Running time since a sample was stored.
    pub(super) unsampled_us: i64,
    live: Vec<Problem>,
    path: PathBuf,
}

impl Seen {
    pub(super) fn by(context: &Context) -> Self {
        let reading = context.clock.read();
        let sampled_us = context.live().sampled_monotonic_us;
        Self {
            now: context.utc(reading),
            settings: context.settings(),
            placement: context.placement(reading, None),
            unsampled_us: reading.monotonic_us.saturating_sub(sampled_us),
            live: context.problems(),
            path: context.store.path().to_owned(),
        }
    }

    /// How far the wall clock is ahead of the provider's, where it is wrong.
    pub(super) fn ahead_s(&self) -> Option<i64> {
        match &self.placement {
            Placement::Known { wall_ahead_us, .. } => wall_ahead_us.map(|us| us.div_euclid(1_000_000)),
            Placement::Waiting => None,
        }
    }
}

/// Everything that stands.
pub(super) fn standing(connection: &Connection, seen: &Seen) -> Result<Vec<Wanted>, JobError> {
    let mut problems = seen.live.clone();
    problems.extend(stored(connection, &seen.settings, seen.now)?);
    problems.extend(set_aside(connection, &seen.path)?);
    problems.extend(store::recovered(connection, &seen.path)?.as_ref().map(make_good::problem));
    problems.extend(seen.ahead_s().map(clock_problem));
    let problems = problems.into_iter().map(|problem| Wanted { problem, once_a_period: false });
    Ok(problems.chain(watch::found(connection, seen)?).collect())
}

/// The same for people: worst first, within one severity in the order they were found; of the marks that a meter has
/// reached, the last.
pub(super) fn shown(connection: &Connection, seen: &Seen) -> Result<Vec<Problem>, JobError> {
    let mut problems: Vec<Problem> = Vec::new();
    for Wanted { problem, .. } in standing(connection, seen)? {
        if let Some(meter) = watch::meter_of_mark(&problem) {
            problems.retain(|other| watch::meter_of_mark(other) != Some(meter));
        }
        problems.push(problem);
    }
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    Ok(problems)
}

/// Why units are not carried, where nothing else says it.
const MAY_STAND_LATER: &str = "they may be among the units that were taken over in a later period";

/// A record that has been failing for this many attempts needs someone.
const MANY_ATTEMPTS: u32 = 8;

/// A ledger that was set aside, for as long as it lies there: nothing disappears silently.
fn set_aside(connection: &Connection, path: &std::path::Path) -> Result<Option<Problem>, JobError> {
    let before = store::set_aside_before(connection, path)?;
    Ok(before.map(|before| {
        let what =
            format!("an earlier ledger of this disk lies beside usage.db as {}: {}", before.name, before.because);
        Problem::note("ledger_set_aside", what, "delete it once nobody needs it any more")
    }))
}

fn clock_problem(ahead: i64) -> Problem {
    Problem::needs_someone(
        "clock_wrong",
        format!(
            "this machine's clock is {} seconds {} the provider's",
            ahead.abs(),
            if ahead > 0 { "ahead of" } else { "behind" }
        ),
        "usage is placed by the provider's time meanwhile; correct the clock: timedatectl set-ntp true",
    )
}

/// What needs someone, as the database tells it: so it survives a restart.
fn stored(connection: &Connection, settings: &Settings, now: Timestamp) -> Result<Vec<Problem>, JobError> {
    let mut problems = Vec::new();
    problems.extend(unbilled(connection, settings)?);
    if let Some(link) = account::in_force(connection)? {
        let problem = subscription_problem(connection, &link, now)?;
        problems.extend(problem.map(|problem| problem.about(link.subscription.to_string())));
    }
    problems.extend(look::problems(connection, settings)?);
    for record in outbox::unfinished(connection)? {
        problems.extend(record_problem(&record, settings, now).map(|problem| problem.about(record.item.to_string())));
    }
    problems.extend(closed_differing(connection, now)?);
    for stretch in outbox::unseen(connection)? {
        let problem = unseen_problem(connection, settings, &stretch)?;
        problems.push(problem.about(format!("{}/{}", stretch.item, stretch.span.from)));
    }
    for carried in outbox::waiting_carries(connection)? {
        let because = carried.held_because.unwrap_or_else(|| "no period has taken it yet".to_owned());
        let problem = Problem::note(
            "carry_waits",
            format!("{} units of {} wait to be carried: {because}", carried.units, carried.meter),
            "usagectl sync --month YYYY-MM shows the period they come from",
        );
        problems.push(problem.about(carried.meter.to_string()));
    }
    let since = roll_up::looked_back_to(&settings.config, now);
    for closed in outbox::closed_since(connection, since)? {
        let due = outbox::credit_due(connection, closed.id)?;
        if due > 0 {
            let problem = Problem::needs_someone(
                "credit_due",
                format!("{due} units too many were billed on {} until {}", closed.item, closed.period.to),
                "give the customer a credit note for them",
            );
            problems.push(problem.about(of_a_period(&closed)));
        }
        problems.extend(closed_problems(&closed).into_iter().map(|problem| problem.about(of_a_period(&closed))));
    }
    for imbalance in outbox::imbalances(connection, since)? {
        let problem = Problem::needs_someone(
            "books_do_not_balance",
            format!(
                "usage record {}: {} accounted for, {} owed (rule R7)",
                imbalance.record, imbalance.accounted, imbalance.owed
            ),
            "please report this with the output of usagectl sync --month",
        );
        problems.push(problem.about(imbalance.record.to_string()));
    }
    Ok(problems)
}

/// The next step of a VM that only measures.
fn unbilled(connection: &Connection, settings: &Settings) -> Result<Option<Problem>, JobError> {
    if matches!(settings.provider, Provider::None) {
        let what = "nothing is billed: no provider is configured, or its key is missing; usage is measured";
        let hint = "set provider.kind in usaged.toml and give it a key (man usaged), then: sudo systemctl restart usaged, and \
                    sudo usagectl link --customer cus_… --subscription sub_…";
        return Ok(Some(Problem::note("no_provider", what, hint)));
    }
    let linked = account::in_force(connection)?.is_some();
    let what = "nothing is billed: this VM is not linked to a subscription; usage is measured";
    let hint = "usagectl link --customer cus_… --subscription sub_…";
    Ok((!linked).then(|| Problem::note("not_linked", what, hint)))
}

/// What the provider said of the subscription that is linked, where that is more than "active".
fn subscription_problem(connection: &Connection, link: &Link, now: Timestamp) -> Result<Option<Problem>, JobError> {
    let Some(read) = account::last_read(connection, &link.subscription)? else { return Ok(None) };
    let id = &read.id;
    if let Some(why) = read.why_not_billed() {
        return Ok(Some(if read.is_over() {
            let hint = "link the customer's next subscription: usagectl link …; one that is to end at once is best canceled \
                        with invoice_now=true, or the usage it has not invoiced yet is dropped";
            Problem::needs_someone("subscription_ended", format!("{why}: what is used now is not billed"), hint)
        } else {
            let hint = "nothing to do here; usage is measured, and billed from the next period on that is";
            Problem::note("not_billed_now", format!("{why}: what is used now is not billed"), hint)
        }));
    }
    Ok(match (&*read.status, read.ends.filter(|ends| now < *ends)) {
        (status @ ("past_due" | "unpaid"), _) => {
            let hint = "usage goes on its invoices all the same; the provider's dashboard shows which are not paid";
            Some(Problem::note("payment_overdue", format!("the subscription {id} is {status}"), hint))
        }
        (_, Some(ends)) => {
            let hint =
                "what is used until then goes on its last invoice; to end it before, cancel with invoice_now=true";
            Some(Problem::note("subscription_ends", format!("the subscription {id} ends at {ends}"), hint))
        }
        _ => None,
    })
}

/// What was used while periods came and went unseen.
fn unseen_problem(connection: &Connection, settings: &Settings, stretch: &Unseen) -> Result<Problem, JobError> {
    let (item, span) = (&stretch.item, stretch.span);
    let used = match settings.config.meters.get(&stretch.meter) {
        Some(meter) => {
            let used = ledger::buckets::used(connection, ledger::meters::id(connection, &meter.name)?, span)?;
            format!("{} {} of {}", meter.unit.number(used), meter.unit.label, meter.name)
        }
        None => format!("usage of {}", stretch.meter),
    };
    let between = format!("between {} and {}", span.from, span.to);
    Ok(match &stretch.because {
        Some(because) => Problem::note(
            "not_billed_then",
            format!("{because} {between}: {used} in it are not billed"),
            format!("usagectl release {item} --overwrite --because … takes this away"),
        ),
        None => Problem::needs_someone(
            "periods_unknown",
            format!(
                "neither the provider nor its calendar tells the periods of {item} {between}: {used} in them are not billed"
            ),
            format!("compare with the invoices; usagectl release {item} --overwrite --because … leaves it at that"),
        ),
    })
}

/// An item's period among its others.
fn of_a_period(record: &UsageRecord) -> String {
    format!("{}/{}", record.item, record.period.to)
}

/// What a closed period leaves to people.
fn closed_problems(closed: &UsageRecord) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (item, to) = (&closed.item, closed.period.to);
    let why = closed.held.as_ref().map(|(_, because)| because).or(closed.drift.as_ref()).map(String::as_str);
    let why = why.or(closed.may_stand_later.then_some(MAY_STAND_LATER));
    let because = why.map_or_else(String::new, |why| format!(": {why}"));
    if closed.held_units > 0 {
        let what = format!("{} units on {item} until {to} were neither billed nor carried{because}", closed.held_units);
        problems.push(Problem::needs_someone("units_held", what, "bill them by hand, or leave them"));
    }
    let stood = closed.standing.unwrap_or(0);
    if stood > 0 && closed.held.as_ref().is_some_and(|(code, _)| code == "item_missing") {
        let what = format!("whether {stood} units that stood on {item} until {to} were billed is not known{because}");
        problems.push(Problem::needs_someone("billing_unknown", what, "look for them on the customer's invoices"));
    }
    problems
}

/// The provider says something else of a closed period than it was closed with.
fn closed_differing(connection: &Connection, now: Timestamp) -> Result<Vec<Problem>, JobError> {
    let problem = |closed: UsageRecord| {
        let drift = closed.drift.as_ref().filter(|_| closed.held_units == 0)?;
        let what = format!("{} until {}: {drift}", closed.item, closed.period.to);
        Some(Problem::needs_someone("closed_period_differs", what, drift::SETTLED).about(of_a_period(&closed)))
    };
    Ok(outbox::closed_lately(connection, now)?.into_iter().filter_map(problem).collect())
}

/// Units that stand above what should, and that nothing we send takes away.
fn cannot_fall(record: &UsageRecord) -> Option<String> {
    let (to_absorb, beside) = (record.to_absorb(), record.beside_target());
    let (units, why) = match (to_absorb, record.channel.formula()) {
        (0, _) => (beside, "they are at another timestamp than this VM's, and its own total leaves them alone"),
        (_, Some(Formula::SumOfDays)) => (to_absorb, "the provider takes no events for days so long ago"),
        _ => (to_absorb, "the provider takes no event below zero"),
    };
    (units > 0).then(|| format!("{units} units too many stand on {}: {why}", record.item))
}

fn record_problem(record: &UsageRecord, settings: &Settings, now: Timestamp) -> Option<Problem> {
    let item = &record.item;
    if let Some((_, because)) = record.held.as_ref().filter(|(code, _)| code == "subscription_ended") {
        let (target, stood) = (record.target, record.standing.unwrap_or(0));
        return Some(Problem::needs_someone(
            "ended_with_usage",
            format!("{target} units should be billed on {item}, of which {stood} stood: {because}"),
            "nothing to do yet; what its last invoice lacks is listed once that was read",
        ));
    }
    if let Some((code, because)) = &record.held {
        let hint = if outbox::is_of_a_change(code) {
            format!("usagectl sync shows the figures; then {}", release::link_again(record))
        } else if release::is_about_figures(code) {
            let way_out = release::way_out(item, code);
            format!("usagectl reconcile --item {item} shows the figures; then {way_out}")
        } else {
            release::way_out(item, code)
        };
        let what = format!("{item} is held: {because}");
        return Some(Problem::needs_someone(&format!("held_{code}"), what, hint));
    }
    let deadline = record.last_send(limits(&settings.config.provider));
    if record.is_near_deadline(limits(&settings.config.provider), now) {
        return Some(Problem::needs_someone(
            "deadline_near",
            format!(
                "{} units for {item} are not sent, and can be billed in this period only until {deadline}",
                record.target
            ),
            "usagectl sync --commit tries now and says why; what misses the deadline is carried into the next period",
        ));
    }
    if record.attempts >= MANY_ATTEMPTS {
        let error = record.last_error.as_deref().unwrap_or("no answer");
        return Some(Problem::needs_someone(
            "push_failing",
            format!("setting {item} has failed {} times: {error}", record.attempts),
            "usagectl doctor looks at key, network and provider",
        ));
    }
    if let Some(what) = cannot_fall(record) {
        let hint = "later usage of this period absorbs them; what is left at its end is listed as a credit due";
        return Some(Problem::note("cannot_fall", what, hint));
    }
    let drift = record.drift.as_ref()?;
    if record.channel.formula() == Some(Formula::Sum) {
        return Some(Problem::needs_someone(
            "accepted_not_counted",
            format!("{item}: accepted, not counted: {drift}"),
            "see the meter's errors in the provider's dashboard; accepted events are not sent again, and what is not \
             counted when the period is closed is held",
        ));
    }
    let hint = "it was set again; see whether somebody else writes to the item";
    Some(Problem::note("drift", format!("{item}: {drift}"), hint))
}
