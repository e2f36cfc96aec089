//! The names of event types. <https://docs.stripe.com/api/events/types>

/// Every type about what the sandbox makes events of, made here or not.
const KNOWN: [&str; 52] = [
    "customer.created",
    "customer.deleted",
    "customer.discount.created",
    "customer.discount.deleted",
    "customer.discount.updated",
    "customer.source.created",
    "customer.source.deleted",
    "customer.source.expiring",
    "customer.source.updated",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.tax_id.created",
    "customer.tax_id.deleted",
    "customer.tax_id.updated",
    "customer.updated",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalization_failed",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.overdue",
    "invoice.overpaid",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_attempt_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.sent",
    "invoice.upcoming",
    "invoice.updated",
    "invoice.voided",
    "invoice.will_be_due",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.partially_funded",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "price.created",
    "price.deleted",
    "price.updated",
    "product.created",
    "product.deleted",
    "product.updated",
];

/// Whether an endpoint may ask for it: all of them, or a type. Of resources that the sandbox makes no events of any
/// name of that form.
pub(super) fn is_known(kind: &str) -> bool {
    let family = |kind: &str| kind.split('.').next().unwrap_or_default().to_owned();
    let is_ours = KNOWN.iter().any(|known| family(known) == family(kind));
    let is_name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    kind == "*" || KNOWN.contains(&kind) || !is_ours && kind.split('.').count() > 1 && kind.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_type_is_unknown() {
        for good in [
            "*",
            "invoice.paid",
            "customer.subscription.updated",
            "charge.refunded",
            "radar.early_fraud_warning.created",
        ] {
            assert!(is_known(good), "{good}");
        }
        for bad in ["", "invoice", "invoice.payed", "customer.*", "charge", "Charge.refunded", "charge..x"] {
            assert!(!is_known(bad), "{bad}");
        }
    }
}
