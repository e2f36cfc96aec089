//! What an operator sees.

use crate::harness::{Account, Ran};

/// Ids, ports and measured times as something that stays.
fn settled(text: &str, account: &Account) -> String {
    let host = account.base_url();
    let text = text.replace(host.trim_start_matches("http://"), "127.0.0.1:PORT");
    let is_drawn = |rest: &str| rest.len() == 24 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let settle = |word: &str| {
        let end =
            word.len() - word.chars().next_back().filter(|c| !c.is_ascii_alphanumeric()).map_or(0, char::len_utf8);
        let (name, end) = word.split_at(end);
        let parts = name.split('_').map(|part| if is_drawn(part) { "x".repeat(24) } else { part.to_owned() });
        parts.collect::<Vec<_>>().join("_") + end
    };
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let settled: String = words.map(settle).collect();
    let measured = |line: &&str| !line.starts_with("Reached ") && !line.starts_with("Clock ");
    settled.lines().filter(measured).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn screens_are_as_they_were_approved() {
    let account = Account::open();
    let mut session = String::new();
    let mut see = |args: &[&str]| {
        let Ran { code, out, err } = account.run(args);
        let shown = args.join(" ");
        session += &settled(&format!("$ usagectl stripe {shown}\n{err}{out}exit {code}\n\n"), &account);
        out
    };
    see(&["check"]);
    see(&["catalog", "plan"]);
    see(&["customer", "create", "--id", "c-17", "--email", "ada@example.com", "--vm", "vm-1", "--dry-run"]);
    see(&["catalog", "apply", "--quiet"]);
    see(&["catalog", "plan"]);
    let ada = ["customer", "create", "--id", "c-17", "--email", "ada@example.com"];
    see(&[&ada[..], &["--test-card", "pm_card_visa"]].concat());
    see(&[&ada[..], &["--vm", "vm-2"]].concat());
    let customer = see(&[&ada[..], &["-q"]].concat());
    see(&["coupon", "create", "EARLYBIRD30"]);
    see(&["coupon", "create", "LAUNCH2025"]);
    see(&["promotion", "create", "--code", "EARLY", "--coupon", "EARLYBIRD30"]);
    let of = ["--customer", customer.trim()];
    let subscribe = [&["subscription", "create", "--plan", "pro", "--coupon", "EARLYBIRD30"], &of[..]].concat();
    see(&subscribe);
    see(&[&subscribe[..], &["--charge-now"]].concat());
    let subscription = see(&[&subscribe[..], &["--quiet"]].concat());
    see(&[&["invoices"], &of[..]].concat());
    see(&[&["invoice", "preview"], &of[..]].concat());
    see(&["subscription", "cancel", subscription.trim(), "--drop-usage"]);
    see(&["portal", "configure"]);
    for line in session.lines().filter(|line| !["$ ", "hint:", "error:"].iter().any(|word| line.starts_with(word))) {
        assert!(line.chars().count() <= 80, "more than 80 columns: {line}");
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("stripe", session));
}
