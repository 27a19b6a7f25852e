//! Request bodies.

use std::{error::Error, fmt};

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited, combinators::UnsyncBoxBody};

/// The body of a request, with its type erased.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, Interrupted>;

/// A request body ended early. The cause is known to its sender.
#[derive(Debug)]
pub(super) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body ended early")
    }
}

impl Error for Interrupted {}

/// Why a request body could not be read.
pub(super) enum ReadError {
    TooLarge,
    Interrupted,
}

/// Reads a request body of at most `limit` bytes.
pub(super) async fn read_body(body: RequestBody, limit: usize) -> Result<Bytes, ReadError> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ReadError::TooLarge),
        Err(_) => Err(ReadError::Interrupted),
    }
}

/// Whether the only `Content-Type` header names this media type, with any parameters.
pub(super) fn is_content_type(headers: &HeaderMap, expected: &str) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    value.to_str().is_ok_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case(expected)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_cause() {
        assert!(Interrupted.to_string().contains("ended early"));
    }
}
