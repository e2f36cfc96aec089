//! Ends of periods.
