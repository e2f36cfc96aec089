//! How payments go on the whole account, by its invoices.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OperatorError;
use super::caller::{Caller, decode};
use super::form::Form;

/// Of so many invoices at most; the newest.
const NEWEST: &str = "100";
/// Fewer say nothing of a rate.
const LEAST: usize = 10;
/// Percent of payments that should succeed.
const PAID_LEAST: usize = 90;
/// More unpaid invoices than that need someone.
const UNPAID_MOST: usize = 5;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentsView {
    /// Of the newest 100 invoices those whose payment was tried.
    pub tried: usize,
    /// Of those the ones that are paid.
    pub paid: usize,
    /// Invoices that are past due, were tried in vain, or were given up; of each kind at most 100 are counted.
    pub unpaid: usize,
    /// What is worse than it should be, a sentence each.
    pub worries: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Invoice>,
}

#[derive(Debug, Deserialize)]
struct Invoice {
    status: Option<String>,
    total: i64,
    attempt_count: i64,
    due_date: Option<i64>,
}

/// Reads three lists. The key has to be one that may read invoices.
pub(super) async fn payments(caller: &Caller, now_s: i64) -> Result<PaymentsView, OperatorError> {
    let newest = page(caller, None).await?;
    let open = page(caller, Some("open")).await?;
    let given_up = page(caller, Some("uncollectible")).await?;
    Ok(judge(&newest, &open, given_up.len(), now_s))
}

async fn page(caller: &Caller, status: Option<&str>) -> Result<Vec<Invoice>, OperatorError> {
    let what = "cannot look how payments go";
    let query = Form::new().with("limit", NEWEST).with_some("status", status);
    let value: Value = caller.read(what, "/v1/invoices", &query).await?;
    Ok(decode::<Page>(what, value)?.data)
}

fn judge(newest: &[Invoice], open: &[Invoice], given_up: usize, now_s: i64) -> PaymentsView {
    // What costs nothing is paid by itself.
    let was_tried = |one: &&Invoice| one.total > 0 && one.attempt_count > 0 && one.status.as_deref() != Some("void");
    let tried = newest.iter().filter(was_tried).count();
    let paid = newest.iter().filter(was_tried).filter(|one| one.status.as_deref() == Some("paid")).count();
    let is_late = |one: &&Invoice| one.attempt_count > 0 || one.due_date.is_some_and(|due_s| due_s < now_s);
    let unpaid = open.iter().filter(is_late).count().saturating_add(given_up);
    let mut worries = Vec::new();
    if tried >= LEAST && paid.saturating_mul(100) < tried.saturating_mul(PAID_LEAST) {
        worries.push(format!("of the last {tried} invoices whose payment was tried, {paid} are paid"));
    }
    if unpaid > UNPAID_MOST {
        worries.push(format!(
            "{unpaid} invoices are past due or were given up: usagectl stripe invoices lists a customer's"
        ));
    }
    PaymentsView { tried, paid, unpaid, worries }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoices(status: &str, attempts: i64, how_many: usize) -> Vec<Invoice> {
        let invoice = || Invoice { status: Some(status.to_owned()), total: 1, attempt_count: attempts, due_date: None };
        std::iter::repeat_with(invoice).take(how_many).collect()
    }

    fn worries(paid: usize, failed: usize, given_up: usize) -> usize {
        let open = invoices("open", 2, failed);
        let newest: Vec<Invoice> = invoices("paid", 1, paid).into_iter().chain(invoices("open", 2, failed)).collect();
        judge(&newest, &open, given_up, 0).worries.len()
    }

    #[test]
    fn nine_of_ten_payments_should_succeed_and_five_invoices_may_be_unpaid() {
        assert_eq!(worries(9, 1, 4), 0);
        assert_eq!(worries(8, 2, 0), 1);
        assert_eq!(worries(8, 1, 0), 0, "nine payments say nothing of a rate");
        assert_eq!(worries(94, 6, 0), 1);
        assert_eq!(worries(94, 5, 1), 1);
        assert_eq!(worries(0, 10, 0), 2);
    }

    #[test]
    fn what_nobody_tried_to_pay_yet_is_no_failure_until_it_is_due() {
        let mut open = invoices("open", 0, 1);
        assert_eq!(judge(&open, &open, 0, 10).unpaid, 0);
        open[0].due_date = Some(10);
        assert_eq!((judge(&open, &open, 0, 10).unpaid, judge(&open, &open, 0, 11).unpaid), (0, 1));
        assert_eq!(judge(&invoices("draft", 0, 3), &[], 0, 0).tried, 0);
    }
}
