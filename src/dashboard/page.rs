//! The page itself: what needs someone first, then this period, then how it came about.

use super::desk::Trouble;
use super::frame::{frame, words};
use super::{meters, sending};
use crate::model::{Problem, Severity};
use crate::shown::add::add;
use crate::shown::bill;
use crate::shown::html::{Column, escaped, table};
use crate::shown::words::{duration, gap_reason, moment, percent, quantity, seconds_between};
use crate::wire::{AlertLine, AlertsReport, ExplainReport, GapLine, LinkStatus, PageReport, PastPeriod, Status};

const SCRIPT: &str = "<script src=\"/refresh.js\" defer></script>";

/// What was found out. Whatever could not be says so in its place.
pub(super) struct View {
    pub(super) status: Result<Status, Trouble>,
    pub(super) page: Result<PageReport, Trouble>,
    pub(super) alerts: Result<AlertsReport, Trouble>,
    /// What the forms of this session carry.
    pub(super) form: String,
    /// Whether a token was asked for, so that there is something to log out of.
    pub(super) asks: bool,
}

impl View {
    /// The whole of it.
    pub(super) fn page(&self) -> String {
        let mut body = self.header();
        body += "<main>\n";
        match &self.status {
            Ok(status) => body += &self.now(status),
            Err(trouble) => body += &words(trouble),
        }
        match &self.page {
            Ok(page) => body += &then(page),
            Err(trouble) if self.is_news(trouble) => body += &words(trouble),
            Err(_) => {}
        }
        match &self.alerts {
            Ok(report) => body += &alerts(&report.alerts),
            Err(trouble) if self.is_news(trouble) && self.page.is_ok() => body += &words(trouble),
            Err(_) => {}
        }
        body += "</main>\n";
        frame("Usage", SCRIPT, &body)
    }

    fn header(&self) -> String {
        let form = escaped(&self.form);
        let log_out = format!(
            "<form method=\"post\" action=\"/logout\"><input type=\"hidden\" name=\"form\" value=\"{form}\">\
             <button>Log out</button></form>"
        );
        let log_out = if self.asks { log_out } else { String::new() };
        format!(
            "<header><h1>Usage</h1><nav aria-label=\"Pages\"><a href=\"/explain\">What is billed, and why</a>{log_out}</nav></header>\n"
        )
    }

    /// What status says already is not said once more.
    fn is_news(&self, trouble: &Trouble) -> bool {
        self.status
            .as_ref()
            .is_ok_and(|status| !status.problems.iter().any(|problem| problem.what.contains(&trouble.what)))
    }

    fn now(&self, status: &Status) -> String {
        let mut text = format!(
            "<p class=\"soft\">As of {} UTC. usaged {}, {}</p>\n",
            moment(&status.now),
            escaped(&status.version),
            escaped(&status.mode)
        );
        text += &problems(&status.problems);
        let left = seconds_between(&status.now, &status.period_to).map(duration).unwrap_or_default();
        let (from, to) = (moment(&status.period_from), moment(&status.period_to));
        add(
            &mut text,
            format_args!("<h2>This period</h2>\n<dl><dt>Period</dt><dd>{from} to {to} UTC, {left} left</dd>\n"),
        );
        text += &billed_to(status.link.as_ref());
        let observed = percent(status.coverage.observed_bp);
        add(&mut text, format_args!("<dt>Watched</dt><dd>{observed} of the period so far</dd></dl>\n"));
        if let Some(paused) = &status.paused {
            add(&mut text, format_args!("<p class=\"problem\">Paused: {}</p>\n", escaped(paused)));
        }
        text += &self.portal();
        let charts = self.page.as_ref().map_or(&[][..], |page| &page.charts);
        text += &meters::cards(&status.meters, charts, [&status.period_from, &status.period_to]);
        text + &sending::waiting(&status.unsent, &status.push, &status.now)
    }

    fn portal(&self) -> String {
        let Ok(page) = &self.page else { return String::new() };
        match &page.no_portal {
            Some(why) => {
                let why = escaped(why.trim_end_matches('.'));
                format!("<p class=\"soft\">Managing the subscription is not offered here: {why}.</p>\n")
            }
            None => format!(
                "<form method=\"post\" action=\"/api/billing/portal-session\"><input type=\"hidden\" name=\"form\" \
                 value=\"{}\"><button class=\"main\">Manage subscription</button></form>\n",
                escaped(&self.form)
            ),
        }
    }
}

