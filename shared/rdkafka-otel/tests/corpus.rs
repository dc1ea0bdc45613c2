//! Replays what fuzzing found worth keeping, and inputs of sizes that fuzzing does not reach.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests call these")]

mod hostile;

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(target);
    let mut count = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let data = fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| check(&data)).is_err() {
            panic!("{} fails", path.display());
        }
        count += 1;
    }
    assert!(count > 20, "only {count} inputs in {}", folder.display());
}

#[test]
fn extract() {
    replay("extract", hostile::extract);
}

#[test]
fn inject() {
    replay("inject", hostile::inject);
}

#[test]
fn round_trip() {
    replay("round_trip", hostile::round_trip);
}

/// For every known key, known value and form: many headers, and headers with very long values.
#[test]
fn many_and_long() {
    for check in [hostile::extract, hostile::inject, hostile::round_trip] {
        for form in 0..=u8::MAX {
            check(&vec![form; 10_000]);
            // A value of 255 × 255 × 8 bytes, some 500 KB.
            let mut long = vec![form & 0xf | 0x50, 255, 255];
            long.extend([form; 255]);
            check(&long);
        }
    }
}
