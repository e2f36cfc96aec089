//! Where the rooms meet. One file per job; each is a reconciler: safe to run at any time, and again.
//!
//! Owns: no table but `job_run`. After a crash: the next run of a job finds what the last left and goes on from there.
//! A schedule, a command and a start activate the same job. Does not know: who asked, or how it is answered.

mod alerts;
mod audit;
mod calendar;
mod certificate;
mod close;
mod compact;
mod context;
mod db;
mod deliver;
mod doctor;
mod drain;
mod drift;
mod error;
mod heartbeat;
mod identity;
mod intake;
mod link;
mod make_good;
mod periods;
mod prepare_image;
mod problems;
mod push;
mod reconcile;
mod record;
mod refresh;
mod release;
mod roll_up;
mod run;
mod sample;
mod seed;
mod stands;
mod start;
mod status;
mod sync;
mod tell;
mod test_alert;
#[cfg(test)]
mod testing;
mod unseen;
mod unsent;
mod usage;
mod watch;

pub use alerts::{alerts, look_for_alerts};
pub use audit::{audit, audit_verify};
pub use compact::compact;
pub use context::{Context, Settings};
pub use db::{DAMAGED, db_backup, db_check, db_recover};
pub use doctor::doctor;
pub use drain::drain;
pub use error::JobError;
pub use heartbeat::heartbeat;
pub use identity::identity;
pub use link::link;
pub use make_good::recover;
pub use prepare_image::prepare_image;
pub use push::{Pushed, Which, push};
pub use reconcile::reconcile;
pub use record::{record, void};
pub use release::release;
pub use roll_up::{Rating, rate, roll_up, roll_up_open};
pub use run::{JobRun, last_run, runs};
pub use sample::{Sampled, note_stop, sample};
pub use seed::seed;
pub use start::{Parts, know_meters, start};
pub use status::{Running, status};
pub use sync::sync;
pub use tell::{tell, tell_of_damage};
pub use test_alert::test_alert;
pub use unsent::unsent;
pub use usage::{usage, utc_month};
