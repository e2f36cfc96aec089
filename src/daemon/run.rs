//! The daemon's life: take the directory, open the ledger, answer, measure, push; and the way out (rule S13).

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::desk::{Afterwards, FrontDesk};
use super::pusher::{Nudge, Nudges};
use super::signals::{self, Asked};
use super::{
    Exit, alerter, assemble, care, dashboard, log, metrics, notify, pusher, sampler, schedule, watchdog, webhook,
};
use crate::api;
use crate::clock::SystemClock;
use crate::config::{self, Environment, Loaded, Paths};
use crate::jobs::{self, Context, Parts, Which};
use crate::model::Problem;
use crate::sources::Machine;
use crate::store::{self, StateLock, Store, StoreError};

/// Rule S13: the last push gets this long.
const GRACE: Duration = Duration::from_secs(10);
/// A damaged ledger takes no last words, so its tasks are not waited for as long.
const BRIEF: Duration = Duration::from_secs(1);
/// The threads of a store end within this time.
const LETS_GO: Duration = Duration::from_secs(5);
/// And the last sample this long before it.
const LAST_SAMPLE: Duration = Duration::from_secs(2);

/// Runs until a signal.
pub(super) fn run(paths: &Paths, env: &Environment, loaded: Loaded) -> anyhow::Result<Exit> {
    let _lock = StateLock::take(&paths.state)?;
    block_on(async {
        let asked = signals::listen().context("cannot listen for signals")?;
        let (paths_again, env_again) = (paths.clone(), env.clone());
        let load: Load = Rc::new(move || config::load(&paths_again, &env_again).map_err(|faults| faults.to_string()));
        run_through(paths, load, loaded, false, asked).await
    })
}

/// Runs, and begins anew as often as it is told to (rule S11).
pub(super) async fn run_through(
    paths: &Paths,
    load: Load,
    mut loaded: Loaded,
    sandbox: bool,
    mut asked: mpsc::UnboundedReceiver<Asked>,
) -> anyhow::Result<Exit> {
    let mut kept = notify::kept_socket();
    let mut care = care::Care::default();
    loop {
        let before = loaded.clone();
        store::set_aside_if_marked(&paths.database())?;
        if !care.tend(paths, &loaded.config, sandbox, &mut kept, &mut asked).await? {
            return Ok(Exit::Fine);
        }
        let store = match Store::open(&paths.database()) {
            Err(StoreError::Damaged { what }) => {
                care.met(what);
                continue;
            }
            store => store?,
        };
        let mut damage = store.damage();
        let lived = match Daemon::start(paths, Rc::clone(&load), loaded, sandbox, &mut kept, store).await {
            Ok(daemon) => daemon.live(&mut asked).await,
            Err(error) => Err(error),
        };
        let met = damage.borrow_and_update().clone();
        match (lived, met) {
            (Ok(None), _) => return Ok(Exit::Fine),
            (Ok(Some(Afterwards::Recover)) | Err(_), Some(what)) => {
                care.met(what);
                // Nobody has the file open any more when this ends.
                drop(timeout(LETS_GO, async { while damage.changed().await.is_ok() {} }).await);
            }
            (Err(error), None) => return Err(error),
            (Ok(Some(afterwards)), _) => {
                if let Some(aside) = store::set_aside_if_marked(&paths.database())? {
                    tracing::info!(set_aside = %aside.display(), "the ledger was set aside");
                }
                if afterwards == Afterwards::Rest {
                    return Ok(Exit::Fine);
                }
            }
        }
        loaded = load().unwrap_or_else(|text| {
            tracing::error!("the old configuration stays in force: {text}");
            before
        });
    }
}

/// On one thread: a daemon that mostly waits needs no more, and every thread costs memory. At the end nobody waits for
/// what blocks elsewhere, as the look-up of a name or the question whether the system stops: it may never return.
pub(super) fn block_on(life: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.context("cannot start")?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = life => ended,
            never = log::tell_repeats() => match never {},
        }
    });
    log::finish();
    runtime.shutdown_background();
    ended
}

/// Reads the configuration again, as complete as it was at the start, or says what is wrong with it.
pub(super) type Load = Rc<dyn Fn() -> Result<Loaded, String>>;

