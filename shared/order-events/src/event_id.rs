//! Identity of an event, derived from what caused it.
//!
//! A producer that retries, or a consumer that sees a record twice, derives the same id again, so
//! a duplicate on the wire is recognised without a shared counter or a lookup.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The id of one event: a name-based UUID (version 5) over its cause and its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// The id of the event of type `event_type` that `cause` brought about. The same two inputs
    /// give the same id, always and in every process.
    pub fn derived(cause: Uuid, event_type: &str) -> Self {
        Self(Uuid::new_v5(&cause, event_type.as_bytes()))
    }

    /// The UUID itself, for instance as the cause of a further event.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_and_type_give_the_same_id() {
        let cause = Uuid::from_u128(7);
        assert_eq!(EventId::derived(cause, "a"), EventId::derived(cause, "a"));
        assert_ne!(EventId::derived(cause, "a"), EventId::derived(cause, "b"));
        assert_ne!(
            EventId::derived(cause, "a"),
            EventId::derived(Uuid::from_u128(8), "a")
        );
    }
}
