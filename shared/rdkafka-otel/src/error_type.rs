//! What a failed operation says on its span: status, `error.type` and an `exception` event.
//!
//! Decides the wording only; when an operation has failed is known to `producer.rs` and
//! `consumer.rs`.

use std::any::{Any, type_name};
use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Display;
use std::io;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, Status};
use rdkafka::error::KafkaError;

use crate::{native, semconv};

/// The fallback that the conventions define for errors without a class of their own.
const OTHER: &str = "_OTHER";

/// An error that can name its class for the [`error.type`] attribute.
///
/// The name groups failures in queries and metrics, so it must come from a small fixed set: a
/// variant's name, a protocol's error code. Never a message, an id or a value. What the error
/// displays becomes the span's status description and the exception's message, so it should hold
/// nothing that may not leave the process.
///
/// ```
/// use std::borrow::Cow;
/// use std::fmt;
/// use rdkafka_otel::ErrorType;
///
/// enum ChargeError { Declined { order: u64 } }
///
/// impl fmt::Display for ChargeError {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         let ChargeError::Declined { order } = self;
///         write!(f, "order {order} was declined")
///     }
/// }
///
/// impl ErrorType for ChargeError {
///     fn error_type(&self) -> Cow<'static, str> {
///         let ChargeError::Declined { .. } = self;
///         "declined".into()
///     }
/// }
/// ```
///
/// [`error.type`]: https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/
pub trait ErrorType: Display {
    /// The class of this error.
    fn error_type(&self) -> Cow<'static, str>;
}

/// librdkafka's name of the error code, such as `_MSG_TIMED_OUT` or `TOPIC_AUTHORIZATION_FAILED`;
/// `_OTHER` for the errors that rdkafka raises without one.
impl ErrorType for KafkaError {
    fn error_type(&self) -> Cow<'static, str> {
        let code = match self {
            // The code is there, but `rdkafka_error_code` passes over it.
            KafkaError::AdminOp(code) => Some(*code),
            KafkaError::PartitionEOF(_) => Some(rdkafka::error::RDKafkaErrorCode::PartitionEOF),
            _ => self.rdkafka_error_code(),
        };
        code.map_or(OTHER.into(), |code| native::error_name(code).into())
    }
}

/// The name of the [`io::ErrorKind`], such as `ConnectionRefused`.
impl ErrorType for io::Error {
    fn error_type(&self) -> Cow<'static, str> {
        format!("{:?}", self.kind()).into()
    }
}

impl ErrorType for Infallible {
    fn error_type(&self) -> Cow<'static, str> {
        match *self {}
    }
}

/// That of the error inside if it is a [`KafkaError`] or an [`io::Error`], `_OTHER` otherwise.
impl ErrorType for Box<dyn Error + Send + Sync> {
    fn error_type(&self) -> Cow<'static, str> {
        if let Some(error) = self.downcast_ref::<KafkaError>() {
            error.error_type()
        } else if let Some(error) = self.downcast_ref::<io::Error>() {
            error.error_type()
        } else {
            OTHER.into()
        }
    }
}

/// Always `_OTHER`: a text has no class.
impl ErrorType for String {
    fn error_type(&self) -> Cow<'static, str> {
        OTHER.into()
    }
}

/// How an operation failed. Put into words only if a span wants them.
pub(crate) struct Failure<'a> {
    pub(crate) class: Cow<'static, str>,
    raised: Option<(&'static str, &'a dyn Display)>,
}

/// A failure as a span shows it.
pub(crate) struct Report {
    pub(crate) status: Status,
    pub(crate) error_type: KeyValue,
    /// The attributes of the `exception` event, if something was raised.
    pub(crate) exception: Option<Vec<KeyValue>>,
}

impl<'a> Failure<'a> {
    pub(crate) fn error<E: ErrorType>(error: &'a E) -> Self {
        Self {
            class: error.error_type(),
            raised: Some((type_name::<E>(), error)),
        }
    }

    pub(crate) fn panic(message: &'a impl Display) -> Self {
        Self {
            class: "panic".into(),
            raised: Some(("panic", message)),
        }
    }

    /// The future doing the work, or the guard of it, was dropped before it had finished.
    pub(crate) fn cancelled() -> Self {
        Self {
            class: "cancelled".into(),
            raised: None,
        }
    }

    pub(crate) fn report(&self) -> Report {
        let error_type = KeyValue::new(semconv::ERROR_TYPE, self.class.clone());
        let Some((kind, raised)) = self.raised else {
            return Report {
                status: Status::error("dropped before it had finished"),
                error_type,
                exception: None,
            };
        };
        let message = raised.to_string();
        Report {
            status: Status::error(message.clone()),
            error_type,
            exception: Some(vec![
                KeyValue::new(semconv::EXCEPTION_TYPE, kind),
                KeyValue::new(semconv::EXCEPTION_MESSAGE, message),
            ]),
        }
    }

    /// Puts the failure on a span that has not ended yet.
    pub(crate) fn set_on(&self, span: &mut impl Span) {
        let report = self.report();
        span.set_status(report.status);
        span.set_attribute(report.error_type);
        if let Some(exception) = report.exception {
            span.add_event(semconv::EXCEPTION_EVENT, exception);
        }
    }
}

/// What a panic said, as far as it was a text.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&'static str>()
        .map(|message| (*message).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked with a payload that is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::error::RDKafkaErrorCode;

    #[test]
    fn kafka_errors_have_librdkafkas_names() {
        let nul = std::ffi::CString::new("a\0b").unwrap_err();
        let cases = [
            (
                KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut),
                "_MSG_TIMED_OUT",
            ),
            (
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull),
                "_QUEUE_FULL",
            ),
            (
                KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopicOrPartition),
                "UNKNOWN_TOPIC_OR_PART",
            ),
            (
                KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut),
                "_TIMED_OUT",
            ),
            (
                KafkaError::AdminOp(RDKafkaErrorCode::TopicAlreadyExists),
                "TOPIC_ALREADY_EXISTS",
            ),
            (KafkaError::Global(RDKafkaErrorCode::Unknown), "UNKNOWN"),
            (KafkaError::PartitionEOF(3), "_PARTITION_EOF"),
            (KafkaError::Canceled, "_OTHER"),
            (KafkaError::Seek("a text".to_owned()), "_OTHER"),
            (KafkaError::Nul(nul), "_OTHER"),
        ];
        for (error, expected) in cases {
            assert_eq!(error.error_type(), expected, "{error}");
        }
    }

    #[test]
    fn other_errors_have_a_small_set_of_names() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let boxed: [(Box<dyn Error + Send + Sync>, &str); 3] = [
            (Box::new(refused()), "ConnectionRefused"),
            (
                Box::new(KafkaError::Flush(RDKafkaErrorCode::Fatal)),
                "_FATAL",
            ),
            ("order 4711 was declined".into(), "_OTHER"),
        ];
        assert_eq!(refused().error_type(), "ConnectionRefused");
        assert_eq!("order 4711 was declined".to_owned().error_type(), "_OTHER");
        for (error, expected) in boxed {
            assert_eq!(error.error_type(), expected, "{error}");
        }
    }
}
