//! What programs and operators send to the socket.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use usaged::api::{self, Access, Answer, ApiError, Caller, Desk, ExportRequest, Limits, Record};
use usaged::model::Timestamp;
use usaged::wire::{
    AlertTestReport, AlertsReport, AuditReport, AuditVerifyReport, DbBackupReport, DbBackupRequest, DbCheckReport,
    DbCheckRequest, DbRecoverReport, DoctorReport, DrainReport, ExplainReport, ExplainRequest, ExportPage,
    IdentityReport, IdentityRequest, LinkReport, LinkRequest, PrepareImageReport, PrepareImageRequest, ReconcileReport,
    ReconcileRequest, RecordAnswer, RecordOutcome, ReleaseReport, ReleaseRequest, Status, SyncReport, SyncRequest,
    UsageReport, UsageRequest, VoidReport, VoidRequest,
};

/// A desk that takes every record that reaches it, and refuses everything else.
struct Taker;

fn no<T>() -> Answer<'static, T> {
    Box::pin(async { Err(ApiError::refused("closed", "nobody is at this desk")) })
}

impl Desk for Taker {
    fn status(&self) -> Answer<'_, Status> {
        no()
    }

    fn usage(&self, request: UsageRequest) -> Answer<'_, UsageReport> {
        assert!(request.month.is_none_or(|month| month.len() == 7), "a month is checked before it is asked for");
        no()
    }

    fn record(&self, _caller: Caller, records: Vec<Record>) -> Answer<'_, Vec<RecordAnswer>> {
        let taken = records.into_iter().map(|record| RecordAnswer {
            id: record.id,
            outcome: RecordOutcome::Accepted,
            code: None,
            reason: None,
        });
        let taken = taken.collect();
        Box::pin(async { Ok(taken) })
    }

    fn void(&self, _caller: Caller, _request: VoidRequest) -> Answer<'_, VoidReport> {
        no()
    }

    fn link(&self, _caller: Caller, _request: LinkRequest) -> Answer<'_, LinkReport> {
        no()
    }

    fn sync(&self, _caller: Caller, _request: SyncRequest) -> Answer<'_, SyncReport> {
        no()
    }

    fn reconcile(&self, _caller: Caller, _request: ReconcileRequest) -> Answer<'_, ReconcileReport> {
        no()
    }

    fn release(&self, _caller: Caller, _request: ReleaseRequest) -> Answer<'_, ReleaseReport> {
        no()
    }

    fn identity(&self, _caller: Caller, _request: IdentityRequest) -> Answer<'_, IdentityReport> {
        no()
    }

    fn prepare_image(&self, _caller: Caller, _request: PrepareImageRequest) -> Answer<'_, PrepareImageReport> {
        no()
    }

    fn drain(&self, _caller: Caller) -> Answer<'_, DrainReport> {
        no()
    }

    fn db_check(&self, _caller: Caller, _request: DbCheckRequest) -> Answer<'_, DbCheckReport> {
        no()
    }

    fn db_backup(&self, _caller: Caller, _request: DbBackupRequest) -> Answer<'_, DbBackupReport> {
        no()
    }

    fn db_recover(&self, _caller: Caller) -> Answer<'_, DbRecoverReport> {
        no()
    }

    fn audit(&self, _since: Option<Timestamp>, limit: u32) -> Answer<'_, AuditReport> {
        assert!((1..=10_000).contains(&limit), "a limit is checked before it is asked for");
        no()
    }

    fn audit_verify(&self) -> Answer<'_, AuditVerifyReport> {
        no()
    }

    fn explain(&self, request: ExplainRequest) -> Answer<'_, ExplainReport> {
        assert!(request.month.is_none_or(|month| usaged::wire::is_month(&month)), "a month is checked before");
        no()
    }

    fn export(&self, request: ExportRequest) -> Answer<'_, ExportPage> {
        assert!((1..=1_000).contains(&request.limit), "a limit is checked before it is asked for");
        no()
    }

    fn alerts(&self, most: u32) -> Answer<'_, AlertsReport> {
        assert!((1..=10_000).contains(&most), "a limit is checked before it is asked for");
        no()
    }

    fn test_alert(&self, _caller: Caller) -> Answer<'_, AlertTestReport> {
        no()
    }

    fn doctor(&self) -> Answer<'_, DoctorReport> {
        no()
    }
}

/// The API on a socket of its own, served whenever somebody asks.
struct Server {
    runtime: Runtime,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usaged.sock");
        let socket = runtime.block_on(api::bind(&path)).unwrap();
        let access = Access::new(rustix::process::geteuid().as_raw(), None);
        let limits = Limits::new(65_536, 100);
        drop(runtime.spawn(api::serve(socket, Arc::new(Taker), access, limits, std::future::pending())));
        Self { runtime, path, _dir: dir }
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let mut stream = UnixStream::connect(&self.path).await.unwrap();
            // A caller that was refused already is not listened to any more.
            drop(stream.write_all(request).await);
            drop(stream.shutdown().await);
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
            answer
        })
    }
}

const COMMANDS: [&str; 7] = ["void", "link", "sync", "reconcile", "release", "identity", "prepare-image"];

/// The first byte says what the others are: records, a command, a query, or the whole of a request.
pub(crate) fn ask(bytes: &[u8]) {
    thread_local! {
        static SERVER: Server = Server::start();
    }
    let [kind, rest @ ..] = bytes else { return };
    let post = |path: &str, content: &str| {
        let head = format!(
            "POST /v1/{path} HTTP/1.1\r\nHost: usaged\r\nConnection: close\r\nContent-Type: {content}\r\nContent-Length: {}\r\n\r\n",
            rest.len()
        );
        [head.as_bytes(), rest].concat()
    };
    let is_whole = *kind >= 200;
    let request = match *kind {
        0..40 => post("usage", "application/json"),
        40..80 => post("usage", "application/x-ndjson"),
        80..120 => post(COMMANDS.iter().cycle().nth(usize::from(*kind)).unwrap(), "application/json"),
        120..200 => {
            [b"GET /v1/usage?".as_slice(), rest, b" HTTP/1.1\r\nHost: usaged\r\nConnection: close\r\n\r\n"].concat()
        }
        _ => rest.to_vec(),
    };
    let answer = SERVER.with(|server| server.answer(&request));
    let text = String::from_utf8_lossy(&answer);
    assert!(is_whole || text.starts_with("HTTP/1.1 "), "no answer to {:?}", String::from_utf8_lossy(&request));
    assert!(!text.starts_with("HTTP/1.1 500"), "{text}");
    if let Some((_, body)) = text.split_once("\r\n\r\n").filter(|_| *kind < 80 && text.starts_with("HTTP/1.1 200")) {
        let report: serde_json::Value = serde_json::from_str(body).unwrap();
        let of = |outcome: &str| report[outcome].as_u64().unwrap();
        let answered = report["records"].as_array().unwrap().len();
        assert_eq!(of("accepted") + of("duplicate") + of("refused"), u64::try_from(answered).unwrap(), "{report}");
    }
}
