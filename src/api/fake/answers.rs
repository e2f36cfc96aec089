//! What the daemon might say.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::{Micros, Problem, Unit};
use crate::wire::{
    AlertTestReport, AlertsReport, AuditReport, AuditVerifyReport, By, Cause, CreditRow, DbBackupReport, DbCheckReport,
    DbRecoverReport, DeliveryRow, DoctorReport, DrainReport, ExplainReport, ExportPage, ExportRow, ExportWhat,
    IdentityReport, LinkReport, PrepareImageReport, ReconcileReport, ReleaseReport, SCHEMA, Status, SyncReport,
    UsageReport, UsageRow, VoidReport,
};

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn healthy() -> Status {
    of(json!({
        "schema": 1, "version": "0.1.0", "pid": 4321, "mode": "live",
        "now": "2026-11-14T10:00:12Z", "since": "2026-11-01T08:00:00Z", "problems": [],
        "link": {"customer": "cus_Q1", "subscription": "sub_Q1", "plan": "pro", "from": "2026-11-01T08:00:00Z"},
        "period_from": "2026-11-01T00:00:00Z", "period_to": "2026-12-01T00:00:00Z",
        "meters": [
            {"name": "api_credits", "unit": "credits", "used": 12_000.5, "used_micros": 12_000_500_000_i64, "included": 10_000,
             "unlimited": false, "overage": 2_000, "estimate": 26_800, "estimate_overage": 16_800, "estimate_cost": "168.00",
             "currency": "eur", "item": "si_api", "stands": 1_990, "segments": [],
             "not_billed_because": null},
            {"name": "compute_hours", "unit": "hours", "used": 321.987_654, "used_micros": 1_159_155_554_400_i64, "included": 300,
             "unlimited": false, "overage": 21, "estimate": 720, "estimate_overage": 420, "estimate_cost": "16.80",
             "currency": "eur", "item": "si_compute", "stands": 21,
             "segments": [{"item": "si_before", "price": "price_1A", "units": 12}], "not_billed_because": null}
        ],
        "sample_every_s": 60, "last_sample": "2026-11-14T10:00:00Z",
        "push": {"last_at": "2026-11-14T09:07:31Z", "last_outcome": "accepted", "last_what": "si_compute to 21",
                 "last_request_id": "req_8x", "last_accepted_at": "2026-11-14T09:07:31Z", "next_at": "2026-11-14T10:07:31Z"},
        "unsent": [],
        "clock": {"trusted_by": "provider", "ahead_s": 0, "set_by_timesync": true},
        "coverage": {"observed_bp": 9_998, "gaps": 2},
        "database": {"path": "/var/lib/usaged/usage.db", "bytes": 1_474_560, "schema": 1},
        "jobs": [{"name": "push", "last_at": "2026-11-14T09:07:31Z", "last_because": "schedule",
                  "last_result": "1 set, 1 unchanged", "next_at": "2026-11-14T10:07:31Z", "schedule": "0 0 * * * *"},
                 {"name": "compact", "last_at": null, "last_because": null, "last_result": null,
                  "next_at": "2026-11-15T03:30:00Z", "schedule": "0 30 3 * * *"}],
        "provider": {"kind": "stripe-usage-records", "key": "rk_live_…a1b2"},
        "identity": {"machine_id": "0123456789abcdef0123456789abcdef", "product_uuid": null,
                     "boot_id": "6f1c2f6e-8a1d-4a53-9b1f-0d3a1c5e7f90"},
        "paths": {"config": "/etc/usaged/usaged.toml", "socket": "/run/usaged/usaged.sock"}
    }))
}

pub(crate) fn troubled() -> Status {
    let mut status = healthy();
    status.problems = vec![
        Problem::needs_someone(
            "provider_key_refused",
            "Stripe refuses the key from credential stripe_api_key (401): Expired API Key provided. Nothing is sent until it is replaced.",
            "put a valid key into /etc/usaged/stripe_api_key, then: sudo systemctl restart usaged",
        )
        .about("si_api"),
        Problem::note("clock_ahead", "This machine's clock is 190 s ahead of Stripe's.", "timedatectl set-ntp true"),
    ];
    status.push.last_outcome = Some("refused".to_owned());
    status.push.last_accepted_at = Some("2026-11-14T08:07:31Z".to_owned());
    status.unsent = vec![of(json!({
        "meter": "api_credits", "item": "si_api", "target": 2_000, "stands": 1_990, "age_s": 7_260,
        "deadline": "2026-11-30T23:58:00Z", "attempts": 4, "next_attempt": "2026-11-14T10:30:00Z", "state": "retrying",
        "why": "the key was refused"
    }))];
    status.clock.ahead_s = Some(190);
    status
}

