//! The `throughline` command; see the library.

fn main() -> std::process::ExitCode {
    throughline::cli::main()
}
