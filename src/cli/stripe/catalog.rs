use crate::cli::Exit;
use crate::cli::add::add;
use crate::cli::error::CliError;
use crate::cli::look::{Ink, Look};
use crate::operator::{self, Action, BUILT_IN, CatalogReport, Change};

use super::args::{CatalogCommand, Terms};
use super::session::{Session, heading};

pub(super) async fn catalog(
    session: &mut Session<'_>,
    terms: &Terms,
    command: CatalogCommand,
) -> Result<Exit, CliError> {
    match command {
        CatalogCommand::Plan => plan(session, terms).await,
        CatalogCommand::Apply => apply(session, terms).await,
        CatalogCommand::Example => session.print(BUILT_IN).map(|()| Exit::Fine),
    }
}

async fn plan(session: &mut Session<'_>, terms: &Terms) -> Result<Exit, CliError> {
    let (catalog, caller) = session.begin(terms)?;
    let report = caller.report(operator::plan_catalog(&caller, &catalog).await?);
    let heading = heading(&caller);
    session.show(terms, &report, |report, look| {
        let end = match report.differ {
            0 => "Nothing to do.\n".to_owned(),
            count => format!("{count} to do: usagectl stripe catalog apply\n"),
        };
        heading + &screen(report, look) + &end
    })?;
    Ok(Exit::Fine)
}

async fn apply(session: &mut Session<'_>, terms: &Terms) -> Result<Exit, CliError> {
    let (catalog, caller) = session.begin(terms)?;
    let planned = operator::plan_catalog(&caller, &catalog).await?;
    if !session.json && !terms.quiet {
        session.print(&(heading(&caller) + &screen(&planned, session.look)))?;
    }
    let (mut step, steps) = (0_usize, planned.differ);
    let report = operator::apply_catalog(&caller, &catalog, planned, |change| {
        step += 1;
        if !terms.quiet {
            session.progress(&format!("{step} of {steps}: {}", done(change)));
        }
    })
    .await?;
    session.show(terms, &caller.report(report), |_, _| match steps {
        0 => "Nothing to do.\n".to_owned(),
        count => format!("{count} done.\n"),
    })?;
    Ok(Exit::Fine)
}

fn done(change: &Change) -> String {
    let verb = match change.action {
        Action::Create => "created",
        Action::Replace => "replaced",
        Action::Update => "changed",
        Action::Keep | Action::Blocked => "left",
    };
    format!("{verb} {} {}", change.object, change.name)
}

/// The screen.
pub(in crate::cli) fn screen(report: &CatalogReport, look: Look) -> String {
    let mut text = String::new();
    for change in &report.changes {
        let (sign, ink) = match change.action {
            Action::Keep => continue,
            Action::Create => ("+", Ink::Green),
            Action::Update => ("~", Ink::Yellow),
            Action::Replace => ("±", Ink::Yellow),
            Action::Blocked => ("!", Ink::Red),
        };
        add(&mut text, format_args!("  {} {:<8} {}\n", look.paint(ink, sign), change.object, change.name));
        for why in &change.why {
            add(&mut text, format_args!("      {}\n", look.wrap(6, why)));
        }
        if let (Action::Replace, Some(id)) = (change.action, &change.id) {
            add(&mut text, format_args!("      subscriptions that have it keep {id}\n"));
        }
    }
    let kept = report.changes.iter().filter(|change| change.action == Action::Keep).count();
    if kept > 0 {
        add(&mut text, format_args!("  = {kept} as the catalog says\n"));
    }
    text
}
