use crate::shown::add::add;
use crate::shown::chart::{self, chart};
use crate::shown::html::{Column, escaped, table};
use crate::shown::words::{moment, percent, quantity};
use crate::wire::{Bar, MeterChart, MeterStatus};

/// A card for each meter: its figures, and when it was used.
pub(super) fn cards(meters: &[MeterStatus], charts: &[MeterChart], period: [&str; 2]) -> String {
    let mut text = "<div class=\"cards\">\n".to_owned();
    for meter in meters {
        add(&mut text, format_args!("<section class=\"card\"><h3>{}</h3>\n", escaped(&meter.name)));
        text += &figures(meter);
        if let Some(chart) = charts.iter().find(|chart| chart.meter == meter.name) {
            text += &when(chart, period);
        }
        text += "</section>\n";
    }
    text + "</div>\n"
}

fn in_unit(number: &serde_json::Number, unit: &str) -> String {
    format!("{} {unit}", quantity(&number.to_string(), unit))
}

/// More than two places of an estimate say nothing.
fn about(number: &serde_json::Number, unit: &str) -> String {
    let exact = quantity(&number.to_string(), unit);
    match exact.split_once('.') {
        Some((whole, places)) => format!("{whole}.{}", places.chars().take(2).collect::<String>()),
        None => exact,
    }
}

fn figures(meter: &MeterStatus) -> String {
    let unit = &meter.unit;
    let mut text = format!("<p class=\"big\">{}</p>\n<dl>", escaped(&in_unit(&meter.used, unit)));
    let mut line = |name: &str, value: &str| add(&mut text, format_args!("<dt>{name}</dt><dd>{}</dd>", escaped(value)));
    match &meter.included {
        _ if meter.unlimited => line("Included", "unlimited"),
        Some(included) => line("Included", &in_unit(included, unit)),
        None => line("Included", "not stated"),
    }
    if let Some(overage) = meter.overage {
        line("Overage", &overage.to_string());
    }
    if let Some(stands) = meter.stands {
        line("At the provider", &stands.to_string());
    }
    if let Some(estimate) = &meter.estimate {
        line("By the period’s end", &format!("{} {unit}", about(estimate, unit)));
    }
    if let Some(overage) = meter.estimate_overage {
        line("Overage by then", &overage.to_string());
    }
    if let (Some(cost), Some(currency)) = (&meter.estimate_cost, &meter.currency) {
        line("Cost by then", &format!("{cost} {}", currency.to_uppercase()));
    }
    text += "</dl>\n";
    if let Some(why) = &meter.not_billed_because {
        add(&mut text, format_args!("<p class=\"soft\">Not billed: {}</p>\n", escaped(why)));
    }
    for segment in &meter.segments {
        let also = format!("Also {} of the period on {} at {}", segment.units, segment.item, segment.price);
        add(&mut text, format_args!("<p class=\"soft\">{}</p>\n", escaped(&also)));
    }
    text
}

/// By day and by hour, as charts, and unfolded as tables.
fn when(of: &MeterChart, [from, to]: [&str; 2]) -> String {
    let (days, last_day) = chart::days_of(from, to);
    let last_hour = of.hours.last().map(|bar| label(bar, 16)).unwrap_or_default();
    let charts = bars(of, "By day, UTC", &of.days, 10, days, &last_day)
        + &bars(of, "By the hour, UTC", &of.hours, 16, of.hours.len(), &last_hour);
    let days = rows(of, "by day", &of.days, 10);
    let hours = rows(of, "by the hour", &of.hours, 16);
    let (meter, id) = (escaped(&of.meter), escaped(&of.meter));
    format!("{charts}<details id=\"figures-{id}\"><summary>{meter} in figures</summary>{days}{hours}</details>\n")
}

/// A moment to the day or to the minute.
fn label(bar: &Bar, letters: usize) -> String {
    moment(&bar.from).chars().take(letters).collect()
}

fn bars(of: &MeterChart, name: &str, bars: &[Bar], letters: usize, places: usize, last: &str) -> String {
    let drawn: Vec<_> = bars
        .iter()
        .map(|bar| chart::Bar {
            size: bar.used_micros,
            says: format!("{}: {}", label(bar, letters), in_unit(&bar.used, &of.unit)),
        })
        .collect();
    let largest = bars.iter().max_by_key(|bar| bar.used_micros).map(|bar| in_unit(&bar.used, &of.unit));
    let first = bars.first().map(|bar| label(bar, letters)).unwrap_or_default();
    chart(name, &drawn, places, &largest.unwrap_or_default(), [&first, last])
}

fn rows(of: &MeterChart, by: &str, bars: &[Bar], letters: usize) -> String {
    let row =
        |bar: &Bar| vec![label(bar, letters), quantity(&bar.used.to_string(), &of.unit), percent(bar.observed_bp)];
    let columns = [Column::Text("From, UTC"), Column::Number(of.unit.clone()), Column::Number("watched".to_owned())];
    table(&format!("{} {by}", of.meter), &columns, &bars.iter().map(row).collect::<Vec<_>>())
}
