//! What the last look showed, for as long as it is so.

use rusqlite::Connection;
use rust_decimal::Decimal;

use super::super::{JobError, Settings};
use crate::account;
use crate::config::OnPaymentFailed;
use crate::model::{Invoice, Problem, decimal_places, decline};

/// What needs someone.
pub(in crate::jobs) fn problems(connection: &Connection, settings: &Settings) -> Result<Vec<Problem>, JobError> {
    let Some(link) = account::in_force(connection)? else { return Ok(Vec::new()) };
    let invoices = account::invoices_of(connection, &link.subscription)?;
    let mut problems: Vec<Problem> = invoices.iter().filter(|one| one.is_failing()).map(payment_failed).collect();
    if account::customer(connection, &link.customer)?.is_some_and(|customer| customer.deleted) {
        problems.push(Problem::needs_someone(
            "customer_deleted",
            format!(
                "the customer {} was deleted at the provider, and nothing of theirs is invoiced any more",
                link.customer
            ),
            "usagectl link to the customer that this VM is billed to now",
        ));
    }
    if let Some(because) = paused(connection, settings)? {
        let what = format!("the applications on this VM should pause: {because}; measuring and billing go on");
        problems.push(Problem::note(
            "paused",
            what,
            "it is over with the next payment; or set provider.on_payment_failed",
        ));
    }
    Ok(problems)
}

fn payment_failed(invoice: &Invoice) -> Problem {
    let attempts =
        if invoice.attempts == 1 { "one attempt".to_owned() } else { format!("{} attempts", invoice.attempts) };
    let declined = invoice.declined.as_ref().map_or_else(String::new, |code| format!(": {code}"));
    let what = format!(
        "{} of {} are not paid after {attempts}{declined}",
        money(invoice.remaining, &invoice.currency),
        invoice.name()
    );
    let advice = invoice.declined.as_deref().and_then(decline::advice);
    let to_do =
        advice.map_or("ask the customer to pay, or for another card: usagectl stripe portal", |it| it.what_to_do);
    let next = match invoice.next_attempt {
        Some(at) => format!("{to_do}; the provider tries again at {at}"),
        None => format!("{to_do}; the provider does not try again by itself"),
    };
    Problem::needs_someone("payment_failed", what, next).about(invoice.id.as_str())
}

/// Why the applications should pause, where they should.
pub(in crate::jobs) fn paused(connection: &Connection, settings: &Settings) -> Result<Option<String>, JobError> {
    if settings.config.provider.on_payment_failed != OnPaymentFailed::Pause {
        return Ok(None);
    }
    let Some(link) = account::in_force(connection)? else { return Ok(None) };
    let invoices = account::invoices_of(connection, &link.subscription)?;
    if let Some(failing) = invoices.iter().find(|one| one.is_failing()) {
        return Ok(Some(format!("the invoice {} is not paid", failing.name())));
    }
    // A key that may not read invoices still reads this.
    let subscription = account::last_read(connection, &link.subscription)?;
    let overdue = subscription.filter(|read| matches!(&*read.status, "past_due" | "unpaid"));
    Ok(overdue.map(|read| format!("the subscription {} is {}", read.id, read.status)))
}

/// In the currency's own units.
fn money(amount: i64, currency: &str) -> String {
    format!("{} {}", Decimal::new(amount, decimal_places(currency)), currency.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_in_the_currencys_own_units() {
        assert_eq!((money(4_905, "eur").as_str(), money(4_905, "jpy").as_str()), ("49.05 EUR", "4905 JPY"));
        assert_eq!(money(7, "usd"), "0.07 USD");
    }
}
