//! The whole configuration, from a file and the environment: all of it good, or every fault at once.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::exposed::exposed_key;
use super::faults::ConfigFaults;
use super::section::{Findings, Section, line_of};
use super::values::{Read, address, choice, cron, duration, loopback, refuse, text, whole};
use super::{
    ClockTrust, Config, Environment, Fault, Intake, LinkSeed, Metrics, Paths, ProviderConfig, Reading, Schedule,
    Webhook, alerts, dashboard, meters, plan_ready, plans, provider, secrets, seed,
};
use crate::model::{AllowanceRule, PlanName, Problem};

pub(super) const SHIPPED: &str = include_str!("default.toml");

/// A configuration, and what its operator should know about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What to run by.
    pub config: Config,
    /// Full sentences, nothing that keeps the daemon from running.
    pub notes: Vec<String>,
    /// What needs someone all the same.
    pub problems: Vec<Problem>,
}

/// Reads the file that `paths` names, lays it over the shipped defaults, and adds what the environment holds.
///
/// # Errors
/// Everything that is wrong in the file, the environment and the key's file, together.
pub fn load(paths: &Paths, env: &Environment) -> Result<Loaded, ConfigFaults> {
    let text = read_file(paths).map_err(|fault| ConfigFaults::new(paths.config.clone(), vec![fault]))?;
    let missing = (text.is_none() && paths.reading == Reading::IfThere)
        .then(|| format!("There is no {}; the defaults hold.", paths.config.display()));
    let mut loaded =
        read(&text.unwrap_or_default(), env).map_err(|faults| ConfigFaults::new(paths.config.clone(), faults))?;
    loaded.notes.extend(missing);
    loaded.problems.extend(exposed_key(loaded.config.provider.key.as_ref(), paths));
    Ok(loaded)
}

fn read_file(paths: &Paths) -> Result<Option<String>, Fault> {
    if paths.reading == Reading::Never {
        return Ok(None);
    }
    let why = match fs::read_to_string(&paths.config) {
        Ok(text) => return Ok(Some(text)),
        Err(why) if why.kind() == ErrorKind::NotFound && paths.reading == Reading::IfThere => return Ok(None),
        Err(why) => why,
    };
    let hint = match why.kind() {
        ErrorKind::NotFound => "write it, or name another with --config or USAGED_CONFIG",
        ErrorKind::InvalidData => "save it as UTF-8 text",
        _ => "make it a file that the user usaged runs as may read",
    };
    Err(Fault::outside(format!("file {}", paths.config.display()), format!("cannot be read: {why}"), hint))
}

/// The text of a file, laid over the shipped defaults.
fn read(text: &str, env: &Environment) -> Result<Loaded, Vec<Fault>> {
    let own = parse(text)?;
    let shipped = parse(SHIPPED)?;
    let mut findings = Findings::of(text);
    let root = Section::root(&own, &shipped);
    let (mut config, Files { key, webhook, dashboard, alerts }) = read_root(root, &mut findings);
    let mut faults = findings.into_faults();
    config.provider.key = secrets::find(env, config.provider.kind, key.as_deref(), &mut faults);
    config.webhook.secrets = secrets::webhook(env, config.provider.kind, webhook.as_deref(), &mut faults);
    config.dashboard.token = secrets::dashboard_token(env, dashboard.as_deref(), &mut faults);
    config.alerts.secret = secrets::alerts_secret(env, alerts.as_deref(), &mut faults);
    config.seed = seed::read(env, config.seed.plan.take(), &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let billing = provider::note(config.provider.kind, config.provider.key.as_ref());
    let notes = billing.into_iter().chain(seed::note(&config.seed)).collect();
    Ok(Loaded { config, notes, problems: Vec::new() })
}

pub(super) fn parse(text: &str) -> Result<DeTable<'_>, Vec<Fault>> {
    DeTable::parse(text).map(toml::Spanned::into_inner).map_err(|why| {
        let line = why.span().map(|span| line_of(text, span.start));
        let hint = Some("the file is TOML: key = value, text in quotes, sections in [brackets]".to_owned());
        vec![Fault { line, key: String::new(), what: why.message().to_owned(), hint }]
    })
}

