use crate::cli::Exit;
use crate::cli::add::add;
use crate::cli::error::CliError;
use crate::cli::look::Look;
use crate::cli::table::{Lean, table};
use crate::cli::words::moment;
use crate::operator::{self, InvoiceLine, InvoiceView, InvoicesReport, Of, OperatorError, PreviewReport};

use super::args::{OfArgs, Terms};
use super::session::{Session, heading};

pub(super) async fn preview(session: &mut Session<'_>, terms: &Terms, args: OfArgs) -> Result<Exit, CliError> {
    let (_, caller) = session.begin(terms)?;
    let report = caller.report(operator::preview_invoice(&caller, &whose(args)?).await?);
    session.show(terms, &report, |report, look| heading(&caller) + &preview_screen(report, look))?;
    Ok(Exit::Fine)
}

pub(super) async fn list(session: &mut Session<'_>, terms: &Terms, args: OfArgs) -> Result<Exit, CliError> {
    let (_, caller) = session.begin(terms)?;
    let report = caller.report(operator::list_invoices(&caller, &whose(args)?).await?);
    session.show(terms, &report, |report, look| heading(&caller) + &list_screen(report, look))?;
    Ok(Exit::Fine)
}

/// One of the two is given; the command line sees to that.
fn whose(args: OfArgs) -> Result<Of, OperatorError> {
    let of = args.subscription.map(Of::Subscription).or(args.customer.map(Of::Customer));
    of.ok_or_else(OperatorError::nobody)
}

/// The screen.
fn preview_screen(report: &PreviewReport, look: Look) -> String {
    let Some(invoice) = &report.invoice else { return "Nothing is to be invoiced.\n".to_owned() };
    let mut text = format!("Upcoming  {} UTC\n", moment(&invoice.created.to_string()));
    let lines: Vec<_> = invoice.lines.iter().map(|line| of_line(invoice, line, look)).collect();
    text += &table([Lean::Left, Lean::Right], &lines);
    if invoice.subtotal != invoice.total {
        add(&mut text, format_args!("Subtotal  {}\n", money(invoice, invoice.subtotal)));
    }
    add(&mut text, format_args!("Total     {}\n", money(invoice, invoice.total)));
    text
}

fn of_line(invoice: &InvoiceView, line: &InvoiceLine, look: Look) -> [String; 2] {
    let amount = money(invoice, line.amount);
    let room = look.width.saturating_sub(amount.chars().count() + 4);
    let description = line.description.as_deref().unwrap_or_default();
    [format!("  {}", description.chars().take(room).collect::<String>()), amount]
}

/// The screen.
fn list_screen(report: &InvoicesReport, _: Look) -> String {
    if report.invoices.is_empty() {
        return "There are none.\n".to_owned();
    }
    let heading = ["INVOICE", "MADE (UTC)", "STATUS", "TOTAL", "TO PAY"].map(str::to_owned);
    let line = |invoice: &InvoiceView| {
        let id = invoice.invoice.clone().unwrap_or_default();
        let made = moment(&invoice.created.to_string()).chars().take(10).collect();
        let (total, left) = (money(invoice, invoice.total), money(invoice, invoice.amount_remaining));
        [id, made, invoice.status.clone(), total, left]
    };
    let lines: Vec<_> = std::iter::once(heading).chain(report.invoices.iter().map(line)).collect();
    table([Lean::Left, Lean::Left, Lean::Left, Lean::Right, Lean::Right], &lines)
}

fn money(invoice: &InvoiceView, amount: i64) -> String {
    operator::shown_amount(&invoice.currency, amount.into())
}
