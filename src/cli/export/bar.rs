use std::io::Write;

/// How far it is, on a terminal.
pub(super) struct Bar {
    shown: bool,
    total: Option<u64>,
}

const WIDTH: u64 = 30;

impl Bar {
    pub(super) const fn new(shown: bool) -> Self {
        Self { shown, total: None }
    }

    /// A terminal that takes nothing any more is no reason to stop.
    pub(super) fn draw(&mut self, err: &mut dyn Write, rows: u64, total: Option<u64>) {
        self.total = total.or(self.total);
        if self.shown {
            drop(write!(err, "\r{}\x1b[K", text(rows, self.total)).and_then(|()| err.flush()));
        }
    }

    pub(super) fn clear(&self, err: &mut dyn Write) {
        if self.shown {
            drop(write!(err, "\r\x1b[K").and_then(|()| err.flush()));
        }
    }
}

fn text(rows: u64, total: Option<u64>) -> String {
    let Some(total) = total.filter(|total| *total > 0) else { return format!("{rows} rows") };
    // More may have come since they were counted.
    let share = |of: u64| rows.min(total).saturating_mul(of).checked_div(total).unwrap_or(of);
    let full = usize::try_from(share(WIDTH)).unwrap_or(0);
    let empty = usize::try_from(WIDTH).unwrap_or(0).saturating_sub(full);
    format!("[{}{}] {:>3}% {rows} of {total} rows", "#".repeat(full), " ".repeat(empty), share(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_and_never_runs_over() {
        assert_eq!(text(1_000, Some(4_000)), "[#######                       ]  25% 1000 of 4000 rows");
        assert_eq!(text(4_100, Some(4_000)), format!("[{}] 100% 4100 of 4000 rows", "#".repeat(30)));
        assert_eq!((text(0, Some(0)), text(7, None)), ("0 rows".to_owned(), "7 rows".to_owned()));
    }

    #[test]
    fn nobody_who_does_not_watch_is_shown_anything() {
        let mut err = Vec::new();
        let mut bar = Bar::new(false);
        bar.draw(&mut err, 1, Some(2));
        bar.clear(&mut err);
        assert!(err.is_empty());
    }
}
