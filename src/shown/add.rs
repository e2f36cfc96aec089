use std::fmt::{Arguments, Write as _};

/// Appends formatted text. Writing to a `String` cannot fail, so nobody has to look at the result.
pub(crate) fn add(text: &mut String, more: Arguments<'_>) {
    _ = text.write_fmt(more).is_ok();
}
