//! Refresh tokens: what using one does to it and to its family.

use super::consent::limited;
use super::{Authority, Behavior, Issued, Moment, Refused, Scopes};
use crate::sandbox::behavior::{RefreshTokenField, RefreshWindow, Replay, Rotation};

pub(super) struct RefreshToken {
    pub(super) grant: u64,
    pub(super) expires_at: Moment,
    pub(super) state: RefreshState,
    /// The access token given out with it.
    pub(super) companion: String,
    /// The refresh token that dies when this one is first used.
    pub(super) retires: Option<String>,
}

pub(super) enum RefreshState {
    Live,
    /// Replaced.
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
        let scopes = match narrower {
            Some(narrower) if !grant.scopes.allows_all(&narrower) => {
                return Err(Refused::new(
                    "invalid_scope",
                    "the scope exceeds what was granted",
                ));
            }
            Some(narrower) => narrower,
            None => grant.scopes.clone(),
        };
        let scopes = limited(scopes, behavior);
        let ended = grant.ended;
        match &held.state {
            RefreshState::Spent { .. } if ended => Err(Refused {
                reused: Some(number),
                ..Refused::invalid_grant("the refresh token was replaced, and its grant has ended")
            }),
            _ if ended => Err(Refused::invalid_grant("the grant has ended")),
            RefreshState::Revoked => Err(Refused::invalid_grant("the refresh token was revoked")),
            RefreshState::Spent { .. } => self.present_again(token, scopes, behavior, now),
            RefreshState::Live if now >= held.expires_at => {
                Err(Refused::invalid_grant("the refresh token has expired"))
            }
            RefreshState::Live if scopes.is_empty() => {
                Err(Refused::new("invalid_scope", "no scope is left to grant"))
            }
            RefreshState::Live => Ok(self.present(token, number, scopes, behavior, now)),
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
        let expires_at = now.saturating_add(behavior.access_token_lifetime);
        Issued {
            grant,
            access_token: self.issue_access_token(grant, scopes.clone(), expires_at, None),
            refresh_token: (behavior.refresh_token_field == RefreshTokenField::Sent)
                .then(|| token.to_owned()),
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
            if retires.is_none() && matches!(held.state, RefreshState::Live) {
                held.state = RefreshState::Spent {
                    at: now,
                    answer: Some(Box::new(issued.clone())),
                };
            }
            if behavior.revoke_companion
                && let Some(companion) = self.access_tokens.get_mut(&held.companion)
            {
                companion.revoked = true;
            }
        }
        issued
    }

    /// A replaced token's second use.
    fn present_again(
        &mut self,
        token: &str,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<Issued, Refused> {
        let Some(held) = self.refresh_tokens.get(token) else {
            return Err(Refused::invalid_grant("the refresh token is unknown"));
        };
        let grant = held.grant;
        if let Rotation::Grace { window, replay } = behavior.rotation
            && let RefreshState::Spent { at, answer } = &held.state
            && now < at.saturating_add(window)
        {
            let issued = match (replay, answer) {
                (Replay::SamePair, Some(answer)) => Issued::clone(answer),
                _ => self.rotate(token, grant, scopes, behavior, now),
            };
            return Ok(Issued {
                reused: true,
                ..issued
            });
        }
        let kills = matches!(
            behavior.rotation,
            Rotation::FamilyRevocation | Rotation::Grace { .. }
        );
        let killed = kills && self.kill(grant);
        Err(Refused {
            reused: Some(grant),
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
