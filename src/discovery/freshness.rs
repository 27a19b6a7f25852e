//! How long a copy of metadata is used.

use std::time::Duration;

use http::{
    HeaderMap,
    header::{AGE, CACHE_CONTROL},
};

/// Without a `max-age`.
const USUAL: Duration = Duration::from_secs(60 * 60);
/// The least, whatever the server says: also the pause after a failure.
pub(super) const SHORTEST: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the response with these headers is used (RFC 9111 section 5.2.2.1), within bounds.
pub(super) fn lifetime(headers: &HeaderMap) -> Duration {
    let mut lifetime = None;
    for value in headers.get_all(CACHE_CONTROL) {
        let Ok(value) = value.to_str() else {
            return SHORTEST;
        };
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let found = match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => Duration::ZERO,
                "max-age" => seconds(argument),
                _ => continue,
            };
            // Of several, the shortest one (section 4.2.1).
            lifetime = Some(lifetime.map_or(found, |lifetime: Duration| lifetime.min(found)));
        }
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok());
    let age = age.map_or(Duration::ZERO, seconds);
    lifetime
        .map_or(USUAL, |lifetime| lifetime.saturating_sub(age))
        .clamp(SHORTEST, LONGEST)
}

/// A number of seconds. Zero for what is none, and very many for what overflows.
fn seconds(text: &str) -> Duration {
    let text = text.trim().trim_matches('"');
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Duration::ZERO;
    }
    Duration::from_secs(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn max_age_counts_within_its_bounds() {
        for (values, age, expected) in [
            (&[] as &[_], None, 3_600),
            (&["public"], None, 3_600),
            (&["max-age=900"], None, 900),
            (&["public, Max-Age = \"900\""], None, 900),
            (&["s-maxage=7, max-age=900"], None, 900),
            (&["max-age=900", "max-age=1200"], None, 900),
            (&["max-age=1200, max-age=900"], None, 900),
            (&["max-age=7200"], Some("3600"), 3_600),
            (&["max-age=7200"], Some("9999999999999999999999"), 300),
            (&["max-age=7200"], Some("soon"), 7_200),
            (&["max-age=0"], None, 300),
            (&["no-store"], None, 300),
            (&["max-age=900, no-cache"], None, 300),
            (&["max-age=-1"], None, 300),
            (&["max-age="], None, 300),
            (&["max-age=soon"], None, 300),
            (&["max-age=31536000"], None, 86_400),
            (&["max-age=99999999999999999999999"], None, 86_400),
        ] {
            let mut headers: HeaderMap = values
                .iter()
                .map(|value| (CACHE_CONTROL, HeaderValue::from_static(value)))
                .collect();
            if let Some(age) = age {
                headers.insert(AGE, HeaderValue::from_static(age));
            }
            let expected = Duration::from_secs(expected);
            assert_eq!(lifetime(&headers), expected, "{values:?} {age:?}");
        }
        let unreadable: (HeaderName, _) = (CACHE_CONTROL, HeaderValue::from_bytes(b"\xff"));
        let headers = HeaderMap::from_iter([(unreadable.0, unreadable.1.unwrap())]);
        assert_eq!(lifetime(&headers), SHORTEST);
    }
}
