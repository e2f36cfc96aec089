//! What the figures say that somebody should know, beyond what went wrong.

use rusqlite::Connection;
use rust_decimal::Decimal;

use super::JobError;
use super::problems::Seen;
use super::usage::{self, Estimate, Figures, Window};
use crate::account;
use crate::alerts::{self, Budget, Failing, Wanted};
use crate::model::{AlertWay, MICROS_PER_DAY, Meter, Micros, PlanMeter, Problem};
use crate::outbox;
use crate::rating;

/// The note that an included amount is used up to a mark.
pub(super) const REACHED: &str = "allowance_reached";
/// The problem that the overage costs what it may.
const SPENT: &str = "budget_reached";
/// The note that it will.
pub(super) const BEYOND: &str = "budget_estimate";
const UNRELIABLE: &str = "sync_unreliable";
/// The problem that somebody is not told. Nobody is told of that.
pub(super) const HOOK_FAILING: &str = "alert_hook_failing";

/// A message that failed so often needs someone.
const MANY_ATTEMPTS: u32 = 3;

/// Which meter a reached mark is of, where this is one.
pub(super) fn meter_of_mark(problem: &Problem) -> Option<&str> {
    let about = problem.about.as_deref().filter(|_| problem.code == REACHED)?;
    about.rsplit_once('/').map(|(meter, _)| meter)
}

/// Everything at a moment. Of each meter the marks it has reached, lowest first.
pub(super) fn found(connection: &Connection, seen: &Seen) -> Result<Vec<Wanted>, JobError> {
    let mut found: Vec<Wanted> = Vec::new();
    let passing = |problem| Wanted { problem, once_a_period: false };
    found.extend(silence(seen).map(passing));
    found.extend(unreliable(connection, seen)?.map(passing));
    let failing = alerts::failing(connection, MANY_ATTEMPTS, seen.now.minus(MICROS_PER_DAY))?;
    found.extend(failing.iter().map(hook_failing).map(passing));
    let window = usage::current_window(connection, seen.now)?;
    // A calendar month that stands in for a period nobody has read yet has no allowance of its own.
    if window.is_providers {
        found.extend(of_the_period(connection, seen, &window)?);
    }
    Ok(found)
}

fn silence(seen: &Seen) -> Option<Problem> {
    let every = seen.settings.config.schedule.sample_every;
    alerts::is_silent(seen.unsampled_us, every).then(|| {
        let age_s = seen.unsampled_us.div_euclid(1_000_000);
        Problem::needs_someone(
            "no_sample",
            format!("no sample was stored for {age_s} seconds, and one is due every {}", every.as_secs()),
            "usagectl doctor looks at sources and database; journalctl -u usaged says what was met",
        )
    })
}

fn unreliable(connection: &Connection, seen: &Seen) -> Result<Option<Problem>, JobError> {
    let (finished, accepted) = outbox::settled_since(connection, seen.now.minus(MICROS_PER_DAY))?;
    let stands = alerts::is_standing(connection, UNRELIABLE, "")?;
    Ok(alerts::is_unreliable(accepted, finished, stands).then(|| {
        Problem::needs_someone(
            UNRELIABLE,
            format!("of {finished} attempts to set a total in the last day, {accepted} were accepted"),
            "usagectl audit shows what was answered; usagectl doctor looks at key, network and provider",
        )
    }))
}

fn hook_failing(failing: &Failing) -> Problem {
    let way = match failing.way {
        AlertWay::Command => "alerts.command",
        AlertWay::Url => "alerts.url",
    };
    let gone = match failing.given_up {
        0 => String::new(),
        given_up => format!(", {given_up} were given up"),
    };
    let waiting = failing.waiting;
    Problem::needs_someone(
        HOOK_FAILING,
        format!("alerts do not get through {way}: {waiting} wait{gone}: {}", failing.error),
        "usagectl alerts test tries now and says why; usagectl alerts lists what was not told",
    )
    .about(failing.way.word())
}

