//! The walk-through of docs/stripe-commands.md, as it stands there, in both API versions.

use std::path::Path;
use std::process::Command;

use crate::harness::{Account, KEY, Ran, clean, ran};

const DOCUMENT: &str = include_str!("../../docs/stripe-commands.md");

/// The commands, without the first of them, which start a sandbox and name it: here that is done already.
fn script() -> String {
    let walk_through = DOCUMENT.split("\n## A walk-through\n").nth(1).unwrap();
    let blocks: Vec<&str> =
        walk_through.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let (first, rest) = blocks.split_first().unwrap();
    assert!(first.starts_with("usaged sandbox ") && rest.len() == 6, "{blocks:?}");
    // Whatever happens, the agent does not outlive it, nor hold what is read of it open.
    format!("trap '[ -z \"$(jobs -p)\" ] || kill $(jobs -p)' EXIT\n{}", rest.concat())
}

fn walk(account: &Account, kind: &str) -> Ran {
    let usagectl = Path::new(env!("CARGO_BIN_EXE_usagectl"));
    let path = std::env::join_paths(
        std::iter::once(usagectl.parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let home = account.dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let mut command = Command::new("bash");
    clean(&mut command);
    command.args(["-eu", "-o", "pipefail", "-c", &script()]).current_dir(&home).env("HOME", &home);
    command.env("PATH", path.unwrap()).env("STRIPE_API_KEY", KEY).env("STRIPE_API_BASE", account.base_url());
    ran(command.env("USAGED_STRIPE_KIND", kind))
}

#[test]
fn an_operator_goes_from_an_empty_account_to_a_billed_customer() {
    for kind in ["stripe-meters", "stripe-usage-records"] {
        let account = Account::open();
        let Ran { code, out, err } = walk(&account, kind);
        assert_eq!(code, 0, "{kind}\n{out}\n{err}");
        let invoices = account.list("/v1/invoices");
        let totals: Vec<_> = invoices.iter().rev().map(|one| (one["total"].as_i64(), one["status"].as_str())).collect();
        // 199 a month and 50 credits at 0.01, less 30 %.
        let paid = Some("paid");
        assert_eq!(totals[..2], [(Some(13_930), paid), (Some(13_965), paid)], "{kind}");
        assert!(out.contains("  50 × Magic Box API credits (at 0.01 EUR / month)  EUR 0.50\n"), "{out}");
        assert!(out.ends_with("2027-01-10\n") && out.contains("Status        canceled\n"), "{out}");
    }
}
