//! The reference, docs/configuration.md, of which the manual page is made, says what is read: each setting, its section and
//! its default. Those of meters and plans depend on one another, and only their names are compared.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::load::{SHIPPED, parse, read_root};
use super::section::{Findings, Section};

const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// A file that has a new meter and a new plan, for the settings of one.
const OWN: &str = "[meters.extra]\nsource = \"push\"\nunit = \"units\"\n[plans.extra]\ncurrency = \"eur\"\n";

/// Settings by section, as `schedule` and `push`, with their defaults as they are written.
type Settings = BTreeMap<(String, String), String>;

/// What the code asks for.
fn read() -> Settings {
    let (own, shipped) = (parse(OWN).unwrap(), parse(SHIPPED).unwrap());
    let mut findings = Findings::of(OWN);
    read_root(Section::root(&own, &shipped), &mut findings);
    let mut settings = Settings::new();
    for (section, key) in findings.known() {
        let at = match section.as_str() {
            "meters.extra" => "meters.NAME",
            "plans.extra" => "plans.NAME",
            // Whose keys are names, and what lies below a setting.
            section if section.starts_with("meters") || section.starts_with("plans") => continue,
            section => section,
        };
        let is_section =
            section.is_empty() && shipped.get(key.as_str()).is_some_and(|value| value.get_ref().is_table());
        if !is_section && !SECTIONS.contains(&key.as_str()) {
            let default = if at.ends_with("NAME") { String::new() } else { default_of(&shipped, section, key) };
            settings.insert((at.to_owned(), key.clone()), default);
        }
    }
    settings
}

/// Sections without a default of their own.
const SECTIONS: [&str; 2] = ["metrics", "dashboard"];

fn default_of(shipped: &DeTable<'_>, section: &str, key: &str) -> String {
    let table =
        if section.is_empty() { Some(shipped) } else { shipped.get(section).and_then(|t| t.get_ref().as_table()) };
    let text = table.and_then(|table| table.get(key)).map(|value| SHIPPED[value.span()].to_owned());
    text.unwrap_or_else(|| "none".to_owned())
}

/// What the document's tables say.
fn said() -> Settings {
    let mut settings = Settings::new();
    let mut section = None;
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let named = heading.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name);
            section = if heading.ends_with("Top of the file") { Some("") } else { named };
        }
        let (Some(section), Some(row)) = (section, line.strip_prefix("| `")) else { continue };
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        let &[keys, _, default, _] = cells.as_slice() else { continue };
        for key in keys.trim_end_matches('`').split("`, `") {
            if section.ends_with("NAME") {
                settings.insert((section.to_owned(), key.to_owned()), String::new());
                continue;
            }
            let default =
                default.split([':', ';']).next().filter(|word| *word == "none").unwrap_or(default.trim_matches('`'));
            settings.insert((section.to_owned(), key.to_owned()), default.to_owned());
        }
    }
    settings
}

#[test]
fn the_reference_has_every_setting_with_its_default_and_no_other() {
    let (read, said) = (read(), said());
    let differ: Vec<_> = read.keys().chain(said.keys()).filter(|at| read.get(at) != said.get(at)).collect();
    let told: Vec<_> = differ.iter().map(|at| (at, read.get(at), said.get(at))).collect();
    assert!(told.is_empty(), "{told:#?}");
}