/// What the file only names.
pub(super) struct Files {
    key: Option<PathBuf>,
    webhook: Option<PathBuf>,
    dashboard: Option<PathBuf>,
    alerts: Option<PathBuf>,
}

/// Where something is refused, any value stands in for it: with a fault noted, none of this is used.
pub(super) fn read_root(mut root: Section<'_>, findings: &mut Findings<'_>) -> (Config, Files) {
    let clock = choice([("auto", ClockTrust::Auto), ("trusted", ClockTrust::Trusted)]);
    let clock = root.get("clock", clock, findings).unwrap_or_default();
    let allowance = choice([("latest", AllowanceRule::Latest), ("prorated", AllowanceRule::Prorated)]);
    let allowance = root.get("allowance", allowance, findings).unwrap_or_default();
    let command_group = root.get("command_group", group, findings);
    let plan = root.get("plan", plan_name, findings);
    let provider = provider::read(root.section("provider", findings), findings);
    let schedule = read_schedule(root.section("schedule", findings), findings);
    let intake = read_intake(root.section("intake", findings), findings);
    let metrics = read_metrics(root.section("metrics", findings), findings);
    let (webhook, webhook_file) = read_webhook(root.section("webhook", findings), findings);
    let (dashboard, dashboard_file) = dashboard::read(root.section("dashboard", findings), findings);
    let (alerts, alerts_file) = alerts::read(root.section("alerts", findings), findings);
    let (meters, meter_names) = meters::read(root.section("meters", findings), findings);
    let plans = plans::read(root.section("plans", findings), &meter_names, findings);
    let files = Files { key: provider.key_file, webhook: webhook_file, dashboard: dashboard_file, alerts: alerts_file };
    let provider = ProviderConfig {
        kind: provider.kind,
        base_url: provider.base_url,
        timeout: provider.timeout,
        periods: provider.periods,
        draft_grace: provider.draft_grace,
        quiet_before_end: provider.quiet_before_end,
        key: None,
        on_payment_failed: provider.on_payment_failed,
    };
    let seed = LinkSeed { plan, ..LinkSeed::default() };
    let config = Config {
        clock,
        meters,
        plans,
        allowance,
        provider,
        schedule,
        intake,
        metrics,
        webhook,
        dashboard,
        alerts,
        command_group,
        seed,
    };
    check_plan_in_use(&config, &root, findings);
    root.close(findings);
    (config, files)
}

/// The plan the operator names is the one to be billed by; shipped ones nobody uses may stay unfinished.
fn check_plan_in_use(config: &Config, root: &Section<'_>, findings: &mut Findings<'_>) {
    let Some(name) = &config.seed.plan else { return };
    let Some(plan) = config.plans.get(name) else {
        let known = config.plans.keys().map(PlanName::as_str).collect::<Vec<_>>().join(", ");
        let hint = format!("write one of {known}, or add [plans.{name}]");
        return root.complain("plan", format!("names {name}, and there is no such plan"), hint, findings);
    };
    // An amount that was refused is not missing as well.
    if findings.concern(&format!("plans.{name}")) {
        return;
    }
    if let Err(incomplete) = plan_ready(plan, &config.meters) {
        root.complain("plan", incomplete.to_string(), incomplete.hint(), findings);
    }
}

fn read_schedule(mut section: Section<'_>, findings: &mut Findings<'_>) -> Schedule {
    let sample = duration(Duration::from_secs(1)..=Duration::from_hours(6));
    let spread = duration(Duration::ZERO..=Duration::from_hours(24));
    let schedule = Schedule {
        sample_every: section.get("sample_every", sample, findings).unwrap_or_default(),
        push: section.get("push", cron, findings).unwrap_or_default(),
        reconcile: section.get("reconcile", cron, findings).unwrap_or_default(),
        compact: section.get("compact", cron, findings).unwrap_or_default(),
        look: section.get("look", cron, findings).unwrap_or_default(),
        spread: section.get("spread", spread, findings).unwrap_or_default(),
    };
    section.close(findings);
    schedule
}

