//! The nouns every room shares. No I/O, no clock, no database.
//!
//! Owns: names, ids, quantities, times. Does not know: where any of them come from or go to.

mod ids;
mod meter;
mod micros;
mod plan;
mod problem;
mod sample;
mod time;

pub use ids::{CustomerId, ItemId, MeterName, NameError, PlanName, PriceId, SourceName, SubscriptionId};
pub use meter::{Meter, Report, Rounding, Source, Unit};
pub use micros::{Micros, QuantityError};
pub use plan::{AllowanceRule, BasePrice, Included, Plan, PlanMeter};
pub use problem::{Problem, Severity};
pub use sample::{Incarnation, Sample};
pub use time::{MICROS_PER_SECOND, Span, TimeError, Timestamp};
