//! `[meters.NAME]`: what is measured. The shipped ones, the operator's changes to them, and the operator's own.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::section::{Findings, Section};
use super::values::{Read, choice, quantity, refuse, text};
use crate::model::{MICROS_PER_SECOND, Meter, MeterName, Report, Rounding, Source, Unit};

/// Every meter, and the names of those too that were refused: a plan that names one of them is not at fault as well.
pub(super) fn read(
    mut section: Section<'_>,
    findings: &mut Findings<'_>,
) -> (BTreeMap<MeterName, Meter>, BTreeSet<MeterName>) {
    let mut meters = BTreeMap::new();
    let mut names = BTreeSet::new();
    for word in section.names() {
        let below = section.section(&word, findings);
        match MeterName::new(word.as_str()) {
            Ok(name) => {
                names.insert(name.clone());
                meters.extend(read_one(name.clone(), below, findings).map(|meter| (name, meter)));
            }
            Err(why) => section.complain(&word, why.to_string(), "rename the meter", findings),
        }
    }
    (meters, names)
}

fn read_one(name: MeterName, mut section: Section<'_>, findings: &mut Findings<'_>) -> Option<Meter> {
    let source = read_source(&mut section, findings);
    let label = section.need("unit", "\"hours\", or what is counted, as \"emails\"", unit_label, findings);
    let rounding = choice([("down", Rounding::Down), ("up", Rounding::Up), ("half_up", Rounding::HalfUp)]);
    let rounding = section.get("rounding", rounding, findings).unwrap_or_default();
    let report = choice([("overage", Report::Overage), ("gross", Report::Gross)]);
    let report = section.get("report", report, findings).unwrap_or_default();
    let max_per_record = section.get("max_per_record", quantity, findings);
    let max_per_hour = section.get("max_per_hour", quantity, findings);
    let unit = source.as_ref().zip(label).and_then(|(source, label)| unit_of(source, label, &section, findings));
    if source.as_ref().is_some_and(Source::is_time) {
        for key in ["max_per_record", "max_per_hour"].into_iter().filter(|key| section.has(key)) {
            section.complain(key, "bounds records, and this meter takes none", "remove it", findings);
        }
    }
    section.close(findings);
    Some(Meter { name, source: source?, unit: unit?, rounding, report, max_per_record, max_per_hour })
}

fn read_source(section: &mut Section<'_>, findings: &mut Findings<'_>) -> Option<Source> {
    let words = choice([
        ("uptime", Source::Uptime),
        ("vcpu", Source::Vcpu),
        ("cpu", Source::Cpu),
        ("cgroup", Source::Cgroup { path: String::new() }),
        ("push", Source::Push),
    ]);
    let source = section.need("source", "\"push\", \"uptime\", \"vcpu\", \"cpu\" or \"cgroup\"", words, findings);
    let is_cgroup = matches!(source, Some(Source::Cgroup { .. }));
    if source.is_some() && !is_cgroup && section.has("cgroup") {
        section.complain("cgroup", "is only read with source = \"cgroup\"", "set source, or remove it", findings);
    }
    if !is_cgroup {
        section.get("cgroup", cgroup_path, findings);
        return source;
    }
    let path = section.need("cgroup", "\"system.slice/app.service\"", cgroup_path, findings)?;
    Some(Source::Cgroup { path })
}

/// Time is billed in a unit of time. A push meter counts in its own unit, whatever it is called: `1` pushed to a meter
/// of `hours` is one hour.
fn unit_of(source: &Source, label: String, section: &Section<'_>, findings: &mut Findings<'_>) -> Option<Unit> {
    if !source.is_time() {
        return Some(Unit { label, micros: MICROS_PER_SECOND });
    }
    let unit = Unit::of(&label);
    if unit.is_time() {
        return Some(unit);
    }
    let what = format!("is {label:?}, and source \"{}\" measures time", source.word());
    section.complain("unit", what, "write \"hours\", \"minutes\" or \"seconds\"", findings);
    None
}

fn unit_label(value: &DeValue<'_>) -> Read<String> {
    let label = text(value)?;
    if label.chars().count() <= 32 && label.chars().all(|c| c.is_alphanumeric() || "_- /".contains(c)) {
        return Ok(label);
    }
    refuse("is not a unit's name", "write 1 to 32 letters, digits, spaces and - _ /, as \"hours\" or \"emails\"")
}

