//! Responses of axum handlers for errors of this crate (feature `axum`).
//!
//! [`Error`] implements [`IntoResponse`], so a handler that calls an API through the layer can
//! return it with `?`. The body is a short text for the caller. The error itself is for the log: it
//! is in the response's extensions, where a middleware finds it.
//!
//! The page `guide::troubleshooting` has the table of kinds and statuses.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};

use crate::error::{Error, ErrorKind};

/// The status of a response for `error`.
pub(crate) fn status(error: &Error) -> StatusCode {
    status_and_text(error).0
}

fn status_and_text(error: &Error) -> (StatusCode, &'static str) {
    match error.kind() {
        ErrorKind::Configuration
        | ErrorKind::Request
        | ErrorKind::ForeignGrant
        | ErrorKind::KeptValue => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal configuration error",
        ),
        ErrorKind::Callback => (
            StatusCode::BAD_REQUEST,
            "consent was denied, or this page does not belong to a connection in progress",
        ),
        ErrorKind::ConsentRejected => (
            StatusCode::FORBIDDEN,
            "this account was not accepted; the existing connection is unchanged",
        ),
        ErrorKind::RefreshTokenMissing => (
            StatusCode::CONFLICT,
            "the existing connection is unchanged; remove it before connecting again",
        ),
        ErrorKind::NoGrant | ErrorKind::ReauthorizationRequired | ErrorKind::Revoked => (
            StatusCode::BAD_GATEWAY,
            "the connection to the provider has to be set up again",
        ),
        ErrorKind::Refused | ErrorKind::InvalidResponse => (
            StatusCode::BAD_GATEWAY,
            "the provider's token endpoint rejected the request",
        ),
        ErrorKind::Service => (
            StatusCode::BAD_GATEWAY,
            "the provider's API cannot be reached",
        ),
        ErrorKind::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the provider's token endpoint is temporarily unavailable; please try again later",
        ),
        ErrorKind::Store => (
            StatusCode::SERVICE_UNAVAILABLE,
            "our grant store is temporarily unavailable; please try again later",
        ),
        ErrorKind::Interrupted => (
            StatusCode::SERVICE_UNAVAILABLE,
            "this service is stopping; please try again in a moment",
        ),
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, text) = status_and_text(&self);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ResponseDetails;

    #[test]
    fn status_is_that_of_the_table_of_the_guide() {
        let page = include_str!("../docs/troubleshooting.md");
        let (_, table) = page.split_once("| kind | status |").unwrap();
        let rows = table.lines().skip(2).map_while(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            Some((cells.next()?, cells.next()?))
        });
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), ErrorKind::ALL.len());
        for kind in ErrorKind::ALL {
            let response = Error::new(kind, "").into_response();
            let name = format!("`{kind:?}`");
            let status = response.status();
            let row = (&*name, status.as_str());
            assert!(rows.contains(&row), "{row:?}");
            let kept = response.extensions().get::<Error>().map(Error::kind);
            assert_eq!(kept, Some(kind));
        }
    }

    #[test]
    fn text_names_what_cannot_be_reached() {
        for (kind, named) in [
            (ErrorKind::Store, "our grant store"),
            (ErrorKind::Unavailable, "the provider's token endpoint"),
            (ErrorKind::Refused, "the provider's token endpoint"),
            (ErrorKind::Service, "the provider's API"),
            (ErrorKind::Interrupted, "this service"),
        ] {
            let (_, text) = status_and_text(&Error::new(kind, ""));
            assert!(text.starts_with(named), "{text}");
        }
    }

    #[test]
    fn p16_retry_after_of_the_provider_is_passed_on() {
        let error = Error::new(ErrorKind::Unavailable, "").with_response(ResponseDetails {
            retry_after: Some(Duration::from_secs(120)),
            ..ResponseDetails::default()
        });
        let response = error.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "120");
    }
}
