//! What texts in requests look like, for the served document. The types in [`crate::model`] decide; a judge asks the daemon
//! whether these say the same.

/// A meter's or a plan's name.
pub(crate) const WORD: &str = "^[a-z][a-z0-9_]{0,63}$";
/// A provider's id.
pub(crate) const ID: &str = "^[A-Za-z0-9_-]{1,255}$";
/// Who recorded something.
pub(crate) const SOURCE: &str = "^([A-Za-z0-9._/-]{1,64}|uid:([0-9]{1,9}|[1-4][0-9]{9}))$";
/// `YYYY-MM`.
pub(crate) const MONTH: &str = "^[0-9]{4}-(0[1-9]|1[0-2])$";
/// Something that is not blank.
pub(crate) const SAID: &str = r"\S";
/// An absolute path.
pub(crate) const PATH: &str = "^/";
/// Where a page of an export ended.
pub(crate) const PLACE: &str = r"^[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18}$";
