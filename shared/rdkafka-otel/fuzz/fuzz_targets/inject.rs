//! Fuzzes `inject`; what must hold is in `tests/hostile`.

#![no_main]

#[path = "../../tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::inject(data));
