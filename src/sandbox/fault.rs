//! Faults: what goes wrong, at which endpoint, and how often.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use serde_json::Value;

/// An endpoint that faults can be injected into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `/oauth/authorize`, and the two forms of its consent page.
    Authorize,
    /// `/oauth/token`
    Token,
    /// `/oauth/par`
    PushedAuthorization,
    /// `/oauth/device_authorization`
    DeviceAuthorization,
    /// `/v1/oauth/revoke`
    Revoke,
    /// The well-known paths of metadata, for an issuer with or without a path.
    Metadata,
    /// `/v1/company`
    Company,
    /// `/v1/members` and the paths below it.
    Members,
    /// `/v1/deductions`
    Deductions,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 9] = [
        Self::Authorize,
        Self::Token,
        Self::PushedAuthorization,
        Self::DeviceAuthorization,
        Self::Revoke,
        Self::Metadata,
        Self::Company,
        Self::Members,
        Self::Deductions,
    ];

    /// The endpoint that serves `path`.
    pub(super) fn from_path(path: &str) -> Option<Self> {
        match path {
            "/oauth/authorize" | "/oauth/login" | "/oauth/consent" => Some(Self::Authorize),
            "/oauth/token" => Some(Self::Token),
            "/oauth/par" => Some(Self::PushedAuthorization),
            "/oauth/device_authorization" => Some(Self::DeviceAuthorization),
            "/v1/oauth/revoke" => Some(Self::Revoke),
            "/v1/company" => Some(Self::Company),
            "/v1/deductions" => Some(Self::Deductions),
            _ if is_metadata(path) => Some(Self::Metadata),
            _ => match path.strip_prefix("/v1/members") {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(Self::Members),
                _ => None,
            },
        }
    }
}

pub(super) const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
pub(super) const OPENID_METADATA: &str = "/.well-known/openid-configuration";

fn is_metadata(path: &str) -> bool {
    let is_inserted = |well_known| {
        let issuer = path.strip_prefix(well_known);
        issuer.is_some_and(|issuer| issuer.is_empty() || issuer.starts_with('/'))
    };
    is_inserted(OAUTH_METADATA) || is_inserted(OPENID_METADATA) || path.ends_with(OPENID_METADATA)
}

/// A failure of the sandbox, for one request unless [`times`](Self::times) sets more.
///
/// [`Sandbox::inject`](super::Sandbox::inject) queues faults. The requests to an endpoint trigger
/// its faults in the order of injection, and a request triggers at most one.
///
/// Processing is what a request does to the sandbox's state: a refresh rotates, a deduction is
/// created. By default a fault happens before processing, and the request is never processed. With
/// [`after_processing`](Self::after_processing) it is processed first, so that only the response is
/// lost. [`truncate`](Self::truncate), [`slow`](Self::slow), [`huge`](Self::huge) and
/// [`edit`](Self::edit) alter a real response, so their requests are always processed.
///
/// ```
/// use http::StatusCode;
/// use tower_oauth2_client::sandbox::{Endpoint, Fault, Sandbox};
///
/// let sandbox = Sandbox::builder().build();
/// // Two token requests are throttled. The response to the third is lost after the server rotated.
/// let throttled = Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after("2");
/// sandbox.inject(Endpoint::Token, throttled.times(2));
/// sandbox.inject(Endpoint::Token, Fault::drop_connection().after_processing());
/// ```
#[derive(Clone)]
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) after_processing: bool,
    pub(super) skip: u64,
    pub(super) times: u64,
}

impl Fault {
    pub(super) const ALWAYS: u64 = u64::MAX;

    /// Waits in tokio's time, then continues normally.
    pub fn delay(by: Duration) -> Self {
        Self::new(FaultKind::Delay(by))
    }

    /// Reads the request, then closes the connection without sending a byte.
    ///
    /// The service fails with [`ConnectionLost`](super::ConnectionLost).
    pub fn drop_connection() -> Self {
        Self::new(FaultKind::Drop)
    }

    /// Reads the request, then resets the connection (TCP RST).
    ///
    /// The service fails with [`ConnectionLost`](super::ConnectionLost).
    pub fn reset() -> Self {
        Self::new(FaultKind::Reset)
    }

    /// Never responds. The request ends when its caller cancels it.
    pub fn hang() -> Self {
        Self::new(FaultKind::Hang)
    }

    /// Sends half of the response body, then closes the connection.
    ///
    /// An empty body is announced as one byte, and that byte is not sent. From the service, the
    /// response body fails with [`ConnectionLost`](super::ConnectionLost) after the first half.
    pub fn truncate() -> Self {
        Self::new(FaultKind::Truncate)
    }

    /// Sends the response body byte by byte, and waits in tokio's time before each byte.
    pub fn slow(wait: Duration) -> Self {
        Self::new(FaultKind::Slow(wait))
    }

    /// Sends this many spaces before the response body, which JSON permits.
    pub fn huge(length: u64) -> Self {
        Self::new(FaultKind::Huge(length))
    }

    /// Changes the response body, for example to a token response with a member that no client
    /// expects.
    ///
    /// ```
    /// use tower_oauth2_client::sandbox::{Endpoint, Fault, Sandbox};
    ///
    /// let sandbox = Sandbox::builder().build();
    /// let with_mark = Fault::edit(|body| [b"\xef\xbb\xbf", body].concat());
    /// sandbox.inject(Endpoint::Token, with_mark);
    /// ```
    pub fn edit(edit: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::new(FaultKind::Edit(Arc::new(edit)))
    }

