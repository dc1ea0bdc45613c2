//! The stack of processes: broker, viewer, payments, order-processor, orders-api, started in that
//! order, each when the one before is ready, and stopped in the opposite one.
//!
//! What a demonstration needs and a service should not default to is handed over here as
//! environment variables: the embedded broker's client settings, quick export, loopback ports.

use crate::broker;
use crate::child::{Child, ChildError, Launch};
use crate::topics;
use anyhow::{Context, bail};
use order_events::Topics;
use service::Environment;
use service::environment::ConfigError;
use service::kafka::{SECURITY_VARIABLES, Security};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Partitions of each topic: enough to hold a demonstration's backlog under the embedded broker's
/// limit for each.
pub const PARTITIONS: i32 = 12;
/// How long a service may take from listening to ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(25);

/// Loopback ports; 0 takes a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
#[allow(missing_docs, reason = "each is documented by its help text")]
#[command(next_help_heading = "Ports (0 takes a free one)")]
pub struct Ports {
    /// Orders API
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub orders_api_port: u16,
    /// Payments API
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    pub payments_port: u16,
    /// Simulated payment gateway
    #[arg(long, value_name = "PORT", default_value_t = 8002)]
    pub gateway_port: u16,
    /// Health routes of the order processor
    #[arg(long, value_name = "PORT", default_value_t = 8003)]
    pub order_processor_port: u16,
    /// Live page and query API
    #[arg(long, value_name = "PORT", default_value_t = 8010)]
    pub viewer_port: u16,
    /// Controls of the live page
    #[arg(long, value_name = "PORT", default_value_t = 8012)]
    pub control_port: u16,
    /// OTLP over gRPC, taken by the viewer
    #[arg(long, value_name = "PORT", default_value_t = 4317)]
    pub otlp_grpc_port: u16,
    /// OTLP over HTTP, taken by the viewer
    #[arg(long, value_name = "PORT", default_value_t = 4318)]
    pub otlp_http_port: u16,
    /// Embedded broker
    #[arg(long, value_name = "PORT", default_value_t = 9092)]
    pub broker_port: u16,
}

impl Ports {
    /// A free port for each.
    pub const FREE: Self = Self {
        orders_api_port: 0,
        payments_port: 0,
        gateway_port: 0,
        order_processor_port: 0,
        viewer_port: 0,
        control_port: 0,
        otlp_grpc_port: 0,
        otlp_http_port: 0,
        broker_port: 0,
    };
}

/// The broker that a stack uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// A new embedded one, in a child process.
    Embedded,
    /// An embedded one that runs elsewhere, at this address, topics included.
    Running(String),
    /// A real broker; the topics are created if they are missing.
    Real(String),
}

/// What stack to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `throughline` program.
    pub program: PathBuf,
    /// The broker.
    pub broker: Broker,
    /// Put before the names of topics and groups.
    pub topic_prefix: String,
    /// Folder for databases and logs; must exist.
    pub data: PathBuf,
    /// Ports.
    pub ports: Ports,
    /// Where traces and logs go, the URL of an OTLP/HTTP receiver; `None` starts the viewer and
    /// sends them there.
    pub collector: Option<String>,
    /// Further variables: service, name, value. They win over those set here.
    pub environment: Vec<(String, String, String)>,
}

/// What [`Stack::start`] reports on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The part that is ready.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// How long it took.
    pub took: Duration,
}

/// A running stack.
pub struct Stack {
    plan: Plan,
    http: reqwest::Client,
    brokers: String,
    /// In the order they were started.
    children: Vec<Child>,
}