/// Included amounts and the budget.
fn of_the_period(connection: &Connection, seen: &Seen, window: &Window) -> Result<Vec<Wanted>, JobError> {
    let config = &seen.settings.config;
    let Some(link) = account::in_force(connection)? else { return Ok(Vec::new()) };
    let plan = config.plans.get(&link.plan);
    let mut found = Vec::new();
    let mut cost = Cost::default();
    for meter in config.meters.values() {
        let figures = usage::figures(connection, config, meter, window)?;
        if let Some(included) = figures.included() {
            let marks = alerts::reached(figures.used, included, &config.alerts.allowance_at);
            found.extend(marks.into_iter().map(|mark| allowance(meter, &figures, included, mark)));
        }
        if let Some(terms) = plan.and_then(|plan| plan.meters.get(&meter.name)) {
            cost.add(&figures, terms, &usage::estimate(meter, &figures, window, seen.now)?);
        }
    }
    let currency = plan.map_or("", |plan| plan.currency.as_str());
    // The first day says little of the last.
    let is_early = seen.now.since(window.span.from.max(link.from)) < MICROS_PER_DAY;
    if let Some(most) = config.alerts.budget {
        let estimate = cost.estimate.filter(|_| !is_early);
        found.extend(budget(connection, &Budget { most, cost: cost.so_far, estimate }, currency)?);
    }
    Ok(found)
}

fn allowance(meter: &Meter, figures: &Figures, included: Micros, mark: u32) -> Wanted {
    let (unit, name) = (&meter.unit, &meter.name);
    let (used, included) = (unit.number(figures.used), unit.number(included));
    let what = format!(
        "{used} of the {included} {} of {name} that are included in this period are used ({mark} %)",
        unit.label
    );
    let hint = if mark >= 100 {
        "what is used from now on is billed; usagectl usage shows where it comes from"
    } else {
        "nothing to do; what goes beyond the included amount is billed"
    };
    Wanted { problem: Problem::note(REACHED, what, hint).about(format!("{name}/{mark}")), once_a_period: true }
}

/// What the overage of all meters costs.
#[derive(Default)]
struct Cost {
    so_far: Decimal,
    estimate: Option<Decimal>,
}

impl Cost {
    fn add(&mut self, figures: &Figures, terms: &PlanMeter, estimate: &Estimate) {
        let (Some(price), Some(_)) = (terms.unit_amount, figures.allowance) else { return };
        let so_far = figures.overage.and_then(|units| rating::cost(units, price)).unwrap_or_default();
        self.so_far = self.so_far.saturating_add(so_far);
        if estimate.used.is_some() {
            let more = estimate.above.and_then(|units| rating::cost(units, price)).unwrap_or_default();
            self.estimate = Some(self.estimate.unwrap_or_default().saturating_add(more));
        }
    }
}

fn budget(connection: &Connection, budget: &Budget, currency: &str) -> Result<Option<Wanted>, JobError> {
    let currency = currency.to_uppercase();
    let Budget { most, cost, estimate } = budget;
    if cost >= most {
        let what =
            format!("the overage of this period costs {} {currency}, and the budget is {most}", cost.normalize());
        let hint = "usagectl usage shows where it comes from; alerts.budget in usaged.toml is the budget";
        return Ok(Some(Wanted { problem: Problem::needs_someone(SPENT, what, hint), once_a_period: true }));
    }
    let stands = alerts::is_standing(connection, BEYOND, "")?;
    let Some(estimate) = estimate.filter(|_| alerts::is_beyond(budget, stands)) else { return Ok(None) };
    let what = format!(
        "if usage goes on like this, the overage of this period comes to {} {currency}, and the budget is {most}",
        estimate.normalize()
    );
    let hint = "usagectl usage shows where it comes from; alerts.budget in usaged.toml is the budget";
    Ok(Some(Wanted { problem: Problem::note(BEYOND, what, hint), once_a_period: false }))
}
