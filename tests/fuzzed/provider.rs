//! What comes back from the billing provider.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use usaged::config::{ApiKey, Periods, ProviderConfig, ProviderKind};
use usaged::model::{
    BillingMeter, BillingMeterId, Channel, CustomerId, Formula, ItemId, Span, SubscriptionId, Timestamp,
};
use usaged::provider::{BilledAt, Destination, Provider, SetUsage, Window};

/// A server whose every answer is the same bytes.
struct Server {
    runtime: Runtime,
    tasks: LocalSet,
    base_url: String,
    answer: Rc<RefCell<Vec<u8>>>,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Rc::new(RefCell::new(Vec::new()));
        let (tasks, answers) = (LocalSet::new(), Rc::clone(&answer));
        tasks.spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let bytes = answers.borrow().clone();
                // Who does not listen to the end has heard enough.
                drop(answer_with(stream, &bytes).await);
            }
        });
        Self { runtime, tasks, base_url, answer }
    }

    /// One question of the provider's, answered by these bytes.
    fn ask(&self, lemon: bool, question: u8) {
        let key = if lemon { "fuzzed.lemon.key" } else { "rk_test_fuzzed" };
        let config = ProviderConfig {
            kind: if lemon { ProviderKind::LemonSqueezy } else { ProviderKind::StripeMeters },
            base_url: self.base_url.clone(),
            timeout: Duration::from_secs(2),
            draft_grace: Duration::from_hours(1),
            periods: Periods::Provider,
            quiet_before_end: Duration::from_mins(5),
            key: Some(ApiKey { secret: key.to_owned().into(), from: "a test".to_owned() }),
            on_payment_failed: usaged::config::OnPaymentFailed::Alert,
        };
        let provider = Provider::new(&config).unwrap();
        let heard = self.runtime.block_on(self.tasks.run_until(asked(&provider, lemon, question)));
        assert!(!heard.contains(key), "the key is in {heard}");
    }
}

async fn answer_with(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut request = [0; 8_192];
    if stream.read(&mut request).await? > 0 {
        stream.write_all(bytes).await?;
    }
    stream.shutdown().await
}

fn destination(channel: Channel) -> Destination {
    let (item, customer) = (ItemId::new("si_1").unwrap(), CustomerId::new("cus_1").unwrap());
    Destination { item, customer, channel }
}

fn channel(lemon: bool, question: u8) -> Channel {
    let formulas = [Formula::Last, Formula::Sum, Formula::SumOfDays];
    match (lemon, formulas.get(usize::from(question % 4))) {
        (true, _) => Channel::CurrentUsage,
        (false, None) => Channel::UsageRecords,
        (false, Some(formula)) => Channel::Meter(BillingMeter {
            id: BillingMeterId::new("mtr_1").unwrap(),
            event_name: "credits".to_owned(),
            customer_key: "stripe_customer_id".to_owned(),
            value_key: "value".to_owned(),
            formula: *formula,
        }),
    }
}

async fn asked(provider: &Provider, lemon: bool, question: u8) -> String {
    let to = destination(channel(lemon, question));
    let period = Span::new(Timestamp::from_secs(1_793_491_200), Timestamp::from_secs(1_796_083_200));
    let window = Window { period, timestamp_s: 1_793_491_201 };
    let subscription = SubscriptionId::new("sub_1").unwrap();
    match (question >> 2) & 7 {
        0 => format!("{:?}", provider.read_subscription(&subscription).await),
        1 => format!("{:?}", provider.read_meter(&BillingMeterId::new("mtr_1").unwrap()).await),
        2 => format!("{:?}", provider.read_current(&to, window).await),
        3 => format!("{:?}", provider.read_ended(&to, window).await),
        4 => format!("{:?}", provider.read_periods(&to).await),
        5 => {
            let item = to.item.clone();
            format!("{:?}", provider.read_billed(&BilledAt { subscription, item, price: None, period }).await)
        }
        6 => {
            let set = SetUsage {
                to,
                quantity: 7,
                timestamp_s: 1_793_491_201,
                idempotency_key: "key".to_owned(),
                identifier: "identifier".to_owned(),
            };
            format!("{:?}", provider.set_usage(&set).await)
        }
        _ => format!("{:?}", provider.claim_item(&to.item, "machine", "key").await),
    }
}

/// The first byte asks, the second says how the others are sent: as they are, or as the body of an answer.
pub(crate) fn read(bytes: &[u8]) {
    thread_local! {
        static SERVER: Server = Server::start();
    }
    let [question, framing, body @ ..] = bytes else { return };
    let status = match framing % 8 {
        0 => None,
        1 => Some("400 Bad Request"),
        2 => Some("404 Not Found"),
        3 => Some("409 Conflict"),
        4 => Some("429 Too Many Requests"),
        5 => Some("503 Service Unavailable"),
        _ => Some("200 OK"),
    };
    let head = status.map_or_else(String::new, |status| {
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len())
    });
    SERVER.with(|server| {
        *server.answer.borrow_mut() = [head.as_bytes(), body].concat();
        server.ask(framing & 8 != 0, *question);
    });
}
