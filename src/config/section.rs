//! One table of the configuration: the operator's, laid over the shipped one.
//!
//! A section remembers every key it was asked for, so that the reading code itself is the list of known keys and
//! whatever the operator wrote beyond it is refused.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Fault;
use super::values::{Read, Refused, refuse};
use crate::model::nearest;

/// What was found wrong so far, and which keys exist.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    text: &'a str,
    faults: Vec<Fault>,
    known: Vec<(String, String)>,
    unknown: Vec<Unknown>,
}

#[derive(Debug)]
struct Unknown {
    section: String,
    key: String,
    line: usize,
}

impl<'a> Findings<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, faults: Vec::new(), known: Vec::new(), unknown: Vec::new() }
    }

    /// Sections and the keys that were asked of them.
    #[cfg(test)]
    pub(super) fn known(&self) -> &[(String, String)] {
        &self.known
    }

    fn line(&self, offset: usize) -> usize {
        line_of(self.text, offset)
    }

    /// Whether something below this section was found faulty.
    pub(super) fn concern(&self, section: &str) -> bool {
        let below = format!("{section}.");
        self.faults.iter().any(|fault| fault.key.starts_with(&below))
    }

    /// All faults, unknown keys among them: only now is every key known that a stray one may have meant.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let strays: Vec<_> = self.unknown.iter().map(|unknown| self.describe(unknown)).collect();
        self.faults.into_iter().chain(strays).collect()
    }

    fn describe(&self, unknown: &Unknown) -> Fault {
        let Unknown { section, key, line } = unknown;
        let elsewhere = self.known.iter().find(|(home, known)| known == key && !home.contains('.'));
        let here: Vec<&str> =
            self.known.iter().filter(|(home, _)| home == section).map(|(_, known)| known.as_str()).collect();
        let hint = match (elsewhere, nearest(key, here.iter().copied())) {
            (Some((home, _)), _) if home.is_empty() => {
                format!("`{key}` belongs at the top of the file, above the first [section]")
            }
            (Some((home, _)), _) => format!("`{key}` belongs under [{home}]"),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("known here: {}", here.join(", ")),
        };
        Fault { line: Some(*line), key: join(section, key), what: "is not a setting".to_owned(), hint: Some(hint) }
    }
}

/// The line, from 1, that a byte of the text is on.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

/// No setting is a secret, and what is refused may be quoted.
fn is_secret(value: &DeValue<'_>) -> bool {
    let prefixes = ["sk_test_", "sk_live_", "rk_test_", "rk_live_", "whsec_"];
    value.as_str().is_some_and(|text| prefixes.iter().any(|prefix| text.trim_start().starts_with(prefix)))
}

fn join(section: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if plain { key.to_owned() } else { format!("{:?}", key.chars().take(80).collect::<String>()) };
    if section.is_empty() { key } else { format!("{section}.{key}") }
}

