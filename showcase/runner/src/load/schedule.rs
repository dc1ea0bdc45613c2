//! When orders are sent, how many, and of what kind.

use crate::load::mix::Mix;
use std::time::Duration;

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) pace: Pace,
    pub(crate) limit: Limit,
    pub(crate) customers: u64,
    pub(crate) payment_methods: Mix,
    /// The share of traces that are sampled, as the services have it.
    pub(crate) sampling: f64,
}

/// When an order is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// So many a second: the loop is open.
    Rate(f64),
    /// When one of so many has ended: the loop is closed.
    InFlight(u32),
}

/// When no more orders are sent: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) count: Option<u64>,
    pub(crate) duration: Option<Duration>,
}

impl Limit {
    /// Whether the order with this number, due `after` the start, is sent no more.
    pub(crate) fn is_reached(self, number: u64, after: Duration) -> bool {
        self.count.is_some_and(|count| number >= count)
            || self.duration.is_some_and(|duration| after >= duration)
    }
}

/// When the order with this number is due, from the start on.
pub(crate) fn due(rate: f64, number: u64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

/// `500ms`, `30s`, `10m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let milliseconds = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(milliseconds))
        .filter(|milliseconds| *milliseconds > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "a duration such as 500ms, 30s, 10m or 1h is wanted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [
            ("500ms", 0.5),
            ("30s", 30.0),
            ("10m", 600.0),
            ("1h", 3600.0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)));
        }
        for wrong in [
            "",
            "30",
            "s",
            "1d",
            "-1s",
            "1.5s",
            "0s",
            "99999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_limit_counts() {
        let second = Duration::from_secs(1);
        let limit = Limit {
            count: Some(10),
            duration: Some(second),
        };
        assert!(!limit.is_reached(9, second / 2));
        assert!(limit.is_reached(10, second / 2));
        assert!(limit.is_reached(0, second));
        let none = Limit {
            count: None,
            duration: None,
        };
        assert!(!none.is_reached(u64::MAX, Duration::MAX));
    }

    #[test]
    fn orders_are_due_evenly() {
        assert_eq!(due(200.0, 0), Duration::ZERO);
        assert_eq!(due(200.0, 1), Duration::from_millis(5));
        assert_eq!(due(200.0, 400), Duration::from_secs(2));
    }
}
