//! Sends the orders of a plan and waits for their ends.

use crate::load::latency::Latencies;
use crate::load::ledger::{Ledger, Open};
use crate::load::schedule::{self, Pace, Plan};
use crate::load::statuses::Statuses;
use anyhow::{Context as _, bail};
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Posts at once: more would only wait within the service, and take a connection each.
const CONNECTIONS: usize = 512;
/// An open loop that is this far behind is given up: the pipeline is too slow for the rate.
const MOST_IN_FLIGHT: u64 = 100_000;
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(35);
/// Orders that have not ended after this long without any end are lost.
const QUIET: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// Where orders go and where their ends are heard.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) orders_api: String,
    pub(crate) brokers: String,
    pub(crate) topic_prefix: String,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) accepted: u64,
    /// Accepted orders whose trace is sampled.
    pub(crate) sampled: u64,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) finished: BTreeMap<&'static str, u64>,
    pub(crate) unfinished: u64,
    /// From the start to the last end of an order.
    pub(crate) seconds: f64,
    pub(crate) accept: Latencies,
    pub(crate) end_to_end: Latencies,
    pub(crate) interrupted: bool,
}

/// Ready to send.
pub(crate) struct Driver {
    plan: Plan,
    shared: Arc<Shared>,
    statuses: Statuses,
}

struct Shared {
    http: reqwest::Client,
    url: String,
    ledger: Arc<Mutex<Ledger>>,
    sampler: Sampler,
    connections: Semaphore,
    questions: Option<mpsc::Sender<String>>,
}

#[derive(Deserialize)]
struct Accepted {
    order_id: Uuid,
    trace_id: Option<String>,
}

impl Driver {
    /// Connects to both ends.
    ///
    /// # Errors
    /// If one of them does not answer.
    pub(crate) async fn start(target: &Target, plan: Plan) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER)
            .pool_max_idle_per_host(CONNECTIONS)
            .build()?;
        let base = target.orders_api.trim_end_matches('/');
        http.get(format!("{base}/healthz"))
            .send()
            .await
            .with_context(|| {
                format!(
                    "no orders API answers at {base}; start the showcase with `cargo run` first"
                )
            })?;
        Ok(Self {
            statuses: Statuses::start(&target.brokers, &target.topic_prefix).await?,
            shared: Arc::new(Shared {
                http,
                url: format!("{base}/orders"),
                ledger: Arc::new(Mutex::new(Ledger::new()?)),
                sampler: Sampler::TraceIdRatioBased(plan.sampling),
                connections: Semaphore::new(CONNECTIONS),
                questions: None,
            }),
            plan,
        })
    }

    /// The ids of sampled traces whose order was accepted go to `questions`, as far as it has room.
    pub(crate) fn tell_sampled(&mut self, questions: mpsc::Sender<String>) {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.questions = Some(questions);
        }
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            ledger: Arc::clone(&self.shared.ledger),
            started: Instant::now(),
            before: Mutex::new((Instant::now(), 0, 0)),
        }
    }

    /// Sends all orders and waits for their ends; until `interrupt`, which leaves what is in flight.
    ///
    /// # Errors
    /// If the pipeline falls hopelessly behind.
    pub(crate) async fn run(self, interrupt: CancellationToken) -> anyhow::Result<Outcome> {
        let Self {
            plan,
            shared,
            statuses,
        } = self;
        let ledger = Arc::clone(&shared.ledger);
        let hearing = tokio::spawn(statuses.enter(Arc::clone(&ledger)));
        let started = Instant::now();
        let work = async {
            match plan.pace {
                Pace::Rate(rate) => open_loop(&plan, rate, &shared, started).await?,
                Pace::InFlight(places) => closed_loop(&plan, places, &shared, started).await,
            }
            wait_for_ends(&ledger).await;
            anyhow::Ok(())
        };
        let interrupted = tokio::select! {
            biased;
            () = interrupt.cancelled() => true,
            done = work => {
                done?;
                false
            }
        };
        hearing.abort();
        let ledger = lock(&ledger);
        let end = ledger.last_finished.unwrap_or_else(Instant::now);
        Ok(Outcome {
            sent: ledger.sent,
            accepted: ledger.accepted,
            sampled: ledger.sampled,
            refused: ledger.refused.clone(),
            finished: ledger.finished.clone(),
            unfinished: ledger.in_flight(),
            seconds: (end - started).as_secs_f64(),
            accept: ledger.accept.clone(),
            end_to_end: ledger.end_to_end.clone(),
            interrupted,
        })
    }
}

