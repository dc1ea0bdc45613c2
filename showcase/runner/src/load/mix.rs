//! Payment methods in given shares, spread evenly over the orders: the same orders in every run.

use std::fmt;
use std::str::FromStr;

/// Payment methods, each with its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mix(Vec<(String, u64)>);

impl Mix {
    /// The method of the order with this number.
    pub(crate) fn of(&self, order: u64) -> &str {
        let total: u64 = self.0.iter().map(|(_, weight)| weight).sum();
        // A step without a common factor with any usual total, so that runs of one method are short.
        let mut place = order.wrapping_mul(7_919) % total.max(1);
        for (method, weight) in &self.0 {
            if place < *weight {
                return method;
            }
            place -= weight;
        }
        self.0.first().map_or("", |(method, _)| method)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(|part| {
                let (method, weight) = part.split_once('=').unwrap_or((part, "1"));
                let weight = weight.trim().parse::<u64>().ok();
                match (method.trim(), weight) {
                    ("", _) | (_, None | Some(0)) => None,
                    (method, Some(weight)) => {
                        (weight <= 1_000_000).then(|| (method.to_owned(), weight))
                    }
                }
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(|| {
                "payment methods are wanted, such as pm_ok or pm_ok=95,pm_declined=5".to_owned()
            })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(method, weight)| format!("{method}={weight}"))
            .collect();
        formatter.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_its_share() {
        let mix: Mix = "pm_ok=95, pm_declined=5".parse().unwrap();
        let declined = (0..1_000)
            .filter(|order| mix.of(*order) == "pm_declined")
            .count();
        assert_eq!(declined, 50);
        let one: Mix = "pm_slow".parse().unwrap();
        assert!((0..10).all(|order| one.of(order) == "pm_slow"));
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for wrong in ["", "pm_ok=", "pm_ok=0", "=3", "pm_ok,,pm_down", "pm_ok=x"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
