//! A billed number from the top down, as HTML: in the file that `usagectl explain --html` writes, and on the usage page.

use super::add::add;
use super::chart::{self, chart};
use super::html::{Column, escaped, table};
use super::words::{gap_reason, moment, percent, quantity, term};
use crate::wire::Bill;

/// One section with everything about it.
pub(crate) fn section(bill: &Bill) -> String {
    let (from, to) = (moment(&bill.period_from), moment(&bill.period_to));
    let mut text = format!("<section><h2>{}, {from} to {to} UTC</h2>\n", escaped(&bill.meter));
    let of = format!("{} on {}, item {}, plan {}", bill.customer, bill.subscription, bill.item, bill.plan);
    add(&mut text, format_args!("<p class=\"soft\">{}</p>\n", escaped(&of)));
    if let Some(stands) = bill.stands {
        add(&mut text, format_args!("<p class=\"big\">{stands} {} billed</p>\n", escaped(&bill.unit)));
    }
    if let Some(invoice) = &bill.invoice {
        add(&mut text, format_args!("<p>On the invoice {}</p>\n", escaped(invoice)));
    }
    if let Some(held) = &bill.held {
        add(&mut text, format_args!("<p class=\"differs\">Nothing is sent: {}</p>\n", escaped(held)));
    }
    text += &sum(bill);
    if let Some(other) = &bill.recomputed {
        let what = format!("Added up anew, the ledger's minutes come to {} above what is included.", other.overage);
        add(&mut text, format_args!("<p class=\"differs\">{what}</p>\n"));
    }
    text += &days(bill);
    text += &gaps(bill);
    text += &sources(bill);
    text += &pushes(bill);
    text + "</section>\n"
}

fn in_unit(bill: &Bill, number: &serde_json::Number) -> String {
    quantity(&number.to_string(), &bill.unit)
}

fn sum(bill: &Bill) -> String {
    let mut rows = vec![vec![format!("{} used", bill.unit), in_unit(bill, &bill.used)]];
    if let (Some(included), "overage") = (&bill.included, bill.report.as_str()) {
        rows.push(vec!["included".to_owned(), in_unit(bill, included)]);
    }
    rows.extend(bill.terms.iter().map(|one| vec![term(&one.what, &bill.rounding), one.units.to_string()]));
    rows.push(vec!["what should stand".to_owned(), bill.target.to_string()]);
    for segment in &bill.segments {
        rows.push(vec![format!("billed on {} at {}", segment.item, segment.price), segment.units.to_string()]);
    }
    table("How it comes about", &[Column::Text("What"), Column::Number("How many".to_owned())], &rows)
}

fn days(bill: &Bill) -> String {
    let bars: Vec<_> = bill
        .days
        .iter()
        .map(|day| {
            let says = format!("{}: {} {}", day.day, in_unit(bill, &day.used), bill.unit);
            chart::Bar { size: day.used_micros, says }
        })
        .collect();
    let largest = bill.days.iter().max_by_key(|day| day.used_micros).map(|day| in_unit(bill, &day.used));
    let largest = format!("{} {}", largest.unwrap_or_default(), bill.unit);
    let (places, last) = chart::days_of(&bill.period_from, &bill.period_to);
    let ends = [bill.days.first().map_or("", |day| day.day.as_str()), &last];
    let rows: Vec<_> =
        bill.days.iter().map(|day| vec![day.day.clone(), in_unit(bill, &day.used), percent(day.observed_bp)]).collect();
    let columns = [Column::Text("Day, UTC"), Column::Number(bill.unit.clone()), Column::Number("watched".to_owned())];
    chart("By day, UTC", &bars, places, &largest, ends) + &table(&format!("{} by day", bill.meter), &columns, &rows)
}

fn gaps(bill: &Bill) -> String {
    if bill.gaps.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = bill
        .gaps
        .iter()
        .map(|gap| vec![moment(&gap.from), moment(&gap.to), gap_reason(&gap.reason).to_owned()])
        .collect();
    table("Not watched", &[Column::Text("From, UTC"), Column::Text("To"), Column::Text("Why")], &rows)
}

fn sources(bill: &Bill) -> String {
    if bill.sources.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = bill
        .sources
        .iter()
        .map(|one| vec![one.source.clone(), one.records.to_string(), in_unit(bill, &one.quantity)])
        .collect();
    let columns = [Column::Text("Who"), Column::Number("records".to_owned()), Column::Number(bill.unit.clone())];
    table("Recorded by", &columns, &rows)
}

fn pushes(bill: &Bill) -> String {
    let accepted = bill.pushes.iter().filter(|push| push.outcome == "accepted");
    let rows: Vec<_> = accepted
        .map(|push| vec![moment(&push.at), push.quantity.to_string(), push.request_id.clone().unwrap_or_default()])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns = [Column::Text("When, UTC"), Column::Number("total".to_owned()), Column::Text("Request")];
    table("Told to the provider", &columns, &rows)
}
