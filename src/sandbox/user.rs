//! A simulated user, for tests without a browser.

use std::{error::Error, fmt};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, LOCATION},
    uri::InvalidUri,
};
use http_body_util::Full;
use tower_service::Service;

use super::{
    authority::Decision,
    body::ConnectionLost,
    response::{CallbackUrl, SandboxResponse},
    service::SandboxService,
};

/// An authorization URL did not lead to a redirect.
#[derive(Debug)]
pub struct ConsentError {
    kind: ConsentErrorKind,
}

#[derive(Debug)]
enum ConsentErrorKind {
    InvalidUrl(InvalidUri),
    ConnectionLost(ConnectionLost),
    NotRedirected(StatusCode),
}

impl ConsentError {
    /// The status of the response that was not a redirect, if there was a response.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self.kind {
            ConsentErrorKind::NotRedirected(status) => Some(status),
            ConsentErrorKind::InvalidUrl(_) | ConsentErrorKind::ConnectionLost(_) => None,
        }
    }
}

impl fmt::Display for ConsentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ConsentErrorKind::InvalidUrl(_) => f.write_str("the authorization URL is not a URL"),
            ConsentErrorKind::ConnectionLost(_) => {
                f.write_str("the sandbox did not respond to the simulated user")
            }
            ConsentErrorKind::NotRedirected(status) => write!(
                f,
                "the sandbox did not redirect the simulated user: it responded {status}"
            ),
        }
    }
}

impl Error for ConsentError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            ConsentErrorKind::InvalidUrl(error) => Some(error),
            ConsentErrorKind::ConnectionLost(lost) => Some(lost),
            ConsentErrorKind::NotRedirected(_) => None,
        }
    }
}

impl From<ConsentErrorKind> for ConsentError {
    fn from(kind: ConsentErrorKind) -> Self {
        Self { kind }
    }
}

/// Opens an authorization URL, fills in the pages if there are any, and returns the callback URL.
pub(super) async fn authorize(
    service: SandboxService,
    url: &str,
    decision: Decision,
) -> Result<String, ConsentError> {
    let url: Uri = url.parse().map_err(ConsentErrorKind::InvalidUrl)?;
    let mut request = Request::new(Full::default());
    *request.uri_mut() = url;
    request.extensions_mut().insert(decision);
    let mut response = send(&service, request).await?;
    if let Some(consent_id) = consent_id(&mut response) {
        let login = [
            ("consent", consent_id.as_str()),
            ("email", EMAIL),
            ("password", "sandbox"),
        ];
        send(&service, post_form("/oauth/login", &login)).await?;
        let decision = match decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        };
        let consent = [
            ("consent", consent_id.as_str()),
            ("decision", decision),
            ("sensitive", "yes"),
        ];
        response = send(&service, post_form("/oauth/consent", &consent)).await?;
    }
    if let Some(CallbackUrl(url)) = response.extensions_mut().remove() {
        return Ok(url);
    }
    match response.headers().get(LOCATION).map(HeaderValue::to_str) {
        Some(Ok(location)) => Ok(location.to_owned()),
        _ => Err(ConsentErrorKind::NotRedirected(response.status()).into()),
    }
}

async fn send(
    service: &SandboxService,
    request: Request<Full<Bytes>>,
) -> Result<SandboxResponse, ConsentError> {
    let response = service.clone().call(request).await;
    Ok(response.map_err(ConsentErrorKind::ConnectionLost)?)
}

/// The consent id in the form of a page, if the response is such a page.
fn consent_id(response: &mut SandboxResponse) -> Option<String> {
    if response.status() != StatusCode::OK {
        return None;
    }
    let page = std::mem::take(response.body_mut()).into_bytes();
    let page = std::str::from_utf8(&page).ok()?;
    let (_, rest) = page.split_once("name=\"consent\" value=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn post_form(path: &'static str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    request
}

const EMAIL: &str = "admin@sandbox.example";
