use crate::cli::Exit;
use crate::cli::add::add;
use crate::cli::error::CliError;
use crate::cli::look::Look;
use crate::operator::{self, CustomerReport, NewCustomer};

use super::args::{CustomerArgs, Terms};
use super::session::{Session, heading};

pub(super) async fn create(session: &mut Session<'_>, terms: &Terms, args: CustomerArgs) -> Result<Exit, CliError> {
    let (catalog, caller) = session.begin(terms)?;
    let new = NewCustomer {
        own_id: args.id,
        email: args.email,
        name: args.name,
        vm_id: args.vm,
        payment_method: args.test_card,
        test_clock: args.test_clock,
    };
    let report = caller.report(operator::create_customer(&caller, &catalog, &new).await?);
    session.show(terms, &report, |report, look| heading(&caller) + &screen(report, look))?;
    Ok(Exit::Fine)
}

/// The screen.
fn screen(report: &CustomerReport, _: Look) -> String {
    let CustomerReport { created, updated, customer, own_id } = report;
    let mut text = format!("Customer  {customer}, your {own_id}\n");
    match (created, updated.as_slice()) {
        (true, _) => text.push_str("Created.\n"),
        (false, []) => text.push_str("It was there; nothing to do.\n"),
        (false, fields) => add(&mut text, format_args!("It was there; changed: {}.\n", fields.join(", "))),
    }
    text
}
