use super::Exit;
use super::add::add;
use super::args::UsageArgs;
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::table::{Lean, table};
use super::words::{duration, gap_reason, moment, percent, quantity, seconds_between};
use crate::wire::{MeterUsage, UsageReport};

pub(super) async fn usage(run: &mut Run<'_>, args: UsageArgs) -> Result<Exit, CliError> {
    let query = args.month.map(|month| format!("?month={month}")).unwrap_or_default();
    let said = run.client.get(&format!("/v1/usage{query}")).await?;
    run.show(&said, screen).map(|_: UsageReport| Exit::Fine)
}

/// The screen.
pub(super) fn screen(report: &UsageReport, look: Look) -> String {
    let (from, to) = (moment(&report.period_from), moment(&report.period_to));
    let mut text = format!("Period    {from} to {to} UTC ({})\n", report.period_kind);
    add(&mut text, format_args!("Observed  {} of the period so far\n\n", percent(report.observed_bp)));
    let heading = ["METER", "USED", "INCLUDED", "OVERAGE", "WAITS FOR CLOCK", "NOT LINKED"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heading).chain(report.meters.iter().map(line)).collect();
    let leans = [Lean::Left, Lean::Right, Lean::Right, Lean::Right, Lean::Right, Lean::Right];
    text += &table(leans, &lines);
    if !report.gaps.is_empty() {
        add(&mut text, format_args!("\n{}\n{}", look.paint(Ink::Bold, "Not watched"), gaps(report)));
    }
    text
}

fn line(meter: &MeterUsage) -> [String; 6] {
    let shown = |number: &serde_json::Number| quantity(&number.to_string(), &meter.unit);
    let or_none = |text: String| if text == "0" { "-".to_owned() } else { text };
    let included = meter.included.as_ref().map(shown);
    [
        meter.name.clone(),
        format!("{} {}", shown(&meter.used), meter.unit),
        if meter.unlimited { "unlimited".to_owned() } else { included.unwrap_or_else(|| "-".to_owned()) },
        meter.overage.map_or_else(|| "-".to_owned(), |overage| overage.to_string()),
        or_none(shown(&meter.waiting_for_clock)),
        or_none(shown(&meter.unlinked)),
    ]
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
