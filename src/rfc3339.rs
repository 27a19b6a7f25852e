//! Times as texts, for what a program or an operator reads as JSON.

use std::time::SystemTime;

/// The time as in RFC 3339, to the second, such as `2026-03-01T12:00:00Z`. `None` if its year has
/// more than four digits.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    let whole = jiff::Timestamp::from_second(time.as_second()).ok()?;
    Some(whole.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_a_text_to_the_second() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_772_366_400_900);
        assert_eq!(rfc3339(time).as_deref(), Some("2026-03-01T12:00:00Z"));
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
        assert_eq!(rfc3339(late), None);
    }
}
