//! What to do about a payment that failed, by the provider's own word for why.

/// When the payment may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// So many days after it failed.
    InDays(u32),
    /// Not before the customer has done something: until then every attempt fails the same way.
    OnceCustomerActed,
    /// Soon, with growing pauses: the failure was not about the customer.
    WithBackoff,
    /// Not before the account's data were read again: what was named is not there.
    AfterReading,
}

/// What a code means for the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// What to do, as a hint: no capital, no full stop.
    pub what_to_do: &'static str,
    /// When to try again.
    pub retry: Retry,
}

const EMAIL_AND_WAIT: &str = "e-mail the customer, and try the payment again in 3 days";

/// By Stripe's `decline_code`, or its `code` where there is none. Ask for the former first: a `code` of `card_declined`
/// says no more than that it was. `None` for words that are not known here.
///
/// <https://docs.stripe.com/declines/codes>, <https://docs.stripe.com/error-codes>
#[must_use]
pub fn advice(code: &str) -> Option<Advice> {
    let (what_to_do, retry) = match code {
        "card_declined" | "generic_decline" | "do_not_honor" | "try_again_later" => (EMAIL_AND_WAIT, Retry::InDays(3)),
        "insufficient_funds" | "withdrawal_count_limit_exceeded" | "card_velocity_exceeded" => {
            ("e-mail the customer, and try the payment again in 7 days", Retry::InDays(7))
        }
        "expired_card" => (
            "send the customer to the billing portal to enter a card that is still valid: usagectl stripe portal",
            Retry::OnceCustomerActed,
        ),
        "incorrect_number"
        | "incorrect_cvc"
        | "incorrect_zip"
        | "invalid_cvc"
        | "invalid_expiry_month"
        | "invalid_expiry_year"
        | "invalid_number" => (
            "send the customer to the billing portal to correct the card's data: usagectl stripe portal",
            Retry::OnceCustomerActed,
        ),
        "authentication_required" => {
            ("send the customer the invoice's payment page to confirm the payment there", Retry::OnceCustomerActed)
        }
        // Why the bank refused is not for the customer to hear from the vendor.
        "lost_card" | "stolen_card" | "pickup_card" | "restricted_card" | "fraudulent" => {
            ("ask the customer for another card, naming no reason: usagectl stripe portal", Retry::OnceCustomerActed)
        }
        "processing_error" | "issuer_not_available" | "reenter_transaction" | "rate_limit" | "lock_timeout" => {
            ("nothing to do but to try again, less often each time", Retry::WithBackoff)
        }
        "resource_missing" => {
            ("read the account again: usagectl reconcile; then link what exists: usagectl link", Retry::AfterReading)
        }
        _ => return None,
    };
    Some(Advice { what_to_do, retry })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_what_to_do_and_when_to_try_again() {
        for (code, retry, says) in [
            ("card_declined", Retry::InDays(3), "in 3 days"),
            ("generic_decline", Retry::InDays(3), "e-mail the customer"),
            ("insufficient_funds", Retry::InDays(7), "in 7 days"),
            ("expired_card", Retry::OnceCustomerActed, "usagectl stripe portal"),
            ("incorrect_cvc", Retry::OnceCustomerActed, "correct"),
            ("authentication_required", Retry::OnceCustomerActed, "payment page"),
            ("processing_error", Retry::WithBackoff, "try again"),
            ("rate_limit", Retry::WithBackoff, "less often"),
            ("resource_missing", Retry::AfterReading, "usagectl reconcile"),
        ] {
            let advice = advice(code).unwrap();
            assert_eq!(advice.retry, retry, "{code}");
            assert!(advice.what_to_do.contains(says), "{code}: {}", advice.what_to_do);
        }
    }

    #[test]
    fn a_stolen_card_is_not_called_so_to_the_customer() {
        for code in ["stolen_card", "lost_card", "fraudulent"] {
            assert!(advice(code).unwrap().what_to_do.contains("naming no reason"), "{code}");
        }
    }

    #[test]
    fn an_unknown_code_has_no_advice_made_up_for_it() {
        for code in ["", "CARD_DECLINED", "card_declined ", "something_new"] {
            assert_eq!(advice(code), None, "{code}");
        }
    }
}
