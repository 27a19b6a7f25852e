//! The callbacks of a program.

use std::time::Duration;

use crate::{
    error::Error,
    token::{ConsentDecision, Generation, ReauthorizationReason, TenantId},
};

/// Called when the state of a grant changes. The [module page](crate::telemetry) has an example.
///
/// A method is called once per occurrence in each process that observes it, from a task of the
/// cache and with no lock held. It may call the cache. It must not block. A panic in it is caught.
/// All methods do nothing by default.
pub trait GrantListener: Send + Sync + 'static {
    /// Called when a new token set has been saved, from then on used by requests.
    fn refreshed(&self, tenant: &TenantId, generation: Generation) {
        let _ = (tenant, generation);
    }

    /// Called when the provider has ended the grant. The customer has to consent again.
    ///
    /// Each replica that uses the grant calls this. To notify the customer once, implement
    /// [`reauthorization_saved`](Self::reauthorization_saved).
    fn reauthorization_required(&self, tenant: &TenantId, reason: ReauthorizationReason) {
        let _ = (tenant, reason);
    }

    /// Called when this process has saved the end of the grant in the store. Of all replicas that
    /// share a store, at most one calls this: send the email to the customer only here.
    ///
    /// [`reauthorization_required`](Self::reauthorization_required) is called before. If the save
    /// fails, it is repeated by the next request that finds no token, and this is called once the
    /// save has succeeded. A process that dies between the save and this call does not call it: a
    /// daily look at the grants that [need a consent](crate::cache::Status::needs_consent) finds
    /// those too.
    fn reauthorization_saved(&self, tenant: &TenantId, reason: ReauthorizationReason) {
        let _ = (tenant, reason);
    }

    /// Called when this process has saved the tokens of a new consent. Of all replicas that share
    /// a store, one calls this.
    fn connected(&self, tenant: &TenantId, generation: Generation) {
        let _ = (tenant, generation);
    }

    /// Called when the grant has become [stuck](crate::cache#stuck-grants): its refreshes fail
    /// again and again, and the provider has neither ended it nor is it down. `error` is that of
    /// the last refresh. Its [`provider_code`](Error::provider_code) says what to look up, and
    /// perhaps to define as a [refusal](crate::provider::Refusal).
    ///
    /// Called once, until [`recovered`](Self::recovered) or
    /// [`reauthorization_required`](Self::reauthorization_required). A process that starts, or that
    /// has evicted the tenant, counts from zero.
    fn stuck(&self, tenant: &TenantId, error: &Error) {
        let _ = (tenant, error);
    }

    /// Called when a grant that was stuck has been refreshed, or replaced by a new consent.
    fn recovered(&self, tenant: &TenantId) {
        let _ = tenant;
    }

    /// Called when the provider has refused a refresh token after a lost response. Most likely the
    /// lost response contained its successor.
    ///
    /// [`reauthorization_required`](Self::reauthorization_required) is called directly afterwards.
    fn rotation_lost(&self, tenant: &TenantId) {
        let _ = tenant;
    }

    /// Called when a new consent has brought no refresh token.
    ///
    /// `decision` says what happened:
    ///
    /// * [`Reject`](ConsentDecision::Reject): the stored grant has a refresh token, and stays;
    /// * [`KeepRefreshToken`](ConsentDecision::KeepRefreshToken): the new token set was saved with
    ///   the refresh token of the stored grant;
    /// * [`Replace`](ConsentDecision::Replace): the new token set was saved alone, so the grant
    ///   ends with its access token if the token source needs a refresh token. There was no stored
    ///   refresh token to keep, or the program decided so.
    ///
    /// A consent that failed for another reason calls nothing.
    fn refresh_token_missing(&self, tenant: &TenantId, decision: ConsentDecision) {
        let _ = (tenant, decision);
    }

    /// Called 7, 3 and 1 days before the refresh token expires, if it could not be refreshed until
    /// then.
    ///
    /// If the provider does not rotate refresh tokens, the days are counted from when the token was
    /// issued. Once a refresh token has been used beyond its expected lifetime, they are counted
    /// from the last refresh.
    fn refresh_token_expiring(&self, tenant: &TenantId, days_left: u64) {
        let _ = (tenant, days_left);
    }
}

/// Called when a token endpoint fails for all grants, and when it works again.
///
/// Register it by [`OAuthClientBuilder::endpoint_listener`] or [`EndpointGate::set_listener`]: all
/// tenants of a client share one gate, so each change is reported once per process. `endpoint` is
/// the URL of the token endpoint without its query, or empty if no client uses the gate.
///
/// The methods are called from the task of a token request and with no lock held. They must not
/// block. A panic in them is caught. All do nothing by default.
///
/// [`OAuthClientBuilder::endpoint_listener`]: crate::oauth::OAuthClientBuilder::endpoint_listener
/// [`EndpointGate::set_listener`]: crate::oauth::EndpointGate::set_listener
pub trait EndpointListener: Send + Sync + 'static {
    /// Called when the [circuit breaker](crate::oauth#limiter-and-circuit-breaker) has opened: no
    /// token requests are sent for this `duration`. `error` is the last failure.
    ///
    /// Called once, until [`circuit_closed`](Self::circuit_closed), although the breaker opens
    /// again after each probe that fails. If all failures are of one grant, the breaker opens for
    /// that grant only; this is called then, and once more when other grants fail too.
    fn circuit_opened(&self, endpoint: &str, error: &Error, duration: Duration) {
        let _ = (endpoint, error, duration);
    }

    /// Called when the circuit breaker has closed: the endpoint works again.
    fn circuit_closed(&self, endpoint: &str) {
        let _ = endpoint;
    }

    /// Called when the endpoint rejects the client id or secret (`invalid_client`). No refresh
    /// succeeds until the secret is replaced, so an operator has to be alerted at once.
    ///
    /// Called once, until [`circuit_closed`](Self::circuit_closed), or until a [replaced
    /// secret](crate::oauth::OAuthClient::replace_secret) is rejected too.
    fn client_rejected(&self, endpoint: &str, error: &Error) {
        let _ = (endpoint, error);
    }
}
