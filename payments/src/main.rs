//! The `payments` process; see the library.

fn main() -> std::process::ExitCode {
    service::main::<payments::Payments>()
}
