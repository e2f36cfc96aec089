use super::add::add;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Exit;
use super::args::RecordArgs;
use super::client::{LOCAL, Said};
use super::error::CliError;
use super::look::{Ink, Look};
use super::random_id::random_id;
use super::run::Run;
use crate::wire::{RecordInput, RecordOutcome, RecordReport};

pub(super) async fn record(run: &mut Run<'_>, args: RecordArgs) -> Result<Exit, CliError> {
    let id = args.id.clone().map_or_else(random_id, Ok)?;
    let quantity = serde_json::value::to_raw_value(&args.quantity).map_err(std::io::Error::from)?;
    // The same moment in every try, also in one that is made by hand: another would be another record.
    let at = args.at.as_ref().map(|at| at.start(run.now).to_string());
    let again = again(&args, &id, at.as_deref());
    let input = RecordInput { meter: args.meter, quantity, id, at, source: args.source };
    let said = send(run, &input, args.retry_for, &again).await?;
    let report: RecordReport =
        run.show(&said, |report: &RecordReport, look| screen(report, &args.quantity, &input.meter, look))?;
    match report.records.into_iter().find(|record| record.outcome == RecordOutcome::Refused) {
        None => Ok(Exit::Fine),
        Some(refused) => Err(CliError::RecordRefused {
            code: refused.code.unwrap_or_default(),
            reason: refused.reason.unwrap_or_else(|| "refused without a reason".to_owned()),
        }),
    }
}

/// Sends the same record, under the same id, until it is answered or patience ends.
async fn send(run: &mut Run<'_>, input: &RecordInput, patience: Duration, again: &str) -> Result<Said, CliError> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(100);
    let (mut may_have_arrived, mut told) = (false, false);
    loop {
        let failure = match run.client.post("/v1/usage", input, LOCAL).await {
            Ok(said) => return Ok(said),
            Err(failure) => failure,
        };
        may_have_arrived |= failure.may_have_arrived();
        let asked_for = match &failure {
            CliError::Answered { retry_after_s: Some(seconds), .. } => Duration::from_secs(*seconds),
            _ => Duration::ZERO,
        };
        pause = (pause * 2).max(asked_for);
        if !failure.is_passing() || Instant::now() + pause > end {
            return Err(given_up(failure, may_have_arrived, again));
        }
        if !told && !run.json {
            writeln!(run.err, "{failure}; trying again with id {}", input.id)?;
            told = true;
        }
        sleep(pause).await;
    }
}

fn given_up(failure: CliError, may_have_arrived: bool, again: &str) -> CliError {
    let again = again.to_owned();
    match failure {
        failure if may_have_arrived => CliError::RecordUnknown { again, source: Box::new(failure) },
        failure if failure.is_passing() => CliError::RecordUnsent { again, source: Box::new(failure) },
        failure => failure,
    }
}

/// The command that sends exactly this record again.
fn again(args: &RecordArgs, id: &str, at: Option<&str>) -> String {
    let mut command = format!("usagectl record {} {} --id {}", quoted(&args.meter), quoted(&args.quantity), quoted(id));
    for (flag, value) in [("--at", at), ("--source", args.source.as_deref())] {
        if let Some(value) = value {
            add(&mut command, format_args!(" {flag} {}", quoted(value)));
        }
    }
    command
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The screen. A refusal is told on stderr.
pub(super) fn screen(report: &RecordReport, quantity: &str, meter: &str, look: Look) -> String {
    let mut text = String::new();
    for record in &report.records {
        match record.outcome {
            RecordOutcome::Accepted => {
                add(
                    &mut text,
                    format_args!("{}  {meter} {quantity}  id {}\n", look.paint(Ink::Green, "accepted"), record.id),
                );
            }
            RecordOutcome::Duplicate => {
                let word = look.paint(Ink::Yellow, "duplicate");
                add(
                    &mut text,
                    format_args!("{word}  {meter} {quantity}  id {}: counted before, counts once\n", record.id),
                );
            }
            RecordOutcome::Refused => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_try_again_can_be_pasted_into_a_shell() {
        let args = RecordArgs {
            meter: "api_credits".to_owned(),
            quantity: "0.5".to_owned(),
            id: None,
            at: None,
            source: None,
            retry_for: Duration::ZERO,
        };
        let expected = r"usagectl record api_credits 0.5 --id 'it'\''s 1' --at 2026-11-05T12:00:00Z";
        assert_eq!(again(&args, "it's 1", Some("2026-11-05T12:00:00Z")), expected);
    }
}
