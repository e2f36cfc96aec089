use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::framing::Piece;
use crate::api::Caller;
use crate::api::body::unknown_field;
use crate::model::{MeterName, Micros, SourceName, Timestamp};
use crate::wire::{RecordAnswer, RecordInput, RecordOutcome};

const FIELDS: [&str; 5] = ["meter", "quantity", "id", "at", "source"];
const ID_MAX: usize = 200;

/// A record whose every field is well-formed. Whether there is such a meter, and whether the record fits what was
/// recorded before, is not decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which meter.
    pub meter: MeterName,
    /// Above zero, in millionths of the base unit.
    pub quantity: Micros,
    /// The caller's id, 1 to 200 bytes without control characters.
    pub id: String,
    /// When it was used; `None` is arrival.
    pub at: Option<Timestamp>,
    /// The name the caller gives itself, or `uid:N` of the caller.
    pub source: SourceName,
}

type Fault = (&'static str, String);

/// Reads one record, or answers it as refused.
pub(in crate::api) fn parse(piece: &Piece<'_>, caller: Caller) -> Result<Record, RecordAnswer> {
    let refuse = |id: String, (code, what): Fault| {
        let reason = if piece.place.is_empty() { what } else { format!("{}: {what}", piece.place) };
        RecordAnswer { id, outcome: RecordOutcome::Refused, code: Some(code.to_owned()), reason: Some(reason) }
    };
    let json = piece.json.as_ref().map_err(|error| refuse(String::new(), ("malformed", error.clone())))?;
    let input = shape(json).map_err(|fault| refuse(id_as_given(json), fault))?;
    let shown = shown(&input.id);
    check(input, caller).map_err(|fault| refuse(shown, fault))
}

/// An id as it can be shown: overlong ones are cut.
fn shown(id: &str) -> String {
    id.chars().take(ID_MAX).collect()
}

fn id_as_given(json: &RawValue) -> String {
    #[derive(serde::Deserialize)]
    struct Id {
        id: String,
    }
    serde_json::from_str::<Id>(json.get()).map(|found| shown(&found.id)).unwrap_or_default()
}

fn shape(json: &RawValue) -> Result<RecordInput, Fault> {
    let malformed = |error: serde_json::Error| {
        let text = error.to_string();
        ("malformed", text.split(" at line ").next().unwrap_or_default().to_owned())
    };
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json.get()).map_err(malformed)?;
    if let Some(sentence) = unknown_field(fields.keys().map(String::as_str), &FIELDS) {
        return Err(("malformed", sentence));
    }
    if !fields.contains_key("id") {
        let why = "there is no id; give every record one of its own, so that sending it twice counts once";
        return Err(("bad_id", why.to_owned()));
    }
    serde_json::from_str(json.get()).map_err(malformed)
}

fn check(input: RecordInput, caller: Caller) -> Result<Record, Fault> {
    let meter = MeterName::new(input.meter).map_err(|error| ("unknown_meter", error.to_string()))?;
    let quantity = quantity(&input.quantity).map_err(|why| ("bad_quantity", why))?;
    id_is_fine(&input.id).map_err(|why| ("bad_id", why))?;
    let at = input.at.as_deref().map(Timestamp::parse).transpose();
    let at = at.map_err(|error| ("bad_time", error.to_string()))?;
    let source = source(input.source, caller).map_err(|why| ("bad_source", why))?;
    Ok(Record { meter, quantity, id: input.id, at, source })
}

/// From the text as it was sent: through a float, 0.1 would already be something else.
fn quantity(json: &RawValue) -> Result<Micros, String> {
    let text = match json.get() {
        text if text.starts_with('"') => serde_json::from_str::<String>(text).map_err(|error| error.to_string())?,
        text => text.to_owned(),
    };
    let quantity = Micros::parse(&text).map_err(|error| error.to_string())?;
    if quantity <= Micros::ZERO {
        return Err(format!("quantity {quantity} is not above zero; a mistake is taken back with usagectl void"));
    }
    Ok(quantity)
}

fn id_is_fine(id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > ID_MAX {
        return Err(format!("the id has {} bytes; an id has 1 to {ID_MAX}", id.len()));
    }
    if id.chars().any(char::is_control) {
        return Err("the id holds control characters".to_owned());
    }
    Ok(())
}

