use rust_decimal::Decimal;

use crate::cli::add::add;
use crate::cli::bar::gauge;
use crate::cli::look::{Ink, Look};
use crate::cli::table::{Lean, table};
use crate::cli::words::{estimate, money, quantity, scaled};
use crate::wire::MeterStatus;

/// Characters of a bar, in a table and on a line of its own.
const BAR: usize = 10;
const LONG_BAR: usize = 24;

/// What was used, why some of it is not billed, and where it goes by the period's end.
pub(super) fn screen(meters: &[MeterStatus], look: Look) -> String {
    let notes = meters.iter().map(|meter| notes(meter, look)).collect::<String>();
    for with_bars in [true, false] {
        let text = so_far(meters, look, with_bars) + &notes + &at_end(meters, look);
        if look.holds(&text) {
            return text;
        }
    }
    meters.iter().map(|meter| one_below_the_other(meter, look)).collect::<String>() + &notes
}

/// A table with its heading in bold.
pub(in crate::cli) fn titled(look: Look, leans: &[Lean], lines: &[Vec<String>]) -> String {
    let text = table(leans, lines);
    match text.split_once('\n') {
        Some((heading, rest)) => format!("{}\n{rest}", look.paint(Ink::Bold, heading)),
        None => text,
    }
}

fn so_far(meters: &[MeterStatus], look: Look, with_bars: bool) -> String {
    let line = |cells: [String; 6]| {
        let shown = cells.into_iter().enumerate().filter(|(column, _)| with_bars || *column != 3);
        shown.map(|(_, cell)| cell).collect::<Vec<_>>()
    };
    let heading = ["METER", "USED", "INCLUDED", "", "OVERAGE", "STANDS"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(line(heading))
        .chain(meters.iter().map(|meter| {
            line([
                meter.name.clone(),
                in_unit(meter, &meter.used),
                included(meter),
                bar(meter, look, BAR),
                known(meter.overage.as_ref()),
                known(meter.stands.as_ref()),
            ])
        }))
        .collect();
    let left_then_right: Vec<_> = (0..lines.first().map_or(0, Vec::len)).map(lean).collect();
    titled(look, &left_then_right, &lines)
}

fn lean(column: usize) -> Lean {
    if column == 0 { Lean::Left } else { Lean::Right }
}

/// How much of what is included is used; what is not billed uses nothing of it.
fn bar(meter: &MeterStatus, look: Look, length: usize) -> String {
    let Some(included) = meter.included.as_ref().map(scaled).filter(|included| *included > 0) else {
        return String::new();
    };
    let used = scaled(&meter.used).saturating_sub(meter.unlinked.as_ref().map_or(0, scaled)).max(0);
    let share = used.saturating_mul(100).div_euclid(included);
    let ink = if share < 100 { Ink::Green } else { Ink::Yellow };
    format!("{} {share:>3} %", look.paint(ink, &gauge(look, used, included, length)))
}

/// Where it goes if it goes on like this.
fn at_end(meters: &[MeterStatus], look: Look) -> String {
    let ends = meters.iter().filter_map(|meter| {
        let used = format!("{} {}", estimate(meter.estimate.as_ref()?), meter.unit);
        Some(vec![meter.name.clone(), used, known(meter.estimate_overage.as_ref()), cost(meter)])
    });
    let heading = ["AT PERIOD END", "USED", "OVERAGE", "COST"].map(str::to_owned).to_vec();
    let mut lines: Vec<_> = std::iter::once(heading).chain(ends).collect();
    if lines.len() == 1 {
        return String::new();
    }
    lines.extend(total(meters).map(|total| vec!["total".to_owned(), String::new(), String::new(), total]));
    format!("\n{}", titled(look, &[Lean::Left, Lean::Right, Lean::Right, Lean::Right], &lines))
}

fn cost(meter: &MeterStatus) -> String {
    match (&meter.estimate_cost, &meter.currency) {
        (Some(cost), Some(currency)) => money(cost, currency),
        _ => "-".to_owned(),
    }
}

/// What all overage comes to, where each has a price, in one currency, and there is more than one.
fn total(meters: &[MeterStatus]) -> Option<String> {
    let billed = meters.iter().filter(|meter| meter.estimate_overage.is_some_and(|units| units > 0));
    let costs: Vec<_> = billed
        .map(|meter| Some((meter.estimate_cost.as_ref()?.parse::<Decimal>().ok()?, meter.currency.as_ref()?)))
        .collect::<Option<_>>()?;
    let (_, currency) = costs.first().filter(|_| costs.len() > 1)?;
    if costs.iter().any(|(_, other)| other != currency) {
        return None;
    }
    let sum = costs.iter().try_fold(Decimal::ZERO, |sum, (cost, _)| sum.checked_add(*cost))?;
    Some(money(&sum.to_string(), currency))
}

fn notes(meter: &MeterStatus, look: Look) -> String {
    let mut said = Vec::new();
    if let Some(why) = &meter.not_billed_because {
        said.push(format!("{} is not billed: {why}", meter.name));
    } else if let Some(unlinked) = meter.unlinked.as_ref().filter(|unlinked| shows(meter, unlinked)) {
        said.push(format!("{}: {} of it belong to no link and are not billed", meter.name, in_unit(meter, unlinked)));
    }
    for segment in &meter.segments {
        let (units, item, price) = (segment.units, &segment.item, &segment.price);
        said.push(format!("{}: also {units} of the period on {item} at {price}", meter.name));
    }
    let mut text = String::new();
    for sentence in said {
        add(&mut text, format_args!("  {}\n", look.wrap(4, &sentence)));
    }
    text
}

/// For terminals that no table fits into.
fn one_below_the_other(meter: &MeterStatus, look: Look) -> String {
    let mut text = format!("{}\n", look.paint(Ink::Bold, &meter.name));
    let of =
        if meter.included.is_some() || meter.unlimited { format!(" of {}", included(meter)) } else { String::new() };
    let used = quantity(&meter.used.to_string(), &meter.unit);
    add(&mut text, format_args!("  {}\n", look.wrap(4, &format!("{used}{of} {} used", meter.unit))));
    let bar = bar(meter, look, LONG_BAR.min(look.width.saturating_sub(10)));
    if !bar.is_empty() {
        add(&mut text, format_args!("  {bar}\n"));
    }
    let (overage, stands) = (known(meter.overage.as_ref()), known(meter.stands.as_ref()));
    add(&mut text, format_args!("  overage {overage}, stands {stands}\n"));
    if let Some(at_end) = &meter.estimate {
        let overage = meter.estimate_overage.map(|units| format!(", overage {units}")).unwrap_or_default();
        let cost = meter.estimate_cost.as_ref().map(|_| format!(", {}", cost(meter))).unwrap_or_default();
        let end = format!("at period end {}{overage}{cost}", estimate(at_end));
        add(&mut text, format_args!("  {}\n", look.wrap(4, &end)));
    }
    text
}

/// Whether something is left of it where it is cut to be shown.
fn shows(meter: &MeterStatus, number: &serde_json::Number) -> bool {
    quantity(&number.to_string(), &meter.unit) != "0"
}

fn in_unit(meter: &MeterStatus, number: &serde_json::Number) -> String {
    format!("{} {}", quantity(&number.to_string(), &meter.unit), meter.unit)
}

fn included(meter: &MeterStatus) -> String {
    match &meter.included {
        _ if meter.unlimited => "unlimited".to_owned(),
        Some(included) => quantity(&included.to_string(), &meter.unit),
        None => "-".to_owned(),
    }
}

fn known(units: Option<&i64>) -> String {
    units.map_or_else(|| "-".to_owned(), i64::to_string)
}
