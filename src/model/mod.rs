//! The nouns every room shares. No I/O, no clock, no database.
//!
//! Owns: names, ids, quantities, times. Does not know: where any of them come from or go to.

mod alert;
mod channel;
mod currency;
mod customer;
pub mod decline;
mod event;
mod hex;
mod identity;
mod ids;
mod invoice;
mod meter;
mod micros;
mod near;
mod plan;
mod problem;
mod sample;
mod time;

pub use alert::{AlertNotice, AlertPeriod, AlertState, AlertWay};
pub use channel::{BillingMeter, Channel, Formula};
pub use currency::decimal_places;
pub use customer::Customer;
pub use event::{Event, Subject};
pub use hex::hex;
pub use identity::MachineIdentity;
pub use ids::{
    BillingMeterId, CustomerId, InvoiceId, ItemId, MeterName, NameError, PlanName, PriceId, SourceName, SubscriptionId,
};
pub use invoice::Invoice;
pub use meter::{Meter, Report, Rounding, Source, Unit};
pub use micros::{Micros, QuantityError};
pub use near::nearest;
pub use plan::{AllowanceRule, BasePrice, Included, Plan, PlanMeter};
pub use problem::{Problem, Severity, split_hint};
pub use sample::{Incarnation, Sample};
pub use time::{
    MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, Span, TimeError, Timestamp, micros_of,
};
