//! The person at the browser, for tests that have none.

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use tower_service::Service;

use super::answer::Answer;
use super::body::ConnectionLost;
use super::endpoints::Decision;
use super::service::SandboxService;

/// Why no redirect came of an authorization URL.
#[derive(Debug)]
pub struct ConsentError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    NotAUrl(http::uri::InvalidUri),
    Lost(ConnectionLost),
    Answered(StatusCode),
}

impl ConsentError {
    /// The status the sandbox answered with instead of a redirect, if it answered.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self.kind {
            Kind::Answered(status) => Some(status),
            Kind::NotAUrl(_) | Kind::Lost(_) => None,
        }
    }
}

impl fmt::Display for ConsentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::NotAUrl(_) => f.write_str("the authorization URL is not a URL"),
            Kind::Lost(_) => f.write_str("the sandbox gave no answer to the person"),
            Kind::Answered(status) => write!(f, "the sandbox answered the person with {status}"),
        }
    }
}

impl Error for ConsentError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::NotAUrl(error) => Some(error),
            Kind::Lost(lost) => Some(lost),
            Kind::Answered(_) => None,
        }
    }
}

/// Opens an authorization URL, and does what it takes until the app is called back. Gives the callback URL.
pub(super) async fn visit(
    service: SandboxService,
    url: &str,
    decision: Decision,
) -> Result<String, ConsentError> {
    let url: Uri = url.parse().map_err(|error| ConsentError {
        kind: Kind::NotAUrl(error),
    })?;
    let mut opened = Request::new(Full::default());
    *opened.uri_mut() = url;
    opened.extensions_mut().insert(decision);
    let mut answer = send(&service, opened).await?;
    if let Some(consent) = form_of(&mut answer) {
        let log_in = [
            ("consent", consent.as_str()),
            ("email", EMAIL),
            ("password", "sandbox"),
        ];
        send(&service, form("/oauth/login", &log_in)).await?;
        let decision = match decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        };
        let decide = [
            ("consent", consent.as_str()),
            ("decision", decision),
            ("sensitive", "yes"),
        ];
        answer = send(&service, form("/oauth/consent", &decide)).await?;
    }
    match answer.headers().get(LOCATION).map(|value| value.to_str()) {
        Some(Ok(location)) => Ok(location.to_owned()),
        _ => Err(ConsentError {
            kind: Kind::Answered(answer.status()),
        }),
    }
}

async fn send(
    service: &SandboxService,
    request: Request<Full<Bytes>>,
) -> Result<Answer, ConsentError> {
    service
        .clone()
        .call(request)
        .await
        .map_err(|lost| ConsentError {
            kind: Kind::Lost(lost),
        })
}

/// The name of the consent in a page's form, if the answer is such a page.
fn form_of(answer: &mut Answer) -> Option<String> {
    if answer.status() != StatusCode::OK {
        return None;
    }
    let page = std::mem::take(answer.body_mut()).into_bytes();
    let page = std::str::from_utf8(&page).ok()?;
    let (_, rest) = page.split_once("name=\"consent\" value=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn form(path: &'static str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    request
}

const EMAIL: &str = "admin@sandbox.example";
