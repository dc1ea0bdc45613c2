//! The `orders-api` process; see the library.

fn main() -> std::process::ExitCode {
    service::main::<orders_api::OrdersApi>()
}
