//! The effect of the token set of a new consent on the stored grant.
//!
//! The program decides about every consent: it may be of another account than the stored grant, and
//! only the program can know that. A token set with a refresh token replaces any grant, unless the
//! program rejects it. One without would end a grant that can be refreshed, so the decision has to
//! be about that very grant.

use super::{
    CacheState,
    commands::{NotInstalled, Sequence},
    event::Event,
    job::InFlight,
    moment::Moment,
};
use crate::{
    error::{Error, ErrorKind},
    provider::Provider,
    token::{ConsentDecision, Generation, Grant, GrantState, TokenSet},
};

/// The token set of a new consent, which is to be saved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consent<'a> {
    pub(crate) sequence: Sequence,
    pub(crate) tokens: &'a TokenSet,
    /// The decision of the program, if it was asked.
    pub(crate) decided: Option<Decided>,
    /// The use of the lease that the save has begun, if it needs one.
    pub(crate) lease_use: Option<u32>,
    /// The data of the provider, if there is one.
    pub(crate) provider: Option<&'a Provider>,
}

/// A decision of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) decision: ConsentDecision,
    pub(crate) about: About,
}

/// The stored grant that a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    AnyGrant,
    /// The one of this generation. `None` if there was none.
    Stored(Option<Generation>),
}

impl Consent<'_> {
    fn lacks_refresh_token(&self) -> bool {
        self.tokens.refresh_token().is_none()
    }

    /// Whether the save may keep the stored refresh token. Then no refresh may be using it.
    fn keeps_refresh_token(&self) -> bool {
        let keeps = |decided: Decided| decided.decision == ConsentDecision::KeepRefreshToken;
        self.lacks_refresh_token() && self.decided.is_some_and(keeps)
    }

    /// Whether the stored refresh token would still be sent to the addresses that it belongs to.
    fn has_addresses_of(&self, held: &TokenSet) -> bool {
        self.provider
            .is_none_or(|provider| provider.has_same_addresses(held.values(), self.tokens.values()))
    }
}

/// An intent stays: it is still unknown whether the provider has rotated the refresh token.
fn with_refresh_token_of(held: &TokenSet, tokens: &TokenSet, state: &GrantState) -> GrantState {
    let tokens = tokens.clone().with_refresh_token_of(held);
    match *state {
        GrantState::Refreshing {
            since, is_replayed, ..
        } => GrantState::Refreshing {
            tokens,
            since,
            is_replayed,
        },
        _ => GrantState::Active(tokens),
    }
}

/// The decision to report about a saved consent. `None` if its response contained a refresh token.
pub(crate) fn missing_refresh_token(tokens: &TokenSet, saved: &Grant) -> Option<ConsentDecision> {
    let is_kept = saved
        .tokens()
        .is_some_and(|saved| saved.refresh_token().is_some());
    match (tokens.refresh_token(), is_kept) {
        (Some(_), _) => None,
        (None, true) => Some(ConsentDecision::KeepRefreshToken),
        (None, false) => Some(ConsentDecision::Replace),
    }
}

impl CacheState {
    /// Whether the save of a new consent may begin, and whether it needs the lease: it keeps the
    /// stored refresh token, so no refresh may be using that meanwhile.
    pub(crate) fn begin_consent(&self, consent: &Consent<'_>) -> Result<bool, NotInstalled> {
        self.commands.may_install(consent.sequence)?;
        let keeps_refresh_token = consent.keeps_refresh_token();
        // A refresh that has sent nothing finds a new grant and ends.
        let is_sent = |refresh: &InFlight| refresh.has_sent;
        if keeps_refresh_token && self.refresh.as_deref().is_some_and(is_sent) {
            return Err(NotInstalled::Refreshing);
        }
        Ok(keeps_refresh_token)
    }

