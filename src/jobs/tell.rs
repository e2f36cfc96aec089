//! Tell: send what is owed of alerts, one message at a time, until it got through or a day has passed.

use std::sync::Arc;
use std::time::Duration;

use super::{Context, JobError};
use crate::account::{self, Link};
use crate::alerts::{self, Alert, Hook, Message, NewAlert, Web, Words};
use crate::config::Alerts;
use crate::model::{
    AlertNotice, AlertPeriod, AlertState, AlertWay, MICROS_PER_DAY, Problem, Span, Timestamp, micros_of,
};
use crate::sources::Machine;
use crate::wire::SCHEMA;

/// So long it is tried.
const TRIED_US: i64 = MICROS_PER_DAY;
/// Between two attempts at least, where the time that is drawn is shorter.
const APART: Duration = Duration::from_secs(5);

/// What a notice is about.
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    pub(super) state: AlertState,
    pub(super) problem: &'a Problem,
    pub(super) period: Option<Span>,
    pub(super) at: Timestamp,
}

/// Sends what is due. Returns when the next message is.
pub async fn tell(context: &Arc<Context>) -> Result<Option<Timestamp>, JobError> {
    loop {
        let now = context.now();
        let due = context.store.read(move |c| alerts::due(c, now)).await?;
        let Some((alert, message)) = due else {
            return Ok(context.store.read(alerts::next_due).await?);
        };
        let told = send(context, message.way, &about(&alert, &message)).await;
        let is_told = told.is_ok();
        settle(context, alert, message, told).await?;
        // The next may fail as slowly; meanwhile others want to look.
        if !is_told {
            return Ok(context.store.read(alerts::next_due).await?);
        }
    }
}

fn about<'a>(alert: &'a Alert, message: &Message) -> About<'a> {
    let at = match message.state {
        AlertState::Cleared => alert.cleared.unwrap_or(alert.fired),
        AlertState::Fired | AlertState::Test => alert.fired,
    };
    About { name: &alert.name, state: message.state, problem: &alert.problem, period: alert.period, at }
}

async fn settle(context: &Context, alert: Alert, message: Message, told: Result<(), String>) -> Result<(), JobError> {
    let now = context.now();
    let (id, code, state, way) = (&alert.name, &alert.problem.code, message.state.word(), message.way.word());
    let Err(error) = told else {
        tracing::info!(id, code, "{state}: told by {way}");
        return Ok(context.store.write(move |tx| alerts::told(tx, &message, now)).await?);
    };
    let is_gone = !context.settings().config.alerts.ways().contains(&message.way);
    if is_gone || now.since(message.made) >= TRIED_US {
        tracing::warn!(id, code, "{state}: not told by {way}, and given up: {error}");
        return Ok(context.store.write(move |tx| alerts::give_up(tx, &message, &error)).await?);
    }
    let next = now.plus(micros_of(context.retry_delay(message.attempts).max(APART)));
    tracing::warn!(id, code, "{state}: not told by {way}, and tried again at {next}: {error}");
    Ok(context.store.write(move |tx| alerts::put_off(tx, &message, &error, next)).await?)
}

/// Without the ledger, which cannot take it: once, on every way.
pub(super) async fn tell_at_once(context: &Arc<Context>, alert: &NewAlert, at: Timestamp) {
    let NewAlert { name, problem, period, .. } = alert;
    for way in context.settings().config.alerts.ways() {
        let about = About { name, state: AlertState::Fired, problem, period: *period, at };
        let (code, way_word) = (&problem.code, way.word());
        match send(context, way, &about).await {
            Ok(()) => tracing::info!(code, "fired, and could not be stored: told by {way_word}"),
            Err(error) => tracing::warn!(code, "fired, and could not be stored; not told by {way_word}: {error}"),
        }
    }
}

