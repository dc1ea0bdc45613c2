//! Where a process span belongs: the policy between the trace that sent the record and the trace
//! that is active around the worker.
//!
//! Only decides. The span is started in `consumer.rs`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use opentelemetry::trace::SpanContext;

/// Which span becomes the parent of a process span, when there is a choice.
///
/// Two spans compete: the *creation context*, the span context that the record carries, and the
/// *ambient* span, the one that is active where the record is processed. Whatever the policy, the
/// creation context is linked, and so is an ambient span that does not become the parent; nothing
/// that is known about where a record came from is lost. Without a creation context the ambient
/// span is the parent, and without that the span starts a trace.
///
/// It reads from and prints as text, for configuration: `auto`, `creation-context`, `link`,
/// `by-age:30s`, `by-age:500ms`.
///
/// ```
/// use std::time::Duration;
/// use rdkafka_otel::Parent;
///
/// assert_eq!("by-age:30s".parse(), Ok(Parent::ByAge(Duration::from_secs(30))));
/// assert_eq!(Parent::CreationContext.to_string(), "creation-context");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parent {
    /// What the messaging conventions ask for: an ambient span stays the parent; without one, the
    /// creation context is the parent.
    #[default]
    Auto,
    /// The creation context is the parent, also inside an ambient span. One trace from sender to
    /// consumer, whatever is wrapped around the worker.
    CreationContext,
    /// The creation context never becomes the parent. Every record's processing is a trace of its
    /// own, or a part of the ambient one.
    Link,
    /// Like [`CreationContext`](Parent::CreationContext) for records that waited no longer than
    /// this. An older one starts a new trace, so that a backlog worked off hours later does not
    /// lengthen traces that were complete. Without a timestamp a record counts as young.
    ByAge(Duration),
}

/// The text is none of [`Parent`]'s forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown parent policy {found:?}: expected `auto`, `creation-context`, `link`, \
     or `by-age:` and a whole number of `s` or `ms`, such as `by-age:30s`"
)]
pub struct ParseParentError {
    found: String,
}

impl FromStr for Parent {
    type Err = ParseParentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Some(Self::Auto),
            "creation-context" => Some(Self::CreationContext),
            "link" => Some(Self::Link),
            _ => text
                .strip_prefix("by-age:")
                .and_then(parse_age)
                .map(Self::ByAge),
        }
        .ok_or_else(|| ParseParentError {
            found: text.to_owned(),
        })
    }
}

fn parse_age(text: &str) -> Option<Duration> {
    // `u64::from_str` also takes a leading plus sign, which no other form of these has.
    let number = |digits: &str| {
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten()
    };
    if let Some(digits) = text.strip_suffix("ms") {
        number(digits).map(Duration::from_millis)
    } else {
        number(text.strip_suffix('s')?).map(Duration::from_secs)
    }
}

/// What [`FromStr`] reads back. Ages print in milliseconds unless they are whole seconds.
impl fmt::Display for Parent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::CreationContext => formatter.write_str("creation-context"),
            Self::Link => formatter.write_str("link"),
            Self::ByAge(age) if age.subsec_millis() == 0 => {
                write!(formatter, "by-age:{}s", age.as_secs())
            }
            Self::ByAge(age) => write!(formatter, "by-age:{}ms", age.as_millis()),
        }
    }
}

/// The span that a process span hangs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    UnderCreation,
    UnderAmbient,
    Root,
}

impl Parent {
    /// Applies the policy. `creation` and `ambient` are valid span contexts where there are any;
    /// `waited` is the record's age, if it has a timestamp.
    pub(crate) fn place(
        self,
        creation: Option<&SpanContext>,
        ambient: Option<&SpanContext>,
        waited: Option<Duration>,
    ) -> Placement {
        let otherwise = match ambient {
            Some(_) => Placement::UnderAmbient,
            None => Placement::Root,
        };
        if creation.is_none() {
            return otherwise;
        }
        match self {
            Self::Auto if ambient.is_some() => Placement::UnderAmbient,
            Self::Auto | Self::CreationContext => Placement::UnderCreation,
            Self::Link => otherwise,
            Self::ByAge(limit) if waited.is_some_and(|waited| waited > limit) => Placement::Root,
            Self::ByAge(_) => Placement::UnderCreation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

    fn span_context(id: u64) -> SpanContext {
        SpanContext::new(
            TraceId::from(u128::from(id)),
            SpanId::from(id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        )
    }

    #[test]
    fn the_policy_chooses_one_place() {
        use Placement::{Root, UnderAmbient, UnderCreation};
        let limit = Parent::ByAge(Duration::from_secs(30));
        let (young, old) = (Duration::from_secs(30), Duration::from_millis(30_001));
        // Policy, age; with both spans, with the creation context only, ambient only, neither.
        let cases = [
            (
                Parent::Auto,
                None,
                [UnderAmbient, UnderCreation, UnderAmbient, Root],
            ),
            (
                Parent::CreationContext,
                None,
                [UnderCreation, UnderCreation, UnderAmbient, Root],
            ),
            (Parent::Link, None, [UnderAmbient, Root, UnderAmbient, Root]),
            (
                limit,
                None,
                [UnderCreation, UnderCreation, UnderAmbient, Root],
            ),
            (
                limit,
                Some(young),
                [UnderCreation, UnderCreation, UnderAmbient, Root],
            ),
            (limit, Some(old), [Root, Root, UnderAmbient, Root]),
            (
                Parent::Auto,
                Some(old),
                [UnderAmbient, UnderCreation, UnderAmbient, Root],
            ),
        ];
        let (creation, ambient) = (span_context(1), span_context(2));
        for (policy, waited, expected) in cases {
            let found = [
                policy.place(Some(&creation), Some(&ambient), waited),
                policy.place(Some(&creation), None, waited),
                policy.place(None, Some(&ambient), waited),
                policy.place(None, None, waited),
            ];
            assert_eq!(found, expected, "{policy} after {waited:?}");
        }
    }

    #[test]
    fn policies_are_read_and_printed() {
        let cases = [
            ("auto", Parent::Auto),
            ("creation-context", Parent::CreationContext),
            ("link", Parent::Link),
            ("by-age:30s", Parent::ByAge(Duration::from_secs(30))),
            ("by-age:1500ms", Parent::ByAge(Duration::from_millis(1500))),
            ("by-age:0s", Parent::ByAge(Duration::ZERO)),
        ];
        for (text, policy) in cases {
            assert_eq!(text.parse(), Ok(policy));
            assert_eq!(policy.to_string(), text);
        }
        assert_eq!(
            "by-age:2000ms".parse(),
            Ok(Parent::ByAge(Duration::from_secs(2)))
        );
        assert_eq!(Parent::default(), Parent::Auto);
    }

    #[test]
    fn other_texts_are_refused_and_told_what_is_right() {
        for text in [
            "",
            "Auto",
            " auto",
            "links",
            "by-age",
            "by-age:",
            "by-age:s",
            "by-age:ms",
            "by-age:30",
            "by-age:30m",
            "by-age:-1s",
            "by-age:+1s",
            "by-age:1.5s",
            "by-age: 1s",
            "by-age:1 s",
            "by-age:99999999999999999999s",
            "by-age:٣s",
        ] {
            let error = text.parse::<Parent>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "unknown parent policy {text:?}: expected `auto`, `creation-context`, `link`, \
                     or `by-age:` and a whole number of `s` or `ms`, such as `by-age:30s`"
                )
            );
        }
    }
}
