//! Test: whether an alert arrives, tried on every way at once. Nothing of it is stored.

use super::tell::{self, About};
use super::{Context, JobError};
use crate::model::{AlertState, AlertWay, Problem};
use crate::wire::{AlertTestLine, AlertTestReport, SCHEMA};

/// Tries every configured way, and says what came of it.
pub async fn test_alert(context: &Context) -> Result<AlertTestReport, JobError> {
    let settings = context.settings();
    let config = &settings.config.alerts;
    let ways = config.ways();
    if ways.is_empty() {
        return Err(JobError::refused(
            "no_alert_way",
            "nobody is told of alerts: neither alerts.command nor alerts.url is configured",
            "write one of them into usaged.toml (man usaged.toml), then: sudo systemctl reload usaged",
        ));
    }
    let now = context.now();
    let name = format!("al_test_{:016x}", context.live().dice.u64(..));
    let problem =
        Problem::note("test", "this is a test of usagectl alerts test, and nothing is wrong", "nothing to do");
    let mut lines = Vec::new();
    for way in ways {
        let about = About { name: &name, state: AlertState::Test, problem: &problem, period: None, at: now };
        let before_us = context.clock.read().monotonic_us;
        let told = tell::send(context, way, &about).await;
        let took_us = context.clock.read().monotonic_us.saturating_sub(before_us);
        let to = match way {
            AlertWay::Command => config.command.join(" "),
            AlertWay::Url => config.url.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        lines.push(AlertTestLine {
            way,
            to,
            told: told.is_ok(),
            error: told.err(),
            took_ms: took_us.div_euclid(1_000),
        });
    }
    Ok(AlertTestReport { schema: SCHEMA, id: name, ways: lines })
}
