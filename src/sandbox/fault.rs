//! Faults: what to do wrong, where, and how often.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

/// A place where a fault can be scripted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `/oauth/authorize`, and the two forms of its consent page.
    Authorize,
    /// `/oauth/token`
    Token,
    /// `/v1/oauth/revoke`
    Revoke,
    /// `/v1/company`
    Company,
    /// `/v1/members` and what is below it.
    Members,
    /// `/v1/deductions`
    Deductions,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 6] = [
        Self::Authorize,
        Self::Token,
        Self::Revoke,
        Self::Company,
        Self::Members,
        Self::Deductions,
    ];

    /// The endpoint that serves `path`.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/oauth/authorize" | "/oauth/login" | "/oauth/consent" => Some(Self::Authorize),
            "/oauth/token" => Some(Self::Token),
            "/v1/oauth/revoke" => Some(Self::Revoke),
            "/v1/company" => Some(Self::Company),
            "/v1/deductions" => Some(Self::Deductions),
            _ => match path.strip_prefix("/v1/members") {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(Self::Members),
                _ => None,
            },
        }
    }
}

/// One thing to do wrong, to one request unless [`times`](Self::times) says more.
///
/// Faults are scripted with [`Sandbox::inject`](super::Sandbox::inject). Those of one endpoint are played in the order
/// they were scripted; a request takes part in one of them at most.
///
/// Work is what the endpoint does to the sandbox's state: an exchange rotates, a deduction is created. By default a
/// fault strikes before the work, which then never happens; [`after_processing`](Self::after_processing) lets it happen first, so
/// that only the answer is lost. [`truncate`](Self::truncate), [`slow`](Self::slow) and [`huge`](Self::huge) spoil a
/// real answer, so their work is always done.
///
/// ```
/// use http::StatusCode;
/// use tower_oauth2_client::sandbox::{Endpoint, Fault, Sandbox};
///
/// let sandbox = Sandbox::builder().build();
/// // Two exchanges are throttled, then the answer to one is lost although the server rotated.
/// let throttled = Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after("2");
/// sandbox.inject(Endpoint::Token, throttled.times(2));
/// sandbox.inject(Endpoint::Token, Fault::drop_connection().after_processing());
/// ```
#[derive(Clone)]
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    pub(super) kind: Kind,
    pub(super) after_processing: bool,
    pub(super) skip: u64,
    pub(super) times: u64,
}

impl Fault {
    /// Waits, then goes on as if nothing had been. The wait is of tokio's time.
    pub fn delay(by: Duration) -> Self {
        Self::new(Kind::Delay(by))
    }

    /// Reads the request, then closes the connection without a byte of an answer.
    ///
    /// Called as a service, the sandbox fails with [`ConnectionLost`](super::ConnectionLost).
    pub fn drop_connection() -> Self {
        Self::new(Kind::Drop)
    }

    /// Reads the request, then resets the connection (TCP RST).
    ///
    /// Called as a service, the sandbox fails with [`ConnectionLost`](super::ConnectionLost).
    pub fn reset() -> Self {
        Self::new(Kind::Reset)
    }

    /// Never answers. The request ends when its caller gives up.
    pub fn hang() -> Self {
        Self::new(Kind::Hang)
    }

    /// Sends half of the answer's body, then closes the connection. Of an empty body, a byte is promised and not sent.
    ///
    /// Called as a service, the response's body fails with [`ConnectionLost`](super::ConnectionLost) after that half.
    pub fn truncate() -> Self {
        Self::new(Kind::Truncate)
    }

    /// Sends the answer's body byte by byte, with this wait before each. The wait is of tokio's time.
    pub fn slow(wait: Duration) -> Self {
        Self::new(Kind::Slow(wait))
    }

    /// Sends the answer's body after this many spaces, which JSON allows.
    pub fn huge(length: u64) -> Self {
        Self::new(Kind::Huge(length))
    }

    /// Answers 200 with a body that claims to be JSON, and is neither that nor UTF-8.
    pub fn garbage() -> Self {
        Self::status(StatusCode::OK)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(GARBAGE)
    }

    /// Answers with this status, an empty body and no headers beyond `Date` and the body's length.
    ///
    /// An informational status (1xx) is no answer of its own: on a socket, an empty 500 is sent in its place and the
    /// connection is closed. Only [`SandboxService`](super::SandboxService) gives it as it is.
    pub fn status(status: StatusCode) -> Self {
        Self::new(Kind::Answer {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        })
    }

    /// Gives the answer of [`status`](Self::status) this body. Changes nothing on other faults.
    pub fn body(mut self, to: impl Into<Bytes>) -> Self {
        if let Kind::Answer { body, .. } = &mut self.kind {
            *body = to.into();
        }
        self
    }

    /// Gives the answer of [`status`](Self::status) one more header. Changes nothing on other faults.
    ///
    /// A `Content-Length` is sent as it is. On a socket, a body that is longer is cut to it, and after one that is
    /// shorter the connection is closed.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if let Kind::Answer { headers, .. } = &mut self.kind {
            headers.push((name, value));
        }
        self
    }

    /// Gives the answer of [`status`](Self::status) a `Retry-After`: seconds, an HTTP date, or nonsense.
    ///
    /// Changes nothing on other faults, or if `value` cannot stand in a header.
    pub fn retry_after(self, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.header(RETRY_AFTER, value),
            Err(_) => self,
        }
    }

    /// Strikes after the endpoint's work was done, rather than before.
    pub fn after_processing(mut self) -> Self {
        self.after_processing = true;
        self
    }

    /// Lets this many requests pass first. Defaults to none.
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Strikes this many requests. Defaults to one.
    pub fn times(mut self, requests: u64) -> Self {
        self.times = requests;
        self
    }

    /// Strikes every request until the endpoint's faults are cleared.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// How many requests it will still strike, in words.
    pub(super) fn count(&self) -> String {
        match self.times {
            u64::MAX => "always".to_owned(),
            times => times.to_string(),
        }
    }

    /// Whether there is nothing to do without the real answer.
    pub(super) fn spoils_the_answer(&self) -> bool {
        matches!(self.kind, Kind::Truncate | Kind::Slow(_) | Kind::Huge(_))
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            after_processing: false,
            skip: 0,
            times: 1,
        }
    }
}

/// Names the fault and leaves out its body and headers, which may echo a secret.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")
    }
}

/// The fault in words, as the event log and the status page show it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Delay(by) => write!(f, "delay {by:?}")?,
            Kind::Drop => f.write_str("drop")?,
            Kind::Reset => f.write_str("reset")?,
            Kind::Hang => f.write_str("hang")?,
            Kind::Truncate => return f.write_str("truncate"),
            Kind::Slow(wait) => return write!(f, "slow {wait:?}"),
            Kind::Huge(length) => return write!(f, "huge {length}"),
            Kind::Answer { status, .. } => write!(f, "status {}", status.as_u16())?,
        }
        f.write_str(if self.after_processing {
            " after work"
        } else {
            " before work"
        })
    }
}

#[derive(Clone)]
pub(super) enum Kind {
    Delay(Duration),
    Drop,
    Reset,
    Hang,
    Truncate,
    Slow(Duration),
    Huge(u64),
    Answer {
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
    fn debug_leaves_the_body_out() {
        let fault = Fault::status(StatusCode::OK).body("echoed-secret");
        assert_eq!(format!("{fault:?}"), "Fault(status 200 before work)");
    }
}
