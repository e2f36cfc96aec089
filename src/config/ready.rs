//! Whether a plan says enough to bill by.

use std::collections::BTreeMap;

use crate::model::{Meter, MeterName, Plan, PlanName};

/// A plan that does not say how much it includes. Never read as zero (rule R3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plan {plan} does not say how much it includes of {}", list(meters))]
pub struct PlanIncomplete {
    /// Which plan.
    pub plan: PlanName,
    /// Meters without an included amount, and their units.
    pub meters: Vec<(MeterName, String)>,
}

impl PlanIncomplete {
    /// The setting to write.
    #[must_use]
    pub fn hint(&self) -> String {
        let lines: Vec<_> = self.meters.iter().map(|(meter, unit)| format!("{meter} = <{unit}>")).collect();
        format!(
            "in usaged.toml, under [plans.{}.included], write {} as whole numbers, or \"unlimited\"",
            self.plan,
            lines.join(" and ")
        )
    }
}

fn list(meters: &[(MeterName, String)]) -> String {
    meters.iter().map(|(meter, _)| meter.as_str()).collect::<Vec<_>>().join(" and ")
}

/// Whether the plan may be billed by. One that is merely shipped need not be.
///
/// # Errors
/// An included amount is missing.
pub fn plan_ready(plan: &Plan, meters: &BTreeMap<MeterName, Meter>) -> Result<(), PlanIncomplete> {
    let unit = |name| meters.get(name).map_or_else(|| "units".to_owned(), |meter| meter.unit.label.clone());
    let open = plan.meters.iter().filter(|(_, meter)| meter.included.is_none());
    let missing: Vec<_> = open.map(|(name, _)| (name.clone(), unit(name))).collect();
    if missing.is_empty() { Ok(()) } else { Err(PlanIncomplete { plan: plan.name.clone(), meters: missing }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::tests::loaded;

    fn ready(toml: &str, plan: &str) -> Result<(), PlanIncomplete> {
        let config = loaded(toml).config;
        plan_ready(&config.plans[&PlanName::new(plan).unwrap()], &config.meters)
    }

    #[test]
    fn r3_a_plan_without_included_amounts_is_refused_and_never_a_zero() {
        let refused = ready("", "pro").unwrap_err();
        assert_eq!(refused.to_string(), "plan pro does not say how much it includes of api_credits and compute_hours");
        assert_eq!(
            refused.hint(),
            "in usaged.toml, under [plans.pro.included], write api_credits = <credits> and compute_hours = <hours> \
             as whole numbers, or \"unlimited\""
        );
    }

    #[test]
    fn what_is_unlimited_needs_no_amount() {
        let refused = ready("", "enterprise").unwrap_err();
        assert_eq!(refused.meters.len(), 1);
        assert_eq!(ready("[plans.enterprise.included]\napi_credits = 0", "enterprise"), Ok(()));
    }

    #[test]
    fn a_plan_is_ready_once_every_amount_is_stated() {
        assert!(ready("[plans.pro]\nincluded = { compute_hours = 100 }", "pro").is_err());
        assert_eq!(ready("[plans.pro]\nincluded = { compute_hours = 100, api_credits = 1000 }", "pro"), Ok(()));
    }
}