fn read_intake(mut section: Section<'_>, findings: &mut Findings<'_>) -> Intake {
    let max_body = section.get("max_body", whole(1_024..=16_777_216), findings).unwrap_or_default();
    let dedupe_days = section.get("dedupe_days", whole(35..=3_650), findings);
    let keep_credits_days = section.get("keep_credits_days", whole(35..=36_500), findings);
    let max_records = section.get("max_records", whole(1..=10_000), findings).unwrap_or_default();
    if let (Some(dedupe), Some(keep)) = (dedupe_days, keep_credits_days)
        && keep < dedupe
    {
        let key = if section.is_own("keep_credits_days") { "keep_credits_days" } else { "dedupe_days" };
        let what =
            format!("keeps single credits for {keep} days, shorter than their ids are remembered ({dedupe} days)");
        section.complain(key, what, format!("write keep_credits_days = {dedupe} or more"), findings);
    }
    section.close(findings);
    Intake {
        max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
        max_records: usize::try_from(max_records).unwrap_or(usize::MAX),
        dedupe_days: dedupe_days.unwrap_or_default(),
        keep_credits_days: keep_credits_days.unwrap_or_default(),
    }
}

fn read_metrics(mut section: Section<'_>, findings: &mut Findings<'_>) -> Metrics {
    let metrics = Metrics { listen: section.get("listen", loopback, findings) };
    section.close(findings);
    metrics
}

/// With the file that holds its secrets.
fn read_webhook(mut section: Section<'_>, findings: &mut Findings<'_>) -> (Webhook, Option<PathBuf>) {
    let listen = section.get("listen", address, findings);
    let secret_file = section.get("secret_file", provider::key_file, findings);
    let vm_id = section.get("vm_id", text, findings);
    let vm_key = section.get("vm_key", text, findings).unwrap_or_default();
    section.close(findings);
    (Webhook { listen, secrets: Vec::new(), vm_id, vm_key }, secret_file)
}

fn plan_name(value: &DeValue<'_>) -> Read<PlanName> {
    PlanName::new(text(value)?).or_else(|why| refuse(why.to_string(), "write a plan's name, as \"pro\""))
}

