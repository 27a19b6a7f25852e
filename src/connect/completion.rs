//! The outcomes of the flows that this process completes.
//!
//! The first request of a flow completes it. Every other request of that flow waits for the same
//! outcome, and gets it for as long as a browser can repeat the callback.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::ConnectFailure;
use crate::token::digest;

/// The outcome of completing a flow with its code.
#[derive(Clone, Debug)]
pub(super) enum Completion {
    Connected,
    /// Another replica has connected the tenant with this flow.
    ConnectedElsewhere,
    Failed(ConnectFailure),
    /// The code was not sent, so the browser may repeat the callback.
    NotStarted(ConnectFailure),
}

/// A completion that is in progress, or the outcome of one that has ended.
#[derive(Debug)]
pub(super) struct Pending(watch::Receiver<Option<Completion>>);

/// The flows whose completion is in progress, or has ended and is remembered.
#[derive(Debug, Default)]
pub(super) struct Completions {
    flows: Mutex<HashMap<String, watch::Receiver<Option<Completion>>>>,
}

/// The right to complete a flow. Its outcome is forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Completing {
    completions: Arc<Completions>,
    flow: String,
    outcome: watch::Sender<Option<Completion>>,
}

impl Completions {
    /// Begins to complete the flow with this `state`, unless another request has begun.
    pub(super) fn begin(self: &Arc<Self>, state: &str) -> Result<Completing, Pending> {
        let flow = digest(None, state);
        match self.lock().entry(flow.clone()) {
            Entry::Occupied(other) => Err(Pending(other.get().clone())),
            Entry::Vacant(entry) => {
                let (outcome, receiver) = watch::channel(None);
                entry.insert(receiver);
                Ok(Completing {
                    completions: Arc::clone(self),
                    flow,
                    outcome,
                })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Completion>>>> {
        // Each change is one insertion or removal.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Completing {
    /// The outcome, for the request that has begun.
    pub(super) fn pending(&self) -> Pending {
        Pending(self.outcome.subscribe())
    }

    pub(super) fn complete(&self, completion: Completion) {
        self.outcome.send_replace(Some(completion));
    }
}

impl Drop for Completing {
    fn drop(&mut self) {
        self.completions.lock().remove(&self.flow);
    }
}

impl Pending {
    /// Waits for the outcome. `None` if the completion was dropped without one.
    pub(super) async fn outcome(mut self) -> Option<Completion> {
        let outcome = self.0.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p11_requests_of_one_flow_get_one_outcome() {
        let completions = Arc::new(Completions::default());
        let first = completions.begin("s1").unwrap();
        let early = completions.begin("s1").unwrap_err();
        assert!(completions.begin("s2").is_ok());
        first.complete(Completion::ConnectedElsewhere);
        let late = completions.begin("s1").unwrap_err();
        for pending in [first.pending(), early, late] {
            let outcome = pending.outcome().await;
            assert!(matches!(outcome, Some(Completion::ConnectedElsewhere)));
        }
        drop(first);
        assert!(completions.begin("s1").is_ok());
    }

    #[tokio::test]
    async fn p04_request_that_is_dropped_leaves_the_flow_to_the_next_one() {
        let completions = Arc::new(Completions::default());
        let dropped = completions.begin("s1").unwrap();
        let waiting = completions.begin("s1").unwrap_err();
        drop(dropped);
        assert!(waiting.outcome().await.is_none());
        assert!(completions.begin("s1").is_ok());
    }
}
