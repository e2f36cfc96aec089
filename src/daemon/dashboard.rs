//! The usage page, where one is configured.

use std::sync::Arc;

use tokio::sync::watch;

use super::door::Door;
use crate::api::{self, ApiError, Limits};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Dashboard, Listen};
use crate::dashboard::{self, Answer, Gate, Place, Trouble};
use crate::jobs::{self, Context};
use crate::model::Problem;
use crate::wire::{AlertsReport, ExplainReport, ExplainRequest, PageReport, Status};

/// Connections at once. A browser opens a few for the page, its style and its script.
const CONNECTIONS_MAX: usize = 16;
/// So many alerts are shown.
const ALERTS: u32 = 20;

const NO_TOKEN: &str = "dashboard_token_missing";

/// Answers until told to stop. Without a context the ledger is damaged, and the page says so.
pub(super) async fn run(
    context: Option<Arc<Context>>,
    desk: Arc<dyn api::Desk>,
    config: Config,
    mut stop: watch::Receiver<bool>,
) {
    let limits = Limits::new(config.intake.max_body, config.intake.max_records);
    let Dashboard { listen: Some(listen), token, url } = config.dashboard else { return };
    if token.is_none() && matches!(listen, Listen::Tcp(_)) {
        return unlocked(context.as_deref(), &mut stop).await;
    }
    let mut random = [0; 32];
    if let Err(error) = getrandom::fill(&mut random) {
        tracing::error!("the usage page is not served: this machine gives no random numbers: {error}");
        return until_told(&mut stop).await;
    }
    let place = Place::new(url, matches!(listen, Listen::Tcp(_)));
    let router = dashboard::router(Arc::new(Front { context: context.clone(), desk }), Gate::new(token, random), place);
    let door = Door {
        code: "dashboard_not_served",
        done: "the usage page is",
        not_done: "the usage page is not served",
        setting: "dashboard.listen",
        path: "/",
    };
    match listen {
        Listen::Tcp(address) => {
            if let Some(listener) = door.open_at(context.as_deref(), &address, &mut stop).await {
                api::serve_strangers(listener, router, CONNECTIONS_MAX, limits, until_told(&mut stop)).await;
            }
        }
        Listen::Unix(path) => {
            if let Some(socket) = door.open_at(context.as_deref(), &path, &mut stop).await {
                api::serve_strangers(socket, router, CONNECTIONS_MAX, limits, until_told(&mut stop)).await;
            }
        }
    }
}

async fn until_told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Whoever is on this machine could read it, and open the customer's portal.
async fn unlocked(context: Option<&Context>, stop: &mut watch::Receiver<bool>) {
    if let Some(context) = context {
        context.raise(Problem::needs_someone(
            NO_TOKEN,
            "the usage page is not served: there is no token to log in with",
            "provide one of 20 characters or more as systemd credential dashboard_token, in dashboard.token_file, or as \
             USAGED_DASHBOARD_TOKEN, then: systemctl restart usaged",
        ));
    }
    until_told(stop).await;
}

/// Takes the page's questions to where the socket's go, and to the jobs that are the page's own.
struct Front {
    context: Option<Arc<Context>>,
    desk: Arc<dyn api::Desk>,
}

impl Front {
    fn context(&self) -> Result<&Arc<Context>, Trouble> {
        let what = "usage.db is damaged, and what can be read of it is being recovered".to_owned();
        self.context.as_ref().ok_or(Trouble { status: 503, what, hint: Some("reload the page in a minute".to_owned()) })
    }
}

impl dashboard::Desk for Front {
    fn now_s(&self) -> i64 {
        self.context.as_ref().map_or_else(|| SystemClock.read().wall, |context| context.now()).secs()
    }

    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async { self.desk.status().await.map_err(trouble) })
    }

    fn page(&self) -> Answer<'_, PageReport> {
        Box::pin(async { jobs::page(self.context()?).await.map_err(|error| trouble(super::desk::explain(error))) })
    }

    fn alerts(&self) -> Answer<'_, AlertsReport> {
        Box::pin(async { self.desk.alerts(ALERTS).await.map_err(trouble) })
    }

    fn explain(&self, month: Option<String>) -> Answer<'_, ExplainReport> {
        Box::pin(async { self.desk.explain(ExplainRequest { month, meter: None }).await.map_err(trouble) })
    }

    fn open_portal(&self, return_url: String) -> Answer<'_, String> {
        Box::pin(async move {
            let opened = jobs::open_portal(self.context()?, &return_url).await;
            opened.map_err(|error| trouble(super::desk::explain(error)))
        })
    }
}

fn trouble(error: ApiError) -> Trouble {
    Trouble { status: error.status.as_u16(), what: error.body.error, hint: error.body.hint }
}
