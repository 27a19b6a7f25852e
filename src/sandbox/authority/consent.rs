//! Consent: the decision on authorization requests.

use std::time::Duration;

use super::model::{Authority, AuthorizationCode, AuthorizationRequest, PendingConsent};
use crate::sandbox::{behavior::Behavior, clock::Moment, scope::Scopes};

impl Authority {
    /// Keeps a request for the pages.
    ///
    /// Returns its id, an unguessable secret that the forms of the pages contain.
    pub(in crate::sandbox) fn start_consent(
        &mut self,
        request: AuthorizationRequest,
        now: Moment,
    ) -> String {
        self.pending_consents
            .retain(|_, consent| now < consent.expires_at);
        if self.pending_consents.len() >= MAX_PENDING_CONSENTS {
            let oldest = self.pending_consents.iter();
            let oldest = oldest.min_by_key(|(_, consent)| consent.number);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.pending_consents.remove(&id);
            }
        }
        self.consents_started += 1;
        let id = self.random_secret("consent");
        let consent = PendingConsent {
            request,
            number: self.consents_started,
            logged_in: false,
            expires_at: now.saturating_add(PAGE_LIFETIME),
        };
        self.pending_consents.insert(id.clone(), consent);
        id
    }

    /// The request of a pending consent.
    pub(in crate::sandbox) fn pending_consent(
        &self,
        id: &str,
        now: Moment,
    ) -> Option<AuthorizationRequest> {
        let consent = self.pending_consents.get(id)?;
        (now < consent.expires_at).then(|| consent.request.clone())
    }

    /// Records that the user of a pending consent has logged in.
    pub(in crate::sandbox) fn log_in(&mut self, id: &str) {
        if let Some(consent) = self.pending_consents.get_mut(id) {
            consent.logged_in = true;
        }
    }

    /// Takes the request of a pending consent for a decision: once, and only after the login.
    pub(in crate::sandbox) fn finish_consent(
        &mut self,
        id: &str,
        now: Moment,
    ) -> Option<AuthorizationRequest> {
        let consent = self.pending_consents.get(id)?;
        if !consent.logged_in || now >= consent.expires_at {
            return None;
        }
        self.pending_consents
            .remove(id)
            .map(|consent| consent.request)
    }

    /// Returns a code and its scopes for a request that the user allows, or `None` if no scope is
    /// left to grant.
    pub(in crate::sandbox) fn allow(
        &mut self,
        request: &AuthorizationRequest,
        behavior: &Behavior,
        now: Moment,
    ) -> Option<(String, Scopes)> {
        let scopes = limit_scopes(request.scopes.clone(), behavior);
        if scopes.is_empty() {
            return None;
        }
        self.prune_if_needed(now);
        let secret = self.random_secret("code");
        let code = AuthorizationCode {
            client_id: request.client_id.clone(),
            redirect_uri: request.redirect_uri.clone(),
            redirect_uri_sent: request.redirect_uri_sent,
            scopes: scopes.clone(),
            challenge: request.challenge.clone(),
            tenant: request.tenant.clone(),
            expires_at: now.saturating_add(behavior.code_lifetime),
            grant: None,
        };
        self.codes.insert(secret.clone(), code);
        self.recent_codes.push_back(secret.clone());
        if self.recent_codes.len() > MAX_UNUSED_CODES
            && let Some(oldest) = self.recent_codes.pop_front()
            && self
                .codes
                .get(&oldest)
                .is_some_and(|code| code.grant.is_none())
        {
            self.codes.remove(&oldest);
        }
        Some((secret, scopes))
    }
}

/// The scopes within the behavior's limit.
pub(super) fn limit_scopes(scopes: Scopes, behavior: &Behavior) -> Scopes {
    match &behavior.scope_limit {
        Some(limit) => scopes.within(&limit.iter().cloned().collect()),
        None => scopes,
    }
}

/// How many codes can be issued and not yet exchanged: any web page can make a browser request one.
/// The oldest is dropped.
pub(super) const MAX_UNUSED_CODES: usize = 10_000;

/// How many pages can be open. The oldest is dropped.
const MAX_PENDING_CONSENTS: usize = 256;

/// How long a user can leave the pages open.
const PAGE_LIFETIME: Duration = Duration::from_secs(60 * 60);
