//! What the program decides: who may connect what, and what they see.

use std::future::{self, Future};

use axum::response::Response;
use http::request::Parts;

use super::{ConnectFailure, page};
use crate::token::TenantId;

/// The program's part in connecting its customers: who asks, and what they see.
///
/// One method is to be written; the others have answers of their own, which are plain pages. Whatever is answered goes out
/// with `Cache-Control: no-store`, `Referrer-Policy: no-referrer` and `X-Content-Type-Options: nosniff`, since the address
/// of the page may hold a code.
///
/// Requests come without their bodies, and with all that the program's own middleware has put into their extensions, such as
/// a session. Their path is what is left of it below where the router is nested.
pub trait ConnectHandler: Send + Sync + 'static {
    /// Whose grant a request to connect or disconnect is about, by the program's own session; or what is sent instead, such
    /// as a redirect to a login page, or a 403.
    ///
    /// A path or query may choose among the tenants that the session allows. It must not be what allows them: whoever asks
    /// for `/start?tenant=acme` would connect a company of their own to `acme`.
    fn tenant(&self, request: &Parts) -> impl Future<Output = Result<TenantId, Response>> + Send;

    /// Whether who comes back from the provider may still connect this tenant, by the program's own session; or what is sent
    /// instead. Asked before the code is used, which is lost if the answer is no. By default they may.
    ///
    /// Worth writing: it ends a flow whose person has logged out meanwhile, and one whose cookie got into somebody else's
    /// browser. The browser comes from another site, so the session's cookie must not be `SameSite=Strict`.
    fn allows(
        &self,
        request: &Parts,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<(), Response>> + Send {
        let _ = (request, tenant);
        future::ready(Ok(()))
    }

    /// The tenant's tokens are stored, and used from here on. A redirect to a page of the program's own (303) takes the code,
    /// which is used up, out of the browser's address bar; by default a page says that it is done.
    fn connected(&self, tenant: &TenantId) -> Response {
        let _ = tenant;
        page::connected()
    }

    /// The person, or the provider, said no. What the tenant had before is as it was.
    fn denied(&self, tenant: &TenantId) -> Response {
        let _ = tenant;
        page::denied()
    }

    /// It did not work. By default [`ConnectFailure::page`].
    fn failed(&self, failure: &ConnectFailure) -> Response {
        failure.page()
    }

    /// The tenant has no grant any more; or never had one.
    fn disconnected(&self, tenant: &TenantId) -> Response {
        let _ = tenant;
        page::disconnected()
    }
}
