//! Records that are no orders: put aside as they came, byte for byte, and nobody is held up.

use crate::world::{World, order, row};
use order_events::{OrderStatus, OrderStatusChanged};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use service::testing::{Record, StoredRecord, eventually};

type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn bytes(text: &[u8]) -> Option<Vec<u8>> {
    Some(text.to_vec())
}

/// What is added to the headers of the record at `offset`.
fn explained(reason: &str, offset: i64) -> Headers {
    let header = |key: &str, value: &str| (key.as_bytes().to_vec(), bytes(value.as_bytes()));
    vec![
        header("dead-letter.error-type", "invalid_event"),
        header("dead-letter.reason", reason),
        header("dead-letter.topic", "orders"),
        header("dead-letter.partition", "0"),
        header("dead-letter.offset", &offset.to_string()),
    ]
}

/// `record` as it should lie on the dead-letter topic. Its trace context, if it has one, is replaced.
fn letter(record: &Record, reason: &str, offset: i64) -> StoredRecord {
    let is_context = |key: &[u8]| {
        [&b"traceparent"[..], b"tracestate", b"baggage"]
            .iter()
            .any(|field| key.eq_ignore_ascii_case(field))
    };
    let mut headers = record.headers.clone();
    headers.retain(|(key, _)| !is_context(key));
    headers.extend(explained(reason, offset));
    StoredRecord {
        key: record.key.clone(),
        payload: record.payload.clone(),
        headers,
    }
}

#[tokio::test]
async fn what_is_no_order_is_put_aside_as_it_came_and_the_next_is_processed() {
    let world = World::new().await;
    let secret = "{\"order_id\": zeb@mail.example}";
    let headers = vec![
        (b"tenant".to_vec(), bytes(b"acme")),
        (b"".to_vec(), bytes(b"a key may be empty")),
        (b"\xff\xfe".to_vec(), bytes(b"\xc3\x28\x00\xff")),
        (b"nothing".to_vec(), None),
        (b"tenant".to_vec(), bytes(b"")),
        (b"tenant".to_vec(), bytes(b"acme")),
        (
            b"dead-letter.reason".to_vec(),
            bytes(b"from an earlier time"),
        ),
        (b"large".to_vec(), Some(vec![0; 100_000])),
        (b"TraceParent".to_vec(), bytes(b"\xff")),
        (b"traceparent".to_vec(), None),
    ];
    let record = |key: Option<&[u8]>, payload: Option<&[u8]>, headers: Headers| Record {
        key: key.map(<[u8]>::to_vec),
        payload: payload.map(<[u8]>::to_vec),
        headers,
    };
    let mut zero_quantity = order(9);
    zero_quantity.items[0].quantity = 0;
    let zero_quantity = zero_quantity.to_json().unwrap();
    let poison = [
        (
            record(Some(b"c-7"), Some(secret.as_bytes()), headers.clone()),
            "not JSON at line 1 column 14",
        ),
        (record(None, None, Vec::new()), "the record has no payload"),
        (
            record(Some(b""), Some(b""), headers),
            "not JSON at line 1 column 0",
        ),
        (
            record(Some(b"\xff\x00"), Some(b"\xff\xff\xff"), Vec::new()),
            "not JSON at line 1 column 1",
        ),
        (
            record(Some(&[b'k'; 5000]), Some(b"[]"), Vec::new()),
            "not the expected event at line 1 column 2",
        ),
        (
            record(Some(b"c-7"), Some(&zero_quantity), Vec::new()),
            "field quantity breaks the rules of the event",
        ),
        (
            record(None, Some(&[b'['; 500_000]), Vec::new()),
            "not the expected event at line 1 column 1",
        ),
    ];
    for (record, _) in &poison {
        world.broker.send("orders", record);
    }
    let good = order(1);
    world.place(&good);
    let service = world.start(&[]).await;
    world.committed(poison.len() as i64 + 1).await;
    let log = service.stop().await;

    let letters = world.dead_letters();
    assert_eq!(letters.len(), poison.len());
    for (offset, (letter, (record, reason))) in (0..).zip(letters.iter().zip(&poison)) {
        let expected = self::letter(
            record,
            &format!("the record is not an order: {reason}"),
            offset,
        );
        let (found, wanted) = (
            letter.header("dead-letter.reason"),
            expected.header("dead-letter.reason"),
        );
        assert_eq!(found, wanted, "offset {offset}");
        // Not `assert_eq`: what differs would be lost in the megabyte that it prints.
        assert!(letter == &expected, "offset {offset}");
    }
    assert!(!log.contains("mail.example"), "{log}");
    assert_eq!(world.stored().await, [row(&good, OrderStatus::Paid)]);
    assert_eq!(
        world.told(),
        [OrderStatusChanged::caused_by(&good, OrderStatus::Paid)]
    );
    assert_eq!(world.charges().len(), 1);
}

#[tokio::test]
async fn a_record_that_is_too_large_to_be_explained_holds_nobody_up() {
    let world = World::new().await;
    // A little below what a producer sends at most, so that the explanation makes it too large.
    let record = Record {
        key: bytes(b"c-7"),
        payload: Some(vec![b'x'; 999_900]),
        headers: vec![(b"tenant".to_vec(), bytes(b"acme"))],
    };
    world.broker.send("orders", &record);
    let good = order(1);
    world.place(&good);
    let service = world.start(&[]).await;
    world.committed(2).await;
    service.stop().await;
    let mut headers: Headers = vec![(
        b"dead-letter.omitted".to_vec(),
        bytes(b"key, payload and headers: too large"),
    )];
    let reason = "the record is not an order: not JSON at line 1 column 1";
    headers.extend(explained(reason, 0));
    let letter = StoredRecord {
        key: None,
        payload: None,
        headers,
    };
    assert_eq!(world.dead_letters(), [letter]);
    assert_eq!(world.stored().await, [row(&good, OrderStatus::Paid)]);
}

#[tokio::test]
async fn a_record_that_cannot_be_put_aside_is_kept() {
    let world = World::new().await;
    let record = Record {
        payload: bytes(b"rubbish"),
        ..Record::default()
    };
    world.broker.send("orders", &record);
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    world
        .broker
        .mock
        .request_errors(RDKafkaApiKey::Produce, &[refusal; 2]);
    let service = world.start(&[]).await;
    eventually("the record is tried twice", async || {
        let tries = service
            .log()
            .matches("cannot settle this record yet")
            .count();
        (tries >= 2).then_some(())
    })
    .await;
    world.committed(1).await;
    service.stop().await;
    assert_eq!(world.dead_letters().len(), 1);
}
