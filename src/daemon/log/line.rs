use std::fmt::{self, Debug, Display, Write as _};

use serde_json::{Map, Value};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::model::Timestamp;

/// What is said once.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Where in the code it is said.
    pub(super) place: Identifier,
    pub(super) level: Level,
    pub(super) target: &'static str,
    /// File and line.
    pub(super) source: Option<(&'static str, u32)>,
    pub(super) message: String,
    /// In the order of the code.
    pub(super) fields: Vec<(&'static str, Value)>,
    /// How often it was said again and held back; 0 where it is said for the first time.
    pub(super) repeated: u64,
}

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let meta = event.metadata();
        let mut line = Self {
            place: meta.callsite(),
            level: *meta.level(),
            target: meta.target(),
            source: meta.file().zip(meta.line()),
            message: String::new(),
            fields: Vec::new(),
            repeated: 0,
        };
        event.record(&mut line);
        line
    }

    /// Whether a reader would see no difference.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        self.place == other.place && self.message == other.message && self.fields == other.fields
    }

    /// As syslog has it, and journald at the head of a line.
    pub(super) const fn priority(&self) -> &'static str {
        match self.level {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            _ => "<7>",
        }
    }

    pub(super) fn json(&self, at: Timestamp) -> Value {
        let fields: Map<_, _> = self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let level = self.level.as_str().to_ascii_lowercase();
        let said: [(_, Value); 5] = [
            ("at", at.to_string().into()),
            ("level", level.into()),
            ("message", self.message.clone().into()),
            ("target", self.target.into()),
            ("fields", fields.into()),
        ];
        let repeated = (self.repeated > 0).then(|| ("repeated", Value::from(self.repeated)));
        said.into_iter().chain(repeated).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn note(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name(), value));
    }
}

/// The message, and each value behind it.
impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.repeated {
            0 => {}
            1 => f.write_str("repeated once: ")?,
            times => write!(f, "repeated {times} times: ")?,
        }
        write_clean(f, &self.message)?;
        for (name, value) in &self.fields {
            write!(f, " {name}=")?;
            match value.as_str() {
                Some(text) if is_plain(text) => f.write_str(text)?,
                _ => write!(f, "{value}")?,
            }
        }
        Ok(())
    }
}

/// Whether it can stand behind a `=` as it is.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"=".contains(c))
}

/// What others said is in messages, too: nothing of it may steer a terminal.
fn write_clean(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() && !"\n\t".contains(c) { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
    }
    Ok(())
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.note(field, text.into()) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" { value.clone_into(&mut self.message) } else { self.note(field, value.into()) }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::prelude::*;
    use tracing_subscriber::{Layer, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Line>>>);

    impl<S: tracing::Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(Line::of(event));
        }
    }

    /// The lines that come of what is said in between.
    pub(in super::super) fn lines_of(say: impl FnOnce()) -> Vec<Line> {
        let heard = Heard::default();
        tracing::subscriber::with_default(registry().with(heard.clone()), say);
        std::mem::take(&mut heard.0.lock().unwrap())
    }

    #[test]
    fn a_line_has_its_values_behind_its_message_and_each_by_itself_in_json() {
        let text = "two words";
        let lines = lines_of(|| {
            tracing::warn!(target: "usaged::flow", item = %"si_1", quantity = 5, text, known = false, "held: {}", 7);
        });
        assert_eq!(lines[0].to_string(), "held: 7 item=si_1 quantity=5 text=\"two words\" known=false");
        let at = Timestamp::parse("2026-11-14T10:00:00Z").unwrap();
        let wanted = r#"{"at":"2026-11-14T10:00:00Z","fields":{"item":"si_1","known":false,"quantity":5,"text":"two words"},"level":"warn","message":"held: 7","target":"usaged::flow"}"#;
        assert_eq!(lines[0].json(at).to_string(), wanted);
    }

    #[test]
    fn what_others_said_steers_no_terminal() {
        let lines = lines_of(|| tracing::info!(name = "a\u{1b}[2Jb", "it answered \u{1b}[2J"));
        assert_eq!(lines[0].to_string(), "it answered \\u{1b}[2J name=\"a\\u001b[2Jb\"");
    }
}
