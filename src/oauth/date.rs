//! Dates in HTTP headers.

use std::time::SystemTime;

use http::{HeaderMap, header::DATE};

/// Parses a date in any of the three formats of RFC 9110 section 5.6.7. `None` if it is no date, or
/// one before 1970.
///
/// The preferred format is also accepted as RFC 2822 permits it: with a leap second, a day of one
/// digit, or other letter case.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text)
        .ok()
        .or_else(|| parse_rfc_2822(text))
}

fn parse_rfc_2822(text: &str) -> Option<SystemTime> {
    let zone = text.get(text.len().checked_sub(4)?..)?;
    if !zone.eq_ignore_ascii_case(" GMT") {
        return None;
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    SystemTime::try_from(date.timestamp())
        .ok()
        .filter(|time| *time >= SystemTime::UNIX_EPOCH)
}

/// When the server created a response, by the server's clock.
pub(super) fn of_response(headers: &HeaderMap) -> Option<SystemTime> {
    parse(headers.get(DATE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AT: Duration = Duration::from_secs(784_111_777);

    #[test]
    fn three_formats_are_one_date() {
        // The examples of RFC 9110 section 5.6.7.
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text), Some(SystemTime::UNIX_EPOCH + AT), "{text}");
        }
    }

    #[test]
    fn variations_of_the_preferred_format_are_accepted() {
        for (text, exact) in [
            (
                "Thu, 31 Dec 1998 23:59:60 GMT",
                "Thu, 31 Dec 1998 23:59:59 GMT",
            ),
            (
                "Sun, 6 Nov 1994 08:49:37 GMT",
                "Sun, 06 Nov 1994 08:49:37 GMT",
            ),
            (
                "sun, 06 nov 1994 08:49:37 gmt",
                "Sun, 06 Nov 1994 08:49:37 GMT",
            ),
        ] {
            assert!(parse(text).is_some(), "{text}");
            assert_eq!(parse(text), parse(exact), "{text}");
        }
    }

    #[test]
    fn a_year_of_two_digits_is_at_most_fifty_years_ahead() {
        // RFC 9110 section 5.6.7. The year 2077 begins on a Friday.
        assert_eq!(
            parse("Saturday, 01-Jan-77 00:00:00 GMT"),
            parse("Sat, 01 Jan 1977 00:00:00 GMT")
        );
        assert_eq!(
            parse("Sunday, 01-Jan-68 00:00:00 GMT"),
            parse("Sun, 01 Jan 2068 00:00:00 GMT")
        );
        assert_eq!(parse("Friday, 01-Jan-77 00:00:00 GMT"), None);
    }

    #[test]
    fn the_last_day_of_9999_is_a_date() {
        let never = parse("Fri, 31 Dec 9999 23:59:59 GMT");
        assert!(never > parse("Wed, 29 Dec 9999 23:59:59 GMT"));
        assert!(never.is_some());
    }

    #[test]
    fn other_text_is_no_date() {
        for text in [
            "",
            "soon",
            "784111777",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 +0100",
            "Sun, 06 Nov 1994 08:49:37 GMT, ",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 99994 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "1994-11-06T08:49:37Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_that_servers_write_are_parsed() {
        // Each day of more than two centuries, at different hours, in the format that servers
        // write.
        for day in 0..100_000 {
            let date = SystemTime::UNIX_EPOCH + day * Duration::from_secs(86_477);
            assert_eq!(parse(&httpdate::fmt_http_date(date)), Some(date));
        }
    }
}
