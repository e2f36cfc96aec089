use crate::cli::add::add;
use crate::cli::look::{Ink, Look};
use crate::cli::table::{Lean, table};
use crate::cli::words::quantity;
use crate::wire::MeterStatus;

const LEANS: [Lean; 5] = [Lean::Left, Lean::Right, Lean::Right, Lean::Right, Lean::Right];

/// A table of meters, below it why some are not billed, and where they go by the period's end.
pub(super) fn screen(meters: &[MeterStatus], look: Look) -> String {
    let heading = ["METER", "USED", "INCLUDED", "OVERAGE", "STANDS"];
    let mut text = titled(look, heading, meters.iter().map(so_far).collect());
    for meter in meters {
        if let Some(why) = &meter.not_billed_because {
            add(&mut text, format_args!("  {} is not billed: {}\n", meter.name, look.wrap(4, why)));
        }
    }
    for (meter, segment) in meters.iter().flat_map(|meter| meter.segments.iter().map(move |segment| (meter, segment))) {
        let what = format!("{} of the period on {} at {}", segment.units, segment.item, segment.price);
        add(&mut text, format_args!("  {}: also {}\n", meter.name, look.wrap(4, &what)));
    }
    let ends: Vec<_> = meters.iter().filter_map(at_end).collect();
    if !ends.is_empty() {
        text.push('\n');
        text += &titled(look, ["AT PERIOD END", "USED", "INCLUDED", "OVERAGE", "COST"], ends);
    }
    text
}

fn titled(look: Look, heading: [&str; 5], mut lines: Vec<[String; 5]>) -> String {
    lines.insert(0, heading.map(str::to_owned));
    let text = table(LEANS, &lines);
    match text.split_once('\n') {
        Some((heading, rest)) => format!("{}\n{rest}", look.paint(Ink::Bold, heading)),
        None => text,
    }
}

fn so_far(meter: &MeterStatus) -> [String; 5] {
    let used = in_unit(meter, &meter.used);
    [meter.name.clone(), used, included(meter), known(meter.overage.as_ref()), known(meter.stands.as_ref())]
}

/// Where it goes if it goes on like this.
fn at_end(meter: &MeterStatus) -> Option<[String; 5]> {
    let used = in_unit(meter, meter.estimate.as_ref()?);
    let cost = match (&meter.estimate_cost, &meter.currency) {
        (Some(cost), Some(currency)) => format!("{cost} {}", currency.to_uppercase()),
        _ => "-".to_owned(),
    };
    Some([meter.name.clone(), used, included(meter), known(meter.estimate_overage.as_ref()), cost])
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
