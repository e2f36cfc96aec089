//! What is read back from `usage.db`, where a value is not the one that was written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Runtime;
use usaged::clock::ManualClock;
use usaged::config::{self, Environment, Paths, Reading};
use usaged::jobs::{self, Context, JobError, Parts, Running, Settings};
use usaged::model::Timestamp;
use usaged::provider::Provider;
use usaged::sources::Machine;
use usaged::store::Store;
use usaged::wire::{By, SyncRequest, UsageRequest};

/// A day into the second of two periods.
const NOW: &str = "2026-12-02T00:00:00Z";

/// One row of everything, as an agent leaves it in the middle of its work.
const ROWS: &str = r#"
INSERT INTO meter VALUES (1, 'compute_hours', 3600000000, 1), (2, 'api_credits', 1000000, 0);
INSERT INTO reading VALUES (1, 'uptime', '00000000-0000-4000-8000-000000000001', '', '', 60000000, 2, 60000000, 60000000, 1796169540000000);
INSERT INTO bucket VALUES (1, 1795996800000000, 60000000, 60000000), (1, 1796083200000000, 60000000, 60000000), (2, 1796083200000000, 0, 9000000);
INSERT INTO boundary VALUES (1796083200000000, 'period');
INSERT INTO unplaced VALUES (1, 2, '00000000-0000-4000-8000-000000000001', 1000000, 2000000, 1796169540000000, 1000000, 1);
INSERT INTO waiting_since VALUES ('00000000-0000-4000-8000-000000000001', 1000000);
INSERT INTO coverage VALUES (1795996800000000, 1796083200000000, 'observed'), (1796083200000000, 1796083260000000, 'vm_off');
INSERT INTO unplaced_coverage VALUES (1, '00000000-0000-4000-8000-000000000001', NULL, 1000000, 2000000, 60000000, 1796169480000000, 'observed');
INSERT INTO round VALUES (1, '00000000-0000-4000-8000-000000000001', '', 60000000, 60000000, 1796169540000000, 1, NULL);
INSERT INTO credit VALUES (1, 2, 'uid:0', 'order-1', 9000000, 1796083200000000, NULL, 1796083200000000, 0), (2, 2, 'web', 'order-2', 1000000, NULL, 1796083200000000, 1796083200000000, 0);
INSERT INTO credit_rate VALUES (2, 1796083200000000, 9000000);
INSERT INTO void VALUES (2, 1796083200000000, 0, 'a mistake');
INSERT INTO credit_hour VALUES (2, 'uid:0', 1795996800000000, 5000000, 3);
INSERT INTO link VALUES (1, 'cus_1', 'sub_1', 'pro', 1793491200000000, NULL, 1793491200000000, 'uid:0', 0, 1);
INSERT INTO item VALUES (1, 'api_credits', 'si_1', 'price_1', 'price_api', '1', 'eur', 1793491200, '"usage_records"', 0);
INSERT INTO item VALUES (1, 'compute_hours', 'si_2', 'price_2', NULL, '4.5', 'eur', 1793491200, '{"meter":{"id":"mtr_1","event_name":"hours","customer_key":"stripe_customer_id","value_key":"value","formula":"sum_of_days"}}', 0);
INSERT INTO generation VALUES (1, '00ada0066c6f61a0', 1793491200000000, 'start');
INSERT INTO subscription VALUES ('sub_1', 'active', 0, NULL, 1796083200000000);
INSERT INTO customer VALUES ('cus_1', 'A customer', NULL, 1, 0, 1796083200000000);
INSERT INTO invoice VALUES ('in_1', 'sub_1', 'A-1', 'open', 'eur', 500, 500, 2, 1796169600, 'insufficient_funds', 1796083200, 1796083200000000);
INSERT INTO event VALUES ('evt_1', 'invoice.paid', 'invoices', 'in_1', 1796083200000000, NULL);
INSERT INTO usage_record (id, customer, subscription, item, meter, period_from_s, period_to_s, timestamp_s, price, unit_amount, state, plan, used, included, overage, target, standing, standing_us, read_generation, channel, unit_micros, held_units)
VALUES (1, 'cus_1', 'sub_1', 'si_1', 'api_credits', 1793491200, 1796083200, 1793491201, 'price_1', '1', 'closed', 'pro', 20000000, 1000000, 19, 19, 15, 1796083800000000, 1, '"usage_records"', 1000000, 1),
       (2, 'cus_1', 'sub_1', 'si_1', 'api_credits', 1796083200, 1798761600, 1796083201, 'price_1', '1', 'open', 'pro', 9000000, 1000000, 8, 11, 5, 1796083800000000, 1, '"usage_records"', 1000000, 0),
       (3, 'cus_1', 'sub_1', 'si_2', 'compute_hours', 1796083200, 1798761600, 1796083201, 'price_2', '4.5', 'ending', 'pro', 60000000, 0, 0, 0, NULL, NULL, NULL, '{"meter":{"id":"mtr_1","event_name":"hours","customer_key":"stripe_customer_id","value_key":"value","formula":"sum_of_days"}}', 3600000000, 0);