impl Stack {
    /// Starts everything; `progress` hears of each part that is ready.
    ///
    /// # Errors
    /// The first part that does not get ready; the others are killed.
    pub async fn start(plan: Plan, mut progress: impl FnMut(Ready)) -> anyhow::Result<Self> {
        let mut stack = Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(5))
                .build()?,
            brokers: String::new(),
            children: Vec::new(),
            plan,
        };
        stack.start_broker(&mut progress).await?;
        if stack.plan.collector.is_none() {
            progress(stack.start_service("viewer").await?);
        }
        for service in ["payments", "order-processor", "orders-api"] {
            progress(stack.start_service(service).await?);
        }
        Ok(stack)
    }

    async fn start_broker(&mut self, progress: &mut impl FnMut(Ready)) -> anyhow::Result<()> {
        let started = Instant::now();
        let topics = Topics::with_prefix(&self.plan.topic_prefix);
        self.brokers = match self.plan.broker.clone() {
            Broker::Running(address) => address,
            Broker::Real(address) => {
                let security = self.security()?;
                topics::create(&address, &security, &topics.all(), PARTITIONS).await?;
                address
            }
            Broker::Embedded => {
                let mut arguments = vec![
                    "broker".to_owned(),
                    format!("--listen={}", loopback(self.plan.ports.broker_port)),
                ];
                for topic in topics.all() {
                    arguments.push(format!("--topic={topic}:{PARTITIONS}"));
                }
                let child = Child::start(Launch {
                    arguments,
                    ..self.launch("broker", &["broker"], Vec::new())
                })
                .await?;
                let address = child.address("broker").map(|address| address.to_string());
                self.children.push(child);
                address.unwrap_or_default()
            }
        };
        progress(Ready {
            name: "broker".into(),
            address: self.brokers.clone(),
            took: started.elapsed(),
        });
        Ok(())
    }

    /// What `orders-api` will connect with: the runner does the same.
    fn security(&self) -> Result<Security, ConfigError> {
        let mut environment = Environment::from_fn(|variable| {
            let given = self.plan.environment.iter().rev();
            given
                .filter(|(to, name, _)| to == "orders-api" && name == variable)
                .map(|(_, _, value)| value.clone())
                .next()
                .or_else(|| std::env::var(variable).ok())
        });
        let security = Security::configure(&mut environment);
        environment.finish(security)
    }

    /// Starts `service`, which is not running, and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or is not ready in time.
    pub async fn start_service(&mut self, service: &str) -> anyhow::Result<Ready> {
        let environment = self.environment_of(service);
        self.start_process(service, service, environment).await
    }

    /// Starts another member of the group `order-processor`, and waits until it is ready. It is
    /// called `order-processor-NUMBER` here, and shares the first one's database.
    ///
    /// # Errors
    /// If it ends or is not ready in time.
    pub async fn start_order_processor(&mut self, number: u32) -> anyhow::Result<Ready> {
        let service = "order-processor";
        let mut environment = self.environment_of(service);
        environment.push(("LISTEN_ADDR".into(), loopback(0)));
        self.start_process(&format!("{service}-{number}"), service, environment)
            .await
    }

    async fn start_process(
        &mut self,
        name: &str,
        service: &str,
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<Ready> {
        let started = Instant::now();
        let announces: &[&str] = match service {
            "viewer" => &["viewer", "OTLP/HTTP", "OTLP/gRPC"],
            "payments" => &["payments", "payment gateway"],
            other => &[other],
        };
        let launch = Launch {
            name: name.into(),
            ..self.launch(service, announces, environment)
        };
        let mut child = Child::start(launch).await?;
        let address = child
            .address(service)
            .map(|address| format!("http://{address}"))
            .unwrap_or_default();
        if service != "viewer" {
            self.wait_until_ready(&mut child, &address).await?;
        }
        self.children.push(child);
        Ok(Ready {
            name: name.to_owned(),
            address,
            took: started.elapsed(),
        })
    }

    async fn wait_until_ready(&self, child: &mut Child, address: &str) -> anyhow::Result<()> {
        let poll = async {
            loop {
                let answer = self.http.get(format!("{address}/readyz")).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(READY_POLL).await;
            }
        };
        tokio::select! {
            ready = tokio::time::timeout(READY_TIMEOUT, poll) => ready.with_context(|| {
                format!("{} is not ready after {READY_TIMEOUT:?}; see {}", child.name(), child.log().display())
            }),
            error = child.ended() => Err(error.into()),
        }
    }

    fn launch(&self, name: &str, announces: &[&str], environment: Vec<(String, String)>) -> Launch {
        Launch {
            program: self.plan.program.clone(),
            arguments: vec!["service".into(), name.into()],
            name: name.into(),
            environment,
            announces: announces.iter().map(|&what| what.into()).collect(),
            logs: self.plan.data.clone(),
        }
    }

    fn environment_of(&self, service: &str) -> Vec<(String, String)> {
        let ports = &self.plan.ports;
        let mut environment: Vec<(&str, String)> = Vec::new();
        if service == "viewer" {
            environment.extend([
                ("VIEWER_LISTEN", loopback(ports.viewer_port)),
                ("VIEWER_OTLP_HTTP", loopback(ports.otlp_http_port)),
                ("VIEWER_OTLP_GRPC", loopback(ports.otlp_grpc_port)),
            ]);
        } else {
            let database = self.plan.data.join(format!("{service}.db"));
            let collector = match &self.plan.collector {
                Some(url) => url.clone(),
                None => self.url_of("viewer", "OTLP/HTTP"),
            };
            environment.extend([
                ("DATABASE_URL", format!("sqlite://{}", database.display())),
                ("KAFKA_BROKERS", self.brokers.clone()),
                ("TOPIC_PREFIX", self.plan.topic_prefix.clone()),
                (
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                    format!("{collector}/v1/traces"),
                ),
                ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf".into()),
                // The exporter would ask a proxy of the caller's environment even for loopback.
                ("NO_PROXY", "127.0.0.1,localhost".into()),
                (
                    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                    format!("{collector}/v1/logs"),
                ),
                ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf".into()),
                ("OTEL_BSP_SCHEDULE_DELAY", "200".into()),
                ("OTEL_BLRP_SCHEDULE_DELAY", "200".into()),
                // The viewer takes none.
                ("OTEL_METRICS_EXPORTER", "none".into()),
            ]);
            if !matches!(self.plan.broker, Broker::Real(_)) {
                environment.push((
                    "KAFKA_CONSUMER_PROPERTIES",
                    broker::CONSUMER_PROPERTIES.into(),
                ));
                // The embedded broker has neither TLS nor users, whatever the caller's own has.
                environment.extend(SECURITY_VARIABLES.map(|name| (name, String::new())));
            }
        }
        match service {
            "payments" => environment.extend([
                ("LISTEN_ADDR", loopback(ports.payments_port)),
                ("SIMULATED_GATEWAY_ADDR", loopback(ports.gateway_port)),
            ]),
            "order-processor" => environment.extend([
                ("LISTEN_ADDR", loopback(ports.order_processor_port)),
                ("PAYMENTS_URL", self.url_of("payments", "payments")),
            ]),
            "orders-api" => environment.extend([
                ("LISTEN_ADDR", loopback(ports.orders_api_port)),
                ("PAYMENTS_URL", self.url_of("payments", "payments")),
                (
                    "TRACE_URL_TEMPLATE",
                    format!("{}/traces/{{trace_id}}", self.url_of("viewer", "viewer")),
                ),
            ]),
            _ => {}
        }
        let own = environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let given = self
            .plan
            .environment
            .iter()
            .filter(|(to, _, _)| to == service)
            .map(|(_, name, value)| (name.clone(), value.clone()));
        own.chain(given).collect()
    }

    /// Where `service` listens for `what`, as a URL; empty if it does not run.
    pub fn url_of(&self, service: &str, what: &str) -> String {
        self.child(service)
            .and_then(|child| child.address(what))
            .map(|address| format!("http://{address}"))
            .unwrap_or_default()
    }

    /// URL of the orders API.
    pub fn orders_api(&self) -> String {
        self.url_of("orders-api", "orders-api")
    }

    /// URL of the live page and the query API.
    pub fn viewer(&self) -> String {
        self.url_of("viewer", "viewer")
    }

    /// Bootstrap servers of the broker.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The process of `service`.
    pub fn child(&self, service: &str) -> Option<&Child> {
        self.children.iter().find(|child| child.name() == service)
    }

    /// Waits until a child leaves of itself.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn child_ended(&mut self) -> ChildError {
        let mut waiting: Vec<_> = self
            .children
            .iter_mut()
            .map(|child| Box::pin(child.ended()))
            .collect();
        std::future::poll_fn(|context| {
            for ended in &mut waiting {
                if let std::task::Poll::Ready(error) = ended.as_mut().poll(context) {
                    return std::task::Poll::Ready(error);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Takes `service` out of the stack, so that it can be stopped or killed by itself.
    pub fn take(&mut self, service: &str) -> Option<Child> {
        let index = self
            .children
            .iter()
            .position(|child| child.name() == service)?;
        Some(self.children.remove(index))
    }

    /// Sets a variable of `service`, or takes it away, for when it is started next.
    pub fn set(&mut self, service: &str, name: &str, value: Option<&str>) {
        let environment = &mut self.plan.environment;
        environment.retain(|(to, variable, _)| to != service || variable != name);
        if let Some(value) = value {
            environment.push((service.into(), name.into(), value.into()));
        }
    }

    /// Stops `service`, if it runs; it can be started again on the addresses that it has.
    ///
    /// # Errors
    /// If it does not leave well.
    pub async fn stop_service(&mut self, service: &str) -> anyhow::Result<()> {
        let Some(child) = self.take(service) else {
            return Ok(());
        };
        let port = |what: &str| child.address(what).map(|address| address.port());
        let ports = &mut self.plan.ports;
        match service {
            "orders-api" => ports.orders_api_port = port(service).unwrap_or_default(),
            "order-processor" => ports.order_processor_port = port(service).unwrap_or_default(),
            _ => {}
        }
        if !child.stop().await? {
            bail!("{service} did not leave in time; it was killed");
        }
        Ok(())
    }

    /// Stops every child, the last started first, so that each can still reach what it needs.
    /// Answers a line for each that did not leave well.
    pub async fn stop(mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        while let Some(child) = self.children.pop() {
            let name = child.name().to_owned();
            match child.stop().await {
                Ok(true) => {}
                Ok(false) => {
                    complaints.push(format!("{name} did not leave in time; it was killed"))
                }
                Err(error) => complaints.push(error.to_string()),
            }
        }
        complaints
    }
}

fn loopback(port: u16) -> String {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()
}
