//! `usagectl usage`: a period or any other stretch of time, as a whole or piece by piece.

mod csv;
mod openmetrics;
mod pieces;
mod plot;
mod rows;

#[cfg(test)]
pub(super) use plot::screen as plot_screen;

use super::Exit;
use super::add::add;
use super::args::{ByArg, UsageArgs};
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::table::{Lean, table};
use super::words::{duration, estimate, gap_reason, moment, money, percent, quantity, seconds_between};
use crate::wire::{By, MeterUsage, UsageReport};

pub(super) async fn usage(run: &mut Run<'_>, args: UsageArgs) -> Result<Exit, CliError> {
    if run.json && (args.plot || args.csv || args.openmetrics) {
        return Err(CliError::TwoForms);
    }
    let said = run.client.get(&format!("/v1/usage{}", query(&args, run))).await?;
    if args.csv || args.openmetrics {
        let report: UsageReport = said.read()?;
        let text = if args.csv { csv::text(&report) } else { openmetrics::text(&report) };
        run.print(text.as_bytes())?;
        return Ok(Exit::Fine);
    }
    run.show(&said, |report, look| if args.plot { plot::screen(report, look) } else { screen(report, look) })
        .map(|_: UsageReport| Exit::Fine)
}

fn query(args: &UsageArgs, run: &Run<'_>) -> String {
    let by = args.by.map(|by| match by {
        ByArg::Hour => By::Hour,
        ByArg::Day => By::Day,
        ByArg::Month => By::Month,
    });
    let by = by.or(args.plot.then_some(By::Day));
    let parameters = [
        ("month", args.month.clone()),
        ("from", args.from.as_ref().map(|from| from.start(run.now).to_string())),
        ("to", args.to.as_ref().map(|to| to.end(run.now).to_string())),
        ("by", by.map(|by| by.word().to_owned())),
        ("meter", args.meter.clone()),
    ];
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let query = query.finish();
    if query.is_empty() { query } else { format!("?{query}") }
}

/// The screen.
pub(super) fn screen(report: &UsageReport, look: Look) -> String {
    let mut text = heading(report, look);
    text.push('\n');
    if report.by.is_some() {
        return text + &pieces::screen(report, look);
    }
    text += &meters(report);
    text += &at_end(report);
    if !report.gaps.is_empty() {
        add(&mut text, format_args!("\n{}\n{}", look.paint(Ink::Bold, "Not watched"), gaps(report)));
    }
    text
}

fn heading(report: &UsageReport, look: Look) -> String {
    let (from, to) = (moment(&report.period_from), moment(&report.period_to));
    let kind = if is_period(report) { format!(" ({})", report.period_kind) } else { String::new() };
    let here = look.here(&report.period_from).zip(look.here(&report.period_to));
    let here = here.map(|(from, to)| format!("\n{from} to {to}")).unwrap_or_default();
    let so_far = if is_period(report) { "of the period so far" } else { "of it" };
    let observed = format!("{} {so_far}", percent(report.observed_bp));
    let period = look.wrap(10, &format!("{from} to {to} UTC{kind}{here}"));
    format!("Period    {period}\nObserved  {}\n", look.wrap(10, &observed))
}

/// Whether an amount is included in it.
fn is_period(report: &UsageReport) -> bool {
    report.period_kind != "range"
}

fn meters(report: &UsageReport) -> String {
    let heading = ["METER", "USED", "INCLUDED", "OVERAGE", "WAITS FOR CLOCK", "NOT LINKED"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heading).chain(report.meters.iter().map(line)).collect();
    // What is the rule is not shown: no amount is included in a range, everything is linked, and nothing waits.
    let says_something = |column: &usize| match column {
        0 | 1 => true,
        2 | 3 => is_period(report),
        _ => lines.iter().skip(1).any(|line| line.get(*column).is_some_and(|cell| cell != "-")),
    };
    let columns: Vec<_> = (0..6).filter(says_something).collect();
    let leans: Vec<_> = columns.iter().map(|column| if *column == 0 { Lean::Left } else { Lean::Right }).collect();
    let shown = |line: &[String; 6]| columns.iter().filter_map(|column| line.get(*column).cloned()).collect::<Vec<_>>();
    table(leans, &lines.iter().map(shown).collect::<Vec<_>>())
}

fn line(meter: &MeterUsage) -> [String; 6] {
    let none = || "-".to_owned();
    let or_none = |text: String| if text == "0" { none() } else { text };
    let included = meter.included.as_ref().map(|included| shown(meter, included));
    [
        meter.name.clone(),
        format!("{} {}", shown(meter, &meter.used), meter.unit),
        if meter.unlimited { "unlimited".to_owned() } else { included.unwrap_or_else(none) },
        meter.overage.map_or_else(none, |overage| overage.to_string()),
        or_none(shown(meter, &meter.waiting_for_clock)),
        or_none(shown(meter, &meter.unlinked)),
    ]
}

fn shown(meter: &MeterUsage, number: &serde_json::Number) -> String {
    quantity(&number.to_string(), &meter.unit)
}

/// Where it goes if it goes on like this.
fn at_end(report: &UsageReport) -> String {
    let ends = report.meters.iter().filter_map(|meter| {
        let used = format!("{} {}", estimate(meter.estimate.as_ref()?), meter.unit);
        let overage = meter.estimate_overage.map_or_else(|| "-".to_owned(), |units| units.to_string());
        let cost = meter.estimate_cost.as_ref().zip(meter.currency.as_ref());
        Some([
            meter.name.clone(),
            used,
            overage,
            cost.map_or_else(|| "-".to_owned(), |(cost, currency)| money(cost, currency)),
        ])
    });
    let heading = ["AT PERIOD END", "USED", "OVERAGE", "COST"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heading).chain(ends).collect();
    let leans = [Lean::Left, Lean::Right, Lean::Right, Lean::Right];
    if lines.len() == 1 { String::new() } else { format!("\n{}", table(leans, &lines)) }
}

fn gaps(report: &UsageReport) -> String {
    let heading = ["FROM", "TO", "LENGTH", "WHY"].map(str::to_owned);
    let lines = report.gaps.iter().map(|gap| {
        let length = seconds_between(&gap.from, &gap.to).map(duration).unwrap_or_default();
        [moment(&gap.from), moment(&gap.to), length, gap_reason(&gap.reason).to_owned()]
    });
    let lines: Vec<_> = std::iter::once(heading).chain(lines).collect();
    table([Lean::Left, Lean::Left, Lean::Right, Lean::Left], &lines)
}