pub(crate) fn unlinked() -> Status {
    let mut status = healthy();
    status.mode = "unbilled".to_owned();
    status.link = None;
    status.push = of(json!({}));
    status.last_sample = None;
    for meter in &mut status.meters {
        let Ok(zero) = "0".parse::<serde_json::Number>() else { continue };
        (meter.included, meter.overage, meter.estimate, meter.item, meter.stands) =
            (None, None, Some(zero), None, None);
        (meter.estimate_overage, meter.estimate_cost) = (None, None);
        meter.segments.clear();
        meter.not_billed_because = Some("this machine is linked to no subscription".to_owned());
    }
    status.problems = vec![Problem::note(
        "unlinked",
        "This machine is linked to no subscription: usage is measured and not billed.",
        "sudo usagectl link --customer cus_… --subscription sub_…",
    )];
    status
}

pub(crate) fn usage() -> UsageReport {
    of(json!({
        "schema": 1, "period_from": "2026-11-01T00:00:00Z", "period_to": "2026-12-01T00:00:00Z", "period_kind": "provider",
        "meters": [
            {"name": "api_credits", "unit": "credits", "used": 12_000.5, "used_micros": 12_000_500_000_i64, "included": 10_000,
             "unlimited": false, "overage": 2_000, "waiting_for_clock": 0, "unlinked": 12.25, "estimate": 26_800,
             "estimate_overage": 16_800, "estimate_cost": "168", "currency": "eur"},
            {"name": "compute_hours", "unit": "hours", "used": 321.987_654, "used_micros": 1_159_155_554_400_i64,
             "included": null, "unlimited": true, "overage": 0, "waiting_for_clock": 1.5, "unlinked": 0}
        ],
        "observed_bp": 9_861,
        "gaps": [
            {"from": "2026-11-02T03:00:00Z", "to": "2026-11-02T07:30:00Z", "reason": "vm_off"},
            {"from": "2026-11-09T12:00:00Z", "to": "2026-11-09T12:00:45Z", "reason": "agent_stopped_bridged"}
        ]
    }))
}

/// Three days of it, the last of which goes on.
pub(crate) fn usage_by_day() -> UsageReport {
    let mut report = usage();
    let day = |day: u8, observed_bp: u32, credits: [i64; 2], hours: [i64; 2]| {
        let in_hours = |micros: i64| Unit::of("hours").number(Micros::new(micros));
        let goes_on = |estimate: i64| (estimate > 0).then_some(estimate);
        json!({
            "from": format!("2026-11-{day:02}T00:00:00Z"), "to": format!("2026-11-{:02}T00:00:00Z", day + 1),
            "observed_bp": observed_bp,
            "meters": [
                {"name": "api_credits", "used": credits[0], "used_micros": credits[0] * 1_000_000, "estimate": goes_on(credits[1])},
                {"name": "compute_hours", "used": in_hours(hours[0]), "used_micros": hours[0],
                 "estimate": (hours[1] > 0).then(|| in_hours(hours[1]))}
            ]
        })
    };
    report.by = Some(By::Day);
    report.slices = of(json!([
        day(1, 10_000, [9_000, 0], [86_400_000_000, 0]),
        day(2, 8_125, [1_750, 0], [70_200_000_000, 0]),
        day(3, 10_000, [1_250, 3_000], [36_000_000_000, 86_400_000_000])
    ]));
    report
}

/// The same days, asked for by their dates.
pub(crate) fn usage_of_range() -> UsageReport {
    let mut report = usage_by_day();
    report.period_kind = "range".to_owned();
    report.period_to = "2026-11-03T10:00:00Z".to_owned();
    for meter in &mut report.meters {
        (meter.included, meter.unlimited, meter.overage) = (None, false, None);
        (meter.estimate, meter.estimate_overage, meter.estimate_cost, meter.currency) = (None, None, None, None);
    }
    report
}

