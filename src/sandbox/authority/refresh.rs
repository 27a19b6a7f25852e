//! Refresh tokens: what using one does to it and to its family.

use super::consent::limited;
use super::{Authority, Behavior, Grant, Issued, Moment, Refused, Scopes};
use crate::sandbox::behavior::{RefreshTokenField, RefreshWindow, Replay, Rotation};

pub(super) struct RefreshToken {
    pub(super) grant: u64,
    pub(super) expires_at: Moment,
    pub(super) state: RefreshState,
    /// Whether another was given out in its place, even if it stays good until that one is used.
    pub(super) replaced: bool,
    /// The access token given out with it.
    pub(super) companion: String,
    /// The refresh token that dies when this one is first used.
    pub(super) retires: Option<String>,
}

pub(super) enum RefreshState {
    Live,
    /// Replaced, and no longer good.
    Spent {
        at: Moment,
        /// What it was replaced by, for those who ask again in time.
        answer: Option<Box<Issued>>,
    },
    Revoked,
}

impl Authority {
    /// Exchanges a refresh token for an access token, and perhaps for another refresh token.
    pub(in crate::sandbox) fn refresh(
        &mut self,
        token: &str,
        client_id: &str,
        narrower: Option<Scopes>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<Issued, Refused> {
        self.prune_if_crowded(now);
        let Some((held, grant)) = self
            .refresh_tokens
            .get(token)
            .and_then(|held| Some((held, self.grants.get(&held.grant)?)))
        else {
            return Err(Refused::invalid_grant("the refresh token is unknown"));
        };
        let number = held.grant;
        if grant.client_id != client_id {
            return Err(Refused::invalid_grant(
                "the refresh token was issued to another client",
            ));
        }
        // What a token's past says comes before what is asked of it, or a reuse could hide behind a wrong scope.
        let scopes = requested(grant, narrower, behavior);
        let replaced = held.replaced;
        let outcome = match &held.state {
            _ if grant.ended => Err(Refused::invalid_grant("the grant has ended")),
            RefreshState::Revoked => Err(Refused::invalid_grant("the refresh token was revoked")),
            RefreshState::Spent { .. } => self.present_again(token, scopes, behavior, now),
            RefreshState::Live if now >= held.expires_at => {
                Err(Refused::invalid_grant("the refresh token has expired"))
            }
            RefreshState::Live => {
                scopes.map(|scopes| self.present(token, number, scopes, behavior, now))
            }
        };
        match outcome {
            Ok(issued) => Ok(Issued {
                reused: replaced,
                ..issued
            }),
            Err(refused) => Err(Refused {
                reused: replaced.then_some(number),
                ..refused
            }),
        }
    }

    /// Notes that a refresh token's successor has been used.
    pub(super) fn retire(&mut self, token: &str, now: Moment) {
        if let Some(held) = self.refresh_tokens.get_mut(token)
            && matches!(held.state, RefreshState::Live)
        {
            held.state = RefreshState::Spent {
                at: now,
                answer: None,
            };
        }
    }

    /// Gives out a refresh token.
    pub(super) fn issue_refresh_token(&mut self, held: RefreshToken) -> String {
        let token = self.secret("refresh");
        self.refresh_tokens.insert(token.clone(), held);
        token
    }

    /// A live token's use.
    fn present(
        &mut self,
        token: &str,
        grant: u64,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> Issued {
        // Using a token proves that the answer it came in arrived.
        if let Some(predecessor) = self
            .refresh_tokens
            .get_mut(token)
            .and_then(|held| held.retires.take())
        {
            self.retire(&predecessor, now);
        }
        let rotates = behavior.refresh_token_field == RefreshTokenField::Sent
            && behavior.rotation != Rotation::None;
        if rotates {
            return self.rotate(token, grant, scopes, behavior, now);
        }
        let closes_at = self.closes_at(grant, behavior, now);
        if let Some(held) = self.refresh_tokens.get_mut(token) {
            held.expires_at = closes_at;
        }
        Issued {
            refresh_token: (behavior.refresh_token_field == RefreshTokenField::Sent)
                .then(|| token.to_owned()),
            ..self.without_refresh_token(grant, scopes, behavior, now)
        }
    }

    /// An access token alone.
    fn without_refresh_token(
        &mut self,
        grant: u64,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> Issued {
        let expires_at = now.saturating_add(behavior.access_token_lifetime);
        Issued {
            grant,
            access_token: self.issue_access_token(grant, scopes.clone(), expires_at, None),
            refresh_token: None,
            scopes,
            expires_at,
            reused: false,
        }
    }

    /// Replaces a token by a new pair.
    fn rotate(
        &mut self,
        token: &str,
        grant: u64,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> Issued {
        let retires = (behavior.rotation == Rotation::Deferred).then(|| token.to_owned());
        let expires_at = now.saturating_add(behavior.access_token_lifetime);
        let access_token =
            self.issue_access_token(grant, scopes.clone(), expires_at, retires.clone());
        let held = RefreshToken {
            grant,
            expires_at: self.closes_at(grant, behavior, now),
            state: RefreshState::Live,
            replaced: false,
            companion: access_token.clone(),
            retires: retires.clone(),
        };
        let issued = Issued {
            grant,
            access_token,
            refresh_token: Some(self.issue_refresh_token(held)),
            scopes,
            expires_at,
            reused: false,
        };
        if let Some(held) = self.refresh_tokens.get_mut(token) {
            held.replaced = true;
            // A sibling leaves the first use's moment alone, so that replays do not prolong the grace window.
            if retires.is_none() && matches!(held.state, RefreshState::Live) {
                held.state = RefreshState::Spent {
                    at: now,
                    answer: Some(Box::new(issued.clone())),
                };
            }
            if behavior.rotation_revokes_access_token
                && let Some(companion) = self.access_tokens.get_mut(&held.companion)
            {
                companion.revoked = true;
            }
        }
        issued
    }

    /// The use of a token that is spent.
    fn present_again(
        &mut self,
        token: &str,
        scopes: Result<Scopes, Refused>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<Issued, Refused> {
        let Some(held) = self.refresh_tokens.get(token) else {
            return Err(Refused::invalid_grant("the refresh token is unknown"));
        };
        let grant = held.grant;
        // Grace forgives a repetition, not a lifetime that is over.
        if let Rotation::Grace { window, replay } = behavior.rotation
            && let RefreshState::Spent { at, answer } = &held.state
            && now < at.saturating_add(window)
            && now < held.expires_at
        {
            let scopes = scopes?;
            let sent = behavior.refresh_token_field == RefreshTokenField::Sent;
            return Ok(match (replay, answer) {
                (Replay::SamePair, Some(answer)) => {
                    let mut issued = Issued::clone(answer);
                    issued.refresh_token = issued.refresh_token.filter(|_| sent);
                    issued
                }
                _ if sent => self.rotate(token, grant, scopes, behavior, now),
                _ => self.without_refresh_token(grant, scopes, behavior, now),
            });
        }
        let kills = matches!(
            behavior.rotation,
            Rotation::FamilyRevocation | Rotation::Grace { .. }
        );
        let killed = kills && self.kill(grant);
        Err(Refused {
            killed: killed.then_some(grant),
            ..Refused::invalid_grant("the refresh token was used before")
        })
    }

    /// When a refresh token used now ends.
    fn closes_at(&self, grant: u64, behavior: &Behavior, now: Moment) -> Moment {
        match (behavior.refresh_window, self.grants.get(&grant)) {
            (RefreshWindow::Fixed, Some(grant)) => grant.closes_at,
            _ => now.saturating_add(behavior.refresh_token_lifetime),
        }
    }
}

/// The scopes that an exchange gives: those asked for, or all of the grant, and none beyond the behavior's limit.
fn requested(
    grant: &Grant,
    narrower: Option<Scopes>,
    behavior: &Behavior,
) -> Result<Scopes, Refused> {
    let scopes = match narrower {
        Some(narrower) if !grant.scopes.allows_all(&narrower) => {
            let description = "the scope exceeds what was granted";
            return Err(Refused::new("invalid_scope", description));
        }
        Some(narrower) => narrower,
        None => grant.scopes.clone(),
    };
    let scopes = limited(scopes, behavior);
    if scopes.is_empty() {
        Err(Refused::new("invalid_scope", "no scope is left to grant"))
    } else {
        Ok(scopes)
    }
}
