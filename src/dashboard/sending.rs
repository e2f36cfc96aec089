use crate::shown::add::add;
use crate::shown::html::{Column, escaped, table};
use crate::shown::words::{duration, moment, moment_from};
use crate::wire::{PushStatus, SentLine, UnsentStatus};

/// What is not where it should be, and when it is tried next.
pub(super) fn waiting(unsent: &[UnsentStatus], push: &PushStatus, now: &str) -> String {
    let next = push.next_at.as_ref().map_or_else(|| "none planned".to_owned(), |at| moment_from(now, at));
    let last = push.last_accepted_at.as_ref().map_or_else(|| "never".to_owned(), |at| moment_from(now, at));
    let mut text = format!(
        "<h2>Sending</h2>\n<dl><dt>Last accepted</dt><dd>{}</dd><dt>Next</dt><dd>{}</dd></dl>\n",
        escaped(&last),
        escaped(&next)
    );
    if unsent.is_empty() {
        return text + "<p class=\"good\">Everything that should stand at the provider stands there.</p>\n";
    }
    let row = |one: &UnsentStatus| {
        let stands = one.stands.map_or_else(|| "not known".to_owned(), |stands| stands.to_string());
        let why = one.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let attempts = if one.attempts == 1 { "attempt" } else { "attempts" };
        let state = format!("{} for {}, {} {attempts}{why}", one.state, duration(one.age_s), one.attempts);
        vec![one.meter.clone(), one.item.clone(), one.target.to_string(), stands, state, moment(&one.deadline)]
    };
    let columns = [
        Column::Text("Meter"),
        Column::Text("Item"),
        Column::Number("Should".to_owned()),
        Column::Number("Stands".to_owned()),
        Column::Text("How it is"),
        Column::Text("Can be billed until, UTC"),
    ];
    add(&mut text, format_args!("{}", table("What waits", &columns, &unsent.iter().map(row).collect::<Vec<_>>())));
    text
}

/// The newest deliveries, with what became of each.
pub(super) fn sent(sent: &[SentLine]) -> String {
    if sent.is_empty() {
        return "<h2>Deliveries</h2>\n<p>Nothing was sent yet.</p>\n".to_owned();
    }
    let row = |line: &SentLine| {
        let push = &line.push;
        let total = push.day.as_ref().map_or_else(String::new, |day| format!("{day}: ")) + &push.quantity.to_string();
        let request = push.request_id.clone().unwrap_or_default();
        vec![moment(&push.at), line.meter.clone(), total, push.outcome.clone(), request]
    };
    let columns = [
        Column::Text("When, UTC"),
        Column::Text("Meter"),
        Column::Number("Total".to_owned()),
        Column::Text("Outcome"),
        Column::Text("Request"),
    ];
    let rows: Vec<_> = sent.iter().map(row).collect();
    "<h2>Deliveries</h2>\n".to_owned() + &table("The newest deliveries", &columns, &rows)
}
