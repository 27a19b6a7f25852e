//! The properties that every reached state has, and the events that some state has to reach.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use crate::cache::state::Reason;

/// A property, with the guarantee that it checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Property {
    /// A second request of a replica joins the refresh in flight.
    P03OneRefreshPerReplica,
    /// The store holds the intent for exactly this refresh token when it is presented.
    P10IntentBeforeRequest,
    /// No other replica overwrites the intent while the token request is in flight.
    P10IntentIsKept,
    /// The presenter holds the lease in the store.
    P10LeaseBeforeRequest,
    /// Two replicas do not present one refresh token at the same time.
    P11NotTwiceInFlight,
    /// A refresh token is presented again only after a refusal, as the recorded replay, or as a
    /// documented last resort.
    P11PresentedOnce,
    /// No refresh token is presented after its successor was stored.
    P11NotAfterSuccessor,
    /// The provider sees no reuse of a refresh token unless a response was lost.
    P11NoReuseWithoutFault,
    /// An end of the grant is stored only if no known refresh token is valid.
    P12LiveGrantIsNotEnded,
    /// A replica that has followed an announcement holds nothing older than the store.
    P12AnnouncedSaveIsHeld,
    /// A stored token set or end is never replaced by an older token set.
    P12StoredTokensNeverGoBack,
    /// A delivered token set is stored, or its replica is saving it.
    P13DeliveredTokensAreKept,
    /// A process that may be about to end sends no refresh token for which no caller waits, unless
    /// an earlier response was lost.
    P13OnlyAwaitedRequests,
    /// The stored reason of the end is right.
    P15ReasonOfEnd,
    /// Two token requests of one replica start at least one second apart.
    P16MinimumInterval,
    /// The number of running jobs is exact.
    WorkIsCounted,
    /// A replica that ended its job left no lease behind.
    LeaseIsReleased,
    /// Without further faults, a live grant is refreshed and a dead one ended, by few requests.
    Recovers,
}

/// An event of which at least one occurrence shows that the exploration is not vacuous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A replica used what another one has saved.
    Adopted,
    AnnouncementAdopted,
    ConflictAdopted,
    ConflictOverwritten,
    Deferred,
    EndSavedDuringRequest,
    EndedInvalidGrant,
    EndedRotationLost,
    FamilyEndedByReuse,
    LastResort,
    LeaseTakenOver,
    LeaseWaitTimedOut,
    Refreshed,
    Replayed,
    /// A refresh token was presented a third time, within the reuse grace.
    ReplayedAgain,
    Restored,
    ReuseGraceUsed,
    StalledReplicaStopped,
    StoreCheckAdopted,
    SuccessorDropped,
    UsedUnsaved,
}

/// How often each property was evaluated, and each event was reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) evaluations: BTreeMap<Property, u64>,
    pub(super) events: BTreeMap<Event, u64>,
    pub(super) known: Known,
}

/// Results that depend on one replica and few conditions, and therefore repeat in many states.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The hash of a replica after an action.
    pub(super) hashes: HashMap<u64, u64>,
    /// The requests for which an idle replica starts a job, and whether that is a store check.
    pub(super) starts: HashMap<u64, Vec<(Reason, bool)>>,
    /// Replicas with a job, of which no request starts another refresh.
    pub(super) checked: HashSet<u64>,
}

impl Counts {
    pub(super) fn check(
        &mut self,
        property: Property,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) -> Result<(), Violation> {
        *self.evaluations.entry(property).or_default() += 1;
        if holds {
            return Ok(());
        }
        Err(Violation {
            property,
            detail: detail(),
        })
    }

    pub(super) fn reach(&mut self, event: Event) {
        *self.events.entry(event).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (property, count) in &other.evaluations {
            *self.evaluations.entry(*property).or_default() += count;
        }
        for (event, count) in &other.events {
            *self.events.entry(*event).or_default() += count;
        }
    }
}

/// A property that does not hold.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) property: Property,
    pub(super) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.property, self.detail)
    }
}