    /// Sets a member of the JSON object in the response body to a text, such as an endpoint in
    /// metadata. Has no effect if the body is not an object.
    ///
    /// ```
    /// use tower_oauth2_client::sandbox::{Endpoint, Fault, Sandbox};
    ///
    /// let sandbox = Sandbox::builder().build();
    /// // Metadata of another issuer, and then metadata with an endpoint that does not use https.
    /// let other_issuer = Fault::member("issuer", "https://evil.example");
    /// sandbox.inject(Endpoint::Metadata, other_issuer);
    /// let http = Fault::member("token_endpoint", "http://id.example.com/token");
    /// sandbox.inject(Endpoint::Metadata, http);
    /// ```
    pub fn member(name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        Self::edit(move |body| {
            let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
                return body.to_vec();
            };
            members.insert(name.clone(), Value::String(value.clone()));
            Value::Object(members).to_string().into_bytes()
        })
    }

    /// Responds with 302 and this `Location`. Without the header if it is not a valid header value.
    pub fn redirect(location: &str) -> Self {
        let fault = Self::status(StatusCode::FOUND);
        match HeaderValue::from_str(location) {
            Ok(location) => fault.header(LOCATION, location),
            Err(_) => fault,
        }
    }

    /// Responds with 200 and a body that is declared as JSON, but is neither JSON nor UTF-8.
    pub fn garbage() -> Self {
        Self::status(StatusCode::OK)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(GARBAGE)
    }

    /// Responds with this status, an empty body, and no headers but `Date` and the content length.
    ///
    /// An informational status (1xx) is not a final response. Only
    /// [`SandboxService`](super::SandboxService) returns it. On a socket, an empty 500 is sent
    /// instead and the connection is closed.
    pub fn status(status: StatusCode) -> Self {
        Self::new(FaultKind::Respond {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        })
    }

    /// Sets the body of the [`status`](Self::status) response. Has no effect on other faults.
    pub fn body(mut self, to: impl Into<Bytes>) -> Self {
        if let FaultKind::Respond { body, .. } = &mut self.kind {
            *body = to.into();
        }
        self
    }

    /// Adds a header to the [`status`](Self::status) response. Has no effect on other faults.
    ///
    /// A `Content-Length` is sent unchanged. On a socket, a longer body is truncated to it, and
    /// after a shorter body the connection is closed.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let FaultKind::Respond { headers, .. } = &mut self.kind {
            headers.push((name, value));
        }
        self
    }

    /// Adds `Retry-After` to the [`status`](Self::status) response: seconds, an HTTP date, or
    /// nonsense.
    ///
    /// Has no effect on other faults, or if `value` is not a valid header value.
    pub fn retry_after(self, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.header(RETRY_AFTER, value),
            Err(_) => self,
        }
    }

    /// Processes the request before the fault happens. By default it is not processed.
    pub fn after_processing(mut self) -> Self {
        self.after_processing = true;
        self
    }

    /// Ignores this many requests first. Defaults to 0.
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Affects this many requests. Defaults to 1.
    pub fn times(mut self, requests: u64) -> Self {
        self.times = requests;
        self
    }

    /// Affects every request until the faults are cleared.
    pub fn always(self) -> Self {
        self.times(Self::ALWAYS)
    }

    /// The number of requests that the fault still affects, for display.
    pub(super) fn remaining(&self) -> String {
        match self.times {
            Self::ALWAYS => "always".to_owned(),
            times => times.to_string(),
        }
    }

    /// Whether the fault alters the real response.
    pub(super) fn alters_response(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Truncate | FaultKind::Slow(_) | FaultKind::Huge(_) | FaultKind::Edit(_)
        )
    }

    fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            after_processing: false,
            skip: 0,
            times: 1,
        }
    }
}

/// Shows the description only: body and headers may repeat a secret.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")
    }
}

/// The description of the fault, as the event log and the status page show it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Delay(by) => write!(f, "delay {by:?}")?,
            FaultKind::Drop => f.write_str("drop")?,
            FaultKind::Reset => f.write_str("reset")?,
            FaultKind::Hang => f.write_str("hang")?,
            FaultKind::Truncate => return f.write_str("truncate"),
            FaultKind::Slow(wait) => return write!(f, "slow {wait:?}"),
            FaultKind::Huge(length) => return write!(f, "huge {length}"),
            FaultKind::Edit(_) => return f.write_str("edit"),
            FaultKind::Respond { status, .. } => write!(f, "status {}", status.as_u16())?,
        }
        f.write_str(if self.after_processing {
            " after processing"
        } else {
            " before processing"
        })
    }
}

type EditBody = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

#[derive(Clone)]
pub(super) enum FaultKind {
    Delay(Duration),
    Drop,
    Reset,
    Hang,
    Truncate,
    Slow(Duration),
    Huge(u64),
    Edit(EditBody),
    Respond {
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    },
}

const GARBAGE: &[u8] = b"{\"access_token\": \xff\xfe<!doctype html>\0]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_body() {
        let fault = Fault::status(StatusCode::OK).body("echoed-secret");
        assert_eq!(format!("{fault:?}"), "Fault(status 200 before processing)");
    }
}
