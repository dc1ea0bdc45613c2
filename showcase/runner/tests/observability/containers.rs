//! The containers of docker-compose.yml, from outside: what `.ci/full observability` asks of them
//! once they are up. Nothing is started here.

use crate::expected::Expected;
use crate::pipeline::{LIMIT, as_sent, final_status, order, post, trace_id};
use throughline::query::QueryApi;

const ORDERS_API: &str = "http://localhost:8000";
const VIEWER: &str = "http://localhost:8010";
const JAEGER: &str = "http://localhost:16686";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the containers that `.ci/full observability` starts"]
async fn an_order_is_one_trace_in_viewer_and_jaeger() {
    let answer = post(ORDERS_API, &order("c-7", "pm_ok")).await;
    let order_id = answer["order_id"].as_str().expect("an id");
    assert_eq!(final_status(ORDERS_API, order_id).await, "paid");

    let id = trace_id(&answer);
    assert_eq!(answer["trace_url"], format!("{JAEGER}/trace/{id}"));
    let expected = Expected::read("joined")
        .on_postgres("postgres", ["orders_api", "order_processor", "payments"])
        // Host names inside, `localhost` for the caller.
        .but(".server.address = \"127.0.0.1\"", ".server.address = *");
    for api in [VIEWER, JAEGER] {
        let trace = QueryApi::new(api)
            .expect("a client")
            .whole_trace(&id, LIMIT)
            .await
            .expect("an answer")
            .unwrap_or_else(|| panic!("{api} has no trace {id}"));
        let trace = match api {
            JAEGER => as_sent(trace),
            _ => trace,
        };
        expected.assert(&trace);
    }
}
