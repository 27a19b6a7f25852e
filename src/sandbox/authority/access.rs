//! The use and the revocation of tokens.

use super::model::{Authority, RefreshTokenState};
use crate::sandbox::{behavior::Behavior, clock::Moment, scope::Scopes};

/// The outcome of a request to revoke a token.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Revocation {
    Revoked,
    UnknownToken,
    WrongClient,
}

impl Authority {
    /// The scopes of an access token, or `None` if the token is not valid. Counts as a use of the
    /// token.
    pub(in crate::sandbox) fn use_access_token(
        &mut self,
        token: &str,
        now: Moment,
    ) -> Option<Scopes> {
        let access_token = self.access_tokens.get_mut(token)?;
        let grant = self.grants.get(&access_token.grant)?;
        let is_valid = (access_token.known_at..access_token.expires_at).contains(&now);
        if grant.revoked || access_token.revoked || !is_valid {
            return None;
        }
        let scopes = access_token.scopes.clone();
        if let Some(refresh_token) = access_token.retires.take() {
            self.retire(&refresh_token, now);
        }
        Some(scopes)
    }

    /// The thumbprint of the key that an access token is bound to.
    pub(in crate::sandbox) fn key_of_access_token(&self, token: &str) -> Option<&str> {
        self.access_tokens.get(token)?.key.as_deref()
    }

    /// Binds the next tokens of a refresh token's grant to a key, unless they are bound. Returns
    /// whether they are bound to this key, or to none if there is none.
    pub(in crate::sandbox) fn bind(&mut self, refresh_token: &str, key: Option<&str>) -> bool {
        let grant = self.refresh_tokens.get(refresh_token);
        let grant = grant.map(|token| token.grant);
        grant.is_none_or(|grant| self.bind_grant(grant, key))
    }

    /// Binds the next tokens of a grant to a key, unless they are bound. Returns whether they are
    /// bound to this key, or to none if there is none.
    pub(in crate::sandbox) fn bind_grant(&mut self, grant: u64, key: Option<&str>) -> bool {
        let Some(grant) = self.grants.get_mut(&grant) else {
            return true;
        };
        if grant.key.is_none() {
            grant.key = key.map(str::to_owned);
        }
        grant.key.as_deref() == key
    }

    /// Revokes an access or refresh token at the request of its client.
    pub(in crate::sandbox) fn revoke(
        &mut self,
        token: &str,
        client_id: &str,
        behavior: &Behavior,
    ) -> Revocation {
        let access_token = self.access_tokens.get_mut(token);
        let refresh_token = self.refresh_tokens.get_mut(token);
        let number = match (&access_token, &refresh_token) {
            (Some(token), _) => token.grant,
            (_, Some(token)) => token.grant,
            (None, None) => return Revocation::UnknownToken,
        };
        let Some(grant) = self.grants.get_mut(&number) else {
            return Revocation::UnknownToken;
        };
        if grant.client_id != client_id {
            return Revocation::WrongClient;
        }
        if let Some(token) = access_token {
            token.revoked = true;
        }
        if let Some(token) = refresh_token {
            token.state = RefreshTokenState::Revoked;
            grant.revoked |= behavior.revocation_cascades;
        }
        Revocation::Revoked
    }

    /// The tenant of a code, and that of an access or refresh token. `None` if the text is unknown.
    pub(in crate::sandbox) fn tenant_of(&self, credential: &str) -> Option<&str> {
        if let Some(code) = self.codes.get(credential) {
            return code.tenant.as_deref();
        }
        let grant = self.grants.get(&self.grant_of(credential)?)?;
        grant.tenant.as_deref()
    }

    /// The client of an access or refresh token.
    pub(in crate::sandbox) fn client_of(&self, token: &str) -> Option<String> {
        let grant = self.grants.get(&self.grant_of(token)?)?;
        Some(grant.client_id.clone())
    }

    /// Whether this is a known access token, and not a refresh token.
    pub(in crate::sandbox) fn is_access_token(&self, token: &str) -> bool {
        self.access_tokens.contains_key(token)
    }

    /// Whether this is a known refresh token.
    pub(in crate::sandbox) fn is_refresh_token(&self, token: &str) -> bool {
        self.refresh_tokens.contains_key(token)
    }

    /// When the access token that was issued together with a live refresh token expires.
    pub(in crate::sandbox) fn access_token_expiry(&self, refresh_token: &str) -> Option<Moment> {
        let refresh_token = self.refresh_tokens.get(refresh_token)?;
        if !matches!(refresh_token.state, RefreshTokenState::Live) {
            return None;
        }
        let access_token = self.access_tokens.get(&refresh_token.access_token)?;
        Some(access_token.expires_at)
    }

    /// Ends the grant of a token, as its user or its client asked. Returns whether it was live.
    pub(in crate::sandbox) fn end_grant_of(&mut self, token: &str) -> bool {
        let grant = self.grant_of(token);
        grant.is_some_and(|grant| self.revoke_grant(grant))
    }

    /// The grant of an access token.
    pub(super) fn grant_of_access_token(&self, token: &str) -> Option<u64> {
        self.access_tokens.get(token).map(|token| token.grant)
    }

    fn grant_of(&self, token: &str) -> Option<u64> {
        let access_token = self.access_tokens.get(token).map(|token| token.grant);
        access_token.or_else(|| self.refresh_tokens.get(token).map(|token| token.grant))
    }

    /// Expires every access token.
    pub(in crate::sandbox) fn expire_access_tokens(&mut self, now: Moment) {
        for token in self.access_tokens.values_mut() {
            token.expires_at = token.expires_at.min(now);
        }
    }

    /// Revokes every access token, and no refresh token.
    pub(in crate::sandbox) fn revoke_access_tokens(&mut self) {
        for token in self.access_tokens.values_mut() {
            token.revoked = true;
        }
    }

    /// Revokes every grant, as if all users had disconnected.
    pub(in crate::sandbox) fn revoke_grants(&mut self) {
        for grant in self.grants.values_mut() {
            grant.revoked = true;
        }
    }
}
