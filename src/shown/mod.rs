//! How things are shown to people: the words for numbers and times, on screens and on pages, and the HTML of what stands on
//! more than one page.
//!
//! Owns: nothing. Does not know: who looks, or where what is shown came from.
//! Invariant: text of others becomes markup nowhere: whatever is put into HTML goes through [`html::escaped`].

pub(crate) mod add;
pub(crate) mod bill;
pub(crate) mod chart;
pub(crate) mod html;
pub(crate) mod words;

/// Of every page. It needs nothing from outside; light or dark is as the reader's system says.
pub(crate) const STYLE: &str = include_str!("style.css");
