//! What an axum handler answers when a call to another service could not be made.
//!
//! With the feature `axum`, [`Error`] and [`BearerAuthError`] are responses, so that a handler can return them. The body is a
//! short text for whoever called; the error itself is for the log, and is put into the response's extensions for whoever
//! writes that.
//!
//! | what went wrong | status |
//! | --- | --- |
//! | the program's settings or requests | 500 |
//! | the browser's callback | 400 |
//! | there is no grant, or it has ended | 502 |
//! | the provider refused, or answered what nobody understands | 502 |
//! | it may pass: the provider, the store, a shutdown | 503, with `Retry-After` if the provider named a time |
//! | the inner service's error | 502 |

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};

use crate::{
    bearer::BearerAuthError,
    error::{Error, ErrorKind},
};

/// Who is at fault, as a status.
pub(crate) fn status(error: &Error) -> StatusCode {
    told(error).0
}

fn told(error: &Error) -> (StatusCode, &'static str) {
    match error.kind() {
        ErrorKind::Configuration | ErrorKind::Request => {
            (StatusCode::INTERNAL_SERVER_ERROR, "misconfigured")
        }
        ErrorKind::Callback => (
            StatusCode::BAD_REQUEST,
            "consent was not given, or not asked for",
        ),
        ErrorKind::NoGrant | ErrorKind::ReauthorizationRequired | ErrorKind::Revoked => (
            StatusCode::BAD_GATEWAY,
            "the connection to the other service has to be set up again",
        ),
        ErrorKind::Refused | ErrorKind::InvalidResponse => {
            (StatusCode::BAD_GATEWAY, "the other service refused")
        }
        ErrorKind::Unavailable | ErrorKind::Store | ErrorKind::Interrupted => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the other service cannot be reached at the moment",
        ),
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, text) = told(&self);
        let mut response = (status, text).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE
            && let Some(time) = self.retry_after()
        {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(time.as_secs()));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl<E> IntoResponse for BearerAuthError<E> {
    fn into_response(self) -> Response {
        match self {
            Self::Token(error) => error.into_response(),
            Self::Inner(_) => (
                StatusCode::BAD_GATEWAY,
                "the other service cannot be reached at the moment",
            )
                .into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Answer;

    #[test]
    fn the_status_says_who_is_at_fault() {
        for (kind, status) in [
            (ErrorKind::Configuration, 500),
            (ErrorKind::Callback, 400),
            (ErrorKind::Revoked, 502),
            (ErrorKind::Refused, 502),
            (ErrorKind::Store, 503),
        ] {
            let response = Error::new(kind, "for the log").into_response();
            assert_eq!(response.status(), status);
            assert_eq!(
                response.extensions().get::<Error>().map(Error::kind),
                Some(kind)
            );
        }
        let inner = BearerAuthError::Inner("reset").into_response();
        assert_eq!(inner.status(), 502);
    }

    #[test]
    fn p16_the_providers_retry_after_is_passed_on() {
        let error = Error::new(ErrorKind::Unavailable, "").with_answer(Answer {
            retry_after: Some(Duration::from_secs(120)),
            ..Answer::default()
        });
        let response = BearerAuthError::<()>::Token(error).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "120");
    }
}