INSERT INTO delivery VALUES (1, 2, 1, 1, 'si_1:1796083200:1:00ada0066c6f61a0', 5, 1796083201, 'accepted', 1, 1796083300000000, 1796083301000000, 200, 'req_1', NULL, NULL, 0),
       (2, 2, 2, 1, 'si_1:1796083200:2:00ada0066c6f61a0', 8, 1796083201, 'unknown', 2, 1796083400000000, NULL, NULL, NULL, 'no answer', NULL, 0);
INSERT INTO carry VALUES (1, 1, 2, 3, 1796083800000000, NULL);
INSERT INTO credit_due VALUES (1, 2, 1796083800000000, 'usage of a closed period fell below what was billed');
INSERT INTO day_share VALUES (3, 1796083200, 1, 0, 0, 0);
INSERT INTO segment VALUES (1, 2, 'si_0', 'price_0', 1, 1796083200000000);
INSERT INTO unseen VALUES ('si_9', 1790899200, 1793491200, 1, 'api_credits', 1, 1796083200000000, NULL);
INSERT INTO alert VALUES (1, 'al_1', 'push_refused', 'si_1', 'problem', 'it was refused', 'see why', 1796083200, 1798761600, 0, 1796083300000000, NULL);
INSERT INTO alert_message VALUES (1, 'fired', 'command', 1796083300000000, 2, 1796083400000000, NULL, 'it ended with exit code 1');
INSERT INTO job_run VALUES ('push', 1796083300000000, 1796083301000000, 'schedule', '1 set');
"#;

/// A ledger to be spoiled, and an agent's surroundings.
struct Ledger {
    runtime: Runtime,
    dir: tempfile::TempDir,
    sound: Vec<u8>,
    /// Each table with its columns.
    columns: Vec<(String, String)>,
}

