//! Parameters as Stripe takes them: `a[b][c]=`, `a[]=`, `items[0][price]=`, and nothing it does not know.

use rust_decimal::Decimal;

use super::errors::ApiError;

/// Decoded parameters, in the order they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Path of this part within the request, for messages.
    within: Vec<String>,
    entries: Vec<Entry>,
}

type Entry = (Vec<String>, String);

impl Form {
    /// Decodes `application/x-www-form-urlencoded`.
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self::from_pairs(form_urlencoded::parse(encoded).map(|(name, value)| (name.into_owned(), value.into_owned())))
    }

    /// From names and values as they would be sent.
    pub(super) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut form = Self::default();
        for (name, value) in pairs {
            let path = form.resolve(split(&name));
            match form.entries.iter_mut().find(|(known, _)| *known == path) {
                Some((_, old)) => *old = value,
                None => form.entries.push((path, value)),
            }
        }
        form
    }

    /// Gives each `[]` its number: the last element of that list, or the next where this would repeat what it has.
    fn resolve(&self, segments: Vec<String>) -> Vec<String> {
        let mut path: Vec<String> = Vec::with_capacity(segments.len());
        let mut rest = segments.into_iter();
        while let Some(segment) = rest.next() {
            if !segment.is_empty() || path.is_empty() {
                path.push(segment);
                continue;
            }
            let tail: Vec<String> = rest.clone().collect();
            let count = self.length(&path);
            let last = count.saturating_sub(1);
            let mut candidate = path.clone();
            candidate.push(last.to_string());
            candidate.extend(tail.iter().cloned());
            let repeats = tail.is_empty() || self.entries.iter().any(|(known, _)| *known == candidate);
            path.push(if count > 0 && !repeats { last } else { count }.to_string());
        }
        path
    }

    /// One more than the highest index under a path.
    fn length(&self, path: &[String]) -> usize {
        let indexes = self.entries.iter().filter_map(|(known, _)| known.strip_prefix(path)?.first()?.parse().ok());
        indexes.max().map_or(0, |highest: usize| highest.saturating_add(1))
    }

    /// Refuses every parameter that fits none of the patterns: names with `[]` for an index and `[*]` for any name.
    pub(super) fn allow(&self, patterns: &[&str]) -> Result<(), ApiError> {
        let patterns: Vec<Vec<String>> = patterns.iter().map(|pattern| split(pattern)).collect();
        let fits = |path: &[String]| {
            path == ["expand"]
                || matches!(path, [first, index] if first == "expand" && is_index(index))
                || patterns.iter().any(|pattern| fits(pattern, path))
        };
        let unknown: Vec<String> =
            self.entries.iter().filter(|(path, _)| !fits(path)).map(|(path, _)| join(path)).collect();
        let Some(first) = unknown.first() else { return Ok(()) };
        let noun = if unknown.len() == 1 { "parameter" } else { "parameters" };
        let message = format!("Received unknown {noun}: {}", unknown.join(", "));
        Err(ApiError::parameter(first, "parameter_unknown", message))
    }

    /// Whether anything was sent under a name.
    pub(super) fn has(&self, name: &str) -> bool {
        let path = split(name);
        self.entries.iter().any(|(known, _)| known.starts_with(&path))
    }

    /// The name as the caller wrote it, this part's own place included.
    pub(super) fn full_name(&self, name: &str) -> String {
        let mut path = self.within.clone();
        path.extend(split(name));
        join(&path)
    }

    /// The text, also an empty one.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        let path = split(name);
        self.entries.iter().find(|(known, _)| *known == path).map(|(_, value)| value.as_str())
    }

    /// A text that may be left out but not be empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.raw(name) {
            Some("") => {
                let name = self.full_name(name);
                let message = format!(
                    "You passed an empty string for '{name}'. We assume empty values are an attempt to unset a \
                     parameter; however '{name}' cannot be unset. You should remove '{name}' from your request or \
                     supply a non-empty value."
                );
                Err(ApiError::parameter(&name, "parameter_invalid_empty", message))
            }
            other => Ok(other),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name)?.ok_or_else(|| ApiError::missing(&self.full_name(name)))
    }

    /// A text that must be there, of at most so many characters.
    pub(super) fn at_most(&self, name: &str, chars_max: usize) -> Result<&str, ApiError> {
        let text = self.required(name)?;
        if text.chars().count() <= chars_max {
            return Ok(text);
        }
        let name = self.full_name(name);
        let message = format!("Invalid string: {text}; must be at most {chars_max} characters");
        Err(ApiError::parameter(&name, "parameter_invalid_string_too_long", message))
    }

    /// An integer.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let parsed = text.parse().ok().filter(|_| !text.starts_with('+'));
        let invalid = || {
            let name = self.full_name(name);
            ApiError::parameter(&name, "parameter_invalid_integer", format!("Invalid integer: {text}"))
        };
        parsed.map(Some).ok_or_else(invalid)
    }

    /// An integer of zero or more.
    pub(super) fn natural(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.integer(name)? {
            Some(number) if number < 0 => {
                let name = self.full_name(name);
                let message = "This value must be greater than or equal to 0.";
                Err(ApiError::parameter(&name, "parameter_invalid_integer", message))
            }
            other => Ok(other),
        }
    }

    /// A decimal of at most `places` places, zero or more.
    pub(super) fn decimal(&self, name: &str, places: u32) -> Result<Option<Decimal>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let parsed = Decimal::from_str_exact(text).ok();
        let kept = parsed.filter(|number| number.normalize().scale() <= places && !number.is_sign_negative());
        let invalid = || {
            let message = format!("Invalid decimal: {text}; must contain at maximum {places} decimal places.");
            ApiError::uncoded(&self.full_name(name), message)
        };
        kept.map(Some).ok_or_else(invalid)
    }

    /// `true` or `false`; also `True` and `False`, which the Python SDK sends.
    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name)? {
            None => Ok(None),
            Some("true" | "True") => Ok(Some(true)),
            Some("false" | "False") => Ok(Some(false)),
            Some(other) => Err(ApiError::uncoded(&self.full_name(name), format!("Invalid boolean: {other}"))),
        }
    }

    /// One of a list of words.
    pub(super) fn word(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let known = words.iter().find(|word| **word == text).copied();
        let invalid = || {
            let name = self.full_name(name);
            let listed = match words.split_last() {
                Some((last, [])) => (*last).to_owned(),
                Some((last, [one])) => format!("{one} or {last}"),
                Some((last, first)) => format!("{}, or {last}", first.join(", ")),
                None => String::new(),
            };
            ApiError::uncoded(&name, format!("Invalid {name}: must be one of {listed}"))
        };
        known.map(Some).ok_or_else(invalid)
    }

    /// Names and values under a name, as `metadata[...]`.
    pub(super) fn map(&self, name: &str) -> Vec<(&str, &str)> {
        let path = split(name);
        let leaves = self.entries.iter().filter_map(|(known, value)| match known.strip_prefix(path.as_slice()) {
            Some([name]) => Some((name.as_str(), value.as_str())),
            _ => None,
        });
        leaves.collect()
    }

    /// The elements of a list of hashes, as `items[0][...]`.
    pub(super) fn list(&self, name: &str) -> Vec<Form> {
        let path = split(name);
        let mut elements: Vec<(usize, Form)> = Vec::new();
        for (known, value) in &self.entries {
            let Some([index, rest @ ..]) = known.strip_prefix(path.as_slice()) else { continue };
            let Ok(index) = index.parse::<usize>() else { continue };
            let entry = (rest.to_vec(), value.clone());
            if let Some((_, form)) = elements.iter_mut().find(|(known, _)| *known == index) {
                form.entries.push(entry);
                continue;
            }
            let mut within = self.within.clone();
            within.extend(path.iter().cloned());
            within.push(index.to_string());
            elements.push((index, Form { within, entries: vec![entry] }));
        }
        elements.sort_by_key(|(index, _)| *index);
        elements.into_iter().map(|(_, form)| form).collect()
    }

    /// The texts of a plain list, as `expand[]`.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.list(name).into_iter().filter_map(|one| one.raw("").map(str::to_owned)).collect()
    }

    /// What two requests must share to be the same: every parameter, whatever the order.
    pub(super) fn fingerprint(&self) -> String {
        let mut pairs: Vec<(String, &str)> =
            self.entries.iter().map(|(path, value)| (join(path), value.as_str())).collect();
        pairs.sort();
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }
}

