use super::{line, moment_or};
use crate::cli::add::add;
use crate::cli::look::{Ink, Look};
use crate::cli::words::{duration, moment_from};
use crate::model::Timestamp;
use crate::wire::{Status, UnsentStatus};

/// Samples, pushes, and what is not where it should be.
pub(super) fn screen(status: &Status, look: Look) -> String {
    let now = &status.now;
    let mut text = line(look, "Last sample", &moment_or(now, status.last_sample.as_ref(), "none yet"));
    text += &line(look, "Last push", &last_push(status, look));
    text += &line(look, "Next push", &moment_or(now, status.push.next_at.as_ref(), "none planned"));
    if status.unsent.is_empty() {
        return text + &line(look, "Unsent", "nothing");
    }
    for unsent in &status.unsent {
        text += &line(look, "Unsent", &waiting(unsent, now, look));
    }
    text
}

fn last_push(status: &Status, look: Look) -> String {
    let push = &status.push;
    let Some(at) = &push.last_at else { return "none yet".to_owned() };
    let outcome = push.last_outcome.as_deref().unwrap_or("unknown");
    let ink = if outcome == "accepted" { Ink::Green } else { Ink::Yellow };
    let what = push.last_what.as_deref().unwrap_or("a total");
    let request = push.last_request_id.as_ref().map(|id| format!(", {id}")).unwrap_or_default();
    format!("{}\n{what}: {}{request}", moment_from(&status.now, at), look.paint(ink, outcome))
}

fn waiting(unsent: &UnsentStatus, now: &str, look: Look) -> String {
    let stands =
        unsent.stands.map_or_else(|| "what stands is not known".to_owned(), |stands| format!("{stands} stands"));
    let mut text = format!(
        "{} on {} to {}, {stands}\nfor {}, {}, {}",
        unsent.meter,
        unsent.item,
        unsent.target,
        duration(unsent.age_s),
        unsent.state,
        attempts(unsent.attempts)
    );
    if let Some(why) = &unsent.why {
        add(&mut text, format_args!(": {why}"));
    }
    if let Some(next) = &unsent.next_attempt {
        add(&mut text, format_args!("\nnext attempt {}", moment_from(now, next)));
    }
    let is_past = Timestamp::parse(now).ok() >= Timestamp::parse(&unsent.deadline).ok();
    let can = if is_past { "could" } else { "can" };
    let here = look.here(&unsent.deadline).map(|here| format!(", {here}")).unwrap_or_default();
    text + &format!("\n{can} be billed until {}{here}", moment_from(now, &unsent.deadline))
}

fn attempts(attempts: i64) -> String {
    if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") }
}
