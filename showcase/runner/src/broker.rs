//! The embedded broker: librdkafka's mock cluster on a port of our choosing.
//!
//! It speaks the real protocol over loopback TCP and is up in milliseconds. It is a demo transport
//! and not a store: about 5 MiB a partition, in memory, gone with the process. The client settings
//! it needs are [`CONSUMER_PROPERTIES`]; the runner hands them to the services.
//!
//! The mock cluster listens on a port that it picks itself. A small proxy takes connections on the
//! advertised address and passes the bytes on, so that other clients find it too.

#![allow(unsafe_code)]

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::bindings::{
    rd_kafka_handle_mock_cluster, rd_kafka_mock_broker_set_host_port,
    rd_kafka_mock_cluster_bootstraps, rd_kafka_mock_cluster_t,
    rd_kafka_mock_group_initial_rebalance_delay_ms, rd_kafka_mock_topic_create,
    rd_kafka_resp_err_t,
};
use rdkafka::producer::{BaseProducer, Producer};
use std::ffi::{CStr, CString};
use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What consumers of the embedded broker must set: an empty fetch always waits its whole time, and
/// a rebalance the whole session.
pub const CONSUMER_PROPERTIES: &str = "session.timeout.ms=6000,heartbeat.interval.ms=1500,\
     fetch.wait.max.ms=10,partition.assignment.strategy=range";

/// Milliseconds that the first member of a group waits for others.
const INITIAL_REBALANCE_DELAY_MS: i32 = 100;

/// A broker that lives as long as this value.
pub struct EmbeddedBroker {
    /// Owns the mock cluster: the pointer below is valid as long as this client is.
    owner: BaseProducer,
    address: SocketAddr,
    proxy: JoinHandle<()>,
}

impl EmbeddedBroker {
    /// Starts a broker that is reached at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// A port that is taken, or a librdkafka that cannot start its mock cluster.
    pub async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "the embedded broker cannot listen on {address}; stop what is using that port, \
                 choose another with --broker-port, or use that broker with --brokers"
            )
        })?;
        let address = listener.local_addr()?;
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create()?;
        let native = configure(cluster(&owner)?, address)?;
        Ok(Self {
            owner,
            address,
            proxy: tokio::spawn(pass_on(listener, native)),
        })
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates a topic. The mock cluster's admin protocol does not answer, so this is the only way.
    ///
    /// # Errors
    /// A name with a NUL byte, or one that librdkafka refuses, an existing topic among them.
    pub fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let topic = CString::new(name)?;
        // SAFETY: the cluster lives as long as `owner`; the name is NUL-terminated.
        let error = unsafe {
            rd_kafka_mock_topic_create(cluster(&self.owner)?, topic.as_ptr(), partitions, 1)
        };
        if error != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            bail!("the embedded broker cannot create topic {name}: {error:?}");
        }
        Ok(())
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

fn cluster(owner: &BaseProducer) -> anyhow::Result<*mut rd_kafka_mock_cluster_t> {
    // SAFETY: the client is alive, and was made with mock brokers.
    let cluster = unsafe { rd_kafka_handle_mock_cluster(owner.client().native_ptr()) };
    if cluster.is_null() {
        bail!("librdkafka started no mock cluster");
    }
    Ok(cluster)
}

/// Sets what is advertised, and answers where the cluster really listens.
fn configure(
    cluster: *mut rd_kafka_mock_cluster_t,
    advertised: SocketAddr,
) -> anyhow::Result<String> {
    let host = CString::new(advertised.ip().to_string())?;
    // SAFETY: the caller's cluster is alive; both strings are NUL-terminated, and the one that
    // librdkafka returns is copied before the cluster can change it.
    unsafe {
        let native = CStr::from_ptr(rd_kafka_mock_cluster_bootstraps(cluster))
            .to_str()?
            .to_owned();
        rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, INITIAL_REBALANCE_DELAY_MS);
        rd_kafka_mock_broker_set_host_port(cluster, 1, host.as_ptr(), i32::from(advertised.port()));
        Ok(native)
    }
}

async fn pass_on(listener: TcpListener, native: String) {
    loop {
        // An accept error concerns one connection; the client tries again.
        let Ok((mut client, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let native = native.clone();
        tokio::spawn(async move {
            if let Ok(mut broker) = TcpStream::connect(native).await {
                let _ = client.set_nodelay(true);
                let _ = broker.set_nodelay(true);
                // Either side hanging up ends both; that is all there is to know.
                let _ = copy_bidirectional(&mut client, &mut broker).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use std::net::Ipv4Addr;
    use std::time::Duration;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clients_find_the_broker_and_its_topics_at_the_advertised_address() {
        let broker = EmbeddedBroker::start(loopback(0)).await.unwrap();
        broker.create_topic("orders", 12).unwrap();
        let address = broker.address();
        let metadata = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", address.to_string())
                .create()
                .unwrap();
            client
                .fetch_metadata(Some("orders"), Duration::from_secs(10))
                .unwrap()
        })
        .await
        .unwrap();
        assert_eq!(metadata.topics()[0].partitions().len(), 12);
        assert_eq!(metadata.brokers().len(), 1);
        assert_eq!(metadata.brokers()[0].host(), "127.0.0.1");
        assert_eq!(metadata.brokers()[0].port(), i32::from(address.port()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_taken_port_is_named_with_what_to_do() {
        let first = EmbeddedBroker::start(loopback(0)).await.unwrap();
        let error = EmbeddedBroker::start(first.address())
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(&first.address().to_string()));
        assert!(error.contains("--broker-port"));
    }
}
