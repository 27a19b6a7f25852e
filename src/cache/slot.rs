//! What decides whether an exchange may begin.

use std::time::{Instant, SystemTime};

use tokio::task::JoinHandle;

use super::{cooldown::Cooldown, flight::Flight};
use crate::token::{Generation, TokenSet};

/// Locked for moments, never across an await. What is seldom there is boxed: there is a slot for each of many idle grants.
#[derive(Default)]
pub(super) struct Slot {
    /// The exchange under way: while there is one, no other begins.
    pub(super) exchange: Option<Box<Flight>>,
    /// The look into the store under way, where an exchange may not be made; and when the last one ended.
    pub(super) look: Option<Box<Flight>>,
    pub(super) looked_at: Option<Instant>,
    pub(super) cooldown: Cooldown,
    /// When the last exchange began, and the last one that a 401 forced.
    pub(super) exchanged_at: Option<Instant>,
    pub(super) forced_at: Option<Instant>,
    /// When the exchange began that this process has noted in the store. One that another has noted may be under way there.
    pub(super) noted: Option<SystemTime>,
    /// Whose token the API has refused last.
    pub(super) rejected: Option<Generation>,
    /// Of how few days left of which refresh token somebody has been told.
    pub(super) told: Option<(SystemTime, u64)>,
    /// Whether the grant was revoked by this process, but the store does not know it yet: nothing that comes from there, or
    /// from an exchange, brings it back.
    pub(super) is_revoked_here: bool,
    /// How many commands there have been, and which was the last to bring a new consent, and to revoke one.
    commands: u64,
    pub(super) newest_consent: u64,
    pub(super) newest_revocation: u64,
    /// Tokens whose revocation the provider has not confirmed.
    pub(super) unconfirmed: Option<Box<TokenSet>>,
    pub(super) keeper: Option<JoinHandle<()>>,
    /// How many flights count on the lease: two, where the grant was replaced while the old one was being renewed.
    pub(super) leases: u32,
    /// Until when this process can count on the lease, by both clocks.
    pub(super) leased_until: Option<(Instant, SystemTime)>,
    /// Whether nothing new may begin; and how many flights and commands have not ended.
    pub(super) is_shut_down: bool,
    pub(super) work: u32,
}

impl Slot {
    /// The place of a new command among all.
    pub(super) fn order(&mut self) -> u64 {
        self.commands += 1;
        self.commands
    }
}