fn source(given: Option<String>, caller: Caller) -> Result<SourceName, String> {
    let own = SourceName::of_uid(caller.uid);
    let Some(given) = given else { return Ok(own) };
    let given = SourceName::new(given).map_err(|error| error.to_string())?;
    if given.may_be_claimed() || given == own {
        return Ok(given);
    }
    Err(format!("source {given} is another user; leave it out to be {own}, or give a name without a colon"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::intake::split;

    const CALLER: Caller = Caller { uid: 1001, gid: 1001 };

    fn read(text: &str) -> Result<Record, RecordAnswer> {
        parse(&split(text, false, 10).unwrap()[0], CALLER)
    }

    fn with(field: &str, value: &str) -> Result<Record, RecordAnswer> {
        let mut fields = BTreeMap::from([("meter", r#""api_credits""#), ("quantity", "5"), ("id", r#""a""#)]);
        fields.insert(field, value);
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name:?}: {value}")).collect();
        read(&format!("{{{}}}", fields.join(", ")))
    }

    fn code(answer: Result<Record, RecordAnswer>) -> String {
        answer.expect_err("was taken").code.unwrap()
    }

    #[test]
    fn a_full_record_is_read_field_by_field() {
        let record = read(
            r#"{"meter": "api_credits", "quantity": "0.25", "id": "a", "at": "2026-11-05T12:00:00Z", "source": "web"}"#,
        );
        let expected = Record {
            meter: MeterName::new("api_credits").unwrap(),
            quantity: Micros::new(250_000),
            id: "a".to_owned(),
            at: Some(Timestamp::parse("2026-11-05T12:00:00Z").unwrap()),
            source: SourceName::new("web").unwrap(),
        };
        assert_eq!(record, Ok(expected));
    }

    #[test]
    fn quantities_are_read_exactly_from_their_text() {
        for (text, micros) in [("0.1", 100_000), ("0.30", 300_000), (r#""9007199254.740993""#, 9_007_199_254_740_993)] {
            assert_eq!(with("quantity", text).unwrap().quantity, Micros::new(micros), "{text}");
        }
    }

    #[test]
    fn m8_bad_quantities_are_refused() {
        for text in ["-3", "0", "0.0", "1e3", r#""""#, r#""1,5""#, "0.0000001", "99999999999999", "null", "true", "[1]"]
        {
            assert_eq!(code(with("quantity", text)), "bad_quantity", "{text}");
        }
    }

    #[test]
    fn m8_bad_ids_are_refused_and_shown_cut() {
        let long = format!("{:?}", "x".repeat(201));
        for text in [r#""""#, r#""a\u0000b""#, r#""a\nb""#, &long] {
            assert_eq!(code(with("id", text)), "bad_id", "{text}");
        }
        assert_eq!(with("id", &long).unwrap_err().id.len(), 200);
        assert!(with("id", &format!("{:?}", "x".repeat(200))).is_ok());
        assert_eq!(code(read(r#"{"meter": "api_credits", "quantity": 5}"#)), "bad_id");
    }

    #[test]
    fn bad_times_and_sources_are_refused() {
        assert_eq!(code(with("at", r#""yesterday""#)), "bad_time");
        assert_eq!(code(with("source", r#""a b""#)), "bad_source");
    }

    #[test]
    fn m8_a_caller_cannot_pose_as_another_user() {
        assert_eq!(code(with("source", r#""uid:0""#)), "bad_source");
        assert_eq!(with("source", r#""uid:1001""#).unwrap().source, SourceName::of_uid(1001));
        assert_eq!(with("id", r#""b""#).unwrap().source, SourceName::of_uid(1001));
    }

    #[test]
    fn unknown_fields_are_named_with_what_was_probably_meant() {
        let refused = with("quantitty", "5").unwrap_err();
        assert_eq!(refused.code.as_deref(), Some("malformed"));
        assert_eq!(refused.reason.as_deref(), Some(r#"unknown field "quantitty"; did you mean "quantity"?"#));
        assert_eq!(refused.id, "a", "the id is still known");
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        let pieces = split(r#"[5, {"meter": 5, "quantity": 5, "id": "a"}]"#, false, 10).unwrap();
        for piece in &pieces {
            assert_eq!(code(parse(piece, CALLER)), "malformed");
        }
        let reason = parse(&pieces[1], CALLER).unwrap_err().reason.unwrap();
        assert!(reason.starts_with("record 2: "), "{reason}");
    }
}
