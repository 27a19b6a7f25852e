//! How the program decides about a consent before it is stored.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use super::state::{About, Decided};
use crate::{
    caught::{Panicked, caught},
    token::{ConsentDecision, Generation},
};

/// For the program, which may call the API. Without a decision by then, the consent is rejected.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often the program decides about one consent. Each time, the stored grant has changed.
const DECISIONS: u32 = 4;

/// Decides about one consent.
pub(crate) trait Decide: Send + Sync + 'static {
    fn decide(&self) -> Pin<Box<dyn Future<Output = ConsentDecision> + Send + '_>>;
}

/// The decisions about one consent, and the last of them: a save that is retried asks nothing
/// again.
pub(crate) struct Decisions {
    /// `None` if the decision is the same for every stored grant.
    program: Option<Box<dyn Decide>>,
    last: Mutex<Last>,
}

#[derive(Clone, Copy, Default)]
struct Last {
    decided: Option<Decided>,
    rejected_by: RejectedBy,
    count: u32,
}

/// Why a consent is rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RejectedBy {
    #[default]
    Program,
    /// The program has not decided in time.
    Deadline,
    /// The program has panicked.
    Panic,
}

impl RejectedBy {
    /// The reason as events spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Deadline => "deadline",
            Self::Panic => "panic",
        }
    }
}

impl Decisions {
    /// One decision for every stored grant.
    pub(crate) fn always(decision: ConsentDecision) -> Self {
        let about = About::AnyGrant;
        Self {
            program: None,
            last: Mutex::new(Last {
                decided: Some(Decided { decision, about }),
                ..Last::default()
            }),
        }
    }

    #[cfg(feature = "axum")]
    pub(crate) fn of(program: impl Decide) -> Self {
        Self {
            program: Some(Box::new(program)),
            last: Mutex::default(),
        }
    }

    pub(super) fn last(&self) -> Option<Decided> {
        self.lock().decided
    }

    /// Whether the decision is the same for every stored grant.
    pub(super) fn are_fixed(&self) -> bool {
        self.program.is_none()
    }

    pub(super) fn are_about_any_grant(&self) -> bool {
        let last = self.last();
        last.is_some_and(|decided| decided.about == About::AnyGrant)
    }

    /// Limits the last decision to the grant of this generation.
    pub(super) fn limit_to(&self, stored: Option<Generation>) {
        if let Some(decided) = &mut self.lock().decided {
            decided.about = About::Stored(stored);
        }
    }

    pub(crate) fn rejected_by(&self) -> RejectedBy {
        self.lock().rejected_by
    }

    /// Asks the program about the stored grant of this generation. Returns false if it has been
    /// asked too often.
    pub(super) async fn decide(&self, stored: Option<Generation>) -> bool {
        let count = self.lock().count;
        let Some(program) = self.program.as_ref().filter(|_| count < DECISIONS) else {
            return false;
        };
        let (decision, rejected_by) = match timeout(DEADLINE, caught(program.decide())).await {
            Ok(Ok(decision)) => (decision, RejectedBy::Program),
            Ok(Err(Panicked)) => (ConsentDecision::Reject, RejectedBy::Panic),
            Err(_) => (ConsentDecision::Reject, RejectedBy::Deadline),
        };
        let about = match rejected_by {
            RejectedBy::Program => About::Stored(stored),
            // It is not asked again.
            RejectedBy::Deadline | RejectedBy::Panic => About::AnyGrant,
        };
        *self.lock() = Last {
            decided: Some(Decided { decision, about }),
            rejected_by,
            count: count + 1,
        };
        true
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        // Each change is one assignment.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