/// Below `/sys/fs/cgroup`, and staying there.
fn cgroup_path(value: &DeValue<'_>) -> Read<String> {
    let path = text(value)?;
    let steps_down = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if steps_down && !path.contains('\0') {
        return Ok(path);
    }
    refuse(
        format!("is {path:?}, not a path below /sys/fs/cgroup"),
        "write it without a leading slash and without \"..\", as \"system.slice/app.service\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::tests::{faults_of, loaded};
    use crate::model::Micros;

    fn meter(toml: &str, name: &str) -> Meter {
        loaded(toml).config.meters[&MeterName::new(name).unwrap()].clone()
    }

    #[test]
    fn compute_hours_and_api_credits_exist_by_default() {
        let compute = meter("", "compute_hours");
        assert_eq!((&compute.source, &compute.unit), (&Source::Uptime, &Unit::of("hours")));
        assert_eq!((compute.rounding, compute.report), (Rounding::Down, Report::Overage));
        let credits = meter("", "api_credits");
        assert_eq!((&credits.source, credits.unit.label.as_str()), (&Source::Push, "credits"));
        assert_eq!((credits.max_per_record, credits.max_per_hour), (None, None));
    }

    #[test]
    fn the_source_of_a_shipped_meter_can_be_changed() {
        let toml = "[meters.compute_hours]\nsource = \"cgroup\"\ncgroup = \"system.slice/app.service\"";
        assert_eq!(meter(toml, "compute_hours").source, Source::Cgroup { path: "system.slice/app.service".into() });
        assert_eq!(meter("[meters.compute_hours]\nsource = \"vcpu\"", "compute_hours").source, Source::Vcpu);
    }

    #[test]
    fn an_operator_adds_a_meter_without_code() {
        let toml = "[meters.emails]\nsource = \"push\"\nunit = \"emails\"\nrounding = \"up\"\nreport = \"gross\"\n\
                    max_per_record = 100\nmax_per_hour = \"1000.5\"";
        let emails = meter(toml, "emails");
        assert_eq!((emails.rounding, emails.report), (Rounding::Up, Report::Gross));
        assert_eq!(emails.max_per_record, Micros::from_units(100));
        assert_eq!(emails.max_per_hour, Some(Micros::new(1_000_500_000)));
    }

    #[test]
    fn what_is_pushed_to_a_meter_of_hours_are_hours() {
        let gpu = meter("[meters.gpu_hours]\nsource = \"push\"\nunit = \"hours\"", "gpu_hours");
        assert_eq!(gpu.unit, Unit { label: "hours".into(), micros: 1_000_000 });
    }

    #[test]
    fn a_new_meter_says_where_it_counts_and_in_what() {
        let faults = faults_of("[meters.emails]\nrounding = \"down\"");
        let keys: Vec<_> = faults.iter().map(|fault| (fault.line, fault.key.as_str(), fault.what.as_str())).collect();
        assert_eq!(
            keys,
            [(Some(1), "meters.emails.source", "is missing"), (Some(1), "meters.emails.unit", "is missing")]
        );
    }

    #[test]
    fn a_source_of_time_needs_a_unit_of_time() {
        let faults = faults_of("\n[meters.api_credits]\nsource = \"cpu\"");
        assert_eq!((faults[0].line, faults[0].key.as_str()), (Some(2), "meters.api_credits.unit"));
        assert!(faults[0].what.contains("measures time"), "{faults:?}");
    }

    #[test]
    fn settings_of_another_source_are_refused() {
        for (toml, key) in [
            ("cgroup = \"a.slice\"", "cgroup"),
            ("source = \"cgroup\"", "cgroup"),
            ("source = \"cgroup\"\ncgroup = \"../a\"", "cgroup"),
            ("source = \"cgroup\"\ncgroup = \"/a\"", "cgroup"),
            ("max_per_hour = 5", "max_per_hour"),
            ("source = \"uptme\"", "source"),
            ("unit = \"\\u0007\"", "unit"),
        ] {
            let faults = faults_of(&format!("[meters.compute_hours]\n{toml}"));
            assert_eq!(faults.len(), 1, "{toml}: {faults:?}");
            assert_eq!(faults[0].key, format!("meters.compute_hours.{key}"));
        }
    }

    #[test]
    fn meter_names_follow_their_rule() {
        let faults = faults_of("[meters.GPU-hours]\nsource = \"push\"\nunit = \"hours\"");
        assert_eq!((faults.len(), faults[0].line), (1, Some(1)));
        assert!(faults[0].what.contains("1 to 64 of a-z"), "{faults:?}");
    }
}