impl Ledger {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for (path, text) in [
            ("proc/sys/kernel/random/boot_id", "00000000-0000-4000-8000-000000000001\n"),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            ("sys/devices/system/cpu/online", "0-1\n"),
        ] {
            let path = dir.path().join("root").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let config = "[plans.pro]\nincluded = { compute_hours = 0, api_credits = 1 }\n";
        std::fs::write(dir.path().join("usaged.toml"), config).unwrap();
        let path = dir.path().join("sound.db");
        drop(Store::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection.execute_batch(ROWS).unwrap();
        // Only once the store's threads are gone can it do without a log.
        while connection.query_row("PRAGMA journal_mode = delete", [], |_| Ok(())).is_err() {
            std::thread::yield_now();
        }
        let sql = "SELECT t.name, c.name FROM pragma_table_list t, pragma_table_info(t.name) c
                   WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite%' ORDER BY t.name, c.cid";
        let columns = connection
            .prepare(sql)
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        drop(connection);
        let sound = std::fs::read(&path).unwrap();
        Self { runtime, dir, sound, columns }
    }

    /// The ledger, but for values that these bytes say, in a directory of its own.
    fn spoil(&self, bytes: &[u8]) -> tempfile::TempDir {
        let state = tempfile::tempdir_in(self.dir.path()).unwrap();
        let path = state.path().join("usage.db");
        std::fs::write(&path, &self.sound).unwrap();
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("PRAGMA ignore_check_constraints = 1; PRAGMA synchronous = 0").unwrap();
        let mut rest = bytes;
        while let [column, kind, more @ ..] = rest {
            let length = usize::from(kind % 32).min(more.len());
            let (value, next) = more.split_at(length);
            let (table, name) = &self.columns[usize::from(*column) % self.columns.len()];
            let sql = format!("UPDATE {table} SET {name} = ?1");
            // What the schema does not take, no agent can have left there.
            drop(match *kind {
                0..64 => connection.execute(&sql, [integer(value)]),
                64..240 => connection.execute(&sql, [String::from_utf8_lossy(value)]),
                _ => connection.execute(&sql, [rusqlite::types::Null]),
            });
            rest = next;
        }
        state
    }

    async fn agent(&self, state: &Path) -> Result<Arc<Context>, JobError> {
        let (state, runtime, config) =
            (state.to_owned(), self.dir.path().join("run"), self.dir.path().join("usaged.toml"));
        let paths = Paths { state, runtime: runtime.clone(), config, reading: Reading::Named };
        let config = config::load(&paths, &Environment::of(&[], None)).unwrap().config;
        let clock = ManualClock::booted_at(Timestamp::parse(NOW).unwrap());
        clock.run(120_000_000);
        let parts = Parts {
            store: Store::open(&paths.database())?,
            clock: Arc::new(clock),
            machine: Machine { root: self.dir.path().join("root") },
            runtime_dir: runtime,
            settings: Settings { config, provider: Provider::None },
            dice: fastrand::Rng::with_seed(7),
        };
        jobs::start(parts).await
    }
}

fn integer(bytes: &[u8]) -> i64 {
    let mut all = [0; 8];
    all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    i64::from_le_bytes(all)
}

/// What an agent does in a day without its provider. Each may be refused, with words.
async fn live(context: &Arc<Context>) -> Vec<String> {
    let since = Timestamp::parse(NOW).unwrap();
    let running = Running {
        since,
        sandbox: false,
        next_push: None,
        next_reconcile: None,
        next_compact: None,
        next_look: None,
        paths: usaged::wire::PathsStatus::default(),
    };
    let mut refused = Vec::new();
    let mut hear = |error: Option<JobError>| refused.extend(error.map(|error| error.to_string()));
    hear(jobs::sample(context).await.err());
    hear(jobs::roll_up(context).await.err());
    hear(jobs::status(context, running).await.err());
    hear(jobs::usage(context, &UsageRequest::default()).await.err());
    hear(
        jobs::usage(context, &UsageRequest { month: Some("2026-11".to_owned()), ..UsageRequest::default() })
            .await
            .err(),
    );
    for by in By::ALL {
        let from = Some(Timestamp::from_secs(0));
        hear(jobs::usage(context, &UsageRequest { from, by: Some(by), ..UsageRequest::default() }).await.err());
    }
    hear(jobs::sync(context, &SyncRequest::default()).await.err());
    hear(jobs::compact(context, "schedule").await.err());
    hear(jobs::look_for_alerts(context).await.err());
    hear(jobs::tell(context).await.err());
    hear(jobs::alerts(context, 20).await.err());
    refused
}

/// A ledger with these values is worked with, or what is wrong is named.
pub(crate) fn read(bytes: &[u8]) {
    thread_local! {
        static LEDGER: Ledger = Ledger::new();
    }
    LEDGER.with(|ledger| {
        let state = ledger.spoil(bytes);
        let refused = ledger.runtime.block_on(async {
            match ledger.agent(state.path()).await {
                Ok(context) => live(&context).await,
                Err(error) => vec![error.to_string()],
            }
        });
        for words in refused {
            assert!(!words.is_empty() && !words.contains("usage.db is closed"), "a thread has ended: {words}");
        }
    });
}

/// That it is worked with at all where nothing was spoiled.
#[cfg(test)]
#[test]
fn a_sound_ledger_is_worked_with() {
    let ledger = Ledger::new();
    let state = ledger.spoil(&[]);
    let refused = ledger.runtime.block_on(async { live(&ledger.agent(state.path()).await.unwrap()).await });
    assert_eq!(refused, Vec::<String>::new());
}