/// Sends one notice, and says why it did not get through where it did not.
pub(super) async fn send(context: &Context, way: AlertWay, about: &About<'_>) -> Result<(), String> {
    let _one_at_a_time = context.telling.lock().await;
    // What is wrong may be that the ledger cannot be read.
    let link = context.store.read(account::in_force).await.ok().flatten();
    let notice = notice(&context.machine, link, about);
    deliver(&context.settings().config.alerts, &context.web, way, &notice, context.now()).await
}

/// Says that the ledger is damaged, once on every way: there is none in which it could be noted.
pub async fn tell_of_damage(config: &Alerts, name: &str, problem: &Problem, now: Timestamp) {
    let about = About { name, state: AlertState::Fired, problem, period: None, at: now };
    let (notice, web) = (notice(&Machine::default(), None, &about), Web::default());
    for way in config.ways() {
        let (code, word) = (&problem.code, way.word());
        match deliver(config, &web, way, &notice, now).await {
            Ok(()) => tracing::info!(code, "fired: told by {word}"),
            Err(error) => tracing::warn!(code, "fired: not told by {word}: {error}"),
        }
    }
}

async fn deliver(
    config: &Alerts,
    web: &Web,
    way: AlertWay,
    notice: &AlertNotice,
    now: Timestamp,
) -> Result<(), String> {
    let body = serde_json::to_string(notice).map_err(|error| format!("it cannot be written as JSON: {error}"))?;
    match way {
        AlertWay::Command => run(config, notice, body).await,
        AlertWay::Url => post(config, web, body, now.secs()).await,
    }
}

async fn post(config: &Alerts, web: &Web, body: String, at_s: i64) -> Result<(), String> {
    let url = config.url.as_ref().ok_or(NOT_CONFIGURED)?;
    let signature = config.secret.as_ref().map(|secret| {
        let secret = secrecy::ExposeSecret::expose_secret(secret);
        alerts::sign(secret.as_bytes(), at_s, body.as_bytes())
    });
    web.post(url, body, signature).await.map_err(|error| format!("{url}: {error}"))
}

async fn run(config: &Alerts, notice: &AlertNotice, body: String) -> Result<(), String> {
    let program = config.command.first().ok_or(NOT_CONFIGURED)?;
    let variables = vec![
        ("USAGED_ALERT_ID", notice.id.clone()),
        ("USAGED_ALERT_STATE", notice.state.word().to_owned()),
        ("USAGED_ALERT_CODE", notice.code.clone()),
        ("USAGED_ALERT_ABOUT", notice.about.clone().unwrap_or_default()),
        ("USAGED_ALERT_SEVERITY", notice.severity.word().to_owned()),
        ("USAGED_ALERT_WHAT", notice.what.clone()),
        ("USAGED_ALERT_HINT", notice.hint.clone()),
        ("USAGED_ALERT_HOST", notice.host.clone()),
    ];
    let hook = Hook { command: &config.command, limit: config.time_limit, variables, body };
    let (words, ended) = alerts::run(&hook).await;
    journal(program, &words);
    ended.map_err(|error| format!("{program}: {error}"))
}

const NOT_CONFIGURED: &str = "it is not configured any more";

fn journal(program: &str, words: &Words) {
    for line in &words.lines {
        tracing::info!("{program}: {line}");
    }
    if words.left_out > 0 {
        tracing::info!("{program}: {} bytes more are not shown", words.left_out);
    }
}

fn notice(machine: &Machine, link: Option<Link>, about: &About<'_>) -> AlertNotice {
    let problem = about.problem;
    AlertNotice {
        schema: SCHEMA,
        id: about.name.to_owned(),
        state: about.state,
        code: problem.code.clone(),
        about: problem.about.clone(),
        severity: problem.severity,
        what: problem.what.clone(),
        hint: problem.hint.clone(),
        at: about.at.to_string(),
        period: about.period.map(|period| AlertPeriod { from: period.from.to_string(), to: period.to.to_string() }),
        host: machine.host_name(),
        machine: machine.machine_id(),
        customer: link.as_ref().map(|link| link.customer.to_string()),
        subscription: link.map(|link| link.subscription.to_string()),
    }
}
