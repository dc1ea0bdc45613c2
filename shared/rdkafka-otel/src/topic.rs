//! What is the same for every record of a topic, put together once: its shared name and the labels
//! of its metrics.
//!
//! Knows no record.

use std::sync::{Arc, PoisonError, RwLock};

use crate::metrics::Labels;

/// A client with more topics than this puts those beyond together for each record.
const MOST_KEPT: usize = 64;

/// One topic of one client.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    #[cfg_attr(
        not(feature = "metrics"),
        expect(dead_code, reason = "nothing is counted")
    )]
    pub(crate) labels: Labels,
}

/// The topics that a client has met.
#[derive(Default)]
pub(crate) struct Topics(RwLock<Vec<Arc<Topic>>>);

impl Topics {
    /// The topic of this name; `labels` makes those of a new one.
    pub(crate) fn get(&self, name: &str, labels: impl FnOnce(&Arc<str>) -> Labels) -> Arc<Topic> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = kept.iter().find(|topic| *topic.name == *name) {
            return Arc::clone(topic);
        }
        let is_full = kept.len() >= MOST_KEPT;
        drop(kept);
        let name = Arc::from(name);
        let labels = labels(&name);
        let topic = Arc::new(Topic { name, labels });
        if !is_full {
            // Two threads may both keep it: the first is found from then on, and the other is as good.
            self.0
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Arc::clone(&topic));
        }
        topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_topic_is_put_together_once_and_only_so_many_are_kept() {
        let (topics, made) = (Topics::default(), Cell::new(0));
        let get = |name: &str| {
            topics.get(name, |_| {
                made.set(made.get() + 1);
                Labels::default()
            })
        };
        let first = get("orders");
        assert!(Arc::ptr_eq(&first, &get("orders")));
        assert_eq!((&*first.name, made.get()), ("orders", 1));
        for index in 1..MOST_KEPT {
            get(&format!("topic-{index}"));
        }
        assert_eq!(made.get(), MOST_KEPT);
        assert!(!Arc::ptr_eq(&get("beyond"), &get("beyond")));
        assert_eq!(made.get(), MOST_KEPT + 2);
        assert!(Arc::ptr_eq(&first, &get("orders")));
    }
}