fn then(page: &PageReport) -> String {
    gaps(&page.gaps) + &sending::sent(&page.sent) + &past(&page.past)
}

fn problems(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return "<p class=\"good\">Nothing needs attention.</p>\n".to_owned();
    }
    let mut text = "<section aria-label=\"Problems\">\n".to_owned();
    for problem in problems {
        let (class, word) = match problem.severity {
            Severity::Problem => ("problem", "<strong class=\"bad\">Problem</strong>"),
            Severity::Note => ("problem mild", "<strong class=\"note\">Note</strong>"),
        };
        let (what, hint) = (escaped(&problem.what), escaped(&problem.hint));
        add(
            &mut text,
            format_args!("<div class=\"{class}\">{word}: {what}<br><span class=\"soft\">{hint}</span></div>\n"),
        );
    }
    text + "</section>\n"
}

fn billed_to(link: Option<&LinkStatus>) -> String {
    let who = match link {
        None => "nobody: this VM is not linked".to_owned(),
        Some(link) => {
            let name = link.customer_name.as_ref().map_or_else(String::new, |name| format!("{name}, "));
            format!("{name}{} on {}, plan {}", link.customer, link.subscription, link.plan)
        }
    };
    format!("<dt>Billed to</dt><dd>{}</dd>\n", escaped(&who))
}

fn gaps(gaps: &[GapLine]) -> String {
    if gaps.is_empty() {
        return "<h2>Not watched</h2>\n<p>Nothing of this period was missed.</p>\n".to_owned();
    }
    let row = |gap: &GapLine| {
        let length = seconds_between(&gap.from, &gap.to).map(duration).unwrap_or_default();
        vec![moment(&gap.from), moment(&gap.to), length, gap_reason(&gap.reason).to_owned()]
    };
    let columns =
        [Column::Text("From, UTC"), Column::Text("To"), Column::Number("For".to_owned()), Column::Text("Why")];
    let rows: Vec<_> = gaps.iter().map(row).collect();
    "<h2>Not watched</h2>\n".to_owned() + &table("What was not watched in this period", &columns, &rows)
}

fn past(past: &[PastPeriod]) -> String {
    if past.is_empty() {
        return String::new();
    }
    let mut text = "<h2>Earlier periods</h2>\n".to_owned();
    let columns = ["Used", "Included", "Overage"].map(|name| Column::Number(name.to_owned()));
    let columns: Vec<_> = std::iter::once(Column::Text("Meter")).chain(columns).collect();
    for one in past {
        let usage = &one.usage;
        let rows: Vec<_> = usage
            .meters
            .iter()
            .map(|meter| {
                let included = match &meter.included {
                    _ if meter.unlimited => "unlimited".to_owned(),
                    Some(included) => quantity(&included.to_string(), &meter.unit),
                    None => "-".to_owned(),
                };
                let used = format!("{} {}", quantity(&meter.used.to_string(), &meter.unit), meter.unit);
                let overage = meter.overage.map_or_else(|| "-".to_owned(), |units| units.to_string());
                vec![meter.name.clone(), used, included, overage]
            })
            .collect();
        let (from, to) = (moment(&usage.period_from), moment(&usage.period_to));
        let caption = format!("{from} to {to} UTC, {} watched", percent(usage.observed_bp));
        text += &table(&caption, &columns, &rows);
        let month = escaped(&one.month);
        add(
            &mut text,
            format_args!("<p><a href=\"/explain?month={month}\">What was billed of {month}, and why</a></p>\n"),
        );
    }
    text
}

fn alerts(alerts: &[AlertLine]) -> String {
    if alerts.is_empty() {
        return "<h2>Alerts</h2>\n<p>There were none.</p>\n".to_owned();
    }
    let row = |alert: &AlertLine| {
        let over = alert.cleared_at.as_ref().map_or_else(|| "it stands".to_owned(), |at| moment(at));
        vec![moment(&alert.fired_at), over, alert.severity.word().to_owned(), alert.what.clone()]
    };
    let columns = [Column::Text("Began, UTC"), Column::Text("Over"), Column::Text("Kind"), Column::Text("What")];
    let rows: Vec<_> = alerts.iter().map(row).collect();
    "<h2>Alerts</h2>\n".to_owned() + &table("The newest alerts", &columns, &rows)
}

