//! The mutable state of one cache: decides whether a refresh may start.

use std::time::{Instant, SystemTime};

use tokio::task::JoinHandle;

use super::{backoff::Backoff, single_flight::SingleFlight};
use crate::token::{Generation, TokenSet};

/// Locked briefly, never across an await. Rare values are boxed, because each of many idle grants
/// has a state.
#[derive(Default)]
pub(super) struct CacheState {
    /// The refresh in flight. No other one starts meanwhile.
    pub(super) refresh: Option<Box<SingleFlight>>,
    /// The store check in flight: a load without a refresh, when a refresh is denied.
    pub(super) store_check: Option<Box<SingleFlight>>,
    /// When the last store check ended.
    pub(super) store_checked_at: Option<Instant>,
    pub(super) backoff: Backoff,
    /// When the last token request was started.
    pub(super) refresh_started_at: Option<Instant>,
    /// When the last successful refresh after a 401 was started.
    pub(super) forced_refresh_at: Option<Instant>,
    /// The start time in the intent that this process saved. Another process may still be working
    /// on any other intent.
    pub(super) own_intent: Option<SystemTime>,
    /// The generation that the API rejected last.
    pub(super) rejected: Option<Generation>,
    /// The last expiry event: when the refresh token expires, and how many days were left.
    pub(super) reported_expiry: Option<(SystemTime, u64)>,
    /// Whether this process revoked the grant and the store does not know it yet. Nothing that the
    /// store or a refresh returns brings the grant back.
    pub(super) is_revoked_locally: bool,
    /// The last command.
    last_sequence: Sequence,
    /// The last command that installed a grant.
    pub(super) consent_epoch: Sequence,
    /// The last command that revoked a grant.
    pub(super) revocation_epoch: Sequence,
    /// Tokens whose revocation the provider has not confirmed.
    pub(super) unconfirmed: Option<Box<TokenSet>>,
    pub(super) worker: Option<JoinHandle<()>>,
    /// How many refreshes use the lease. There are two if the grant was replaced during a refresh.
    pub(super) lease_users: u32,
    /// When the lease of this process expires, by both clocks.
    pub(super) leased_until: Option<(Instant, SystemTime)>,
    /// Whether new work is rejected.
    pub(super) is_shut_down: bool,
    /// How many refreshes, store checks and commands are running.
    pub(super) work: u32,
}

/// The position of a command among all commands of one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence(u64);

impl CacheState {
    /// The position of a new command.
    pub(super) fn next_sequence(&mut self) -> Sequence {
        self.last_sequence = Sequence(self.last_sequence.0 + 1);
        self.last_sequence
    }
}
