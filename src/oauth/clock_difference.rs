//! The clock of this computer, as the explanation of a refused assertion.
//!
//! An assertion is valid from when it is created, and for a minute. A server with another clock
//! refuses it with the code of any wrong credentials.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::date;
use crate::error::Error;

/// Servers tolerate about this much. The `Date` of a response is by itself a few seconds old.
const TOLERANCE: Duration = Duration::from_secs(30);

/// Adds to the error of a response that refuses an assertion that this computer's clock is off, if
/// the response's `Date` shows that. `now` is the time at which the response arrived.
pub(super) fn added_to(error: Error, headers: &HeaderMap, now: SystemTime) -> Error {
    match difference(date::of_response(headers), now) {
        Some((length, direction)) => error.with_explanation(&format!(
            "this computer's clock is {} s {direction} the provider's, and an assertion is valid \
             for a minute only: correct the clock",
            length.as_secs(),
        )),
        None => error,
    }
}

/// By how much the clocks differ, if it is more than servers tolerate.
fn difference(of_server: Option<SystemTime>, now: SystemTime) -> Option<(Duration, &'static str)> {
    let of_server = of_server?;
    let (length, direction) = match now.duration_since(of_server) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (length > TOLERANCE).then_some((length, direction))
}

#[cfg(test)]
mod tests {
    use http::header::DATE;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn only_a_difference_beyond_the_tolerance_is_an_explanation() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let minute = Duration::from_secs(60);
        for (of_server, expected) in [
            (None, None),
            (Some(now), None),
            (Some(now + TOLERANCE), None),
            (Some(now - TOLERANCE), None),
            (Some(now + minute), Some((minute, "behind"))),
            (Some(now - minute), Some((minute, "ahead of"))),
            (
                Some(SystemTime::UNIX_EPOCH),
                Some((Duration::from_secs(1_000_000_000), "ahead of")),
            ),
        ] {
            assert_eq!(difference(of_server, now), expected, "{of_server:?}");
        }
    }

    #[test]
    fn explanation_names_the_difference() {
        let now = date::parse("Tue, 24 Nov 2026 10:00:00 GMT").unwrap();
        for (date, explanation) in [
            ("Tue, 24 Nov 2026 10:00:10 GMT", None),
            (
                "Tue, 24 Nov 2026 10:02:05 GMT",
                Some("125 s behind the provider's"),
            ),
            (
                "Tue, 24 Nov 2026 09:58:00 GMT",
                Some("120 s ahead of the provider's"),
            ),
            ("yesterday", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, date.parse().unwrap());
            let error = added_to(Error::new(ErrorKind::Refused, "refused"), &headers, now);
            assert_eq!(error.kind(), ErrorKind::Refused);
            let message = error.to_string();
            match explanation {
                Some(text) => {
                    assert!(message.starts_with("refused; "), "{message}");
                    assert!(message.contains(text), "{message}");
                }
                None => assert_eq!(message, "refused"),
            }
        }
    }
}
