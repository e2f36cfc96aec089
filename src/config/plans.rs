//! `[plans.NAME]`: what customers have bought. The shipped ones, the operator's changes to them, and the operator's own.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::section::{Findings, Section};
use super::values::{Read, money, refuse, text, whole};
use crate::model::nearest;
use crate::model::{BasePrice, Included, MeterName, Plan, PlanMeter, PlanName};

type Meters = BTreeMap<MeterName, PlanMeter>;

/// Every plan. `meters` are the names a plan may mention.
pub(super) fn read(
    mut section: Section<'_>,
    meters: &BTreeSet<MeterName>,
    findings: &mut Findings<'_>,
) -> BTreeMap<PlanName, Plan> {
    let mut plans = BTreeMap::new();
    for word in section.names() {
        let below = section.section(&word, findings);
        match PlanName::new(word.as_str()) {
            Ok(name) => {
                let plan = read_one(name.clone(), below, meters, findings);
                plans.insert(name, plan);
            }
            Err(why) => section.complain(&word, why.to_string(), "rename the plan", findings),
        }
    }
    plans
}

fn read_one(
    name: PlanName,
    mut section: Section<'_>,
    meters: &BTreeSet<MeterName>,
    findings: &mut Findings<'_>,
) -> Plan {
    let currency = section.need("currency", "\"eur\"", currency, findings).unwrap_or_default();
    let monthly = read_base_price(&mut section, "monthly", findings);
    let annual = read_base_price(&mut section, "annual", findings);
    let plan_meters = read_meters(&mut section, meters, findings);
    section.close(findings);
    Plan { name, currency, monthly, annual, meters: plan_meters }
}

fn read_base_price(section: &mut Section<'_>, key: &str, findings: &mut Findings<'_>) -> Option<BasePrice> {
    let present = section.has(key);
    let mut below = section.section(key, findings);
    if !present {
        return None;
    }
    let price = below.need("price", "\"the price's lookup key\"", price_key, findings);
    let amount = below.need("amount", "\"199\"", money, findings);
    below.close(findings);
    Some(BasePrice { price: price?, amount: amount? })
}

fn read_meters(section: &mut Section<'_>, known: &BTreeSet<MeterName>, findings: &mut Findings<'_>) -> Meters {
    let mut included = section.section("included", findings);
    let mut overage = section.section("overage", findings);
    let mut meters = Meters::new();
    let words: BTreeSet<String> = included.names().into_iter().chain(overage.names()).collect();
    for word in words {
        let Some(name) = known.iter().find(|name| name.as_str() == word) else {
            let place = if included.has(&word) { &included } else { &overage };
            complain_of_unknown(&word, place, known, findings);
            continue;
        };
        meters.insert(name.clone(), read_meter(&word, &mut included, &mut overage, findings));
    }
    complain_of_shared_prices(&meters, &overage, findings);
    meters
}

fn read_meter(
    word: &str,
    included: &mut Section<'_>,
    overage: &mut Section<'_>,
    findings: &mut Findings<'_>,
) -> PlanMeter {
    let amount = included.get(word, included_amount, findings);
    if amount == Some(Included::Unlimited) {
        if overage.is_own(word) {
            let what = "has a price, and the plan includes it without limit";
            overage.complain(
                word,
                what,
                format!("remove it, or write a number at {}.{word}", included.path()),
                findings,
            );
        }
        return PlanMeter { included: amount, price: None, unit_amount: None };
    }
    if !overage.has(word) {
        if amount.is_some() {
            let hint = format!("under [{}], add {word} = {{ price = \"…\", unit_amount = \"0.05\" }}", overage.path());
            included.complain(word, "is limited, and the plan has no price for what lies above", hint, findings);
        }
        return PlanMeter { included: amount, price: None, unit_amount: None };
    }
    let mut below = overage.section(word, findings);
    let price = below.need("price", "\"the price's lookup key\"", price_key, findings);
    let unit_amount = below.get("unit_amount", money, findings);
    below.close(findings);
    PlanMeter { included: amount, price, unit_amount }
}

