use crate::cli::Exit;
use crate::cli::error::CliError;
use crate::cli::look::Look;
use crate::operator::{self, OperatorError, PortalReport, SessionReport};

use super::args::{PortalArgs, PortalCommand, Terms};
use super::session::{Session, heading};

pub(super) async fn portal(session: &mut Session<'_>, terms: &Terms, args: PortalArgs) -> Result<Exit, CliError> {
    let (catalog, caller) = session.begin(terms)?;
    if let Some(PortalCommand::Configure { return_url }) = args.command {
        let done = operator::configure_portal(&caller, &catalog, return_url.as_deref()).await?;
        session.show(terms, &caller.report(done), |report, look| heading(&caller) + &screen(report, look))?;
        return Ok(Exit::Fine);
    }
    // Both are required; the command line sees to that.
    let (customer, return_url) = args.customer.zip(args.return_url).ok_or_else(OperatorError::nobody)?;
    let opened = operator::open_portal(&caller, &customer, &return_url).await?;
    session.show(terms, &caller.report(opened), session_screen)?;
    Ok(Exit::Fine)
}

/// The screen.
fn screen(report: &PortalReport, look: Look) -> String {
    let PortalReport { action, configuration, prices } = report;
    let done = match *action {
        "created" => "Created.",
        "changed" => "It was there, and was changed.",
        _ => "It was there; nothing to do.",
    };
    let sentence = format!(
        "Customers may update their payment method and billing address, see invoices, cancel at a period's end, and switch \
         between {}. Where Stripe's portal does not support to switch a subscription, as it may not with metered prices, it only \
         lets them cancel.",
        prices.join(", ")
    );
    format!("Portal    {configuration}\n{}\n{done}\n", look.wrap(0, &sentence))
}

/// The screen: the URL alone, so that a script can take it.
fn session_screen(report: &SessionReport, _: Look) -> String {
    format!("{}\n", report.url)
}
