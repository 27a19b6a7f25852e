//! The formats in which a token response states when the access token expires.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::clock::earlier;

/// The format of `expires_at` in a token response.
///
/// The variants up to [`Space`](Self::Space) are RFC 3339 and denote one instant, in whole seconds
/// unless stated otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiresAt {
    /// `2026-01-02T03:04:05Z`
    Utc,
    /// `2026-01-02T03:04:05.678Z` with this many fraction digits, 1 to 9.
    Fraction(u8),
    /// `2026-01-01T22:04:05-05:00` for this offset in minutes; `+00:00` for zero. Offsets are
    /// limited to 23:59.
    Offset(i32),
    /// `2026-01-02T03:04:05-00:00`, which means an unknown local offset.
    UnknownOffset,
    /// `2026-01-02t03:04:05z`
    LowerCase,
    /// `2026-01-02 03:04:05Z`
    Space,
    /// `2026-01-02T03:04:05`, which is not RFC 3339 because it has no offset.
    NoOffset,
    /// `1767323045`, a JSON number.
    EpochNumber,
    /// `"1767323045"`, a JSON string.
    EpochText,
    /// An instant this long before the correct one, in the format of [`Utc`](Self::Utc).
    Early(Duration),
    /// `""`
    Empty,
    /// `null`
    Null,
    /// The field is omitted.
    Absent,
    /// This text.
    Literal(String),
}

impl ExpiresAt {
    /// The field's value, or `None` if the field is omitted.
    pub(super) fn format(&self, at: Timestamp) -> Option<Value> {
        let text = match self {
            Self::Utc => date_time(at, "T", "Z"),
            Self::Fraction(digits) => {
                let nanoseconds = format!("{:09}", at.subsec_nanosecond());
                let digits = usize::from(*digits).clamp(1, nanoseconds.len());
                date_time(at, "T", &format!(".{}Z", &nanoseconds[..digits]))
            }
            Self::Offset(minutes) => with_offset(at, *minutes),
            Self::UnknownOffset => date_time(at, "T", "-00:00"),
            Self::LowerCase => date_time(at, "t", "z"),
            Self::Space => date_time(at, " ", "Z"),
            Self::NoOffset => date_time(at, "T", ""),
            Self::EpochNumber => return Some(at.as_second().into()),
            Self::EpochText => at.as_second().to_string(),
            Self::Early(by) => date_time(earlier(at, *by), "T", "Z"),
            Self::Empty => String::new(),
            Self::Null => return Some(Value::Null),
            Self::Absent => return None,
            Self::Literal(text) => text.clone(),
        };
        Some(text.into())
    }
}

/// The format of `expires_in`, which other servers send and Justworks does not document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiresIn {
    /// The field is omitted.
    Absent,
    /// Whole seconds, rounded down, as a JSON number.
    Number,
    /// Whole seconds, rounded down, as a JSON string.
    Text,
}

impl ExpiresIn {
    /// The field's value, or `None` if the field is omitted.
    pub(super) fn format(self, remaining: Duration) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Number => Some(remaining.as_secs().into()),
            Self::Text => Some(remaining.as_secs().to_string().into()),
        }
    }
}

fn date_time(at: Timestamp, separator: &str, end: &str) -> String {
    let date = at.strftime("%Y-%m-%d");
    let time = at.strftime("%H:%M:%S");
    format!("{date}{separator}{time}{end}")
}

fn with_offset(at: Timestamp, minutes: i32) -> String {
    let minutes = minutes.clamp(-DAY_MINUTES, DAY_MINUTES);
    let local = at
        .checked_add(SignedDuration::from_mins(minutes.into()))
        .unwrap_or(at);
    let sign = if minutes < 0 { '-' } else { '+' };
    let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
    date_time(local, "T", &format!("{sign}{hours:02}:{minutes:02}"))
}

/// 23:59, the largest offset in RFC 3339.
const DAY_MINUTES: i32 = 24 * 60 - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(expires_at: &ExpiresAt) -> Value {
        let at = Timestamp::new(1_767_323_045, 678_900_000).unwrap();
        expires_at.format(at).unwrap_or("absent".into())
    }

    #[test]
    fn rfc_3339_formats_denote_the_same_second() {
        for (expires_at, expected) in [
            (ExpiresAt::Utc, "2026-01-02T03:04:05Z"),
            (ExpiresAt::Fraction(3), "2026-01-02T03:04:05.678Z"),
            (ExpiresAt::Fraction(0), "2026-01-02T03:04:05.6Z"),
            (ExpiresAt::Fraction(99), "2026-01-02T03:04:05.678900000Z"),
            (ExpiresAt::Offset(0), "2026-01-02T03:04:05+00:00"),
            (ExpiresAt::Offset(-300), "2026-01-01T22:04:05-05:00"),
            (ExpiresAt::Offset(345), "2026-01-02T08:49:05+05:45"),
            (ExpiresAt::UnknownOffset, "2026-01-02T03:04:05-00:00"),
            (ExpiresAt::LowerCase, "2026-01-02t03:04:05z"),
            (ExpiresAt::Space, "2026-01-02 03:04:05Z"),
        ] {
            assert_eq!(formatted(&expires_at), expected);
            let parsed: Timestamp = expected.parse().unwrap();
            assert_eq!(parsed.as_second(), 1_767_323_045, "{expected}");
        }
    }

    #[test]
    fn other_formats_have_their_documented_value() {
        assert_eq!(formatted(&ExpiresAt::NoOffset), "2026-01-02T03:04:05");
        assert_eq!(formatted(&ExpiresAt::EpochNumber), 1_767_323_045);
        assert_eq!(formatted(&ExpiresAt::EpochText), "1767323045");
        assert_eq!(formatted(&ExpiresAt::Empty), "");
        assert_eq!(formatted(&ExpiresAt::Null), Value::Null);
        assert_eq!(formatted(&ExpiresAt::Absent), "absent");
        assert_eq!(formatted(&ExpiresAt::Literal("soon".into())), "soon");
        assert_eq!(
            formatted(&ExpiresAt::Early(Duration::from_secs(5))),
            "2026-01-02T03:04:00Z"
        );
    }

    #[test]
    fn any_offset_stays_within_the_calendar() {
        assert!(ExpiresAt::Offset(i32::MAX).format(Timestamp::MAX).is_some());
        assert!(ExpiresAt::Offset(i32::MIN).format(Timestamp::MIN).is_some());
    }
}
