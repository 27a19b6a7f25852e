//! What can stand in an environment variable.

use std::ffi::OsString;
use std::time::Duration;

use tower_oauth2_client::sandbox::DateHeader;

/// The value a variable chooses; the first one if it is not set.
pub(crate) fn choice<T: Clone>(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
    choices: &[(&str, T)],
) -> Result<T, String> {
    let chosen = text(variable, name)?.unwrap_or(choices[0].0.to_owned());
    let found = choices.iter().find(|(word, _)| *word == chosen);
    found.map(|(_, value)| value.clone()).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        format!("{name}={chosen} is none of: {}", words.join(", "))
    })
}

/// A length of time, if the variable is set.
pub(crate) fn duration(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<Duration>, String> {
    let Some(text) = text(variable, name)? else {
        return Ok(None);
    };
    let duration = parsed(&text);
    duration
        .map(Some)
        .ok_or_else(|| format!("{name}={text} is not a duration such as 30s"))
}

/// A whole number with a unit, or without one for seconds.
fn parsed(text: &str) -> Option<Duration> {
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

/// A variable that may not be empty if it is set.
pub(crate) fn filled(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<String>, String> {
    match text(variable, name)? {
        Some(text) if text.is_empty() => Err(format!("{name}= is empty")),
        text => Ok(text),
    }
}

/// A variable's text, if it is set.
pub(crate) fn text(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<String>, String> {
    let text = variable(name).map(OsString::into_string).transpose();
    text.map_err(|value| format!("{name}={} is not UTF-8", value.display()))
}

/// How far the `Date` header is off.
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
    match parsed(skew) {
        Some(Duration::ZERO) => Ok(DateHeader::Clock),
        Some(skew) if behind => Ok(DateHeader::Behind(skew)),
        Some(skew) => Ok(DateHeader::Ahead(skew)),
        None => Err(format!(
            "{NAME}={text} is neither absent nor a duration such as 30s or -5m"
        )),
    }
}
