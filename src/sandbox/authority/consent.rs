//! Authorization requests, those waiting for a person included.

use std::time::Duration;

use super::code::{Code, CodeChallenge};
use super::{Authority, Behavior, Moment, Scopes};

/// An authorization request in order: its app, redirect URI and scopes are registered.
#[derive(Clone)]
pub(in crate::sandbox) struct AuthorizationRequest {
    pub(in crate::sandbox) client_id: String,
    pub(in crate::sandbox) redirect_uri: String,
    /// Whether the request named the redirect URI, so that the exchange has to name it too.
    pub(in crate::sandbox) redirect_uri_sent: bool,
    pub(in crate::sandbox) scopes: Scopes,
    pub(in crate::sandbox) state: Option<String>,
    pub(in crate::sandbox) challenge: Option<CodeChallenge>,
}

/// An authorization request that a person has in front of them.
pub(super) struct Waiting {
    request: AuthorizationRequest,
    logged_in: bool,
    until: Moment,
}

impl Authority {
    /// Shows a request to a person. The answer names it in the forms of the consent page, where nobody else can guess
    /// it.
    pub(in crate::sandbox) fn wait(
        &mut self,
        request: AuthorizationRequest,
        now: Moment,
    ) -> String {
        self.waiting.retain(|_, waiting| now < waiting.until);
        let name = self.secret("consent");
        let waiting = Waiting {
            request,
            logged_in: false,
            until: now.saturating_add(PATIENCE),
        };
        self.waiting.insert(name.clone(), waiting);
        name
    }

    /// The request that a person has in front of them.
    pub(in crate::sandbox) fn waiting(
        &self,
        name: &str,
        now: Moment,
    ) -> Option<AuthorizationRequest> {
        let waiting = self.waiting.get(name)?;
        (now < waiting.until).then(|| waiting.request.clone())
    }

    /// Notes that the person has logged in.
    pub(in crate::sandbox) fn log_in(&mut self, name: &str) {
        if let Some(waiting) = self.waiting.get_mut(name) {
            waiting.logged_in = true;
        }
    }

    /// Takes the request a person has decided on: once, and only after they have logged in.
    pub(in crate::sandbox) fn decided(
        &mut self,
        name: &str,
        now: Moment,
    ) -> Option<AuthorizationRequest> {
        let waiting = self.waiting.get(name)?;
        if !waiting.logged_in || now >= waiting.until {
            return None;
        }
        self.waiting.remove(name).map(|waiting| waiting.request)
    }

    /// Consents: gives a code for the request, or `None` if nothing is left to grant.
    pub(in crate::sandbox) fn allow(
        &mut self,
        request: &AuthorizationRequest,
        behavior: &Behavior,
        now: Moment,
    ) -> Option<(String, Scopes)> {
        let scopes = limited(request.scopes.clone(), behavior);
        if scopes.is_empty() {
            return None;
        }
        self.prune_if_crowded(now);
        let text = self.secret("code");
        let code = Code {
            client_id: request.client_id.clone(),
            redirect_uri: request.redirect_uri.clone(),
            redirect_uri_sent: request.redirect_uri_sent,
            scopes: scopes.clone(),
            challenge: request.challenge.clone(),
            expires_at: now.saturating_add(behavior.code_lifetime),
            redeemed_for: None,
        };
        self.codes.insert(text.clone(), code);
        Some((text, scopes))
    }
}

/// The scopes that the behavior's limit leaves.
pub(super) fn limited(scopes: Scopes, behavior: &Behavior) -> Scopes {
    match &behavior.scope_limit {
        Some(limit) => scopes.within(&limit.iter().cloned().collect()),
        None => scopes,
    }
}

/// How long a consent page can be left open.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
