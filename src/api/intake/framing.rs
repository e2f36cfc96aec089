use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::api::ApiError;

/// One record's text, or why there is none.
#[derive(Debug)]
pub(in crate::api) struct Piece<'a> {
    /// `line 3` or `record 3`, for messages; empty where there is only one.
    pub(super) place: String,
    pub(super) json: Result<&'a RawValue, String>,
}

/// Splits a body into records: one object, an array, or one object per line where the caller says so or it looks so.
/// Fails only where nothing can be read at all.
pub(in crate::api) fn split(text: &str, says_lines: bool, max: usize) -> Result<Vec<Piece<'_>>, ApiError> {
    let pieces = match text.trim_start().as_bytes().first() {
        None => return Err(malformed("the body is empty")),
        Some(_) if says_lines || looks_like_lines(text) => lines(text)?,
        Some(b'[') => array(text)?,
        Some(b'{') => vec![Piece { place: String::new(), json: Ok(single(text)?) }],
        Some(_) => return Err(malformed("the body is not JSON")),
    };
    if pieces.len() > max {
        let error = format!("{} records in one request; at most {max} are taken, and none of these was", pieces.len());
        return Err(ApiError::too_large(error).hint("send them in several requests"));
    }
    Ok(pieces)
}

fn malformed(what: impl fmt::Display) -> ApiError {
    ApiError::bad_request("malformed", what.to_string())
        .hint(r#"send one object, an array, or one object per line: {"meter": "api_credits", "quantity": 5, "id": "order-1"}"#)
}

/// A record has nothing nested in it, so a first line that is a whole object, with more after it, is no JSON document.
fn looks_like_lines(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().is_some_and(|line| line.starts_with('{') && line.ends_with('}')) && lines.next().is_some()
}

fn single(text: &str) -> Result<&RawValue, ApiError> {
    serde_json::from_str(text).map_err(|error| malformed(format!("malformed JSON: {error}")))
}

fn lines(text: &str) -> Result<Vec<Piece<'_>>, ApiError> {
    let pieces: Vec<Piece<'_>> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let json =
                serde_json::from_str(line).map_err(|error| format!("column {}: {}", error.column(), bare(&error)));
            Piece { place: format!("line {}", index + 1), json }
        })
        .collect();
    match pieces.first() {
        Some(Piece { place, json: Err(error) }) if pieces.iter().all(|piece| piece.json.is_err()) => {
            Err(malformed(format!("malformed JSON on every line; {place}, {error}")))
        }
        _ => Ok(pieces),
    }
}

/// serde's words without "at line 1 column 7", which is wrong for a line cut out of a body.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn array(text: &str) -> Result<Vec<Piece<'_>>, ApiError> {
    let mut found = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Elements(&mut found).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match read {
        Ok(()) => Ok(number(found)),
        Err(error) => {
            Err(malformed(format!("malformed JSON at record {}: {error}; nothing was recorded", found.len() + 1)))
        }
    }
}

fn number(found: Vec<&RawValue>) -> Vec<Piece<'_>> {
    let piece = |(index, json)| Piece { place: format!("record {}", index + 1), json: Ok(json) };
    found.into_iter().enumerate().map(piece).collect()
}

/// Collects an array's elements and keeps those before a fault, so that the fault's place is known.
struct Elements<'v, 'a>(&'v mut Vec<&'a RawValue>);

impl<'a> DeserializeSeed<'a> for Elements<'_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Elements<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            self.0.push(element);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        split(text, false, 100).unwrap().len()
    }

    #[test]
    fn an_object_an_array_and_lines_are_told_apart() {
        assert_eq!(count(r#"{"id": "a"}"#), 1);
        assert_eq!(count("{\n  \"id\": \"a\"\n}\n"), 1);
        assert_eq!(count(r#" [{"id": "a"}, {"id": "b"}]"#), 2);
        assert_eq!(count("[{\"id\": \"a\"},\n{\"id\": \"b\"}]"), 2);
        assert_eq!(count("{\"id\": \"a\"}\n\n{\"id\": \"b\"}\r\n"), 2);
        assert_eq!(split("{\"id\": \"a\"}\n", true, 100).unwrap().len(), 1);
    }

    #[test]
    fn malformed_json_names_its_place() {
        let error = |text| split(text, false, 100).unwrap_err().body.error;
        assert!(error("{\"id\": \n nope}").contains("line 2"), "{}", error("{\"id\": \n nope}"));
        assert!(error(r#"[{"id": "a"}, {"id": }]"#).contains("record 2"));
        assert!(error(r#"[{"id": "a"}"#).contains("record 2"));
        assert!(error(r#"[{"id": "a"}] x"#).contains("trailing"));
        assert!(error("  ").contains("empty"));
        assert!(error("5").contains("not JSON"), "a bare number is no record");
    }

    #[test]
    fn one_broken_line_does_not_sink_the_others_and_is_named() {
        let pieces = split("{\"id\": \"a\"}\n{\"id\": oops}\n{\"id\": \"c\"}", false, 100).unwrap();
        let broken: Vec<_> = pieces.iter().filter(|piece| piece.json.is_err()).collect();
        assert_eq!((pieces.len(), broken.len()), (3, 1));
        assert_eq!(broken[0].place, "line 2");
        let all_broken = split("{a}\n{b}", false, 100).unwrap_err();
        assert!(all_broken.body.error.contains("line 1, column 2"), "{all_broken:?}");
    }

    #[test]
    fn more_records_than_taken_at_once_are_refused_as_a_whole() {
        assert_eq!(split("[1, 2, 3]", false, 3).unwrap().len(), 3);
        assert_eq!(split("[1, 2, 3]", false, 2).unwrap_err().status.as_u16(), 413);
    }
}