/// Posts every order when it is due.
async fn open_loop(
    plan: &Plan,
    rate: f64,
    shared: &Arc<Shared>,
    started: Instant,
) -> anyhow::Result<()> {
    let mut number = 0;
    loop {
        let due = schedule::due(rate, number);
        if plan.limit.is_reached(number, due) {
            return Ok(());
        }
        // Returns at once where it is late.
        tokio::time::sleep_until(started + due).await;
        let in_flight = lock(&shared.ledger).in_flight();
        if in_flight > MOST_IN_FLIGHT {
            bail!("{in_flight} orders are in flight: the pipeline does not keep up with this rate");
        }
        send(plan, shared, number, started + due, None);
        number += 1;
    }
}

/// Posts an order whenever one has ended.
async fn closed_loop(plan: &Plan, places: u32, shared: &Arc<Shared>, started: Instant) {
    let places = Arc::new(Semaphore::new(places as usize));
    let mut number = 0;
    while !plan.limit.is_reached(number, started.elapsed()) {
        let freed = tokio::time::timeout(QUIET, Arc::clone(&places).acquire_owned()).await;
        let Ok(Ok(place)) = freed else {
            return;
        };
        send(plan, shared, number, Instant::now(), Some(place));
        number += 1;
    }
}

fn send(
    plan: &Plan,
    shared: &Arc<Shared>,
    number: u64,
    due: Instant,
    place: Option<tokio::sync::OwnedSemaphorePermit>,
) {
    let customer = number % plan.customers;
    let order = json!({
        "customer": {
            "id": format!("c-{customer}"),
            "name": "Ada Lovelace",
            "email": "ada@example.org",
        },
        "currency": "EUR",
        "payment_method": plan.payment_methods.of(number),
        "items": [{"sku": "book-1", "quantity": 2, "unit_price": 1250}]
    });
    lock(&shared.ledger).sent += 1;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let posted = shared.post(order.to_string()).await;
        let now = Instant::now();
        let mut ledger = lock(&shared.ledger);
        match posted {
            Ok(accepted) => {
                ledger.accepted(accepted.order_id, Open { due, _place: place }, now);
                if let Some(trace_id) = accepted.trace_id
                    && shared.is_sampled(&trace_id)
                {
                    ledger.sampled += 1;
                    if let Some(questions) = &shared.questions {
                        // One that does not fit is not asked for.
                        let _ = questions.try_send(trace_id);
                    }
                }
            }
            Err(why) => ledger.refused(why),
        }
    });
}

impl Shared {
    async fn post(&self, order: String) -> Result<Accepted, String> {
        let _connection = self.connections.acquire().await;
        let answer = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .body(order)
            .send()
            .await
            .map_err(|error| {
                let why = if error.is_timeout() {
                    "no answer in time"
                } else {
                    "no answer"
                };
                why.to_owned()
            })?;
        match answer.status() {
            StatusCode::ACCEPTED => {
                let body = answer.bytes().await.map_err(|_| "broken answer")?;
                serde_json::from_slice(&body).map_err(|_| "unreadable answer".to_owned())
            }
            status => Err(status.to_string()),
        }
    }

    /// As the SDK decides for a root: by the trace id alone.
    fn is_sampled(&self, trace_id: &str) -> bool {
        let Ok(trace_id) = TraceId::from_hex(trace_id) else {
            return false;
        };
        let result = self
            .sampler
            .should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }
}

/// Until no order is in flight, or none has ended for half a minute.
async fn wait_for_ends(ledger: &Mutex<Ledger>) {
    let mut grown = Instant::now();
    let mut before = (0, 0);
    loop {
        {
            let ledger = lock(ledger);
            if ledger.in_flight() == 0 {
                return;
            }
            let now = (ledger.finished(), ledger.accepted);
            if now != before {
                (before, grown) = (now, Instant::now());
            }
        }
        if grown.elapsed() > QUIET {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Tells how far a run is.
pub(crate) struct Progress {
    ledger: Arc<Mutex<Ledger>>,
    started: Instant,
    /// When it was last asked, and what was accepted and finished then.
    before: Mutex<(Instant, u64, u64)>,
}

impl Progress {
    /// Rates since the last line.
    pub(crate) fn line(&self) -> String {
        let now = Instant::now();
        let mut ledger = lock(&self.ledger);
        ledger.tidy(now);
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, accepted, finished) = *before;
        *before = (now, ledger.accepted, ledger.finished());
        let seconds = (now - then).as_secs_f64().max(f64::EPSILON);
        let rate = |now: u64, then: u64| (now - then) as f64 / seconds;
        format!(
            "{:>5.0} s  {:>7.1}/s accepted  {:>7.1}/s finished  {} in flight  {} errors",
            (now - self.started).as_secs_f64(),
            rate(before.1, accepted),
            rate(before.2, finished),
            ledger.in_flight(),
            ledger.refusals(),
        )
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
