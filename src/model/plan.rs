//! What a customer has bought.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{MeterName, PlanName};

/// How much of a meter a plan includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Included {
    /// Whole billed units a period.
    Units(u32),
    /// Everything: no item, nothing sent.
    Unlimited,
}

/// How an allowance follows a plan change inside a period (rule R4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowanceRule {
    /// The plan at the end decides.
    #[default]
    Latest,
    /// Each plan's share by the time it was in force.
    Prorated,
}

/// A base price of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePrice {
    /// The price's lookup key, as `price_pro_monthly`.
    pub price: String,
    /// In whole currency units, as `199`.
    pub amount: Decimal,
}

/// One meter within a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMeter {
    /// The operator's to state; `None` makes the plan unusable until it is filled in (rule R3, never a zero).
    pub included: Option<Included>,
    /// The overage price's lookup key; absent where unlimited.
    pub price: Option<String>,
    /// What one billed unit above the allowance costs, in whole currency units, as `0.04`.
    pub unit_amount: Option<Decimal>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// ISO 4217, lowercase, as providers write it.
    pub currency: String,
    /// Paid monthly.
    pub monthly: Option<BasePrice>,
    /// Paid yearly.
    pub annual: Option<BasePrice>,
    /// Meters of the plan.
    pub meters: BTreeMap<MeterName, PlanMeter>,
}
