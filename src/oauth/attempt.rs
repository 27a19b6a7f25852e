//! One call of an endpoint, in as many requests as it may take.
//!
//! A request is repeated only where that cannot use anything up: nothing of it was sent, or the endpoint itself said "not
//! now" (429, 503). An answer that was lost is the caller's to think about, and a code is never presented twice.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, sleep};

use super::{
    endpoint_error,
    transport::{Broken, Transport},
};
use crate::{clock::Clock, error::Error};

/// For one request and its answer.
const ATTEMPT: Duration = Duration::from_secs(10);
/// For all of them.
const ALL: Duration = Duration::from_secs(15);
const MOST: u32 = 3;
/// After a request of which nothing was sent, doubling, at random from nothing to this.
const UNSENT_PAUSE: Duration = Duration::from_millis(250);
/// After an answer of "not now" that names no time, and at random a quarter more: an endpoint hears of a client once a
/// second at most.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// What may be sent more than once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing that has left this machine: a code.
    Unsent,
    /// Also what the endpoint has put off.
    PutOff,
    /// Also after any other failure that may pass: a revocation, which can be made twice.
    AnyFailure,
}

/// The last answer, of whatever status.
pub(super) async fn send(
    transport: &Transport,
    request: Request<Bytes>,
    repeat: Repeat,
    clock: &dyn Clock,
    random: &Mutex<fastrand::Rng>,
) -> Result<Response<Bytes>, Error> {
    let chance = || {
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        random.f64()
    };
    let begun = Instant::now();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let left = ALL.saturating_sub(begun.elapsed());
        let outcome = transport.send(request.clone(), ATTEMPT.min(left)).await;
        let pause = match &outcome {
            Err(Broken::Unsent(_)) => {
                Some(UNSENT_PAUSE.mul_f64(f64::from(1 << (attempt - 1)) * chance()))
            }
            Err(Broken::Lost(_)) => (repeat == Repeat::AnyFailure).then_some(BUSY_PAUSE),
            Ok(response) if may_repeat(response.status(), repeat) => {
                let asked = endpoint_error::retry_after(response.headers(), clock.wall());
                Some(
                    asked.unwrap_or(Duration::ZERO).max(BUSY_PAUSE)
                        + BUSY_PAUSE.mul_f64(chance() / 4.0),
                )
            }
            Ok(_) => None,
        };
        match pause {
            // A last request with no time for its answer would only lose it.
            Some(pause) if attempt < MOST && begun.elapsed() + pause + BUSY_PAUSE < ALL => {
                sleep(pause).await;
            }
            _ => return outcome.map_err(Broken::into_error),
        }
    }
}

fn may_repeat(status: StatusCode, repeat: Repeat) -> bool {
    match repeat {
        Repeat::Unsent => false,
        Repeat::PutOff => matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ),
        Repeat::AnyFailure => {
            status.is_server_error()
                || matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                )
        }
    }
}
