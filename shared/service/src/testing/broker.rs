//! A broker for one test, and records put on it and read from it as bytes.
//!
//! Records are written with a request of our own, because rdkafka takes only keys of headers that
//! are UTF-8, and anyone can send others.

use super::PATIENCE;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rdkafka_otel::raw_headers;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// `KAFKA_CONSUMER_PROPERTIES` for this broker: an empty fetch always waits its whole time, and a
/// rebalance the whole session.
pub const CONSUMER_PROPERTIES: &str = "session.timeout.ms=6000,heartbeat.interval.ms=1500,\
     fetch.wait.max.ms=10,partition.assignment.strategy=range";

/// librdkafka's mock cluster, with one broker. Topics have one partition, so that their records
/// stay in order.
pub struct Broker {
    /// To make it fail.
    pub mock: MockCluster<'static, DefaultProducerContext>,
    /// Where it is: `host:port`.
    pub servers: String,
}

/// A record to send; all of it may be any bytes.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The key, or Kafka's null.
    pub key: Option<Vec<u8>>,
    /// The payload, or Kafka's null.
    pub payload: Option<Vec<u8>>,
    /// The headers in order; a value may be null.
    pub headers: Vec<Header>,
}

type Header = (Vec<u8>, Option<Vec<u8>>);

/// A record as it lies on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The key, or Kafka's null.
    pub key: Option<Vec<u8>>,
    /// The payload, or Kafka's null.
    pub payload: Option<Vec<u8>>,
    /// The headers in order.
    pub headers: Vec<Header>,
}

impl StoredRecord {
    /// The value of the last header of this key, as text.
    pub fn header(&self, key: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .rev()
            .find(|(found, _)| found == key.as_bytes())?;
        std::str::from_utf8(value.as_deref()?).ok()
    }
}

impl Broker {
    /// A broker that has these topics.
    ///
    /// # Panics
    /// If librdkafka cannot start it.
    pub fn with_topics(topics: &[&str]) -> Self {
        let mock = MockCluster::new(1).unwrap();
        for topic in topics {
            mock.create_topic(topic, 1, 1).unwrap();
        }
        Self {
            servers: mock.bootstrap_servers(),
            mock,
        }
    }

    /// Puts `record` on `topic`, and gives its offset.
    ///
    /// # Panics
    /// If the broker refuses it.
    pub fn send(&self, topic: &str, record: &Record) -> i64 {
        let mut stream = TcpStream::connect(&self.servers).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&produce_request(topic, record)).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        // Correlation id, one topic and its name, one partition and its index; then what counts.
        let outcome = &answer[4 + 4 + 2 + topic.len() + 4 + 4..];
        let error = i16::from_be_bytes(outcome[..2].try_into().unwrap());
        assert_eq!(error, 0, "the broker refused the record");
        i64::from_be_bytes(outcome[2..10].try_into().unwrap())
    }

    /// Every record that lies on `topic` now.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn records(&self, topic: &str) -> Vec<StoredRecord> {
        let consumer: BaseConsumer = self.client("reader").create().unwrap();
        let (_, end) = consumer.fetch_watermarks(topic, 0, PATIENCE).unwrap();
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&assignment).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while (records.len() as i64) < end {
            assert!(Instant::now() < deadline, "cannot read {topic}");
            let Some(record) = consumer.poll(Duration::from_millis(100)) else {
                continue;
            };
            let record = record.unwrap();
            let headers = record.headers().map(|headers| {
                raw_headers(headers)
                    .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
                    .collect()
            });
            records.push(StoredRecord {
                key: record.key().map(<[u8]>::to_vec),
                payload: record.payload().map(<[u8]>::to_vec),
                headers: headers.unwrap_or_default(),
            });
        }
        records
    }

    /// Up to where `group` has committed `topic`: the offset of the next record it would take.
    ///
    /// # Panics
    /// If the broker does not tell.
    pub fn committed(&self, group: &str, topic: &str) -> Option<i64> {
        let consumer: BaseConsumer = self.client(group).create().unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition(topic, 0);
        let offsets = consumer.committed_offsets(partitions, PATIENCE).unwrap();
        match offsets.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    fn client(&self, group: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers)
            .set("group.id", group)
            .set("fetch.wait.max.ms", "10");
        config
    }
}

/// A Produce request, version 3, for partition 0 of one topic.
fn produce_request(topic: &str, record: &Record) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(0_i16.to_be_bytes()); // Produce
    request.extend(3_i16.to_be_bytes()); // version
    request.extend(1_i32.to_be_bytes()); // correlation id
    request.extend((-1_i16).to_be_bytes()); // client id: null
    request.extend((-1_i16).to_be_bytes()); // transactional id: null
    request.extend((-1_i16).to_be_bytes()); // acks: all
    request.extend(10_000_i32.to_be_bytes()); // timeout in milliseconds
    request.extend(1_i32.to_be_bytes()); // topics
    request.extend((topic.len() as i16).to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend(1_i32.to_be_bytes()); // partitions
    request.extend(0_i32.to_be_bytes()); // partition
    request.extend(sized(batch(record)));
    sized(request)
}

/// A record batch of format 2 that holds one record.
fn batch(record: &Record) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_millis() as i64;
    let mut summed = Vec::new();
    summed.extend(0_i16.to_be_bytes()); // attributes: not compressed, time of creation
    summed.extend(0_i32.to_be_bytes()); // last offset delta
    summed.extend(now.to_be_bytes()); // first timestamp
    summed.extend(now.to_be_bytes()); // last timestamp
    summed.extend((-1_i64).to_be_bytes()); // producer id
    summed.extend((-1_i16).to_be_bytes()); // producer epoch
    summed.extend((-1_i32).to_be_bytes()); // sequence
    summed.extend(1_i32.to_be_bytes()); // records
    let mut body = vec![0]; // attributes
    body.extend(varint(0)); // timestamp delta
    body.extend(varint(0)); // offset delta
    body.extend(bytes(record.key.as_deref()));
    body.extend(bytes(record.payload.as_deref()));
    body.extend(varint(record.headers.len() as i64));
    for (key, value) in &record.headers {
        body.extend(bytes(Some(key)));
        body.extend(bytes(value.as_deref()));
    }
    summed.extend(varint(body.len() as i64));
    summed.extend(body);

    let mut rest = Vec::new();
    rest.extend((-1_i32).to_be_bytes()); // leader epoch
    rest.push(2); // format
    rest.extend(crc32c(&summed).to_be_bytes());
    rest.extend(summed);
    let mut batch = 0_i64.to_be_bytes().to_vec(); // base offset
    batch.extend(sized(rest));
    batch
}

fn sized(bytes: Vec<u8>) -> Vec<u8> {
    let mut sized = (bytes.len() as i32).to_be_bytes().to_vec();
    sized.extend(bytes);
    sized
}

/// Length and content; a length of -1 is Kafka's null.
fn bytes(content: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = varint(content.map_or(-1, |content| content.len() as i64));
    bytes.extend(content.unwrap_or_default());
    bytes
}

/// Zigzag, then seven bits a byte, the lowest first.
fn varint(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// The Castagnoli checksum, bit by bit: a test's records are small.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    })
}
