//! `usaged unsent`: what usage.db holds that the provider does not have. Needs no running daemon, so that a package can
//! ask before it goes.

use std::path::Path;

use super::Exit;
use super::args::say;
use super::run::block_on;
use crate::jobs;
use crate::store::Store;

/// Says so, and exits 0 only if there is nothing.
pub(super) fn unsent(database: &Path) -> anyhow::Result<Exit> {
    if !database.exists() {
        say(&mut std::io::stdout(), &format!("nothing is unsent: there is no {}", database.display()));
        return Ok(Exit::Fine);
    }
    block_on(async {
        let found = Store::open(database)?.read(jobs::unsent).await?;
        Ok(report(database, &found))
    })
}

fn report(database: &Path, found: &[String]) -> Exit {
    if found.is_empty() {
        say(&mut std::io::stdout(), "nothing is unsent");
        return Exit::Fine;
    }
    say(&mut std::io::stdout(), &format!("{} holds what is not sent:\n  {}", database.display(), found.join("\n  ")));
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreError, Tx};

    fn record(standing: Option<i64>, target: i64) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        let insert = move |tx: &Tx<'_>| {
            let sql = "INSERT INTO usage_record (customer, subscription, item, meter, period_from_s, period_to_s,
                timestamp_s, price, target, standing) VALUES
                ('cus_1', 'sub_1', 'si_1', 'api_credits', 0, 9, 1, 'price_1', ?1, ?2)";
            tx.execute(sql, (target, standing))?;
            Ok::<_, StoreError>(Exit::Fine)
        };
        block_on(async { Ok(Store::open(&path)?.write(insert).await?) }).unwrap();
        unsent(&path).unwrap() == Exit::Failed
    }

    #[test]
    fn what_does_not_stand_yet_is_unsent() {
        assert!(record(Some(4), 5));
        assert!(record(None, 5), "what was never read may not stand");
        assert!(!record(Some(5), 5));
        assert!(!record(None, 0));
    }

    #[test]
    fn without_a_ledger_nothing_is_unsent_and_none_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        assert_eq!(unsent(&path).unwrap(), Exit::Fine);
        assert!(!path.exists());
    }
}
