//! `usaged run --sandbox`: the whole job against a strict Stripe inside this process, apart from any real state.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::args::{Sandboxed, say};
use super::log::LogFormat;
use super::run::{Load, block_on, run_through};
use super::signals::{self, Asked};
use super::{Exit, log};
use crate::clock::SystemClock;
use crate::config::{self, ApiKey, Config, Environment, LinkSeed, Loaded, Paths, ProviderKind};
use crate::model::{
    CustomerId, Included, ItemId, Meter, MeterName, NameError, PlanMeter, PlanName, Report, Rounding, Source,
    SubscriptionId, Unit,
};
use crate::sandbox::lemon_squeezy::{self, LemonSqueezyDemo};
use crate::sandbox::{self, Demo, Sandbox, SandboxClock, seed_demo, seed_meter_demo};
use crate::store::StateLock;

/// Push every five seconds: somebody is watching.
const PUSH: &str = "*/5 * * * * *";

/// Runs sandbox and daemon together until a signal.
pub(super) fn run(paths: &Paths, env: &Environment, log_format: LogFormat) -> anyhow::Result<Exit> {
    let env = env.clone().without_billing();
    log::start(&env, true, log_format);
    let loaded = match config::load(paths, &env) {
        Ok(loaded) => loaded,
        Err(faults) => {
            say(&mut std::io::stderr(), &faults.to_string());
            return Ok(Exit::Config);
        }
    };
    let _lock = StateLock::take(&paths.state)?;
    block_on(async {
        let asked = signals::listen().context("cannot listen for signals")?;
        let books = paths.state.join("stripe");
        let stripe = Sandbox::open(&books, SandboxClock::following(Arc::new(SystemClock)))?;
        let kind = stripe_kind(loaded.config.provider.kind);
        let demo = match kind {
            ProviderKind::StripeMeters => seed_meter_demo(&stripe, "last", None, None)?,
            _ => seed_demo(&stripe)?,
        };
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.context("no free loopback port")?;
        let address = listener.local_addr()?;
        let mut server = JoinSet::new();
        server.spawn(async move { stripe.serve(listener, std::future::pending()).await });
        let config = billed_by_demo(loaded.config, kind, &demo, address)?;
        introduce(paths, &demo, address);
        let again = paths.clone();
        let load: Load = Rc::new(move || {
            let loaded = config::load(&again, &env).map_err(|faults| faults.to_string())?;
            let config = billed_by_demo(loaded.config, kind, &demo, address).map_err(|error| error.to_string())?;
            Ok(Loaded { config, notes: Vec::new(), problems: Vec::new() })
        });
        run_through(paths, load, Loaded { config, notes: Vec::new(), problems: Vec::new() }, true, asked).await
    })
}

/// The sandbox alone, until a signal.
pub(super) fn run_alone(provider: Sandboxed, listen: SocketAddr, paths: &Paths) -> anyhow::Result<Exit> {
    block_on(async {
        let mut asked = signals::listen().context("cannot listen for signals")?;
        match provider {
            Sandboxed::Stripe => {
                let announce = |address| say(&mut std::io::stdout(), &format!("Stripe sandbox on http://{address}"));
                sandbox::run_alone(listen, paths.state.join("stripe-alone"), announce, stopped(&mut asked)).await?;
            }
            Sandboxed::LemonSqueezy => {
                let dir = paths.state.join("lemon-squeezy-alone");
                lemon_squeezy::run_alone(listen, dir, introduce_lemon_squeezy, stopped(&mut asked)).await?;
            }
        }
        Ok(Exit::Fine)
    })
}

async fn stopped(asked: &mut tokio::sync::mpsc::UnboundedReceiver<Asked>) {
    while asked.recv().await == Some(Asked::Reload) {}
}

fn introduce(paths: &Paths, demo: &Demo, address: SocketAddr) {
    let text = format!(
        "Stripe sandbox on http://{address}, its books in {}\n\
         customer {}, subscription {}, plan pro with nothing included\n\
         compute_hours is billed by the whole hour; compute_seconds measures the same by the second, to have something to see\n\
         in another terminal: usagectl status, usagectl record api_credits 5 --id order-1, usagectl sync --commit",
        paths.state.join("stripe").display(),
        demo.customer,
        demo.subscription,
    );
    say(&mut std::io::stdout(), &text);
}

/// Its ids are numbers and its subscriptions begin at a checkout, so there is nothing to start with but the demo.
fn introduce_lemon_squeezy(address: SocketAddr, demo: &LemonSqueezyDemo) {
    let text = format!(
        "Lemon Squeezy sandbox on http://{address}\n\
         key {}, customer {}, subscription {} with the usage-based items {} (compute) and {} (api)",
        demo.key, demo.customer, demo.subscription, demo.item_compute, demo.item_api,
    );
    say(&mut std::io::stdout(), &text);
}

/// Meters where they are configured. A usage record may lie one second after a period's start, an event only in a whole
/// minute of it: so those have something to show in the first minute.
const fn stripe_kind(configured: ProviderKind) -> ProviderKind {
    match configured {
        ProviderKind::StripeMeters => ProviderKind::StripeMeters,
        _ => ProviderKind::StripeUsageRecords,
    }
}

/// Bills on the demo's items, with nothing included, so that every unit shows.
fn billed_by_demo(
    mut config: Config,
    kind: ProviderKind,
    demo: &Demo,
    address: SocketAddr,
) -> Result<Config, NameError> {
    config.provider.kind = kind;
    config.provider.base_url = format!("http://{address}");
    config.provider.key = Some(ApiKey { secret: demo.agent_key.clone().into(), from: "the sandbox's demo".to_owned() });
    config.schedule.sample_every = Duration::from_secs(1);
    PUSH.clone_into(&mut config.schedule.push);
    config.schedule.spread = Duration::ZERO;
    let seconds = compute_seconds()?;
    let plan_name = PlanName::new("pro")?;
    if let Some(plan) = config.plans.get_mut(&plan_name) {
        let terms = PlanMeter {
            included: None,
            price: Some(sandbox::SECONDS_PRICE.to_owned()),
            unit_amount: "0.00001".parse().ok(),
        };
        plan.meters.insert(seconds.name.clone(), terms);
        for terms in plan.meters.values_mut() {
            terms.included = terms.included.or(Some(Included::Units(0)));
        }
    }
    config.meters.insert(seconds.name.clone(), seconds);
    config.seed = LinkSeed {
        customer: Some(CustomerId::new(&*demo.customer)?),
        subscription: Some(SubscriptionId::new(&*demo.subscription)?),
        item_compute: Some(ItemId::new(&*demo.item_compute)?),
        item_api: Some(ItemId::new(&*demo.item_api)?),
        plan: Some(plan_name),
    };
    Ok(config)
}

fn compute_seconds() -> Result<Meter, NameError> {
    Ok(Meter {
        name: MeterName::new("compute_seconds")?,
        source: Source::Uptime,
        unit: Unit::of("seconds"),
        rounding: Rounding::Down,
        report: Report::Overage,
        max_per_record: None,
        max_per_hour: None,
    })
}