/// The page of billed numbers.
pub(super) fn explained(report: &ExplainReport) -> String {
    let mut body =
        "<header><h1>What is billed, and why</h1><nav aria-label=\"Pages\"><a href=\"/\">Usage</a></nav></header>\n\
                    <main>\n"
            .to_owned();
    add(&mut body, format_args!("<p class=\"soft\">As of {} UTC</p>\n", moment(&report.now)));
    for bill in &report.bills {
        body += &bill::section(bill);
    }
    if report.bills.is_empty() {
        body += "<p>Nothing is billed in that period.</p>\n";
    }
    body += "</main>\n";
    frame("What is billed, and why", "", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake::answers;
    use crate::wire::{Bar, MeterChart, PushLine, SentLine};

    const EVIL: &str = "<script>alert(1)</script>\"'&";

    fn view() -> View {
        let bar = Bar { from: "2026-11-05T00:00:00Z".to_owned(), used: 7.into(), used_micros: 7, observed_bp: 10_000 };
        let chart = |meter: &str| MeterChart {
            meter: meter.to_owned(),
            unit: EVIL.to_owned(),
            days: vec![bar.clone()],
            hours: vec![bar.clone()],
        };
        let push = PushLine {
            at: "2026-11-05T12:00:00Z".to_owned(),
            quantity: 12,
            day: None,
            outcome: EVIL.to_owned(),
            request_id: Some(EVIL.to_owned()),
            key: "k".to_owned(),
        };
        let usage = answers::usage();
        let status = answers::troubled();
        let page = PageReport {
            charts: status.meters.iter().map(|meter| chart(&meter.name)).collect(),
            gaps: usage.gaps.clone(),
            sent: vec![SentLine { meter: EVIL.to_owned(), push }],
            past: vec![PastPeriod { month: "2026-10".to_owned(), usage }],
            no_portal: None,
        };
        View { status: Ok(status), page: Ok(page), alerts: Ok(answers::alerts()), form: "f0".to_owned(), asks: true }
    }

    #[test]
    fn everything_that_was_found_out_is_on_the_page() {
        let page = view().page();
        for heading in ["This period", "Sending", "Not watched", "Deliveries", "Earlier periods", "Alerts"] {
            assert!(page.contains(&format!("<h2>{heading}</h2>")), "{heading}: {page}");
        }
        for said in
            ["Manage subscription", "Log out", "By day, UTC", "By the hour, UTC", "/explain?month=2026-10", "<svg"]
        {
            assert!(page.contains(said), "{said}: {page}");
        }
        assert_eq!(page.matches("name=\"form\" value=\"f0\"").count(), 2);
    }

    #[test]
    fn what_others_named_is_text_and_no_markup() {
        let mut view = view();
        if let (Ok(status), Ok(page), Ok(alerts)) = (&mut view.status, &mut view.page, &mut view.alerts) {
            page.no_portal = Some(EVIL.to_owned());
            alerts.alerts[0].what = EVIL.to_owned();
            status.problems[0].what = EVIL.to_owned();
            status.problems[0].hint = EVIL.to_owned();
            status.paused = Some(EVIL.to_owned());
            if let Some(link) = &mut status.link {
                (link.customer_name, link.plan) = (Some(EVIL.to_owned()), EVIL.to_owned());
            }
            for meter in &mut status.meters {
                (meter.unit, meter.not_billed_because) = (EVIL.to_owned(), Some(EVIL.to_owned()));
            }
            for unsent in &mut status.unsent {
                unsent.why = Some(EVIL.to_owned());
            }
        }
        let page = view.page();
        assert!(!page.contains("<script>") && page.matches("<script").count() == 1, "{page}");
        assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;").count() > 10, "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing from outside");
    }

    #[test]
    fn what_cannot_be_found_out_says_so_in_its_place() {
        let trouble = || Trouble { status: 503, what: "it is busy".to_owned(), hint: Some("reload".to_owned()) };
        let page = View { page: Err(trouble()), ..view() }.page();
        assert!(page.contains("it is busy<br>reload") && page.contains("<h2>This period</h2>"), "{page}");
        let page = View { status: Err(trouble()), page: Err(trouble()), alerts: Err(trouble()), ..view() }.page();
        assert_eq!(page.matches("it is busy").count(), 1, "once is enough: {page}");
    }
}
