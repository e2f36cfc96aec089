use std::time::{Duration, Instant};

use tracing::Level;

use super::line::Line;

/// What is said again within this time is counted.
const WHILE: Duration = Duration::from_mins(1);
/// More different ones are not remembered at a time; what finds no room is said each time.
const REMEMBERED_MAX: usize = 64;

/// What was said lately, and how often since.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    said: Vec<Said>,
}

#[derive(Debug)]
struct Said {
    line: Line,
    until: Instant,
    again: u64,
}

impl Said {
    /// The count, as a line of its own.
    fn told(self) -> Option<Line> {
        (self.again > 0).then_some(Line { repeated: self.again, ..self.line })
    }
}

impl Repeats {
    /// Gives it back where it is to be said, or counts it. What happened is said each time: whoever reloads twice wants to
    /// see it twice. It is what is wrong that comes again and again by itself.
    pub(super) fn take(&mut self, line: Line, now: Instant) -> Option<Line> {
        if line.level == Level::INFO {
            return Some(line);
        }
        if let Some(said) = self.said.iter_mut().find(|said| said.line.says_the_same_as(&line)) {
            said.again = said.again.saturating_add(1);
            return None;
        }
        if self.said.len() < REMEMBERED_MAX {
            self.said.push(Said { line: line.clone(), until: now + WHILE, again: 0 });
        }
        Some(line)
    }

    /// When the next count is to be said, where any is.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.said.iter().filter(|said| said.again > 0).map(|said| said.until).min()
    }

    /// The counts that are to be said now. Whoever goes on is said anew after that.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Line> {
        self.said.extract_if(.., |said| said.until <= now).filter_map(Said::told).collect()
    }

    /// All counts.
    pub(super) fn all(&mut self, _: Instant) -> Vec<Line> {
        self.said.drain(..).filter_map(Said::told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::lines_of;
    use super::*;

    fn busy(what: &str) -> Line {
        lines_of(|| tracing::warn!("busy: {what}")).remove(0)
    }

    #[test]
    fn what_is_said_again_within_a_minute_is_counted_and_the_count_is_said() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert!(repeats.take(busy("a"), start).is_some());
        assert!(repeats.take(busy("b"), start).is_some(), "another message");
        assert_eq!(repeats.next_due(), None);
        for _ in 0..3 {
            assert!(repeats.take(busy("a"), start + WHILE / 2).is_none());
        }
        assert_eq!(repeats.next_due(), Some(start + WHILE));
        assert!(repeats.due(start + WHILE / 2).is_empty());
        let told: Vec<_> = repeats.due(start + WHILE).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["repeated 3 times: busy: a"]);
        assert!(repeats.take(busy("a"), start + WHILE).is_some(), "a new minute");
    }

    #[test]
    fn the_same_words_from_another_place_or_with_another_value_are_no_repeat() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let lines = lines_of(|| {
            tracing::warn!(n = 1, "busy");
            tracing::warn!(n = 1, "busy");
            for n in [1, 2] {
                tracing::warn!(n, "busy");
            }
        });
        assert!(lines.into_iter().all(|line| repeats.take(line, now).is_some()));
    }

    #[test]
    fn what_happened_is_said_each_time() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let line = lines_of(|| tracing::info!("the configuration was reloaded")).remove(0);
        assert!(repeats.take(line.clone(), now).is_some() && repeats.take(line, now).is_some());
    }

    #[test]
    fn at_the_end_every_count_is_said() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for what in ["a", "b", "a"] {
            repeats.take(busy(what), now);
        }
        let told: Vec<_> = repeats.all(now).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["repeated once: busy: a"]);
    }

    #[test]
    fn what_finds_no_room_is_said_each_time() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for n in 0..REMEMBERED_MAX {
            repeats.take(busy(&n.to_string()), now);
        }
        assert!(repeats.take(busy("one more"), now).is_some() && repeats.take(busy("one more"), now).is_some());
    }
}
