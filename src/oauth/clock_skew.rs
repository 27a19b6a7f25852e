//! How far this machine's clock is from the provider's.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::date;
use crate::error::{Error, ErrorKind};

/// A difference that is reported.
const LARGE: Duration = Duration::from_secs(30);

/// The difference between two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skew {
    /// This machine's clock is behind the provider's.
    Behind(Duration),
    /// This machine's clock is ahead of the provider's.
    Ahead(Duration),
}

impl Skew {
    /// Compares the `Date` of a response with this machine's clock. The server created the response
    /// between `sent` and `now`, rounded to a second.
    pub(super) fn between(server_now: SystemTime, sent: SystemTime, now: SystemTime) -> Self {
        match server_now.duration_since(now) {
            Ok(behind) => Self::Behind(behind),
            Err(_) => Self::Ahead(sent.duration_since(server_now).unwrap_or_default()),
        }
    }

    pub(super) fn size(self) -> Duration {
        let (Self::Behind(size) | Self::Ahead(size)) = self;
        size
    }

    pub(super) fn is_large(self) -> bool {
        self.size() > LARGE
    }
}

/// Adds to the refusal of an assertion how far the clocks are apart, if that may be its cause: an
/// assertion states by this machine's clock when it was made and when it expires.
pub(super) fn added_to(
    error: Error,
    headers: &HeaderMap,
    sent: SystemTime,
    now: SystemTime,
) -> Error {
    let Some(server_now) = date::of_response(headers) else {
        return error;
    };
    let skew = Skew::between(server_now, sent, now);
    if error.kind() != ErrorKind::Refused || !skew.is_large() {
        return error;
    }
    let seconds = skew.size().as_secs();
    let direction = match skew {
        Skew::Behind(_) => "behind",
        Skew::Ahead(_) => "ahead of",
    };
    error.with_explanation(&format!(
        "this machine's clock is {seconds} s {direction} the provider's, so that assertions may \
         count as expired or as not yet valid: correct the clock"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn p18_skew_is_what_the_time_of_the_request_does_not_explain() {
        let seconds = Duration::from_secs;
        for (server, sent, now, skew) in [
            (1_000, 1_000, 1_000, Skew::Behind(seconds(0))),
            (1_005, 1_000, 1_010, Skew::Ahead(seconds(0))),
            (1_050, 1_000, 1_010, Skew::Behind(seconds(40))),
            (950, 1_000, 1_010, Skew::Ahead(seconds(50))),
        ] {
            assert_eq!(Skew::between(at(server), at(sent), at(now)), skew);
        }
    }

    #[test]
    fn refusal_of_an_assertion_says_how_far_the_clock_is_off() {
        let added = |kind, date: Option<u64>| {
            let mut headers = HeaderMap::new();
            if let Some(date) = date {
                let date = httpdate::fmt_http_date(at(date)).parse().unwrap();
                headers.insert(http::header::DATE, date);
            }
            let error = Error::new(kind, "rejected");
            added_to(error, &headers, at(1_000), at(1_001)).to_string()
        };
        let refused = ErrorKind::Refused;
        assert!(
            added(refused, Some(1_032)).starts_with(
                "rejected; this machine's clock is 31 s behind the provider's, so that"
            )
        );
        assert!(added(refused, Some(400)).contains("is 600 s ahead of the provider's"));
        for (kind, date) in [
            (refused, None),
            (refused, Some(1_000)),
            (refused, Some(1_031)),
            (refused, Some(970)),
            (ErrorKind::Unavailable, Some(400)),
        ] {
            assert_eq!(added(kind, date), "rejected");
        }
    }
}
