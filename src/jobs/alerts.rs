//! Alerts: of what stands, what somebody is to be told, once, and that it is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::problems::{self, Seen};
use super::watch::{BEYOND, HOOK_FAILING, REACHED};
use super::{Context, JobError, tell, usage};
use crate::alerts::{self, Alert, Message, Moves, NewAlert, Wanted};
use crate::model::{MICROS_PER_DAY, Problem, Severity, Span, Timestamp};
use crate::wire::{AlertLine, AlertMessageLine, AlertsReport, SCHEMA};

/// Notes that somebody is told of. Every problem is told, and nothing else.
const NOTES: [&str; 8] =
    [REACHED, BEYOND, "drift", "ledger_recovered", "payment_overdue", "paused", "subscription_ends", "webhook_refused"];
/// Alerts that were over so long ago are forgotten.
const KEPT_US: i64 = 90 * MICROS_PER_DAY;

/// What this process knows of its alerts.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Whether a push has ended: before that, this process has not seen what an earlier one had.
    pub(super) has_pushed: bool,
    /// `CLOCK_BOOTTIME` of the last heartbeat.
    pub(super) last_beat_us: Option<i64>,
    /// Names of alerts that could not be stored, by code and by what they are about; and whether they were told all the
    /// same.
    unstored: BTreeMap<(String, String), (String, bool)>,
}

/// Looks what begins and what is over, and stores it with the messages it owes. Writes nothing where nothing changed.
pub async fn look_for_alerts(context: &Arc<Context>) -> Result<(), JobError> {
    let _one_at_a_time = context.alerting.lock().await;
    let seen = Seen::by(context);
    let now = seen.now;
    let ways = seen.settings.config.alerts.ways();
    let look = move |c: &rusqlite::Connection| {
        let window = usage::current_window(c, now)?;
        let period = window.is_providers.then_some(window.span);
        let moves = alerts::moves(&alerts::standing(c)?, &wanted(c, &seen)?, period);
        Ok::<_, JobError>((moves, period))
    };
    let (mut moves, period) = context.store.read(look).await?;
    if !context.live().alerts.has_pushed {
        moves.over.retain(|alert| alert.once_a_period);
    }
    if moves.is_empty() {
        return Ok(());
    }
    let begins: Vec<NewAlert> = moves.begins.iter().map(|wanted| named(context, wanted, period)).collect();
    let stored = store(context, begins.clone(), moves.over.clone(), ways, now).await;
    match &stored {
        Ok(()) => {
            let mut live = context.live();
            for alert in &begins {
                live.alerts.unstored.remove(&key(&alert.problem));
            }
            drop(live);
            say(&moves);
        }
        // A full disk is just what somebody has to be told of.
        Err(_) => tell_unstored(context, &begins, now).await,
    }
    stored
}

fn wanted(connection: &rusqlite::Connection, seen: &Seen) -> Result<Vec<Wanted>, JobError> {
    let mut wanted = problems::standing(connection, seen)?;
    wanted.retain(|one| is_told(&one.problem));
    Ok(wanted)
}

fn is_told(problem: &Problem) -> bool {
    let matters = problem.severity == Severity::Problem || NOTES.contains(&problem.code.as_str());
    matters && problem.code != HOOK_FAILING
}

fn key(problem: &Problem) -> (String, String) {
    (problem.code.clone(), problem.subject().to_owned())
}

/// Under a name that is drawn once, however often it has to be tried.
fn named(context: &Context, wanted: &Wanted, period: Option<Span>) -> NewAlert {
    let mut live = context.live();
    let drawn = format!("al_{:016x}{:016x}", live.dice.u64(..), live.dice.u64(..));
    let (name, _) = live.alerts.unstored.entry(key(&wanted.problem)).or_insert((drawn, false));
    NewAlert { name: name.clone(), problem: wanted.problem.clone(), period, once_a_period: wanted.once_a_period }
}

async fn store(
    context: &Context,
    begins: Vec<NewAlert>,
    over: Vec<Alert>,
    ways: Vec<crate::model::AlertWay>,
    now: Timestamp,
) -> Result<(), JobError> {
    let write = move |tx: &crate::store::Tx<'_>| {
        for alert in &over {
            alerts::clear(tx, alert.id, &ways, now)?;
        }
        for alert in &begins {
            alerts::fire(tx, alert, &ways, now)?;
        }
        Ok(alerts::forget(tx, now.minus(KEPT_US))?)
    };
    context.store.write(write).await
}

fn say(moves: &Moves) {
    for Wanted { problem, .. } in &moves.begins {
        let (code, about) = (&problem.code, problem.subject());
        tracing::info!(code, about, "an alert fired: {}", problem.what);
    }
    for Alert { name, problem, .. } in &moves.over {
        let (code, about) = (&problem.code, problem.subject());
        tracing::info!(code, about, id = name, "an alert cleared");
    }
}

/// Once a process, each; what is stored later is told again, under the same name.
async fn tell_unstored(context: &Arc<Context>, begins: &[NewAlert], now: Timestamp) {
    for alert in begins {
        let is_told = match context.live().alerts.unstored.get_mut(&key(&alert.problem)) {
            Some((_, told)) => std::mem::replace(told, true),
            None => true,
        };
        if !is_told {
            tell::tell_at_once(context, alert, now).await;
        }
    }
}

/// The newest alerts, and what was told of them.
pub async fn alerts(context: &Context, most: u32) -> Result<AlertsReport, JobError> {
    let read = move |c: &rusqlite::Connection| {
        let newest = alerts::recent(c, most)?;
        newest.iter().map(|alert| Ok(line(alert, &alerts::of_alert(c, alert.id)?))).collect::<Result<_, JobError>>()
    };
    Ok(AlertsReport { schema: SCHEMA, alerts: context.store.read(read).await? })
}

fn line(alert: &Alert, messages: &[Message]) -> AlertLine {
    let problem = &alert.problem;
    AlertLine {
        id: alert.name.clone(),
        code: problem.code.clone(),
        about: problem.about.clone(),
        severity: problem.severity,
        what: problem.what.clone(),
        hint: problem.hint.clone(),
        fired_at: alert.fired.to_string(),
        cleared_at: alert.cleared.map(|at| at.to_string()),
        messages: messages.iter().map(message_line).collect(),
    }
}

fn message_line(message: &Message) -> AlertMessageLine {
    AlertMessageLine {
        state: message.state,
        way: message.way,
        told_at: message.told.map(|at| at.to_string()),
        next_at: message.next.map(|at| at.to_string()),
        attempts: i64::from(message.attempts),
        error: message.error.clone(),
    }
}
