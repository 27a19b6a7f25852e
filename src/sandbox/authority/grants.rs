//! Grants without a code: client credentials, assertions and token exchanges.

use super::{
    consent::limit_scopes,
    model::{Authority, Grant, IssuedTokens, Refusal},
};
use crate::sandbox::{behavior::Behavior, clock::Moment, scope::Scopes};

pub(in crate::sandbox) const ACCESS_TOKEN_TYPE: &str =
    "urn:ietf:params:oauth:token-type:access_token";
pub(in crate::sandbox) const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A token exchange of an authenticated client (RFC 8693, section 2.1).
pub(in crate::sandbox) struct TokenExchange<'a> {
    pub(in crate::sandbox) subject_token: Option<&'a str>,
    pub(in crate::sandbox) subject_token_type: Option<&'a str>,
    pub(in crate::sandbox) actor_token: Option<&'a str>,
    pub(in crate::sandbox) actor_token_type: Option<&'a str>,
    pub(in crate::sandbox) requested_token_type: Option<&'a str>,
    /// The resource and the audience.
    pub(in crate::sandbox) targets: [Option<&'a str>; 2],
    pub(in crate::sandbox) scopes: Option<Scopes>,
}

impl Authority {
    /// Issues an access token of the client itself, or of the subject of an assertion.
    pub(in crate::sandbox) fn issue_without_consent(
        &mut self,
        client_id: &str,
        requested: Option<Scopes>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<IssuedTokens, Refusal> {
        self.prune_if_needed(now);
        let registered = self.client(client_id).map(|client| client.scopes.clone());
        // An assertion needs no client (RFC 7521, section 4.1).
        let allowed = registered.or_else(|| self.clients().next().map(|any| any.scopes.clone()));
        let allowed = allowed.unwrap_or_default();
        let scopes = match requested {
            Some(requested) if !allowed.allows_all(&requested) => {
                let description = "the client may not request this scope";
                return Err(Refusal::new("invalid_scope", description));
            }
            Some(requested) => requested,
            None => allowed,
        };
        let scopes = limit_scopes(scopes, behavior);
        let grant = self.create_grant(client_id.to_owned(), None, scopes.clone(), behavior, now);
        Ok(self.issue_access_token_only(grant, scopes, behavior, now))
    }

    /// Issues an access token for another one.
    ///
    /// RFC 8693, section 2.2.2: whatever is wrong with a token is an `invalid_request`.
    pub(in crate::sandbox) fn token_exchange(
        &mut self,
        exchange: &TokenExchange<'_>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<IssuedTokens, Refusal> {
        let invalid = |description| Err(Refusal::new("invalid_request", description));
        self.prune_if_needed(now);
        let (Some(subject), Some(subject_type)) =
            (exchange.subject_token, exchange.subject_token_type)
        else {
            return invalid("subject_token or subject_token_type is missing");
        };
        if subject_type != ACCESS_TOKEN_TYPE {
            return invalid("subject_token_type is not that of an access token");
        }
        match (exchange.actor_token, exchange.actor_token_type) {
            (None, None) => {}
            (Some(actor), Some(ACCESS_TOKEN_TYPE)) => {
                if self.use_access_token(actor, now).is_none() {
                    return invalid("the actor token is unknown, expired or revoked");
                }
            }
            (Some(_), Some(_)) => {
                return invalid("actor_token_type is not that of an access token");
            }
            _ => return invalid("actor_token and actor_token_type belong together"),
        }
        let requested = exchange.requested_token_type.unwrap_or(ACCESS_TOKEN_TYPE);
        if ![ACCESS_TOKEN_TYPE, JWT_TYPE].contains(&requested) {
            return invalid("requested_token_type is not supported");
        }
        let (Some(scopes), Some(grant)) = (
            self.use_access_token(subject, now),
            self.grant_of_access_token(subject),
        ) else {
            return invalid("the subject token is unknown, expired or revoked");
        };
        let targets = &behavior.token_exchange_targets;
        let mut named = exchange.targets.iter().flatten();
        if named.any(|target| !targets.iter().any(|known| known == target)) {
            let description = "no token is issued for this resource or audience";
            return Err(Refusal::new("invalid_target", description));
        }
        let scopes = match &exchange.scopes {
            Some(requested) if !scopes.allows_all(requested) => {
                let description = "the scope exceeds the scope of the subject token";
                return Err(Refusal::new("invalid_scope", description));
            }
            Some(requested) => requested.clone(),
            None => scopes,
        };
        Ok(self.issue_access_token_only(grant, scopes, behavior, now))
    }

    /// Records that an assertion was used, until it expires. Returns whether it was used before.
    pub(in crate::sandbox) fn is_replayed(
        &mut self,
        id: String,
        expires_at: Moment,
        now: Moment,
    ) -> bool {
        self.used_assertions.retain(|_, end| now < *end);
        self.used_assertions.insert(id, expires_at).is_some()
    }

    /// Creates a grant, and returns its number.
    pub(super) fn create_grant(
        &mut self,
        client_id: String,
        tenant: Option<String>,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> u64 {
        self.grants_created += 1;
        let grant = Grant {
            client_id,
            tenant,
            scopes,
            window_ends_at: now.saturating_add(behavior.refresh_token_lifetime),
            revoked: false,
            key: None,
        };
        self.grants.insert(self.grants_created, grant);
        self.grants_created
    }
}
