//! Times and errors as text.

use std::{
    error::Error,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

/// An error with its sources, which name the location or the tenant.
pub(crate) fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

/// The time as in RFC 3339, to the second.
pub(crate) fn time(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    let whole = jiff::Timestamp::from_second(time.as_second()).ok()?;
    Some(whole.to_string())
}

/// The whole days until a time, or 0 if it has passed.
pub(crate) fn days_left(until: SystemTime, now: SystemTime) -> u64 {
    until.duration_since(now).unwrap_or_default().as_secs() / 86_400
}

/// Parses a number with a unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err("use a number with a unit: s, m, h, d or w".into()),
    };
    let number: Option<u64> = number.parse().ok();
    let seconds = number.and_then(|number| number.checked_mul(seconds));
    // An absurd time would overflow when it is added to the present.
    let seconds = seconds.filter(|seconds| *seconds <= 100 * 365 * 86_400);
    let duration = seconds.map(Duration::from_secs);
    duration.ok_or_else(|| "use a number from 0s to 36500d".into())
}
