//! What a catalog file can be wrong about beyond its form.

use rust_decimal::Decimal;

use super::catalog::{Aggregation, Catalog, Coupon, Duration, Interval, Meter, Plan, Price, is_id};

/// Characters of a lookup key and of an event's name. <https://docs.stripe.com/api/prices/create>
const LOOKUP_KEY_MAX: usize = 200;
const EVENT_NAME_MAX: usize = 100;
/// Items of a subscription: Stripe takes twenty, and shows so many of them with it.
const ITEMS_MAX: usize = 10;
/// Characters of a metadata field's name. <https://docs.stripe.com/metadata>
const METADATA_NAME_MAX: usize = 40;

impl Catalog {
    /// All that is wrong with it.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
            faults.push(format!("currency: {:?} is no currency, as \"eur\"", self.currency));
        }
        for name in [&self.metadata.customer_id, &self.metadata.vm_id] {
            if name.is_empty() || name.len() > METADATA_NAME_MAX || name.contains(['[', ']', '\'', '"']) {
                faults.push(format!("metadata: {name:?} cannot name a field"));
            }
        }
        if self.metadata.customer_id == self.metadata.vm_id {
            faults.push("metadata: customer_id and vm_id are the same field".to_owned());
        }
        for id in self.products.keys().filter(|id| !is_id(id)) {
            faults.push(format!("products: {id:?} is no id: letters, digits, - and _"));
        }
        for name in self.meters.keys().filter(|name| name.is_empty() || name.len() > EVENT_NAME_MAX) {
            faults.push(format!("meters: {name:?} cannot name events: 1 to {EVENT_NAME_MAX} characters"));
        }
        faults.extend(self.meters.iter().filter_map(|(name, meter)| meter.fault(name)));
        for (key, price) in &self.prices {
            faults.extend(self.faults_of_price(key, price));
        }
        for (id, coupon) in &self.coupons {
            let bad_id = (!is_id(id)).then(|| "its id is not of letters, digits, - and _".to_owned());
            faults.extend(bad_id.into_iter().chain(coupon.fault()).map(|what| format!("coupons.{id}: {what}")));
        }
        for (name, plan) in &self.plans {
            faults.extend(self.faults_of_plan(name, plan));
        }
        faults
    }

    fn faults_of_price(&self, key: &str, price: &Price) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(format!("prices.{key}: {what}"));
        if key.is_empty() || key.len() > LOOKUP_KEY_MAX {
            fault(format!("a lookup key has 1 to {LOOKUP_KEY_MAX} characters"));
        }
        if !self.products.contains_key(&price.product) {
            fault(format!("there is no product {:?}", price.product));
        }
        if let Some(meter) = price.meter.as_ref().filter(|meter| !self.meters.contains_key(*meter)) {
            fault(format!("there is no meter {meter:?}"));
        }
        if let Err(why) = price.amount.in_smallest(&self.currency) {
            fault(why);
        }
        faults
    }

    fn faults_of_plan(&self, name: &str, plan: &Plan) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(format!("plans.{name}: {what}"));
        if plan.monthly.is_none() && plan.annual.is_none() {
            fault("it has neither a monthly nor an annual price".to_owned());
        }
        if plan.overage.len() >= ITEMS_MAX {
            fault(format!("with its base price it has more than {ITEMS_MAX} prices"));
        }
        let of_interval = [(&plan.monthly, Interval::Month, "monthly"), (&plan.annual, Interval::Year, "annual")];
        for (key, interval, word) in of_interval.into_iter().filter_map(|(key, i, word)| Some((key.as_ref()?, i, word)))
        {
            match self.prices.get(key) {
                None => fault(format!("there is no price {key:?}")),
                Some(price) if price.meter.is_some() => fault(format!("{key} is metered, so it is no base price")),
                Some(price) if price.interval != interval => fault(format!("{key} is not {word}")),
                Some(_) => {}
            }
        }
        for key in &plan.overage {
            match self.prices.get(key) {
                None => fault(format!("there is no price {key:?}")),
                Some(price) if price.meter.is_none() => fault(format!("{key} has no meter, so it bills no overage")),
                Some(_) => {}
            }
        }
        faults
    }
}

impl Coupon {
    /// What is wrong with its terms.
    pub(super) fn fault(&self) -> Option<String> {
        let fault = match (self.percent_off, self.amount_off) {
            (None, None) => "it takes nothing off: percent_off or amount_off is missing",
            (Some(_), Some(_)) => "it has either percent_off or amount_off",
            (Some(percent), None) if percent.number().is_zero() || percent.number() > Decimal::ONE_HUNDRED => {
                "percent_off is more than 0 and at most 100"
            }
            _ if (self.duration == Duration::Repeating) != self.months.is_some() => {
                "months go with duration = \"repeating\", and it needs them"
            }
            _ => return None,
        };
        Some(fault.to_owned())
    }
}

impl Meter {
    fn fault(&self, name: &str) -> Option<String> {
        let is_wrong = self.window.is_some() && self.aggregation != Aggregation::Sum;
        is_wrong.then(|| format!("meters.{name}: a window goes with aggregation = \"sum\" only"))
    }
}
