//! The program's decisions: which tenant a request is for, and which pages the customer sees.

use std::future::{self, Future};

use axum::response::Response;
use http::request::Parts;

use super::{ConnectFailure, Consent, PageTexts, page};
use crate::token::{ConsentDecision, NamedValues, TenantId};

/// Decides which tenant a request is for, and which pages the customer sees.
///
/// Only [`tenant`](Self::tenant) is required. The default pages of the other methods are plain
/// HTML, with the texts of [`texts`](Self::texts). Every response is sent with
/// `Cache-Control: no-store`, `Referrer-Policy: no-referrer` and `X-Content-Type-Options: nosniff`,
/// because the URL of the page may contain a code.
///
/// The requests have no bodies: the form of a callback by `POST` has become a query. Their
/// extensions contain what the program's middleware has inserted, such as a session. Their path is
/// relative to where the router is nested.
pub trait ConnectHandler: Send + Sync + 'static {
    /// Returns the tenant that a request connects or disconnects, from the program's own session.
    ///
    /// An `Err` is sent to the browser instead, such as a redirect to a login page.
    ///
    /// A path or query may select one of the tenants that the session permits. It must not grant
    /// the permission: otherwise a request for `/start?tenant=acme` could connect another company's
    /// account to `acme`.
    fn tenant(&self, request: &Parts) -> impl Future<Output = Result<TenantId, Response>> + Send;

    /// Returns the values to keep with the grant that the program knows when a customer starts to
    /// connect: those that the provider's data name with the source
    /// [`Connect`](crate::provider::ValueSource::Connect), such as the name of a shop. By default
    /// there are none.
    ///
    /// An `Err` is sent to the browser instead, such as a page that asks for the name.
    ///
    /// A part of the request may choose a value, because each value has to match its pattern: the
    /// customer then sees the page of
    /// [`InvalidValue`](super::ConnectFailureKind::InvalidValue), and nothing is started. If the
    /// provider's data permit [any host](crate::provider::KeptValue::any_host), check the host
    /// here.
    ///
    /// ```
    /// # use axum::response::{IntoResponse, Response};
    /// # use http::{StatusCode, request::Parts};
    /// # use tower_oauth2_client::{
    /// #     connect::ConnectHandler,
    /// #     token::{NamedValues, TenantId},
    /// # };
    /// # struct Partner;
    /// # impl ConnectHandler for Partner {
    /// # async fn tenant(&self, _: &Parts) -> Result<TenantId, Response> { unimplemented!() }
    /// // The page of the program links to `/connect/start?shop=acme`.
    /// async fn connect_values(
    ///     &self,
    ///     request: &Parts,
    ///     _: &TenantId,
    /// ) -> Result<NamedValues, Response> {
    ///     let query = request.uri.query().unwrap_or_default();
    ///     match query.strip_prefix("shop=") {
    ///         Some(shop) => Ok(NamedValues::from([("shop", shop)])),
    ///         None => Err((StatusCode::BAD_REQUEST, "which shop is yours?").into_response()),
    ///     }
    /// }
    /// # }
    /// ```
    fn connect_values(
        &self,
        request: &Parts,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<NamedValues, Response>> + Send {
        let _ = (request, tenant);
        future::ready(Ok(NamedValues::NONE))
    }

    /// Decides, when the browser comes back from the provider, whether it may still connect this
    /// tenant. By default it may.
    ///
    /// An `Err` is sent to the browser instead, and the code is never used.
    ///
    /// Implement this method, and check the session: it stops a flow whose user has logged out in
    /// the meantime, and a flow whose cookie was copied to another browser. The browser is
    /// redirected from another site, so the cookie of the session must not be `SameSite=Strict`.
    fn allows(
        &self,
        request: &Parts,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<(), Response>> + Send {
        let _ = (request, tenant);
        future::ready(Ok(()))
    }

    /// Decides about each new consent, before anything of it is stored. By default it is
    /// [accepted](ConsentDecision::Accept).
    ///
    /// Implement this method. The customer may be logged in at the provider with another account
    /// than before, and the API calls for the tenant would then silently use that account. Call the
    /// API with the new access token, or read the [members](Consent::members) of the token
    /// response or the [kept values](crate::token::TokenSet::values), and compare the account with
    /// the one that the program knows for the tenant. The example `partner_app` does this. Return
    ///
    /// * [`KeepRefreshToken`](ConsentDecision::KeepRefreshToken) if it is the same account. Some
    ///   providers issue a refresh token only at the first consent;
    /// * [`Accept`](ConsentDecision::Accept) if the tenant has no account yet;
    /// * [`Reject`](ConsentDecision::Reject) otherwise. The stored grant stays, and the customer
    ///   sees the page of [`ConnectFailureKind::Rejected`](super::ConnectFailureKind::Rejected).
    ///
    /// This continues if the browser disconnects. If it panics, or returns no decision within 30
    /// seconds, the consent is rejected. If the new token set contains no refresh token and the
    /// stored grant changes meanwhile, this is called again.
    fn consented(&self, consent: &Consent) -> impl Future<Output = ConsentDecision> + Send {
        let _ = consent;
        future::ready(ConsentDecision::default())
    }

    /// Returns the texts of the default pages, in the language of a request. The default is
    /// [English](PageTexts::english).
    ///
    /// A program that has texts in several languages keeps them, and returns those that the
    /// session or [`PageTexts::preferred`] selects. The [module page](crate::connect#pages) has an
    /// example. This is called before [`tenant`](Self::tenant), also for requests that another
    /// site has caused.
    fn texts(&self, request: &Parts) -> &PageTexts {
        let _ = request;
        PageTexts::english()
    }

    /// Returns the page for a tenant whose tokens have been saved.
    ///
    /// A redirect (303) to a page of the program removes the used code from the address bar. The
    /// default is a page that says that the account is connected.
    fn connected(&self, request: &Parts, tenant: &TenantId) -> Response {
        let _ = tenant;
        page::connected(self.texts(request))
    }

    /// Returns the page that is shown after the customer or the provider has denied access. An
    /// earlier grant of the tenant is unchanged.
    fn denied(&self, request: &Parts, tenant: &TenantId) -> Response {
        let _ = tenant;
        page::denied(self.texts(request))
    }

    /// Returns the page for a failure. The default is [`ConnectFailure::page`].
    ///
    /// If a [form](crate::connect#callbacks-by-form_post) cannot be used, the request is the `POST`
    /// of the form, to which browsers rarely add the cookie of the session.
    fn failed(&self, request: &Parts, failure: &ConnectFailure) -> Response {
        failure.page(self.texts(request))
    }

    /// Returns the page for a tenant that has no grant any more, or never had one.
    fn disconnected(&self, request: &Parts, tenant: &TenantId) -> Response {
        let _ = tenant;
        page::disconnected(self.texts(request))
    }
}
