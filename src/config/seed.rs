//! Ids of the first link, from the environment (rule R1).

use std::str::FromStr;

use super::{Environment, Fault, LinkSeed};
use crate::model::{NameError, PlanName};

const CUSTOMER: &str = "STRIPE_CUSTOMER_ID";
const SUBSCRIPTION: &str = "STRIPE_SUBSCRIPTION_ID";
const ITEM_COMPUTE: &str = "STRIPE_SUBSCRIPTION_ITEM_COMPUTE";
const ITEM_API: &str = "STRIPE_SUBSCRIPTION_ITEM_API";

/// How Stripe's ids begin, to catch two that were swapped. A customer's may begin with anything: an account can
/// choose them.
const KINDS: [(&str, &str); 7] = [
    ("cus_", "a customer's id"),
    ("sub_", "a subscription's id"),
    ("si_", "a subscription item's id"),
    ("price_", "a price's id"),
    ("sk_", "an API key"),
    ("rk_", "an API key"),
    ("whsec_", "a webhook secret"),
];

/// Reads the ids. Empty is absent, a bad one a fault.
pub(super) fn read(env: &Environment, plan: Option<PlanName>, faults: &mut Vec<Fault>) -> LinkSeed {
    LinkSeed {
        customer: read_id(env, CUSTOMER, "cus_", faults),
        subscription: read_id(env, SUBSCRIPTION, "sub_", faults),
        item_compute: read_id(env, ITEM_COMPUTE, "si_", faults),
        item_api: read_id(env, ITEM_API, "si_", faults),
        plan,
    }
}

/// Values are not repeated in faults: one of them may be a key put into the wrong line.
fn read_id<T: FromStr<Err = NameError>>(
    env: &Environment,
    variable: &str,
    prefix: &str,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let text = env.text(variable, faults)?;
    let place = format!("environment {variable}");
    let hint = format!("set it to an id such as {prefix}…, or leave it empty");
    let kind = KINDS.iter().find(|(begins, _)| *begins != prefix && text.starts_with(begins));
    if let Some((_, kind)) = kind {
        faults.push(Fault::outside(place, format!("holds {kind}"), hint));
        return None;
    }
    match text.parse() {
        Ok(id) => Some(id),
        Err(why) => {
            faults.push(Fault::outside(place, format!("is not a {}: {}", why.what, why.rule), hint));
            None
        }
    }
}

/// What keeps the ids from making a link, said plainly.
pub(super) fn note(seed: &LinkSeed) -> Option<String> {
    let (missing, there) = match (&seed.customer, &seed.subscription) {
        (Some(_), None) => (SUBSCRIPTION, CUSTOMER),
        (None, Some(_)) => (CUSTOMER, SUBSCRIPTION),
        (None, None) if seed.item_compute.is_some() => (SUBSCRIPTION, ITEM_COMPUTE),
        (None, None) if seed.item_api.is_some() => (SUBSCRIPTION, ITEM_API),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    Some(format!(
        "{there} is set and {missing} is not, so the environment links nothing. Set {missing} too, or use usagectl link."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CustomerId, ItemId, SubscriptionId};

    fn seed(variables: &[(&str, &str)]) -> Result<LinkSeed, Vec<Fault>> {
        let mut faults = Vec::new();
        let seed = read(&Environment::of(variables, None), None, &mut faults);
        if faults.is_empty() { Ok(seed) } else { Err(faults) }
    }

    #[test]
    fn r1_the_environment_names_the_first_link() {
        let seed =
            seed(&[(CUSTOMER, " cus_1 "), (SUBSCRIPTION, "sub_1"), (ITEM_COMPUTE, "si_c"), (ITEM_API, "")]).unwrap();
        assert_eq!(seed.customer.as_ref().map(CustomerId::as_str), Some("cus_1"));
        assert_eq!(seed.subscription.as_ref().map(SubscriptionId::as_str), Some("sub_1"));
        assert_eq!(seed.item_compute.as_ref().map(ItemId::as_str), Some("si_c"));
        assert_eq!(seed.item_api, None);
        assert_eq!(note(&seed), None);
    }

    #[test]
    fn empty_ids_are_absent() {
        assert_eq!(seed(&[(CUSTOMER, ""), (SUBSCRIPTION, " ")]), Ok(LinkSeed::default()));
        assert_eq!(note(&LinkSeed::default()), None);
    }

    #[test]
    fn swapped_and_malformed_ids_are_faults_that_name_the_variable_and_not_the_value() {
        for (variable, value) in [
            (CUSTOMER, "sub_hush"),
            (SUBSCRIPTION, "cus_hush"),
            (ITEM_API, "sk_live_hush"),
            (ITEM_COMPUTE, "si_hush/x"),
        ] {
            let faults = seed(&[(variable, value)]).unwrap_err();
            assert_eq!(faults[0].key, format!("environment {variable}"));
            assert!(!format!("{faults:?}").contains("hush"), "{faults:?}");
        }
    }

    #[test]
    fn ids_that_make_no_link_are_noted() {
        for (there, value, missing) in
            [(CUSTOMER, "cus_1", SUBSCRIPTION), (SUBSCRIPTION, "sub_1", CUSTOMER), (ITEM_API, "si_1", SUBSCRIPTION)]
        {
            let said = note(&seed(&[(there, value)]).unwrap()).unwrap();
            assert!(said.starts_with(&format!("{there} is set and {missing} is not")), "{said}");
        }
    }
}
