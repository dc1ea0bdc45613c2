//! The `order-processor` process; see the library.

fn main() -> std::process::ExitCode {
    service::main::<order_processor::OrderProcessor>()
}