fn complain_of_unknown(word: &str, place: &Section<'_>, known: &BTreeSet<MeterName>, findings: &mut Findings<'_>) {
    let hint = match nearest(word, known.iter().map(MeterName::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add the meter under [meters], or remove it here".to_owned(),
    };
    place.complain(word, "names no meter", hint, findings);
}

/// The price tells which item belongs to which meter; two meters on one item would overwrite each other's total.
fn complain_of_shared_prices(meters: &Meters, overage: &Section<'_>, findings: &mut Findings<'_>) {
    let mut first: BTreeMap<&str, &MeterName> = BTreeMap::new();
    for (name, meter) in meters {
        let Some(price) = meter.price.as_deref() else { continue };
        if let Some(other) = first.insert(price, name) {
            let what = format!("has the price of {other}, {price:?}");
            overage.complain(name.as_str(), what, "give each meter of a plan a price of its own", findings);
        }
    }
}

/// Whole billed units, or everything.
fn included_amount(value: &DeValue<'_>) -> Read<Included> {
    if value.as_str() == Some("unlimited") {
        return Ok(Included::Unlimited);
    }
    match whole(0..=u32::MAX)(value) {
        Ok(units) => Ok(Included::Units(units)),
        Err(refused) => {
            refuse(format!("{}, or \"unlimited\"", refused.what), "write whole billed units, as 100, or \"unlimited\"")
        }
    }
}

fn currency(value: &DeValue<'_>) -> Read<String> {
    let code = text(value)?;
    if code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase()) {
        return Ok(code);
    }
    refuse(format!("is {code:?}, not a currency"), "write three lowercase letters, as \"eur\"")
}

