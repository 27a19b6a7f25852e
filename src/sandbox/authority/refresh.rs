//! The refresh, and what reuse of a refresh token does to its grant.

use super::{
    consent::limit_scopes,
    model::{Authority, Grant, IssuedTokens, RefreshToken, RefreshTokenState, Refusal},
};
use crate::sandbox::{
    behavior::{Behavior, RefreshTokenField, RefreshWindow, Replay, Rotation},
    clock::Moment,
    scope::Scopes,
};

impl Authority {
    /// Issues an access token, and possibly a refresh token, for a refresh token.
    pub(in crate::sandbox) fn refresh(
        &mut self,
        token: &str,
        client_id: &str,
        requested: Option<Scopes>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<IssuedTokens, Refusal> {
        self.prune_if_needed(now);
        let Some((refresh_token, grant)) = self
            .refresh_tokens
            .get(token)
            .and_then(|token| Some((token, self.grants.get(&token.grant)?)))
        else {
            return Err(Refusal::invalid_grant("the refresh token is unknown"));
        };
        let number = refresh_token.grant;
        if grant.client_id != client_id {
            return Err(Refusal::invalid_grant(
                "the refresh token was issued to another client",
            ));
        }
        // Reuse is checked before the scopes, or a wrong scope could hide it.
        let scopes = granted_scopes(grant, requested, behavior);
        let replaced = refresh_token.replaced;
        let outcome = match &refresh_token.state {
            _ if grant.revoked => Err(Refusal::invalid_grant("the grant was revoked")),
            RefreshTokenState::Revoked => {
                Err(Refusal::invalid_grant("the refresh token was revoked"))
            }
            RefreshTokenState::Used { .. } => self.reuse(token, scopes, behavior, now),
            RefreshTokenState::Live if now >= refresh_token.expires_at => {
                Err(Refusal::invalid_grant("the refresh token has expired"))
            }
            RefreshTokenState::Live => {
                scopes.map(|scopes| self.use_live(token, number, scopes, behavior, now))
            }
        };
        match outcome {
            Ok(issued) => Ok(IssuedTokens {
                reused: replaced,
                ..issued
            }),
            Err(refusal) => Err(Refusal {
                reused_grant: replaced.then_some(number),
                ..refusal
            }),
        }
    }

    /// Marks a live refresh token as used, because a token that replaced it was used.
    pub(super) fn retire(&mut self, token: &str, now: Moment) {
        if let Some(token) = self.refresh_tokens.get_mut(token)
            && matches!(token.state, RefreshTokenState::Live)
        {
            token.state = RefreshTokenState::Used {
                at: now,
                issued: None,
            };
        }
    }

    fn use_live(
        &mut self,
        token: &str,
        grant: u64,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> IssuedTokens {
        // Using the token proves that the client received the response that contained it.
        if let Some(predecessor) = self
            .refresh_tokens
            .get_mut(token)
            .and_then(|token| token.retires.take())
        {
            self.retire(&predecessor, now);
        }
        let sent = behavior.refresh_token_field == RefreshTokenField::Sent;
        if sent && self.rotates(token, behavior, now) {
            return self.rotate(token, grant, scopes, behavior, now);
        }
        let expires_at = self.refresh_token_expiry(grant, behavior, now);
        if let Some(token) = self.refresh_tokens.get_mut(token) {
            token.expires_at = expires_at;
        }
        IssuedTokens {
            refresh_token: sent.then(|| token.to_owned()),
            ..self.issue_access_token_only(grant, scopes, behavior, now)
        }
    }

    /// Whether the use of a live refresh token replaces it.
    fn rotates(&self, token: &str, behavior: &Behavior, now: Moment) -> bool {
        match (behavior.rotation, self.refresh_tokens.get(token)) {
            (Rotation::None, _) => false,
            (Rotation::AfterAge(age), Some(token)) => now >= token.issued_at.saturating_add(age),
            _ => true,
        }
    }

    pub(super) fn issue_access_token_only(
        &mut self,
        grant: u64,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> IssuedTokens {
        let expires_at = now.saturating_add(behavior.access_token_lifetime);
        IssuedTokens {
            grant,
            access_token: self.issue_access_token(grant, scopes.clone(), None, behavior, now),
            refresh_token: None,
            scopes,
            expires_at,
            reused: false,
        }
    }

    /// Replaces a refresh token by a new pair of tokens.
    fn rotate(
        &mut self,
        token: &str,
        grant: u64,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> IssuedTokens {
        let retires = (behavior.rotation == Rotation::Deferred).then(|| token.to_owned());
        let expires_at = now.saturating_add(behavior.access_token_lifetime);
        let access_token =
            self.issue_access_token(grant, scopes.clone(), retires.clone(), behavior, now);
        let replacement = RefreshToken {
            grant,
            issued_at: now,
            expires_at: self.refresh_token_expiry(grant, behavior, now),
            state: RefreshTokenState::Live,
            replaced: false,
            access_token: access_token.clone(),
            retires: retires.clone(),
        };
        let issued = IssuedTokens {
            grant,
            access_token,
            refresh_token: Some(self.issue_refresh_token(replacement)),
            scopes,
            expires_at,
            reused: false,
        };
        if let Some(used) = self.refresh_tokens.get_mut(token) {
            used.replaced = true;
            // A replay keeps the time of the first use, so that it does not extend the reuse grace.
            if retires.is_none() && matches!(used.state, RefreshTokenState::Live) {
                used.state = RefreshTokenState::Used {
                    at: now,
                    issued: Some(Box::new(issued.clone())),
                };
            }
            if behavior.rotation_revokes_access_token
                && let Some(access_token) = self.access_tokens.get_mut(&used.access_token)
            {
                access_token.revoked = true;
            }
        }
        issued
    }

    /// Accepts a used refresh token within its reuse grace, and otherwise refuses it.
    fn reuse(
        &mut self,
        token: &str,
        scopes: Result<Scopes, Refusal>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<IssuedTokens, Refusal> {
        let Some(used) = self.refresh_tokens.get(token) else {
            return Err(Refusal::invalid_grant("the refresh token is unknown"));
        };
        let grant = used.grant;
        // The grace does not extend the lifetime of the token.
        if let Rotation::Grace { window, replay } = behavior.rotation
            && let RefreshTokenState::Used { at, issued } = &used.state
            && now < at.saturating_add(window)
            && now < used.expires_at
        {
            let scopes = scopes?;
            let sent = behavior.refresh_token_field == RefreshTokenField::Sent;
            return Ok(match (replay, issued) {
                (Replay::SamePair, Some(issued)) => {
                    let mut issued = IssuedTokens::clone(issued);
                    issued.refresh_token = issued.refresh_token.filter(|_| sent);
                    issued
                }
                _ if sent => self.rotate(token, grant, scopes, behavior, now),
                _ => self.issue_access_token_only(grant, scopes, behavior, now),
            });
        }
        let revokes = matches!(
            behavior.rotation,
            Rotation::FamilyRevocation | Rotation::Grace { .. }
        );
        let revoked = revokes && self.revoke_grant(grant);
        Err(Refusal {
            revoked_grant: revoked.then_some(grant),
            ..Refusal::invalid_grant("the refresh token was already used")
        })
    }

    /// The expiry of a refresh token that is issued or used now.
    fn refresh_token_expiry(&self, grant: u64, behavior: &Behavior, now: Moment) -> Moment {
        match (behavior.refresh_window, self.grants.get(&grant)) {
            (RefreshWindow::Fixed, Some(grant)) => grant.window_ends_at,
            _ => now.saturating_add(behavior.refresh_token_lifetime),
        }
    }
}

/// The requested scopes, or all scopes of the grant, within the behavior's limit.
fn granted_scopes(
    grant: &Grant,
    requested: Option<Scopes>,
    behavior: &Behavior,
) -> Result<Scopes, Refusal> {
    let scopes = match requested {
        Some(requested) if !grant.scopes.allows_all(&requested) => {
            let description = "the scope exceeds the scope of the grant";
            return Err(Refusal::new("invalid_scope", description));
        }
        Some(requested) => requested,
        None => grant.scopes.clone(),
    };
    let scopes = limit_scopes(scopes, behavior);
    if scopes.is_empty() {
        Err(Refusal::new("invalid_scope", "no scope is left to grant"))
    } else {
        Ok(scopes)
    }
}