pub(crate) fn sync() -> SyncReport {
    of(json!({
        "schema": 1, "committed": false, "refused": false,
        "lines": [
            {"meter": "compute_hours", "item": "si_compute", "period_from": "2026-11-01T00:00:00Z",
             "period_to": "2026-12-01T00:00:00Z", "timestamp": "2026-11-01T00:00:01Z", "state": "open",
             "used": "321.987654", "included": "300", "unit": "hours", "overage": 21, "carried_in": 2, "adopted": 0,
             "closed_segments": 0, "segments": [],
             "target": 23, "stands": 21, "carried_out": 0, "credit_due": 0, "action": "would set",
             "why": "23 should stand and 21 does"},
            {"meter": "api_credits", "item": "si_api", "period_from": "2026-10-01T00:00:00Z",
             "period_to": "2026-11-01T00:00:00Z", "timestamp": "2026-10-01T00:00:01Z", "state": "closed",
             "used": "12000.5", "included": "10000", "unit": "credits", "overage": 2_000, "carried_in": 0, "adopted": 0,
             "closed_segments": 150,
             "segments": [{"item": "si_before", "price": "price_1A", "units": 120}, {"item": "si_api", "price": "price_1B", "units": 30}],
             "target": 1_850, "stands": null, "carried_out": 10, "credit_due": 3, "action": "held",
             "why": "what stands cannot be read: the key may not read usage records, so that nobody can say whether the last push arrived"}
        ],
        "notes": ["The clock is trusted by the provider."]
    }))
}

pub(crate) fn link() -> LinkReport {
    of(json!({
        "schema": 1, "customer": "cus_Q1", "subscription": "sub_Q1", "plan": "enterprise", "from": "2026-11-14T10:00:12Z",
        "period_from": "2026-11-01T00:00:00Z", "period_to": "2026-12-01T00:00:00Z",
        "items": [{"meter": "api_credits", "item": "si_api", "price": "price_1Q", "lookup_key": "price_api_overage",
                   "channel": "meter, last", "stands": 0}],
        "not_billed": ["compute_hours: unlimited in plan enterprise"]
    }))
}

pub(crate) fn void(id: &str) -> VoidReport {
    of(json!({"schema": 1, "id": id, "voided": true, "quantity": "5", "at": "2026-11-14T09:00:00Z"}))
}

pub(crate) fn identity() -> IdentityReport {
    let what = "this ledger is this machine's now; pushes go on".to_owned();
    let machine = "0123456789abcdef0123456789abcdef/4c4c4544-0042-3510-8051-c4c04f4a4e32".to_owned();
    IdentityReport { schema: SCHEMA, machine, what, set_aside: None }
}

pub(crate) fn begun_anew() -> IdentityReport {
    let what = "usaged begins anew, unlinked, with an empty ledger; the old one was set aside".to_owned();
    let set_aside = Some("/var/lib/usaged/usage.db.set-aside-2026-11-14T10-00-12Z".to_owned());
    IdentityReport { what, set_aside, ..identity() }
}

pub(crate) fn prepare_image() -> PrepareImageReport {
    of(json!({
        "schema": 1, "unlinked": "sub_Q1", "unsent": ["api_credits: 5 should stand on si_api, and 4 does"],
        "still_claimed": ["si_api: the connection was lost"],
        "set_aside": "/var/lib/usaged/usage.db.set-aside-2026-11-14T10-00-12Z"
    }))
}

pub(crate) fn drained() -> DrainReport {
    of(json!({
        "schema": 1, "certified": true, "until": "2026-11-14T10:00:12.5Z", "intake_open": false,
        "lines": [
            {
                "meter": "api_credits", "item": "si_api", "period_from": "2026-11-01T00:00:00Z",
                "period_to": "2026-12-01T00:00:00Z", "state": "open", "target": 2_345, "stands": 2_345,
                "certified": true, "why": null, "part_of_a_unit": null, "unit": "credits"
            },
            {
                "meter": "compute_hours", "item": "si_compute", "period_from": "2026-11-01T00:00:00Z",
                "period_to": "2026-12-01T00:00:00Z", "state": "open", "target": 21, "stands": 21,
                "certified": true, "why": null, "part_of_a_unit": "0.987654", "unit": "hours"
            }
        ],
        "missing": [], "notes": []
    }))
}

