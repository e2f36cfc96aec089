//! The webhook receiver, where one is configured.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;

use super::door::Door;
use super::pusher::{Nudge, Nudges};
use crate::api::{self, Limits};
use crate::jobs::{self, Because, Context};
use crate::model::{Event, Problem};
use crate::webhook::{self, Inbox, Refused, Taken};

/// Connections at once. A provider sends events of one account a few at a time.
const CONNECTIONS_MAX: usize = 16;
/// So many that are refused in a row are no accident.
const MANY: u32 = 5;
/// The guide's measure of a webhook that takes too long.
const SLOW: Duration = Duration::from_secs(5);

const REFUSED: &str = "webhook_refused";
const TOO_SLOW: &str = "webhook_slow";

/// Answers until told to stop.
pub(super) async fn run(
    context: Arc<Context>,
    nudges: Nudges,
    limits: Limits,
    address: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    let door = Door {
        code: "webhook_not_served",
        done: "webhooks are taken",
        not_done: "webhooks are not taken",
        setting: "webhook.listen",
        path: "/webhooks/",
    };
    if let Some(listener) = door.open(&context, address, &mut stop).await {
        let inbox = Arc::new(Mail { context, nudges, refused: AtomicU32::new(0) });
        let end = async move { drop(stop.changed().await) };
        api::serve_strangers(listener, webhook::router(inbox), CONNECTIONS_MAX, limits, end).await;
    }
}

/// Where what was let in goes.
struct Mail {
    context: Arc<Context>,
    nudges: Nudges,
    /// In a row.
    refused: AtomicU32,
}

impl Mail {
    async fn keep(&self, event: Event) -> Taken {
        let id = event.id.clone();
        match jobs::take_event(&self.context, event).await {
            Ok(true) => self.nudges.send(Nudge::Look(Because::Events)),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(event = id, "an event could not be stored, the provider sends it again: {error}");
                return Taken::NotNow;
            }
        }
        Taken::Done
    }

    fn took(&self, took: Duration) {
        if took <= SLOW {
            return self.context.clear(TOO_SLOW);
        }
        self.context.raise(Problem::needs_someone(
            TOO_SLOW,
            format!("a webhook was answered after {} s only", took.as_secs()),
            "usage.db is on a slow or busy disk; usagectl doctor looks at it",
        ));
    }
}

impl Inbox for Mail {
    fn secrets(&self) -> Vec<SecretString> {
        self.context.settings().config.webhook.secrets.clone()
    }

    fn now_s(&self) -> i64 {
        self.context.now().secs()
    }

    fn take(&self, event: Event) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        Box::pin(async move {
            if self.refused.swap(0, Ordering::Relaxed) >= MANY {
                self.context.clear(REFUSED);
            }
            let came = Instant::now();
            let taken = self.keep(event).await;
            self.took(came.elapsed());
            taken
        })
    }

    fn refused(&self, why: Refused) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        tracing::debug!("a webhook was refused: {why}");
        // That there is no secret is a problem of its own.
        if refused == MANY && why != Refused::NoSecret {
            self.context.raise(Problem::note(
                REFUSED,
                format!("{MANY} webhooks in a row were refused, and none was taken since: {why}"),
                "compare the signing secret with the one on the endpoint's page, and this machine's clock with the world's; \
                 what webhooks tell is read on schedule meanwhile",
            ));
        }
    }
}
