use crate::cli::Exit;
use crate::cli::add::add;
use crate::cli::error::CliError;
use crate::cli::look::{Ink, Look};
use crate::cli::table::{Lean, table};
use crate::cli::words::duration;
use crate::operator::{self, CheckReport, Permission};

use super::args::Terms;
use super::session::{Session, heading};

/// Beyond so many seconds a clock is wrong, and not just answered late.
const CLOCK_OFF_S: i64 = 2;

pub(super) async fn check(session: &mut Session<'_>, terms: &Terms, for_agent: bool) -> Result<Exit, CliError> {
    let (_, caller) = session.begin(terms)?;
    let report = caller.report(operator::check(&caller, for_agent, session.clock).await?);
    session.show(terms, &report, |report, look| heading(&caller) + &screen(report, look))?;
    let is_too_broad = for_agent && !report.body.beyond_agent.is_empty();
    let worries = report.body.payments.as_ref().is_some_and(|payments| !payments.worries.is_empty());
    Ok(if report.body.missing.is_empty() && !is_too_broad && !worries { Exit::Fine } else { Exit::NeedsSomeone })
}

/// The screen.
fn screen(report: &CheckReport, look: Look) -> String {
    let mut text = String::new();
    match &report.account {
        Some(account) => {
            let country = account.country.as_deref().unwrap_or("?");
            let charges = if account.charges_enabled == Some(false) { ", may not take money yet" } else { "" };
            add(&mut text, format_args!("Account   {}, {country}{charges}\n", account.id));
        }
        None => text.push_str("Account   this key may not tell\n"),
    }
    let (connected, latency) = (report.connected_ms, report.latency_ms);
    add(&mut text, format_args!("Reached   in {connected} ms, then in {latency} ms a request\n"));
    add(&mut text, format_args!("Clock     {}\n", clock(report.clock_ahead_s, look)));
    if report.for_whom == "operator" {
        text += &payments(report, look);
    }
    text.push('\n');
    let heading = ["MAY", "READ", "WRITE", "THESE COMMANDS NEED", "THE AGENT NEEDS"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heading).chain(report.permissions.iter().map(line)).collect();
    text += &table([Lean::Left; 5], &lines);
    text.push('\n');
    let whom = if report.for_whom == "agent" { "the agent needs" } else { "these commands need" };
    if report.missing.is_empty() {
        add(&mut text, format_args!("{} It may do all that {whom}.\n", look.paint(Ink::Green, "OK")));
    } else {
        let missing = report.missing.join(", ");
        let sentence = look.wrap(0, &format!("MISSING of what {whom}: {missing}"));
        add(&mut text, format_args!("{}\n", look.paint(Ink::Red, &sentence)));
    }
    text + &breadth(report, look)
}

fn payments(report: &CheckReport, look: Look) -> String {
    let Some(payments) = &report.payments else {
        return "Payments  this key may not tell: it lacks Invoices: read\n".to_owned();
    };
    let (tried, paid, unpaid) = (payments.tried, payments.paid, payments.unpaid);
    let mut text = match tried {
        0 => format!("Payments  none was tried yet, {unpaid} invoices unpaid\n"),
        _ => format!("Payments  {paid} of the last {tried} invoices paid, {unpaid} unpaid\n"),
    };
    for worry in &payments.worries {
        add(&mut text, format_args!("          {}\n", look.paint(Ink::Red, &look.wrap(10, worry))));
    }
    text
}

fn breadth(report: &CheckReport, look: Look) -> String {
    if report.beyond_agent.is_empty() {
        return "It may do no more than the agent needs.\n".to_owned();
    }
    let sentence = if report.restricted {
        format!("It may do more than the agent needs, so it belongs on no VM: {}", report.beyond_agent.join(", "))
    } else {
        "It is a secret key, which may do everything, so it belongs on no VM: make a restricted one for the agent."
            .to_owned()
    };
    let sentence = look.wrap(0, &sentence);
    format!("{}\n", if report.for_whom == "agent" { look.paint(Ink::Red, &sentence) } else { sentence })
}

fn clock(ahead_s: Option<i64>, look: Look) -> String {
    match ahead_s {
        None => "Stripe's answers have no date".to_owned(),
        Some(ahead) if ahead.abs() <= CLOCK_OFF_S => "this machine's agrees with Stripe's".to_owned(),
        Some(ahead) => {
            let way = if ahead > 0 { "behind" } else { "ahead of" };
            look.paint(Ink::Yellow, &format!("this machine's is {} {way} Stripe's", duration(ahead.saturating_abs())))
        }
    }
}

fn line(one: &Permission) -> [String; 5] {
    let may = |may: Option<bool>| may.map_or("", |may| if may { "yes" } else { "no" }).to_owned();
    let need = |need: operator::Need| match need {
        operator::Need::Nothing => "",
        operator::Need::BetterRead => "better read",
        operator::Need::BetterWrite => "better write",
        operator::Need::Read => "read",
        operator::Need::ReadBetterWrite => "read, better write",
        operator::Need::Write => "write",
    };
    [one.name.to_owned(), may(one.read), may(one.write), need(one.operator).to_owned(), need(one.agent).to_owned()]
}