pub(crate) fn not_drained() -> DrainReport {
    of(json!({
        "schema": 1, "certified": false, "until": "2026-12-01T00:00:40Z", "intake_open": true,
        "lines": [
            {
                "meter": "compute_hours", "item": "si_compute", "period_from": "2026-11-01T00:00:00Z",
                "period_to": "2026-12-01T00:00:00Z", "state": "ending", "target": 24, "stands": 21,
                "certified": false,
                "why": "the period is over, and not closed before two reads agree, three minutes apart",
                "part_of_a_unit": null, "unit": "hours"
            },
            {
                "meter": "api_credits", "item": "si_api", "period_from": "2026-12-01T00:00:00Z",
                "period_to": "2027-01-01T00:00:00Z", "state": "open", "target": 5, "stands": null,
                "certified": false, "why": "what stands cannot be read: the connection was lost",
                "part_of_a_unit": null, "unit": "credits"
            }
        ],
        "missing": ["api_credits: 3 units wait for a later period, which a deleted VM does not have"], "notes": []
    }))
}

pub(crate) fn reconciled() -> ReconcileReport {
    let line = |meter: &str, item: &str, period: [&str; 2], state: &str, units: i64| {
        json!({
            "meter": meter, "item": item, "channel": "usage records", "period_from": period[0], "period_to": period[1],
            "state": state, "target": units, "noted": units, "stands": units, "cause": "agrees", "why": "", "held": null,
            "needs_someone": false, "hint": null
        })
    };
    let (october, november) =
        (["2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"], ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"]);
    of(json!({
        "schema": 1, "needs_someone": false, "notes": [],
        "lines": [
            line("api_credits", "si_api", november, "open", 2_345), line("compute_hours", "si_compute", november, "open", 21),
            line("compute_hours", "si_compute", october, "closed", 44)
        ]
    }))
}

pub(crate) fn drifted() -> ReconcileReport {
    let mut report = reconciled();
    let held = "2400 units stand there and this ledger caused at most 2345: it was restored from an older copy, or \
                somebody else writes to the item (rule S5)";
    report.needs_someone = true;
    report.lines[0].stands = Some(2_400);
    report.lines[0].cause = Cause::AnotherWriter;
    report.lines[0].why = "2400 stand, and this ledger caused 2345 at most. It has been kept without a break since \
                           2026-11-14T09:07:31Z"
        .to_owned();
    report.lines[0].held = Some(held.to_owned());
    report.lines[0].needs_someone = true;
    report.lines[0].hint = Some("usagectl release si_api --adopt or --overwrite --because …".to_owned());
    report.lines[1].stands = None;
    report.lines[1].cause = Cause::Unreadable;
    report.lines[1].why = "the connection was lost".to_owned();
    report
}

pub(crate) fn release() -> ReleaseReport {
    of(json!({"schema": 1, "item": "si_compute", "what": "adopted 12 units that stood already; ours goes on top"}))
}

pub(crate) fn audit() -> AuditReport {
    of(json!({
        "schema": 1,
        "entries": [
            {"id": 41, "at": "2026-11-14T10:00:11Z", "actor": "usaged", "action": "push.sent", "subject": "si_api",
             "detail": {"key": "usaged-4c1f0e-17", "quantity": 2_345, "period_from": "2026-11-01T00:00:00Z"},
             "hash": "9f".repeat(32)},
            {"id": 42, "at": "2026-11-14T10:00:12Z", "actor": "uid:0", "action": "release", "subject": "si_compute",
             "detail": {"because": "the disk was put back"}, "hash": "0a".repeat(32)}
        ],
        "more": true
    }))
}

/// A chain that holds.
/// One number that its minutes bear out, and one that they do not.
pub(crate) fn explained() -> ExplainReport {
    of(json!({
        "schema": 1,
        "now": "2026-11-14T10:00:00Z",
        "bills": [
            {
                "meter": "api_credits", "unit": "credits", "customer": "cus_Qf4", "subscription": "sub_1PhX",
                "item": "si_api", "period_from": "2026-11-01T00:00:00Z", "period_to": "2026-12-01T00:00:00Z",
                "state": "open", "plan": "pro", "stands": 2_345, "target": 2_347, "invoice": "A-2, paid",
                "terms": [{"what": "above what is included, in whole units", "units": 2_340},
                          {"what": "carried from earlier periods", "units": 7}],
                "used_micros": 12_340_500_000_i64, "used": 12_340.5, "included": 10_000, "report": "overage",
                "rounding": "down", "agrees": true, "recomputed": null, "segments": [],
                "days": [
                    {"day": "2026-11-12", "used": 340.5, "used_micros": 340_500_000, "observed_bp": 10_000},
                    {"day": "2026-11-13", "used": 12_000, "used_micros": 12_000_000_000_i64, "observed_bp": 9_583}
                ],
                "gaps": [{"from": "2026-11-13T04:00:00Z", "to": "2026-11-13T05:00:00Z", "reason": "vm_off"}],
                "sources": [{"source": "web", "records": 1_210, "quantity": 12_340.5}],
                "carries": [{"units": 7, "from": "2026-10-01T00:00:00Z to 2026-11-01T00:00:00Z",
                             "into": "2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z"}],
                "pushes": [{"at": "2026-11-14T09:12:40Z", "quantity": 2_345, "day": null, "outcome": "accepted",
                            "request_id": "req_8GkQ", "key": "si_api:1793491200:9:4c1f0e"}],
                "held": null
            },
            {
                "meter": "compute_hours", "unit": "hours", "customer": "cus_Qf4", "subscription": "sub_1PhX",
                "item": "si_compute", "period_from": "2026-11-01T00:00:00Z", "period_to": "2026-12-01T00:00:00Z",
                "state": "open", "plan": "pro", "stands": null, "target": 4, "invoice": null,
                "terms": [{"what": "above what is included, in whole units", "units": 6},
                          {"what": "billed on other items or at earlier prices", "units": -2}],
                "used_micros": 381_600_000_000_i64, "used": 106, "included": 100, "report": "overage",
                "rounding": "down", "agrees": false, "recomputed": {"used_micros": 378_000_000_000_i64, "overage": 5},
                "segments": [{"item": "si_before", "price": "price_before", "units": 2}],
                "days": [], "gaps": [], "sources": [], "carries": [], "pushes": [],
                "held": "another VM writes to it"
            }
        ]
    }))
}

pub(crate) fn alerts() -> AlertsReport {
    of(json!({"schema": SCHEMA, "alerts": [
        {"id": "al_0f1e2d3c4b5a69788796a5b4c3d2e1f0", "code": "push_refused", "about": "si_api", "severity": "problem",
         "what": "setting si_api to 2000 was refused: Expired API Key provided",
         "hint": "put a valid key into /etc/usaged/stripe_api_key, then: sudo systemctl restart usaged",
         "fired_at": "2026-11-14T09:10:00Z", "cleared_at": null, "messages": [
            {"state": "fired", "way": "command", "told_at": "2026-11-14T09:10:01Z", "next_at": null, "attempts": 0, "error": null},
            {"state": "fired", "way": "url", "told_at": null, "next_at": "2026-11-14T10:03:20Z", "attempts": 7,
             "error": "https://alerts.example: it answered 502"}]},
        {"id": "al_00112233445566778899aabbccddeeff", "code": "allowance_reached", "about": "api_credits/75",
         "severity": "note", "what": "7500 of the 10000 credits of api_credits that are included in this period are used (75 %)",
         "hint": "nothing to do; what goes beyond the included amount is billed",
         "fired_at": "2026-11-09T18:00:12Z", "cleared_at": null, "messages": [
            {"state": "fired", "way": "command", "told_at": "2026-11-09T18:00:12Z", "next_at": null, "attempts": 0, "error": null}]},
        {"id": "al_ffeeddccbbaa99887766554433221100", "code": "no_sample", "about": null, "severity": "problem",
         "what": "no sample was stored for 240 seconds, and one is due every 60",
         "hint": "usagectl doctor looks at sources and database; journalctl -u usaged says what was met",
         "fired_at": "2026-11-02T03:00:00Z", "cleared_at": "2026-11-02T03:04:00Z", "messages": [
            {"state": "fired", "way": "command", "told_at": null, "next_at": null, "attempts": 31,
             "error": "/usr/local/bin/on-alert: it took longer than 30 s and was ended"},
            {"state": "cleared", "way": "command", "told_at": "2026-11-03T03:05:00Z", "next_at": null, "attempts": 0, "error": null}]}
    ]}))
}

pub(crate) fn alert_told() -> AlertTestReport {
    of(json!({"schema": SCHEMA, "id": "al_test_0011223344556677", "ways": [
        {"way": "command", "to": "/usr/local/bin/on-alert --urgent", "told": true, "error": null, "took_ms": 412},
        {"way": "url", "to": "https://alerts.example", "told": true, "error": null, "took_ms": 93}]}))
}

pub(crate) fn alert_not_told() -> AlertTestReport {
    let mut report = alert_told();
    report.ways[1].told = false;
    report.ways[1].error = Some("https://alerts.example: it answered 502".to_owned());
    report
}

pub(crate) fn audit_verified() -> AuditVerifyReport {
    of(json!({"schema": 1, "holds": true, "entries": 42, "head_id": 42, "head": "0a".repeat(32), "breaks": []}))
}

/// One that does not.
pub(crate) fn audit_broken() -> AuditVerifyReport {
    let breaks =
        ["lines 12 to 15 are missing", "line 41 is not what was written, or does not follow the line before it"];
    AuditVerifyReport { holds: false, entries: 38, breaks: breaks.map(str::to_owned).into(), ..audit_verified() }
}

pub(crate) fn doctor() -> DoctorReport {
    of(json!({
        "schema": 1,
        "checks": [
            {"name": "database", "verdict": "ok", "found": "usage.db opens, schema 1, integrity fine", "fix": ""},
            {"name": "clock", "verdict": "warn", "found": "3 minutes ahead of Stripe's", "fix": "timedatectl set-ntp true"},
            {"name": "key", "verdict": "fail", "found": "refused by Stripe (401)", "fix": "replace /etc/usaged/stripe_api_key"},
            {"name": "subscription", "verdict": "skipped", "found": "cannot be read without a key", "fix": ""}
        ]
    }))
}

/// A sound file.
pub(crate) fn db_check(full: bool) -> DbCheckReport {
    DbCheckReport {
        schema: SCHEMA,
        path: "/var/lib/usaged/usage.db".to_owned(),
        full,
        verdict: "sound".to_owned(),
        found: Vec::new(),
        took_ms: 41,
    }
}

/// A copy that was made.
pub(crate) fn db_backup(path: String) -> DbBackupReport {
    DbBackupReport { schema: SCHEMA, path, bytes: 417_792 }
}

/// A recovery that was begun.
pub(crate) fn db_recover() -> DbRecoverReport {
    let what = "usage.db is damaged, and recovered now; usagectl status shows what became of it".to_owned();
    DbRecoverReport { schema: SCHEMA, what }
}

/// Two pages: the first says where it ends.
pub(crate) fn export(what: ExportWhat, after: Option<(i64, i64, i64)>) -> ExportPage {
    let text = str::to_owned;
    let number = i64::from(after.is_some()) + 1;
    let row = match what {
        ExportWhat::Usage => ExportRow::Usage(UsageRow {
            meter: text("compute_hours"),
            from: format!("2026-11-14T1{number}:00:00Z"),
            to: format!("2026-11-14T1{number}:01:00Z"),
            used: Some("0.016666".parse().unwrap()),
            unit: Some(text("hours")),
            used_micros: 60_000_000,
        }),
        ExportWhat::Credits => ExportRow::Credit(CreditRow {
            meter: text("api_credits"),
            source: text("uid:1000"),
            id: format!("order {number}, \"late\""),
            quantity: text("2.5"),
            at: text("2026-11-14T10:00:00Z"),
            recorded_at: text("2026-11-14T10:00:01Z"),
            uid: 1_000,
            voided_at: after.map(|_| text("2026-11-14T11:00:00Z")),
            voided_because: after.map(|_| text("a typo\nof mine")),
        }),
        ExportWhat::Deliveries => ExportRow::Delivery(DeliveryRow {
            meter: text("compute_hours"),
            item: text("si_1"),
            customer: text("cus_1"),
            subscription: text("sub_1"),
            period_from: text("2026-11-01T00:00:00Z"),
            period_to: text("2026-12-01T00:00:00Z"),
            day: None,
            quantity: number,
            at: text("2026-11-14T10:00:00Z"),
            outcome: text("accepted"),
            settled_at: Some(text("2026-11-14T10:00:01Z")),
            http_status: Some(200),
            request_id: Some(text("req_1")),
            key: format!("usaged/si_1/{number}"),
            error: None,
        }),
    };
    ExportPage {
        schema: SCHEMA,
        what,
        total: after.is_none().then_some(2),
        waiting: (after.is_none() && what == ExportWhat::Credits).then_some(3),
        rows: vec![row],
        next: after.is_none().then(|| text("1.1793491200000000.1")),
    }
}
