//! When a server says that it is, or that one may come again.

use std::time::SystemTime;

use http::{HeaderMap, header::DATE};
use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// The three spellings that RFC 9110 section 5.6.7 wants understood, with each weekday held to its date. Two digits of a year
/// mean one from 1969 to 2068.
const SPELLINGS: [&str; 3] = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %e %H:%M:%S %Y",
];

/// A date of HTTP's. `None` if it is none, or one before 1970.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let read = |spelling| DateTime::strptime(spelling, text).ok();
    let date = SPELLINGS.into_iter().find_map(read)?;
    if date.year() < 1970 {
        return None;
    }
    // The last day of 9999, as some write "never", is a little more than fits.
    let moment = Offset::UTC.to_timestamp(date).unwrap_or(Timestamp::MAX);
    SystemTime::try_from(moment).ok()
}

/// When an answer was made, by the server's clock.
pub(super) fn of(headers: &HeaderMap) -> Option<SystemTime> {
    parse(headers.get(DATE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AT: Duration = Duration::from_secs(784_111_777);

    #[test]
    fn three_spellings_are_one_date() {
        // Those of RFC 9110 section 5.6.7.
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text), Some(SystemTime::UNIX_EPOCH + AT), "{text}");
        }
    }

    #[test]
    fn two_digits_mean_no_year_that_is_more_than_fifty_ahead() {
        // 2077 would be, by the same section, and began on a Friday.
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
    fn never_is_far_off() {
        let never = parse("Fri, 31 Dec 9999 23:59:59 GMT");
        assert!(never > parse("Wed, 29 Dec 9999 23:59:59 GMT"));
        assert!(never.is_some());
    }

    #[test]
    fn what_is_no_date_is_none() {
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
    fn all_that_a_server_writes_is_read() {
        // Each day of two centuries and more, at other hours, in the spelling that servers use.
        for day in 0..100_000 {
            let date = SystemTime::UNIX_EPOCH + day * Duration::from_secs(86_477);
            assert_eq!(parse(&httpdate::fmt_http_date(date)), Some(date));
        }
    }
}
