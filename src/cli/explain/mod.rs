mod page;

use super::Exit;
use super::add::add;
use super::args::ExplainArgs;
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::table::{Lean, table};
use super::words::{duration, gap_reason, moment, percent, quantity, seconds_between, term};
use crate::wire::{Bill, ExplainReport, is_month};

pub(super) async fn explain(run: &mut Run<'_>, args: ExplainArgs) -> Result<Exit, CliError> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for word in &args.of {
        query.append_pair(if is_month(word) { "month" } else { "meter" }, word);
    }
    for (name, value) in [("month", &args.month), ("meter", &args.meter)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let said = run.client.get(&format!("/v1/explain?{}", query.finish())).await?;
    let report: ExplainReport = match &args.html {
        None => run.show(&said, screen)?,
        Some(file) => {
            let report = run.show(&said, |_: &ExplainReport, _| format!("Written to {}.\n", file.display()))?;
            page::write(file, &report)?;
            report
        }
    };
    Ok(if report.bills.iter().all(|bill| bill.agrees) { Exit::Fine } else { Exit::NeedsSomeone })
}

/// The screen: each number from the top down.
pub(super) fn screen(report: &ExplainReport, look: Look) -> String {
    if report.bills.is_empty() {
        return "Nothing is billed in that period.\n".to_owned();
    }
    let bills: Vec<String> = report.bills.iter().map(|bill| one(bill, look)).collect();
    bills.join("\n\n")
}

fn one(bill: &Bill, look: Look) -> String {
    let title = format!("{} from {} to {} UTC", bill.meter, moment(&bill.period_from), moment(&bill.period_to));
    let mut text = format!("{}\n", look.paint(Ink::Bold, &title));
    add(&mut text, format_args!("{} on {}, {}, plan {}\n\n", bill.customer, bill.subscription, bill.item, bill.plan));
    text += &billed(bill);
    if let Some(held) = &bill.held {
        add(&mut text, format_args!("{}  {}\n\n", look.paint(Ink::Yellow, "Held"), look.wrap(6, held)));
    }
    text += &how(bill);
    text += &check(bill, look);
    for (heading, lines) in [
        ("By day, UTC", days(bill)),
        ("Not watched", gaps(bill)),
        ("Recorded by", sources(bill)),
        ("Carried", carries(bill)),
        ("Told to the provider", pushes(bill)),
    ] {
        if !lines.is_empty() {
            add(&mut text, format_args!("\n{}\n{lines}", look.paint(Ink::Bold, heading)));
        }
    }
    text
}

fn billed(bill: &Bill) -> String {
    let Some(stands) = bill.stands else { return "What stands at the provider was not read yet\n\n".to_owned() };
    let mut text = format!("{stands} {} stand at the provider\n", bill.unit);
    if let Some(push) = bill.pushes.iter().find(|push| push.outcome == "accepted") {
        let request = push.request_id.as_ref().map_or_else(String::new, |id| format!(", request {id}"));
        add(&mut text, format_args!("  last told {}{request}\n", moment(&push.at)));
    }
    if let Some(invoice) = &bill.invoice {
        add(&mut text, format_args!("  on the invoice {invoice}\n"));
    }
    text + "\n"
}

/// The arithmetic.
fn how(bill: &Bill) -> String {
    let shown = |number: &serde_json::Number| quantity(&number.to_string(), &bill.unit);
    let line = |what: &str, number: String| [format!("  {what}"), number];
    let mut lines = vec![line(&format!("{} used", bill.unit), shown(&bill.used))];
    match &bill.included {
        Some(included) if bill.report == "overage" => lines.push(line("included", shown(included))),
        _ => {}
    }
    lines.extend(bill.terms.iter().map(|one| line(&term(&one.what, &bill.rounding), one.units.to_string())));
    lines.push(line("what should stand", bill.target.to_string()));
    lines.extend(
        bill.segments.iter().map(|segment| {
            line(&format!("billed on {} at {}", segment.item, segment.price), segment.units.to_string())
        }),
    );
    table([Lean::Left, Lean::Right], &lines)
}

fn check(bill: &Bill, look: Look) -> String {
    match &bill.recomputed {
        None => "\nAdded up anew from the ledger's minutes, the same comes out.\n".to_owned(),
        Some(other) => {
            let what = format!(
                "Added up anew, the ledger's minutes come to {} millionths and {} above what is included. Billed by: {} and {}.",
                other.used_micros,
                other.overage,
                bill.used_micros,
                bill.terms.first().map_or(0, |term| term.units)
            );
            format!("\n{}  {}\n", look.paint(Ink::Red, "DIFFERS"), look.wrap(9, &what))
        }
    }
}

fn days(bill: &Bill) -> String {
    let lines: Vec<_> = bill
        .days
        .iter()
        .map(|day| {
            let used = format!("{} {}", quantity(&day.used.to_string(), &bill.unit), bill.unit);
            [format!("  {}", day.day), used, format!("{} watched", percent(day.observed_bp))]
        })
        .collect();
    table([Lean::Left, Lean::Right, Lean::Right], &lines)
}

fn gaps(bill: &Bill) -> String {
    let lines: Vec<_> = bill
        .gaps
        .iter()
        .map(|gap| {
            let length = seconds_between(&gap.from, &gap.to).map(duration).unwrap_or_default();
            [format!("  {} to {}", moment(&gap.from), moment(&gap.to)), length, gap_reason(&gap.reason).to_owned()]
        })
        .collect();
    table([Lean::Left, Lean::Right, Lean::Left], &lines)
}

fn sources(bill: &Bill) -> String {
    let lines: Vec<_> = bill
        .sources
        .iter()
        .map(|one| {
            let sum = format!("{} {}", quantity(&one.quantity.to_string(), &bill.unit), bill.unit);
            [format!("  {}", one.source), format!("{} records", one.records), sum]
        })
        .collect();
    table([Lean::Left, Lean::Right, Lean::Right], &lines)
}

fn carries(bill: &Bill) -> String {
    bill.carries.iter().fold(String::new(), |mut text, one| {
        let into = one.into.as_deref().unwrap_or("none yet");
        add(&mut text, format_args!("  {} units\n    of {}\n    into {into}\n", one.units, one.from));
        text
    })
}

fn pushes(bill: &Bill) -> String {
    let lines: Vec<_> = bill
        .pushes
        .iter()
        .map(|push| {
            let what = push.day.as_ref().map_or_else(String::new, |day| format!("{day} "));
            let request = push.request_id.clone().unwrap_or_default();
            [format!("  {}", moment(&push.at)), format!("{what}{}", push.quantity), push.outcome.clone(), request]
        })
        .collect();
    table([Lean::Left, Lean::Right, Lean::Left, Lean::Left], &lines)
}