/// A lookup key, at most 200 characters: <https://docs.stripe.com/api/prices/object#price_object-lookup_key>.
fn price_key(value: &DeValue<'_>) -> Read<String> {
    let key = text(value)?;
    if key.chars().count() <= 200 && !key.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Ok(key);
    }
    refuse("is not a price's lookup key", "write at most 200 characters without spaces")
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::config::load::tests::{faults_of, loaded};

    fn plan(toml: &str, name: &str) -> Plan {
        loaded(toml).config.plans[&PlanName::new(name).unwrap()].clone()
    }

    fn meter(plan: &Plan, name: &str) -> PlanMeter {
        plan.meters[&MeterName::new(name).unwrap()].clone()
    }

    #[test]
    fn the_shipped_plans_carry_their_prices_and_leave_the_included_amounts_open() {
        let cents = |amount| Decimal::new(amount, 2);
        for (name, monthly, annual, compute) in [
            ("starter", 99, 990, Some(("price_compute_overage_starter", cents(5)))),
            ("pro", 199, 1990, Some(("price_compute_overage_pro", cents(4)))),
            ("enterprise", 499, 4990, None),
        ] {
            let plan = plan("", name);
            assert_eq!(plan.currency, "eur");
            let base = |price: String, amount: u32| Some(BasePrice { price, amount: Decimal::from(amount) });
            assert_eq!(plan.monthly, base(format!("price_{name}_monthly"), monthly));
            assert_eq!(plan.annual, base(format!("price_{name}_annual"), annual));
            let hours = meter(&plan, "compute_hours");
            assert_eq!(hours.price.as_deref().zip(hours.unit_amount), compute);
            assert_eq!(hours.included, compute.is_none().then_some(Included::Unlimited));
            let credits = meter(&plan, "api_credits");
            assert_eq!(credits.price.as_deref(), Some("price_api_overage"));
            assert_eq!((credits.unit_amount, credits.included), (Some(cents(1)), None));
        }
    }

    #[test]
    fn an_operator_overrides_parts_of_a_shipped_plan() {
        let toml = "[plans.pro]\nmonthly = { amount = 149 }\nincluded = { compute_hours = 100 }\n\
                    [plans.pro.overage]\napi_credits = { unit_amount = \"0.02\" }";
        let pro = plan(toml, "pro");
        let monthly = pro.monthly.clone().unwrap();
        assert_eq!((monthly.price.as_str(), monthly.amount), ("price_pro_monthly", Decimal::from(149)));
        let hours = meter(&pro, "compute_hours");
        assert_eq!((hours.included, hours.unit_amount), (Some(Included::Units(100)), Some(Decimal::new(4, 2))));
        assert_eq!(meter(&pro, "api_credits").unit_amount, Some(Decimal::new(2, 2)));
    }

    #[test]
    fn an_operator_adds_a_plan_with_a_meter_of_its_own() {
        let toml = "[meters.emails]\nsource = \"push\"\nunit = \"emails\"\n\
                    [plans.mail]\ncurrency = \"usd\"\nincluded = { emails = 500 }\n\
                    overage = { emails = { price = \"price_emails\" } }";
        let mail = plan(toml, "mail");
        assert_eq!((mail.monthly.as_ref(), mail.annual.as_ref()), (None, None));
        let emails = meter(&mail, "emails");
        assert_eq!((emails.included, emails.unit_amount), (Some(Included::Units(500)), None));
        assert_eq!(emails.price.as_deref(), Some("price_emails"));
    }

    #[test]
    fn unlimited_drops_the_shipped_price() {
        let hours = meter(&plan("[plans.pro.included]\ncompute_hours = \"unlimited\"", "pro"), "compute_hours");
        assert_eq!(hours, PlanMeter { included: Some(Included::Unlimited), price: None, unit_amount: None });
    }

    #[test]
    fn each_fault_of_a_plan_is_named_at_its_line() {
        for (toml, key, what) in [
            ("included = { compute_hour = 1 }", "included.compute_hour", "names no meter"),
            ("included = { compute_hours = -1 }", "included.compute_hours", "or \"unlimited\""),
            ("included = { compute_hours = 1.5 }", "included.compute_hours", "or \"unlimited\""),
            ("currency = \"EUR\"", "currency", "not a currency"),
            ("monthly = { amount = 99.5 }", "monthly.amount", "not exact"),
            ("annual = 990", "annual", "expected a table"),
            ("overage = { api_credits = { prize = \"x\" } }", "overage.api_credits.prize", "is not a setting"),
            (
                "overage = { api_credits = { price = \"price_compute_overage_pro\" } }",
                "overage.compute_hours",
                "price of",
            ),
            ("includes = { api_credits = 1 }", "includes", "is not a setting"),
        ] {
            let faults = faults_of(&format!("[plans.pro]\n{toml}"));
            assert_eq!(faults.len(), 1, "{toml}: {faults:?}");
            assert_eq!(faults[0].key, format!("plans.pro.{key}"));
            assert!(faults[0].what.contains(what), "{faults:?}");
            assert!(faults[0].line.is_some(), "{faults:?}");
        }
    }

    #[test]
    fn a_limit_needs_a_price_and_a_price_needs_a_limit() {
        let limited = faults_of("[plans.enterprise.included]\ncompute_hours = 1000");
        assert!(limited.len() == 1 && limited[0].what.contains("no price"), "{limited:?}");
        let priced = faults_of("[plans.enterprise.overage]\ncompute_hours = { price = \"p\" }");
        assert!(priced.len() == 1 && priced[0].what.contains("without limit"), "{priced:?}");
    }

    #[test]
    fn a_plan_that_names_a_faulty_meter_is_not_at_fault_as_well() {
        let faults =
            faults_of("[meters.emails]\nsource = \"push\"\n[plans.pro]\nincluded = { emails = \"unlimited\" }");
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].key, "meters.emails.unit");
    }
}