/// As `useradd` would take it.
fn group(value: &DeValue<'_>) -> Read<String> {
    let name = text(value)?;
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && name.len() <= 32 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
        return Ok(name);
    }
    refuse(format!("is {name:?}, not a group's name"), "write the name of a group on this machine, as \"wheel\"")
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// A file of this text, read without any environment.
    pub(in crate::config) fn loaded(text: &str) -> Loaded {
        read(text, &Environment::default()).unwrap_or_else(|faults| panic!("{text}: {faults:#?}"))
    }

    /// What is wrong with a file of this text.
    pub(in crate::config) fn faults_of(text: &str) -> Vec<Fault> {
        match read(text, &Environment::default()) {
            Ok(_) => panic!("taken: {text}"),
            Err(faults) => faults,
        }
    }

    fn at(config: &Path, reading: Reading) -> Paths {
        Paths { state: "/s".into(), runtime: "/r".into(), config: config.to_owned(), reading }
    }

    #[test]
    fn the_shipped_defaults_are_without_fault() {
        let Config { clock, allowance, schedule, intake, metrics, command_group, seed, .. } = loaded("").config;
        assert_eq!((clock, allowance), (ClockTrust::Auto, AllowanceRule::Latest));
        assert_eq!((schedule.sample_every, schedule.spread), (Duration::from_mins(1), Duration::from_hours(1)));
        assert_eq!((schedule.push.as_str(), schedule.compact.as_str()), ("0 0 * * * *", "0 30 3 * * *"));
        assert_eq!(schedule.reconcile, "0 15 5 * * *");
        assert_eq!((intake.max_body, intake.max_records), (1_048_576, 1_000));
        assert_eq!((intake.dedupe_days, intake.keep_credits_days), (35, 400));
        assert_eq!((command_group, seed), (None, LinkSeed::default()));
        assert_eq!(metrics.listen, None, "nothing listens on TCP unless it is asked to");
    }

    #[test]
    fn the_file_shipped_to_etc_is_without_fault_and_changes_nothing() {
        let packaged = include_str!("../../packaging/usaged.toml");
        assert_eq!(format!("{:?}", loaded(packaged).config), format!("{:?}", loaded("").config));
    }

    #[test]
    fn every_example_in_the_file_shipped_to_etc_can_be_uncommented() {
        let packaged = include_str!("../../packaging/usaged.toml");
        let example =
            |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#'])).map(str::to_owned);
        let text: Vec<_> = packaged.lines().map(|line| example(line).unwrap_or_else(|| line.to_owned())).collect();
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, "sk_test_1").unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let text = text.join("\n").replace("/etc/usaged/key-of-usaged", key.to_str().unwrap());
        assert_eq!(loaded(&text).config.seed.plan, Some(PlanName::new("pro").unwrap()));
    }

    #[test]
    fn every_fault_is_reported_at_once_with_its_line() {
        let text = "clock = \"trustd\"\n\n[schedule]\nsample_evry = \"60s\"\npush = \"0 0 * * *\"\n[intake]\ndedupe_days = 34\n";
        let env = Environment::of(&[("STRIPE_API_KEY", "pk_test_1"), ("STRIPE_CUSTOMER_ID", "si_1")], None);
        let faults = ConfigFaults::new("u.toml".into(), read(text, &env).unwrap_err());
        let told: Vec<_> = faults.faults.iter().map(|fault| (fault.line, fault.key.as_str())).collect();
        assert_eq!(
            told,
            [
                (Some(1), "clock"),
                (Some(4), "schedule.sample_evry"),
                (Some(5), "schedule.push"),
                (Some(7), "intake.dedupe_days"),
                (None, "environment STRIPE_API_KEY"),
                (None, "environment STRIPE_CUSTOMER_ID"),
            ]
        );
        let shown = faults.to_string();
        assert!(
            shown.contains("u.toml:4: schedule.sample_evry: is not a setting\n  hint: did you mean `sample_every`?"),
            "{shown}"
        );
    }

    #[test]
    fn a_syntax_error_is_one_fault_with_its_line() {
        for text in ["clock = \"auto\"\n[schedule\n", "a = 1\nplan = pro_hush\n", "a = 1\na = 2"] {
            let faults = faults_of(text);
            assert_eq!((faults.len(), faults[0].line), (1, Some(2)), "{faults:?}");
            assert!(!faults[0].what.is_empty() && !faults[0].what.contains("hush"), "{faults:?}");
        }
    }

    #[test]
    fn metrics_are_served_to_this_machine_alone() {
        let listen = |address: &str| format!("[metrics]\nlisten = {address}");
        for good in ["127.0.0.1:9477", "[::1]:9477", "127.1.2.3:1", "127.0.0.1:0"] {
            assert_eq!(loaded(&listen(&format!("\"{good}\""))).config.metrics.listen, Some(good.parse().unwrap()));
        }
        for (bad, word) in [
            ("\"0.0.0.0:9477\"", "other machines"),
            ("\"[::]:9477\"", "other machines"),
            ("\"10.0.0.5:9477\"", "other machines"),
            ("\"localhost:9477\"", "an IP address with a port"),
            ("\"127.0.0.1\"", "an IP address with a port"),
            ("9477", "an IP address with a port"),
        ] {
            let faults = faults_of(&listen(bad));
            assert_eq!((faults.len(), faults[0].line, &*faults[0].key), (1, Some(2), "metrics.listen"), "{bad}");
            assert!(faults[0].what.contains(word), "{faults:?}");
            assert!(faults[0].hint.as_deref().unwrap().contains("127.0.0.1:9477"), "{faults:?}");
        }
    }

    #[test]
    fn ids_are_remembered_no_longer_than_their_credits_are_kept() {
        assert_eq!(faults_of("[intake]\nkeep_credits_days = 36\ndedupe_days = 40")[0].line, Some(2));
        assert_eq!(faults_of("[intake]\ndedupe_days = 401")[0].key, "intake.dedupe_days");
        assert_eq!(loaded("[intake]\ndedupe_days = 400").config.intake.dedupe_days, 400);
    }

    #[test]
    fn r3_the_plan_in_use_has_to_say_how_much_it_includes() {
        let faults = faults_of("\nplan = \"pro\"");
        assert_eq!((faults.len(), faults[0].line, faults[0].key.as_str()), (1, Some(2), "plan"));
        assert!(faults[0].hint.as_deref().unwrap().contains("[plans.pro.included]"), "{faults:?}");
        let complete = "plan = \"pro\"\n[plans.pro.included]\ncompute_hours = 100\napi_credits = 1000";
        assert_eq!(loaded(complete).config.seed.plan, Some(PlanName::new("pro").unwrap()));
    }

    #[test]
    fn a_plan_in_use_that_is_faulty_anyway_is_not_called_incomplete_as_well() {
        let faults = faults_of("plan = \"pro\"\nplans.pro.included = { compute_hours = 1.5, api_credits = 1 }");
        assert_eq!(faults.len(), 1, "{faults:?}");
    }

    #[test]
    fn a_plan_in_use_has_to_exist() {
        let faults = faults_of("plan = \"platinum\"");
        assert_eq!(faults[0].hint.as_deref(), Some("write one of enterprise, pro, starter, or add [plans.platinum]"));
        assert_eq!(faults_of("plan = \"Pro\"").len(), 1);
    }

    #[test]
    fn commands_are_for_a_group_with_a_groups_name() {
        assert_eq!(loaded("command_group = \"wheel\"").config.command_group.as_deref(), Some("wheel"));
        for bad in ["", "0", "a b", "-x"] {
            assert_eq!(faults_of(&format!("command_group = \"{bad}\"")).len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn a_missing_file_means_defaults_unless_somebody_named_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.toml");
        let loaded = load(&at(&path, Reading::IfThere), &Environment::default()).unwrap();
        assert!(loaded.notes.iter().any(|note| note.starts_with("There is no ")), "{:?}", loaded.notes);
        let faults = load(&at(&path, Reading::Named), &Environment::default()).unwrap_err();
        assert!(faults.to_string().contains("none.toml: cannot be read"), "{faults}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_fault_even_in_the_usual_place() {
        let dir = tempfile::tempdir().unwrap();
        let latin = dir.path().join("latin.toml");
        std::fs::write(&latin, [b'#', 0xe9]).unwrap();
        for path in [dir.path(), &latin] {
            assert_eq!(load(&at(path, Reading::IfThere), &Environment::default()).unwrap_err().faults.len(), 1);
        }
    }

    #[test]
    fn an_unread_file_may_hold_anything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.toml");
        std::fs::write(&path, "][").unwrap();
        assert!(load(&at(&path, Reading::Named), &Environment::default()).is_err());
        assert!(load(&at(&path, Reading::Never), &Environment::default()).is_ok());
    }

    #[test]
    fn what_keeps_usage_from_being_billed_is_said_plainly() {
        let with_kind = "[provider]\nkind = \"stripe-usage-records\"";
        let key = Environment::of(&[("STRIPE_API_KEY", "sk_test_1")], None);
        let notes = |text, env: &Environment| read(text, env).unwrap().notes;
        assert!(notes("", &key)[0].contains("there is a key (environment STRIPE_API_KEY)"));
        assert!(notes(with_kind, &Environment::default())[0].contains("there is no key"));
        assert_eq!(notes(with_kind, &key), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in "\\PC*") {
            drop(read(&text, &Environment::default()));
        }

        #[test]
        fn no_value_makes_reading_panic(key in "(clock|plan|provider|schedule|intake|meters|plans|x)(\\.(pro|push|emails|included|[a-z\"]{1,4})){0,3}", value in "(1|-1|0x7f|1\\.5|nan|true|\"\"|\"[a-z0-9*/.]{0,9}\"|\\[\\]|\\{\\}|1979-05-27)") {
            drop(read(&format!("{key} = {value}"), &Environment::default()));
        }
    }
}
