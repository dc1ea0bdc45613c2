//! What the page's controls can change about the services, as environment variables of theirs.
//!
//! Nothing here is known to a service: each variable is one that it has anyway. Restarting is the
//! stack's, and asking for it `control`'s.

use crate::stack::Stack;
use anyhow::bail;
use serde::{Deserialize, Serialize};

/// What `PROCESS_PARENT` can be set to here.
const PROCESS_PARENTS: [&str; 3] = ["creation-context", "link", "by-age:2s"];

/// How the services run now.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    /// Whether orders-api writes trace context into what it sends, and reads it.
    pub(crate) propagation: bool,
    pub(crate) process_parent: String,
    /// Share of the orders that are traced.
    pub(crate) sampling: f64,
    pub(crate) consumer_running: bool,
}

/// What is to be different; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Change {
    propagation: Option<bool>,
    process_parent: Option<String>,
    sampling: Option<f64>,
    consumer_running: Option<bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            propagation: true,
            process_parent: "creation-context".into(),
            sampling: 1.0,
            consumer_running: true,
        }
    }
}

impl Change {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// For a value that no service would take.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if let Some(parent) = &self.process_parent
            && !PROCESS_PARENTS.contains(&parent.as_str())
        {
            bail!("processParent is one of {}", PROCESS_PARENTS.join(", "));
        }
        if let Some(share) = self.sampling
            && !(0.0..=1.0).contains(&share)
        {
            bail!("sampling is a share from 0 to 1");
        }
        Ok(())
    }
}

impl Settings {
    /// Restarts the services that the change is about, one after the other.
    ///
    /// # Errors
    /// If one does not leave or start; the stack is then incomplete.
    pub(crate) async fn change(&mut self, change: Change, stack: &mut Stack) -> anyhow::Result<()> {
        let before = self.clone();
        self.propagation = change.propagation.unwrap_or(self.propagation);
        self.process_parent = change
            .process_parent
            .unwrap_or(before.process_parent.clone());
        self.sampling = change.sampling.unwrap_or(self.sampling);
        self.consumer_running = change.consumer_running.unwrap_or(self.consumer_running);

        let mut anew = [("orders-api", false), ("order-processor", false)];
        if self.propagation != before.propagation {
            let value = (!self.propagation).then_some("none");
            stack.set("orders-api", "OTEL_PROPAGATORS", value);
            anew[0].1 = true;
        }
        #[allow(clippy::float_cmp, reason = "the same number, handed on")]
        if self.sampling != before.sampling {
            let ratio = (self.sampling < 1.0).then(|| self.sampling.to_string());
            let sampler = ratio.as_ref().map(|_| "parentbased_traceidratio");
            stack.set("orders-api", "OTEL_TRACES_SAMPLER", sampler);
            stack.set("orders-api", "OTEL_TRACES_SAMPLER_ARG", ratio.as_deref());
            anew[0].1 = true;
        }
        if self.process_parent != before.process_parent {
            for (service, restart) in &mut anew {
                stack.set(service, "PROCESS_PARENT", Some(&self.process_parent));
                *restart = true;
            }
        }
        for (service, restart) in anew {
            let runs = service != "order-processor" || before.consumer_running;
            if restart && runs {
                stack.stop_service(service).await?;
                stack.start_service(service).await?;
            }
        }
        match (before.consumer_running, self.consumer_running) {
            (true, false) => stack.stop_service("order-processor").await?,
            (false, true) => {
                stack.start_service("order-processor").await?;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Change {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn only_what_services_take_is_let_through() {
        for right in [
            "{}",
            r#"{"processParent":"link"}"#,
            r#"{"processParent":"by-age:2s","sampling":0}"#,
            r#"{"sampling":1,"propagation":false,"consumerRunning":false}"#,
        ] {
            assert!(change(right).check().is_ok(), "{right}");
        }
        for wrong in [
            r#"{"processParent":"anything"}"#,
            r#"{"sampling":1.5}"#,
            r#"{"sampling":-0.1}"#,
        ] {
            assert!(change(wrong).check().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Change>(r#"{"LD_PRELOAD":"x"}"#).is_err());
    }
}
