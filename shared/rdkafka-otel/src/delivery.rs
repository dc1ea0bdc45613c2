//! What happens to a record between librdkafka's queue and its delivery report: the span travels
//! with it, beside whatever the application's own context sends along.
//!
//! Starts no span; `send.rs` does. `producer.rs` is built on this, and so can be any producer whose
//! context is the application's.

use std::error::Error;

use opentelemetry::KeyValue;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, ToBytes};
use rdkafka::producer::{
    BaseProducer, BaseRecord, NoCustomPartitioner, Partitioner, Producer, ProducerContext,
    ThreadedProducer,
};
use rdkafka::util::IntoOpaque;
use rdkafka::{ClientConfig, ClientContext, Message, Statistics};

use crate::send::{Outgoing, SendSpan, SendTracer};

/// A [`ProducerContext`] of your own, traced: for a `BaseProducer` or a `ThreadedProducer` whose
/// delivery callback, delivery opaque or partitioner are yours.
///
/// Everything is passed on to the context inside, which sees the same calls as without this one. A
/// record sent with [`SendTraced::send_traced`] has a `send` span that ends when its delivery
/// report arrives, before the inner context's `delivery` is called. It is a cover around the
/// context and not around the producer, because only what travels with the record can be there when
/// the report comes.
///
/// ```no_run
/// use rdkafka::ClientConfig;
/// use rdkafka::message::DeliveryResult;
/// use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
/// use rdkafka_otel::{SendTraced, TracedContext};
///
/// struct Counted;
///
/// impl rdkafka::ClientContext for Counted {}
///
/// impl ProducerContext for Counted {
///     type DeliveryOpaque = Box<u64>;
///
///     fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
///         println!("record {number}: {}", if result.is_ok() { "delivered" } else { "lost" });
///     }
/// }
///
/// # fn example() -> Result<(), rdkafka::error::KafkaError> {
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", "localhost:9092");
/// let context = TracedContext::new(&config, Counted);
/// let producer: ThreadedProducer<_> = config.create_with_context(context)?;
///
/// let record = BaseRecord::with_opaque_to("orders", Box::new(1)).key("c-7").payload("{}");
/// producer.send_traced(record).map_err(|(error, _record)| error)?;
/// # Ok(())
/// # }
/// ```
pub struct TracedContext<C> {
    context: C,
    tracer: SendTracer,
}

impl<C> TracedContext<C> {
    /// Wraps `context`, for a producer with this configuration.
    #[must_use]
    pub fn new(config: &ClientConfig, context: C) -> Self {
        Self {
            context,
            tracer: SendTracer::from_config(config),
        }
    }

    /// The context inside.
    pub fn inner(&self) -> &C {
        &self.context
    }

    /// Starts the span of a record and lets it travel with it.
    pub(crate) fn start<'a, K, P, O>(
        &self,
        mut record: BaseRecord<'a, K, P, O>,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> BaseRecord<'a, K, P, Box<InFlight<O>>>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
        O: IntoOpaque,
    {
        let shown = Outgoing {
            topic: record.topic,
            partition: record.partition,
            key: record.key.map(ToBytes::to_bytes),
            is_tombstone: record.payload.is_none(),
        };
        let span = self.tracer.start(shown, &mut record.headers, attributes);
        with_opaque(record, |opaque| Box::new(InFlight { span, opaque }))
    }
}

/// What travels with a record through librdkafka and comes back with its delivery report: its span,
/// and the opaque of the context inside [`TracedContext`].
pub struct InFlight<O> {
    pub(crate) span: SendSpan,
    opaque: O,
}

/// Ends the span of a record that was refused, and gives it back as it was handed in, but for its
/// headers.
pub(crate) fn refused<'a, K, P, O>(
    error: &KafkaError,
    record: BaseRecord<'a, K, P, Box<InFlight<O>>>,
) -> BaseRecord<'a, K, P, O>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    O: IntoOpaque,
{
    with_opaque(record, |in_flight| {
        let InFlight { span, opaque } = *in_flight;
        span.refused(error);
        opaque
    })
}

fn with_opaque<'a, K, P, O, N>(
    record: BaseRecord<'a, K, P, O>,
    change: impl FnOnce(O) -> N,
) -> BaseRecord<'a, K, P, N>
where
    K: ToBytes + ?Sized,
    P: ToBytes + ?Sized,
    O: IntoOpaque,
    N: IntoOpaque,
{
    BaseRecord {
        topic: record.topic,
        partition: record.partition,
        payload: record.payload,
        key: record.key,
        timestamp: record.timestamp,
        headers: record.headers,
        delivery_opaque: change(record.delivery_opaque),
    }
}

/// Sending with a span, for producers whose context is a [`TracedContext`].
pub trait SendTraced<C: ProducerContext<Part>, Part: Partitioner = NoCustomPartitioner> {
    /// Puts a record into librdkafka's queue, with a `send` span that ends with its delivery report.
    /// Never blocks; takes the place of the producer's own `send`.
    ///
    /// # Errors
    ///
    /// If librdkafka refuses the record, such as for a full queue: the span ends with the error,
    /// and the record comes back with the headers that it would have been sent with.
    fn send_traced<'a, K, P>(
        &self,
        record: BaseRecord<'a, K, P, C::DeliveryOpaque>,
    ) -> Result<(), (KafkaError, BaseRecord<'a, K, P, C::DeliveryOpaque>)>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized;
}

macro_rules! impl_send_traced {
    ($producer:ident) => {
        impl<C, Part> SendTraced<C, Part> for $producer<TracedContext<C>, Part>
        where
            C: ProducerContext<Part> + 'static,
            Part: Partitioner + Send + Sync + 'static,
        {
            fn send_traced<'a, K, P>(
                &self,
                record: BaseRecord<'a, K, P, C::DeliveryOpaque>,
            ) -> Result<(), (KafkaError, BaseRecord<'a, K, P, C::DeliveryOpaque>)>
            where
                K: ToBytes + ?Sized,
                P: ToBytes + ?Sized,
            {
                let record = self.client().context().start(record, []);
                self.send(record).map_err(|(error, record)| {
                    let record = refused(&error, record);
                    (error, record)
                })
            }
        }
    };
}

impl_send_traced!(BaseProducer);
impl_send_traced!(ThreadedProducer);

impl<C, Part> ProducerContext<Part> for TracedContext<C>
where
    C: ProducerContext<Part>,
    Part: Partitioner,
{
    type DeliveryOpaque = Box<InFlight<C::DeliveryOpaque>>;

    fn delivery(&self, result: &DeliveryResult<'_>, in_flight: Self::DeliveryOpaque) {
        let (record, error) = match result {
            Ok(record) => (record, None),
            Err((error, record)) => (record, Some(error)),
        };
        let InFlight { span, opaque } = *in_flight;
        span.report(record.partition(), record.offset(), error);
        self.context.delivery(result, opaque);
    }

    fn get_custom_partitioner(&self) -> Option<&Part> {
        self.context.get_custom_partitioner()
    }
}

impl<C: ClientContext> ClientContext for TracedContext<C> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = C::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.context.log(level, fac, log_message);
    }

    fn stats(&self, statistics: Statistics) {
        self.context.stats(statistics);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.context.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        oauthbearer_config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn Error>> {
        self.context.generate_oauth_token(oauthbearer_config)
    }
}