/// Everything that runs.
pub(super) struct Daemon {
    context: Arc<Context>,
    load: Load,
    nudges: Nudges,
    /// Where the desk says that the ledger is to be set aside, and what then.
    set_aside: watch::Receiver<Option<Afterwards>>,
    schedule: schedule::Running,
    /// Ends the tasks that start work.
    stop_work: watch::Sender<bool>,
    /// Ends the socket.
    stop_answers: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Daemon {
    /// Starts everything; when it returns, the socket answers.
    async fn start(
        paths: &Paths,
        load: Load,
        loaded: Loaded,
        sandbox: bool,
        kept: &mut Option<UnixListener>,
        store: Store,
    ) -> anyhow::Result<Self> {
        for note in &loaded.notes {
            tracing::info!("{note}");
        }
        let socket = listen(&paths.socket(), kept).await?;
        let problems = assemble::surroundings(&loaded);
        let (settings, problem) = assemble::settings(loaded.config);
        let parts = Parts {
            store,
            clock: Arc::new(SystemClock),
            machine: Machine::default(),
            runtime_dir: paths.runtime.clone(),
            settings,
            dice: fastrand::Rng::with_seed(getrandom::u64().context("this machine gives no random numbers")?),
        };
        let context = jobs::start(parts).await?;
        assemble::report(&context, problem);
        assemble::report_surroundings(&context, problems);

        let config = context.settings().config.clone();
        let (nudges, inbox) = pusher::nudges();
        let (stop_work, stopping) = watch::channel(false);
        let (stop_answers, mut answers_end) = watch::channel(false);
        let (tell_aside, set_aside) = watch::channel(None);
        let desk = Arc::new(FrontDesk::new(Arc::clone(&context), nudges.clone(), tell_aside, sandbox, paths.clone()));
        let access = api::Access::new(rustix::process::geteuid().as_raw(), config.command_group.clone());
        let limits = api::Limits::new(config.intake.max_body, config.intake.max_records);
        let mut tasks = JoinSet::new();
        if let Some(address) = config.metrics.listen {
            let (context, desk) = (Arc::clone(&context), Arc::clone(&desk));
            tasks.spawn(metrics::run(context, desk, limits, address, stop_answers.subscribe()));
        }
        if let Some(address) = config.webhook.listen {
            let (context, nudges) = (Arc::clone(&context), nudges.clone());
            tasks.spawn(webhook::run(context, nudges, limits, address, stop_answers.subscribe()));
        }
        if config.dashboard.listen.is_some() {
            let (context, desk) = (Some(Arc::clone(&context)), Arc::clone(&desk));
            tasks.spawn(dashboard::run(context, desk, config.clone(), stop_answers.subscribe()));
        }
        tasks.spawn(async move {
            let end = async move { drop(answers_end.changed().await) };
            api::serve(socket, desk, access, limits, end).await;
        });
        let (due, is_due) = watch::channel(Instant::now());
        tasks.spawn(sampler::run(Arc::clone(&context), due, stopping.clone()));
        if let Some(patience) = notify::patience() {
            tasks.spawn(watchdog::run(Arc::clone(&context), patience, is_due, stopping.clone()));
        }
        let (pushed, has_pushed) = watch::channel(());
        tasks.spawn(alerter::run(Arc::clone(&context), has_pushed, stopping.clone()));
        tasks.spawn(pusher::run(Arc::clone(&context), pushed, inbox, stopping));
        let schedule = schedule::start(&config.schedule, nudges.clone()).await?;
        notify::ready("measuring");
        tracing::info!(version = env!("CARGO_PKG_VERSION"), socket = %paths.socket().display(), database = %paths.database().display(), "usaged runs");
        Ok(Self { context, load, nudges, set_aside, schedule, stop_work, stop_answers, tasks })
    }

    /// Lives until a signal, until its ledger is to be set aside, or until a task ends that must not. Where the ledger
    /// is, says what comes afterwards; nobody has the file open then.
    async fn live(mut self, asked: &mut mpsc::UnboundedReceiver<Asked>) -> anyhow::Result<Option<Afterwards>> {
        let mut set_aside = self.set_aside.clone();
        let mut damage = self.context.store.damage();
        let mut is_asked = false;
        loop {
            tokio::select! {
                what = asked.recv() => match what {
                    Some(Asked::Reload) => self.reload().await,
                    Some(Asked::Stop) | None => {
                        is_asked = true;
                        break;
                    }
                },
                Ok(_) = set_aside.wait_for(Option::is_some) => break,
                Ok(_) = damage.wait_for(Option::is_some) => break,
                Some(ended) = self.tasks.join_next() => {
                    ended.context("a part of usaged ended early")?;
                    anyhow::bail!("a part of usaged ended early");
                }
            }
        }
        if !is_asked && damage.borrow().is_some() {
            self.leave().await;
            return Ok(Some(Afterwards::Recover));
        }
        notify::stopping();
        tracing::info!("stopping: last sample, one push, then the end");
        let Self { context, schedule, stop_work, stop_answers, tasks, .. } = self;
        let afterwards = *set_aside.borrow();
        schedule.stop().await;
        stop_work.send_replace(true);
        // At once: a push that is under way may hang for the whole grace.
        if !matches!(timeout(LAST_SAMPLE, jobs::sample(&context)).await, Ok(Ok(_))) {
            tracing::warn!(
                "the last sample was not stored; running time since the one before it is lost if the system stops too"
            );
        }
        // What is set aside was sent before, or is not to be.
        let pushes = afterwards.is_none();
        tokio::select! {
            _ = timeout(GRACE, last_words(&context, pushes, stop_answers, tasks)) => {}
            _ = asked.recv() => tracing::warn!("asked again: stopping at once; what is unsent waits in usage.db"),
        }
        finish(&context).await;
        Ok(afterwards)
    }

    /// Lets go of a damaged ledger: nothing can be stored in it, and what is on its way is found as such later.
    async fn leave(self) {
        tracing::error!("usage.db is damaged: nothing more is stored in it");
        notify::status("usage.db is damaged: what can be read is recovered");
        let Self { schedule, stop_work, stop_answers, mut tasks, .. } = self;
        schedule.stop().await;
        stop_work.send_replace(true);
        stop_answers.send_replace(true);
        drop(timeout(BRIEF, async { while tasks.join_next().await.is_some() {} }).await);
        tasks.shutdown().await;
    }

    /// SIGHUP: the new configuration, or the old one with the reason.
    async fn reload(&mut self) {
        match (self.load)() {
            Err(text) => {
                tracing::error!("the old configuration stays in force: {text}");
                let first = text.lines().next().unwrap_or_default().to_owned();
                self.context.raise(Problem::needs_someone(
                    "config_faulty",
                    format!("the configuration was not reloaded, the old one stays in force: {first}"),
                    "usaged check-config lists every fault; then: systemctl reload usaged",
                ));
            }
            Ok(loaded) => {
                assemble::report_surroundings(&self.context, assemble::surroundings(&loaded));
                let (settings, problem) = assemble::settings(loaded.config);
                assemble::report(&self.context, problem);
                self.context.clear("config_faulty");
                let rhythm = settings.config.schedule.clone();
                self.context.replace_settings(settings);
                self.know_meters().await;
                self.reschedule(&rhythm).await;
                tracing::info!("the configuration was reloaded");
                // A push that is under way will be followed by this one.
                self.nudges.send(Nudge::Push("reload"));
            }
        }
    }

    async fn know_meters(&self) {
        match jobs::know_meters(&self.context).await {
            Ok(()) => self.context.clear("meter_changed"),
            Err(error) => self.context.raise(Problem::needs_someone(
                "meter_changed",
                error.to_string(),
                "correct the meter in usaged.toml, then: systemctl reload usaged",
            )),
        }
    }

    async fn reschedule(&mut self, rhythm: &config::Schedule) {
        match schedule::start(rhythm, self.nudges.clone()).await {
            Ok(new) => std::mem::replace(&mut self.schedule, new).stop().await,
            Err(error) => tracing::error!("the old schedule stays in force: {error}"),
        }
    }
}

/// On the socket that systemd kept open, else on a new one, which it is asked to keep.
pub(super) async fn listen(path: &Path, kept: &mut Option<UnixListener>) -> anyhow::Result<api::Socket> {
    let again = kept.as_ref().map(UnixListener::try_clone).transpose().context("cannot take over the socket")?;
    if let Some(socket) = again.and_then(|again| api::take_over(again, path)) {
        if notify::is_there() {
            return Ok(socket);
        }
        // Handed on within this process.
        *kept = None;
        return Ok(socket.kept_by_nobody());
    }
    *kept = None;
    let mut socket = api::bind(path).await?;
    if notify::is_there() {
        let listener = socket.to_be_kept().context("cannot keep the socket")?;
        notify::keep_socket(&listener);
        *kept = Some(listener);
    }
    Ok(socket)
}

/// Answers in flight end first: what they acknowledge belongs into the last push.
async fn last_words(context: &Arc<Context>, pushes: bool, stop_answers: watch::Sender<bool>, mut tasks: JoinSet<()>) {
    stop_answers.send_replace(true);
    while tasks.join_next().await.is_some() {}
    if pushes && let Err(error) = jobs::push(context, "stop", Which::Scheduled).await {
        tracing::warn!("the last push did not get through; what is unsent waits in usage.db: {error}");
    }
}

async fn finish(context: &Arc<Context>) {
    let going_down = tokio::task::spawn_blocking(super::signals::system_is_stopping);
    let going_down = matches!(timeout(Duration::from_secs(2), going_down).await, Ok(Ok(true)));
    if let Err(error) = jobs::note_stop(context, going_down).await {
        tracing::warn!("the end was not noted: {error}");
    }
    if let Err(error) = context.store.checkpoint().await {
        tracing::warn!("the last checkpoint was not made; nothing is lost by that: {error}");
    }
    tracing::info!("stopped");
}