/// A table, by its two layers.
#[derive(Debug)]
pub(super) struct Section<'a> {
    path: String,
    line: Option<usize>,
    own: Option<&'a DeTable<'a>>,
    shipped: Option<&'a DeTable<'a>>,
    asked: Vec<String>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(own: &'a DeTable<'a>, shipped: &'a DeTable<'a>) -> Self {
        Self { path: String::new(), line: None, own: Some(own), shipped: Some(shipped), asked: Vec::new() }
    }

    /// Where in the configuration this is, as `plans.pro`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether the operator wrote this key.
    pub(super) fn is_own(&self, key: &str) -> bool {
        self.own.is_some_and(|table| table.contains_key(key))
    }

    /// Whether either layer has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.is_own(key) || self.shipped.is_some_and(|table| table.contains_key(key))
    }

    /// The names in a table whose keys are free, as those of `[meters]`.
    pub(super) fn names(&self) -> Vec<String> {
        let layers = [self.shipped, self.own];
        let mut names: Vec<String> =
            layers.iter().flatten().flat_map(|table| table.keys()).map(|key| key.get_ref().to_string()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The value of a key, or `None` where it is absent or refused.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        read: impl Fn(&DeValue<'_>) -> Read<T>,
        findings: &mut Findings<'_>,
    ) -> Option<T> {
        let value = self.find(key)?;
        let result = if is_secret(value.get_ref()) {
            refuse(
                "holds a secret, and this file is not kept from others",
                "see provider.key_file; then replace the secret",
            )
        } else {
            read(value.get_ref())
        };
        match result {
            Ok(value) => Some(value),
            Err(Refused { what, hint }) => {
                findings.faults.push(Fault {
                    line: self.line_at(key, findings),
                    key: join(&self.path, key),
                    what,
                    hint,
                });
                None
            }
        }
    }

    /// As `get`, where absence is a fault.
    pub(super) fn need<T>(
        &mut self,
        key: &str,
        example: &str,
        read: impl Fn(&DeValue<'_>) -> Read<T>,
        findings: &mut Findings<'_>,
    ) -> Option<T> {
        if !self.has(key) {
            self.asked.push(key.to_owned());
            self.complain(key, "is missing", format!("add {key} = {example}"), findings);
            return None;
        }
        self.get(key, read, findings)
    }

    /// The table below a key; empty where neither layer has it.
    pub(super) fn section(&mut self, key: &str, findings: &mut Findings<'_>) -> Section<'a> {
        let line = self.line_at(key, findings);
        self.asked.push(key.to_owned());
        if self.own.and_then(|table| table.get(key)).is_some_and(|value| !value.get_ref().is_table()) {
            let example = join(&self.path, key);
            self.complain(key, "is a single value; expected a table", format!("write [{example}]"), findings);
        }
        let below = |table: Option<&'a DeTable<'a>>| table?.get(key)?.get_ref().as_table();
        let path = join(&self.path, key);
        Section { path, line, own: below(self.own), shipped: below(self.shipped), asked: Vec::new() }
    }

    /// Notes a fault of a key, at its line or that of its section.
    pub(super) fn complain(
        &self,
        key: &str,
        what: impl Into<String>,
        hint: impl Into<String>,
        findings: &mut Findings<'_>,
    ) {
        let line = self.line_at(key, findings);
        let fault = Fault { line, key: join(&self.path, key), what: what.into(), hint: Some(hint.into()) };
        findings.faults.push(fault);
    }

    /// Ends the reading of this section: what the operator wrote and nobody asked for is unknown.
    pub(super) fn close(self, findings: &mut Findings<'_>) {
        for key in self.own.into_iter().flat_map(|table| table.keys()) {
            if !self.asked.iter().any(|asked| asked == key.get_ref()) {
                let line = findings.line(key.span().start);
                findings.unknown.push(Unknown { section: self.path.clone(), key: key.get_ref().to_string(), line });
            }
        }
        let Self { path, asked, .. } = self;
        findings.known.extend(asked.into_iter().map(|key| (path.clone(), key)));
    }

    fn find(&mut self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key.to_owned());
        let own = self.own.and_then(|table| table.get(key));
        own.or_else(|| self.shipped.and_then(|table| table.get(key)))
    }

    fn line_at(&self, key: &str, findings: &Findings<'_>) -> Option<usize> {
        let own = self.own.and_then(|table| table.get_key_value(key));
        own.map(|(key, _)| findings.line(key.span().start)).or(self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::{text, whole};

    /// Reads `[a] n`, `t` of a file over shipped ones, and `[b] only_b`.
    fn faults(own: &str) -> (Option<u32>, Vec<Fault>) {
        let shipped = DeTable::parse("top = \"x\"\n[a]\nn = 1\nt = \"x\"").unwrap().into_inner();
        let table = DeTable::parse(own).unwrap().into_inner();
        let mut findings = Findings::of(own);
        let mut root = Section::root(&table, &shipped);
        root.get("top", text, &mut findings);
        let mut a = root.section("a", &mut findings);
        let n = a.get("n", whole(0..=9), &mut findings);
        a.get("t", text, &mut findings);
        a.close(&mut findings);
        let mut b = root.section("b", &mut findings);
        b.get("only_b", text, &mut findings);
        b.close(&mut findings);
        root.close(&mut findings);
        (n, findings.into_faults())
    }

    fn hint(own: &str) -> String {
        let (_, faults) = faults(own);
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].hint.clone().unwrap()
    }

    #[test]
    fn the_operators_key_wins_and_the_shipped_one_fills_in() {
        assert_eq!(faults("[a]\nn = 2"), (Some(2), vec![]));
        assert_eq!(faults("[a]\nt = \"y\""), (Some(1), vec![]));
        assert_eq!(faults(""), (Some(1), vec![]));
    }

    #[test]
    fn a_faulty_value_is_reported_at_its_line_and_not_replaced_by_the_shipped_one() {
        let (n, faults) = faults("\n\n[a]\n# comment\nn = 10");
        assert_eq!(n, None);
        assert_eq!((faults[0].line, faults[0].key.as_str()), (Some(5), "a.n"));
    }

    #[test]
    fn keys_nobody_asked_for_are_refused_with_the_nearest_or_the_right_place() {
        assert_eq!(hint("[a]\nnn = 1"), "did you mean `n`?");
        assert_eq!(hint("[a]\ncolour = 1"), "known here: n, t");
        assert_eq!(hint("[a]\ntop = 1"), "`top` belongs at the top of the file, above the first [section]");
        assert_eq!(hint("only_b = 1"), "`only_b` belongs under [b]");
        assert_eq!(hint("[aa]\nn = 1"), "did you mean `a`?");
    }

    #[test]
    fn a_value_where_a_table_belongs_is_one_fault() {
        assert_eq!(hint("a = 1"), "write [a]");
    }

    #[test]
    fn a_secret_in_any_setting_is_refused_without_being_shown() {
        for own in ["top = \"sk_live_hush\"", "[a]\nn = \" whsec_hush\""] {
            let (_, faults) = faults(own);
            assert!(faults.len() == 1 && faults[0].what.contains("secret"), "{faults:?}");
            assert!(!format!("{faults:?}").contains("hush"), "{faults:?}");
        }
    }

    #[test]
    fn odd_keys_are_quoted_in_messages() {
        assert_eq!(join("a", "b c\n"), "a.\"b c\\n\"");
    }
}