    /// The state to save over the stored grant for the token set of a new consent.
    pub(crate) fn consented(
        &self,
        consent: &Consent<'_>,
        stored: Option<&Grant>,
        m: Moment<'_>,
    ) -> Result<GrantState, NotInstalled> {
        self.commands.may_install(consent.sequence)?;
        let at_stake = self.at_stake(consent, stored);
        let newest = at_stake.map(|(grant, _)| grant).or(stored);
        let generation = newest.map(|grant| grant.generation);
        let is_about_newest = |about| match about {
            About::AnyGrant => true,
            About::Stored(about) => at_stake.is_none() || about == generation,
        };
        let decided = consent
            .decided
            .filter(|decided| is_about_newest(decided.about))
            .ok_or(NotInstalled::Undecided(generation))?;
        let alone = || GrantState::Active(consent.tokens.clone());
        match (decided.decision, at_stake) {
            (ConsentDecision::Reject, _) => Err(NotInstalled::Rejected { revoke: false }),
            (ConsentDecision::RejectAndRevoke, _) => Err(NotInstalled::Rejected { revoke: true }),
            (_, None) | (ConsentDecision::Replace, _) => Ok(alone()),
            (ConsentDecision::Accept, Some(_)) => Err(NotInstalled::RefreshTokenMissing),
            (ConsentDecision::KeepRefreshToken, Some((_, held)))
                if !consent.has_addresses_of(held) =>
            {
                Err(NotInstalled::OtherAddresses)
            }
            // Another process may have acquired the lease since, and be using the refresh token.
            (ConsentDecision::KeepRefreshToken, _) if !self.holds_lease(consent.lease_use, m) => {
                Err(NotInstalled::Refreshing)
            }
            (ConsentDecision::KeepRefreshToken, Some((grant, held))) => {
                Ok(with_refresh_token_of(held, consent.tokens, &grant.state))
            }
        }
    }

    /// The grant whose refresh token would be dropped although it can be used, and its token set.
    /// The held grant counts if it is newer than the stored one: it could not be saved.
    fn at_stake<'a>(
        &'a self,
        consent: &Consent<'_>,
        stored: Option<&'a Grant>,
    ) -> Option<(&'a Grant, &'a TokenSet)> {
        let is_newer = |held: &&Grant| stored.is_none_or(|it| held.generation > it.generation);
        let newest = self.held.grant().filter(is_newer).or(stored)?;
        let tokens = newest.tokens()?;
        let is_at_stake = consent.lacks_refresh_token()
            && newest.state.is_refreshable()
            && tokens.refresh_token().is_some();
        is_at_stake.then_some((newest, tokens))
    }

    fn holds_lease(&self, lease_use: Option<u32>, m: Moment<'_>) -> bool {
        lease_use.is_some_and(|begun| self.owns_lease(begun)) && self.lease.check(m).is_ok()
    }

    /// Whether another process has stored a grant since this one revoked the grant.
    pub(crate) fn is_connected_elsewhere(&self, stored: Option<&Grant>) -> bool {
        let revoked = self.held.generation();
        stored.is_some_and(|it| it.state.is_refreshable() && Some(it.generation) >= revoked)
    }

    /// The token set of a consent contains no refresh token, and this was decided.
    pub(crate) fn refresh_token_missing(&mut self, decision: ConsentDecision) {
        self.events.push(Event::RefreshTokenMissing(decision));
    }

    /// The program has rejected a consent, or has not decided about it.
    pub(crate) fn consent_rejected(&mut self, by: &'static str) {
        self.events.push(Event::ConsentRejected(by));
    }
}

/// The error of a consent that is not saved, so that the stored refresh token is not sent to the
/// addresses of another grant.
pub(crate) fn other_addresses() -> Error {
    Error::new(
        ErrorKind::RefreshTokenMissing,
        "the new consent brought no refresh token, and that of the stored grant belongs to other \
         addresses: the stored grant is unchanged; let the customer disconnect and connect again",
    )
}

/// The error of a consent that is not saved, so that the stored refresh token is not lost.
pub(crate) fn refresh_token_missing() -> Error {
    Error::new(
        ErrorKind::RefreshTokenMissing,
        "the new consent brought no refresh token, and the stored grant has one: the stored grant \
         is unchanged; decide by set_tokens_with, or let the customer remove the application's \
         access at the provider and consent again",
    )
}
