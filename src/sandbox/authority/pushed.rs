//! Pushed authorization requests (RFC 9126).

use super::model::{Authority, AuthorizationRequest, PushedRequest};
use crate::sandbox::clock::Moment;

impl Authority {
    /// Keeps a request, and returns its `request_uri`.
    pub(in crate::sandbox) fn push(
        &mut self,
        request: AuthorizationRequest,
        expires_at: Moment,
        now: Moment,
    ) -> String {
        self.pushed_requests
            .retain(|_, pushed| now < pushed.expires_at);
        let request_uri = format!("{PREFIX}{}", self.random_secret("request"));
        let pushed = PushedRequest {
            request,
            expires_at,
        };
        self.pushed_requests.insert(request_uri.clone(), pushed);
        request_uri
    }

    /// Takes the request that this client has pushed, once.
    pub(in crate::sandbox) fn take_pushed(
        &mut self,
        request_uri: &str,
        client_id: &str,
        now: Moment,
    ) -> Option<AuthorizationRequest> {
        let pushed = self.pushed_requests.get(request_uri)?;
        if pushed.request.client_id != client_id || now >= pushed.expires_at {
            return None;
        }
        let pushed = self.pushed_requests.remove(request_uri)?;
        Some(pushed.request)
    }
}

/// The namespace of RFC 9126, section 2.2.
const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";
