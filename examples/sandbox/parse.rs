//! Parses the values of environment variables.

use std::{ffi::OsString, time::Duration};

use tower_oauth2_client::sandbox::DateHeader;

/// The value that a variable selects, or the first value if the variable is not set.
pub(crate) fn choice<T: Clone>(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
    choices: &[(&str, T)],
) -> Result<T, String> {
    let selected = text(variable, name)?.unwrap_or(choices[0].0.to_owned());
    let found = choices.iter().find(|(word, _)| *word == selected);
    found.map(|(_, value)| value.clone()).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        format!(
            "{name}={selected} is invalid; use one of {}",
            words.join(", ")
        )
    })
}

/// A duration, if the variable is set.
pub(crate) fn duration(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<Duration>, String> {
    let Some(text) = text(variable, name)? else {
        return Ok(None);
    };
    let duration = parse_duration(&text);
    duration
        .map(Some)
        .ok_or_else(|| format!("{name}={text} is invalid; use a duration such as 30s"))
}

/// Parses an integer with a unit. Without a unit it is in seconds.
fn parse_duration(text: &str) -> Option<Duration> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// The text of a variable that must not be empty, if it is set.
pub(crate) fn non_empty(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<String>, String> {
    match text(variable, name)? {
        Some(text) if text.is_empty() => Err(format!("{name}= is empty; set a value or unset it")),
        text => Ok(text),
    }
}

/// The text of a variable, if it is set.
pub(crate) fn text(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<String>, String> {
    let text = variable(name).map(OsString::into_string).transpose();
    text.map_err(|value| format!("{name}={} is not UTF-8", value.display()))
}

/// The `Date` header that `SANDBOX_DATE` selects.
pub(crate) fn date(variable: &impl Fn(&str) -> Option<OsString>) -> Result<DateHeader, String> {
    const NAME: &str = "SANDBOX_DATE";
    let Some(text) = text(variable, NAME)? else {
        return Ok(DateHeader::Clock);
    };
    if text == "absent" {
        return Ok(DateHeader::Absent);
    }
    let (skew, behind) = match text.strip_prefix('-') {
        Some(skew) => (skew, true),
        None => (text.as_str(), false),
    };
    match parse_duration(skew) {
        Some(Duration::ZERO) => Ok(DateHeader::Clock),
        Some(skew) if behind => Ok(DateHeader::Behind(skew)),
        Some(skew) => Ok(DateHeader::Ahead(skew)),
        None => Err(format!(
            "{NAME}={text} is invalid; use absent or a duration such as 30s or -5m"
        )),
    }
}