/// `a[b][]` into `a`, `b`, and an empty segment. A name that is not of this form stays whole, and is then unknown.
fn split(name: &str) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    let Some((first, rest)) = name.split_once('[') else { return vec![name.to_owned()] };
    let Some(inner) = rest.strip_suffix(']') else { return vec![name.to_owned()] };
    let mut path = vec![first.to_owned()];
    path.extend(inner.split("][").map(str::to_owned));
    path
}

fn join(path: &[String]) -> String {
    match path.split_first() {
        Some((first, rest)) => rest.iter().fold(first.clone(), |name, segment| format!("{name}[{segment}]")),
        None => String::new(),
    }
}

fn is_index(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

fn fits(pattern: &[String], path: &[String]) -> bool {
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(wanted, found)| match wanted.as_str() {
            "" => is_index(found),
            "*" => true,
            wanted => wanted == found,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes())
    }

    #[test]
    fn numbered_and_unnumbered_lists_of_hashes_mean_the_same() {
        let numbered = form("items[0][price]=a&items[0][quantity]=1&items[1][price]=b");
        let unnumbered = form("items[][price]=a&items[][quantity]=1&items[][price]=b");
        assert_eq!(numbered, unnumbered);
        let items = unnumbered.list("items");
        assert_eq!(items.len(), 2);
        assert_eq!((items[0].raw("price"), items[0].raw("quantity")), (Some("a"), Some("1")));
        assert_eq!(items[1].full_name("quantity"), "items[1][quantity]");
        assert_eq!(form("expand[]=x&expand[]=y").texts("expand"), ["x", "y"]);
        assert_eq!(form("expand%5B0%5D=x&expand%5B1%5D=y").texts("expand"), ["x", "y"]);
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_full_name() {
        let known = ["items[][price]", "metadata[*]", "quantity"];
        assert!(form("items[7][price]=a&metadata[k]=v&quantity=1&expand[]=x").allow(&known).is_ok());
        for (sent, named) in [
            ("items[0][prices]=a", "items[0][prices]"),
            ("items[a][price]=a", "items[a][price]"),
            ("quantity[x]=1", "quantity[x]"),
            ("metadata=x", "metadata"),
            ("a[b=1", "a[b"),
        ] {
            let error = form(sent).allow(&known).unwrap_err();
            assert_eq!(error.code, Some("parameter_unknown"), "{sent}");
            assert_eq!(error.message, format!("Received unknown parameter: {named}"));
        }
    }

    #[test]
    fn integers_are_whole_and_plain() {
        assert_eq!(form("n=-5").integer("n"), Ok(Some(-5)));
        for bad in ["n=1.0", "n=1e3", "n=%2B1", "n=abc", "n=99999999999999999999"] {
            assert_eq!(form(bad).integer("n").unwrap_err().code, Some("parameter_invalid_integer"), "{bad}");
        }
        assert_eq!(form("n=").integer("n").unwrap_err().code, Some("parameter_invalid_empty"));
        assert_eq!(form("n=-1").natural("n").unwrap_err().code, Some("parameter_invalid_integer"));
    }

    #[test]
    fn fingerprints_do_not_depend_on_the_order() {
        assert_eq!(form("a=1&b[c]=2").fingerprint(), form("b[c]=2&a=1").fingerprint());
        assert_ne!(form("a=1").fingerprint(), form("a=2").fingerprint());
    }
}
