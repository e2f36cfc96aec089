//! Care for the ledger's file: it is looked at before it is opened, and a damaged one is recovered while the socket says so.
//! Nothing of this ends the daemon: started again, it would find the same file.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::run::listen;
use super::sick::SickDesk;
use super::signals::Asked;
use super::{dashboard, notify, sick};
use crate::api;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Alerts, Config, Paths};
use crate::jobs;
use crate::store::{self, Depth, Soundness};

/// A start does not wait longer for the file to be looked at. What is not seen by then, the daily look sees.
const PATIENCE: Duration = Duration::from_secs(20);
/// One that was found damaged while it was in use is looked at closely.
const LONG: Duration = Duration::from_mins(10);
/// A recovery that failed is tried again after so long, and one follows another no sooner: a disk that goes on failing
/// must not be filled with damaged files.
const AGAIN: Duration = Duration::from_mins(1);
const APART: Duration = Duration::from_mins(10);
/// What is recovered sooner is not told as damaged.
const TELL_AFTER: Duration = Duration::from_secs(5);
/// systemd hears of us this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// What this process has seen of its file.
#[derive(Default)]
pub(super) struct Care {
    /// What the ledger's own threads met.
    met: Option<String>,
    /// How often they met something that a close look did not find.
    unfounded: u32,
    last: Option<Instant>,
}

impl Care {
    /// The file was found damaged while it was in use.
    pub(super) fn met(&mut self, what: String) {
        self.met = Some(what);
    }

    /// Returns once the file may be opened; false where the daemon is asked to stop before that.
    pub(super) async fn tend(
        &mut self,
        paths: &Paths,
        config: &Config,
        sandbox: bool,
        kept: &mut Option<UnixListener>,
        asked: &mut mpsc::UnboundedReceiver<Asked>,
    ) -> anyhow::Result<bool> {
        let path = paths.database();
        let found = self.look(&path).await;
        if found.is_empty() {
            return Ok(true);
        }
        tracing::error!(database = %path.display(), "usage.db is damaged, what can be read is recovered: {}", found.join("; "));
        let desk = Arc::new(SickDesk::new(path.clone(), &found, sandbox));
        let access = api::Access::new(rustix::process::geteuid().as_raw(), config.command_group.clone());
        let limits = api::Limits::new(config.intake.max_body, config.intake.max_records);
        let mut socket = listen(&paths.socket(), kept).await?;
        // The socket is handed on to the daemon that comes after this, so that callers find somebody all the while.
        if kept.is_none() {
            *kept = Some(socket.to_be_kept()?);
        }
        let (stop, mut stopped) = watch::channel(false);
        let mut serving = JoinSet::new();
        if config.dashboard.listen.is_some() {
            let desk = Arc::<SickDesk>::clone(&desk);
            serving.spawn(dashboard::run(None, desk, config.clone(), stop.subscribe()));
        }
        let asked_there = Arc::clone(&desk);
        serving.spawn(async move {
            api::serve(socket, asked_there, access, limits, async move { drop(stopped.changed().await) }).await;
        });
        let mut telling = JoinSet::new();
        telling.spawn(tell_later(config.alerts.clone(), Arc::clone(&desk)));
        notify::ready("usage.db is damaged: what can be read is being recovered");
        let done = self.recover(&path, found, &desk, asked).await;
        stop.send_replace(true);
        while serving.join_next().await.is_some() {}
        if !done {
            drop(listen(&paths.socket(), kept).await?);
        }
        Ok(done)
    }

