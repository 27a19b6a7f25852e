//! One call of an endpoint, with its retries.
//!
//! A request is retried only if that cannot use up a token: nothing of it was sent, or the endpoint
//! itself deferred it (429 or 503). After a lost response the caller decides, and a code is never
//! sent twice. The [module page](super#outcomes-of-a-token-request) says which outcomes are lost
//! responses.
//!
//! Apart from these retries, a request with a DPoP proof is sent once more if the endpoint asks for
//! another nonce.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::{Instant, sleep};

use super::{
    endpoint_error,
    form::Outgoing,
    replay_limit,
    transport::{SendError, Transport},
};
use crate::{clock::Clock, error::OAuthErrorCode, later::Later};

/// How long after the first attempt another one may be sent.
pub(super) const RETRY_WINDOW: Duration = Duration::from_secs(15);
/// How long a signer or authenticator of the program has for the credentials of one attempt. The
/// request holds its permit meanwhile.
pub(super) const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_ATTEMPTS: u32 = 3;
/// The longest pause after a request that was not sent. It doubles with each attempt, and the pause
/// is a random part of it.
const CONNECT_BACKOFF: Duration = Duration::from_millis(250);
/// The shortest pause after a response that deferred the request. Up to a quarter is added at
/// random, so that a client retries once a second at most.
const DEFERRED_BACKOFF: Duration = Duration::from_secs(1);

/// The failures after which a request is retried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// If nothing was sent: for a code exchange.
    NotSent,
    /// Also after a 429 or 503: for a refresh.
    Deferred,
    /// Also after any other transient failure: for a revocation, which can be repeated.
    Transient,
}

/// Sends a request, and returns the last response, whatever its status. Each attempt has
/// `response_timeout`.
pub(super) async fn send(
    transport: &Transport,
    request: &Outgoing<'_>,
    retry: Retry,
    response_timeout: Duration,
    clock: &dyn Clock,
    random: &Mutex<fastrand::Rng>,
) -> Result<Response<Bytes>, SendError> {
    let jitter = || {
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        random.f64()
    };
    let started = Instant::now();
    let mut attempt = 0;
    let mut had_nonce_retry = false;
    loop {
        attempt += 1;
        let deadline = Instant::now().later(CREDENTIALS_TIMEOUT);
        let outcome = match request.to_request(deadline).await {
            Ok(request) => {
                // The credentials have taken a while.
                replay_limit::check().map_err(SendError::NotSent)?;
                transport.send(request, response_timeout).await
            }
            Err(error) => Err(SendError::NotSent(error)),
        };
        if let Ok(response) = &outcome
            && request.learn_nonce(response)
            && is_nonce_missing(response)
            && !had_nonce_retry
            && started.elapsed() < RETRY_WINDOW
        {
            had_nonce_retry = true;
            attempt -= 1;
            continue;
        }
        let backoff = match &outcome {
            // The program has to be fixed.
            Err(SendError::NotSent(error)) if !error.is_transient() => None,
            Err(SendError::NotSent(_)) => {
                Some(CONNECT_BACKOFF.mul_f64(f64::from(1 << (attempt - 1)) * jitter()))
            }
            Err(SendError::ResponseLost(_) | SendError::ResponseCut(..)) => {
                (retry == Retry::Transient).then_some(DEFERRED_BACKOFF)
            }
            Ok(response) if is_retried(response.status(), retry) => {
                let retry_after = endpoint_error::retry_after(response.headers(), clock.wall());
                Some(
                    retry_after
                        .unwrap_or(Duration::ZERO)
                        .max(DEFERRED_BACKOFF)
                        .saturating_add(DEFERRED_BACKOFF.mul_f64(jitter() / 4.0)),
                )
            }
            Ok(_) => None,
        };
        match backoff {
            Some(backoff)
                if attempt < MAX_ATTEMPTS
                    && started.elapsed().saturating_add(backoff) < RETRY_WINDOW =>
            {
                sleep(backoff).await;
            }
            _ => return outcome,
        }
    }
}

/// Whether the endpoint asks for a proof with the nonce of this response, and has not used the code
/// or refresh token (RFC 9449 section 8).
fn is_nonce_missing(response: &Response<Bytes>) -> bool {
    response.status().is_client_error()
        && endpoint_error::code(response.body()) == Some(OAuthErrorCode::UseDpopNonce)
}

fn is_retried(status: StatusCode, retry: Retry) -> bool {
    match retry {
        Retry::NotSent => false,
        Retry::Deferred => matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ),
        Retry::Transient => {
            status.is_server_error()
                || matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                )
        }
    }
}