    /// What is wrong with the file, a line for each; nothing where it is sound, or cannot be looked at.
    async fn look(&mut self, path: &Path) -> Vec<String> {
        let met = self.met.take();
        let (depth, patience) = if met.is_some() { (Depth::Full, LONG) } else { (Depth::Quick, PATIENCE) };
        let (of, before) = (path.to_owned(), Instant::now());
        let looked = attended(spawn_blocking(move || {
            let log = store::check_log(&of)?;
            Ok::<_, store::StoreError>((log, store::check(&of, depth, patience)?))
        }));
        let mut found: Vec<String> = met.clone().into_iter().collect();
        match looked.await {
            Ok(Ok((log, soundness))) => {
                found.extend(log.clone());
                match soundness {
                    Soundness::Damaged(lines) => found.extend(lines),
                    Soundness::Unfinished => tracing::info!(
                        "usage.db was looked at for {} s and not to its end; the daily look goes further",
                        before.elapsed().as_secs()
                    ),
                    Soundness::Sound if log.is_none() && met.is_some() && self.unfounded == 0 => {
                        tracing::warn!(
                            "usage.db is sound after all; what was met is taken for passing: {}",
                            found.join("; ")
                        );
                        self.unfounded = 1;
                        found.clear();
                    }
                    Soundness::Sound => {}
                }
            }
            // Whoever opens it next says why.
            Ok(Err(error)) => tracing::warn!("usage.db cannot be looked at: {error}"),
            Err(error) => tracing::warn!("usage.db was not looked at: {error}"),
        }
        found.dedup();
        found
    }

    /// Recovers, however often it takes. False where the daemon is asked to stop.
    async fn recover(
        &mut self,
        path: &Path,
        found: Vec<String>,
        desk: &SickDesk,
        asked: &mut mpsc::UnboundedReceiver<Asked>,
    ) -> bool {
        let mut due = self.last.map_or_else(Instant::now, |last| last + APART);
        let mut is_first = true;
        loop {
            if due > Instant::now() && !wait(due, desk, asked).await {
                return false;
            }
            if is_first {
                is_first = false;
            } else if self.look(path).await.is_empty() {
                tracing::info!("usage.db can be read again, and is sound");
                return true;
            }
            let (of, found) = (path.to_owned(), found.clone());
            let now = SystemClock.read().wall;
            let recovery = spawn_blocking(move || jobs::recover(&of, found, now));
            let recovered = tokio::select! {
                recovered = attended(recovery) => recovered,
                // What is half done is begun anew by the next start.
                () = stop(asked) => return false,
            };
            match recovered {
                Ok(Ok(recovered)) => {
                    tracing::warn!(set_aside = %recovered.name, "usage.db was recovered; usagectl status says what is missing");
                    self.last = Some(Instant::now());
                    self.unfounded = 0;
                    return true;
                }
                Ok(Err(error)) => desk.say(&error.to_string()),
                Err(error) => desk.say(&error.to_string()),
            }
            due = Instant::now() + AGAIN;
        }
    }
}

/// Somebody is told where it is not recovered at once; what became of it is told from the recovered ledger.
async fn tell_later(config: Alerts, desk: Arc<SickDesk>) {
    sleep(TELL_AFTER).await;
    let Ok(drawn) = getrandom::u64() else { return };
    let now = SystemClock.read().wall;
    jobs::tell_of_damage(&config, &format!("al_damaged_{drawn:016x}"), &sick::problem(&desk.what()), now).await;
}

/// Waits until then, or until somebody asks for it now; false where the daemon is asked to stop.
async fn wait(due: Instant, desk: &SickDesk, asked: &mut mpsc::UnboundedReceiver<Asked>) -> bool {
    let waited = async {
        tokio::select! {
            () = sleep_until(due) => {}
            () = desk.asked_to_recover() => {}
        }
    };
    tokio::select! {
        () = attended(waited) => true,
        () = stop(asked) => false,
    }
}

/// Until the daemon is asked to stop; a new configuration is read by the start that comes after this.
async fn stop(asked: &mut mpsc::UnboundedReceiver<Asked>) {
    while asked.recv().await == Some(Asked::Reload) {}
}

/// Tells systemd all the while that this process works.
async fn attended<T>(work: impl Future<Output = T>) -> T {
    let mut signs = interval(SIGN_OF_LIFE);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return done,
            _ = signs.tick() => notify::alive(),
        }
    }
}
