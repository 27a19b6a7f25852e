//! URLs in events, without what may be secret.

/// The URL without its query, which may contain secrets, and without a user.
pub(crate) fn without_query(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// The text with all URLs without their queries and users: an HTTP client or a store that this
/// crate does not know may show what it has requested.
pub(super) fn with_plain_urls(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(scheme) = rest.find("://") {
        let start = scheme + "://".len();
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let end = rest[start..].find(is_end);
        let end = end.map_or(rest.len(), |length| start + length);
        shown.push_str(&rest[..scheme]);
        shown.push_str(&without_query(&rest[scheme..end]));
        rest = &rest[end..];
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_endpoint_is_shown_without_its_query_and_user() {
        for (url, shown) in [
            ("https://a.example/t", "https://a.example/t"),
            ("https://a.example/t?key=1#f", "https://a.example/t"),
            ("https://u:p@a.example/t/@x", "https://a.example/t/@x"),
            ("https://u@a.example", "https://a.example"),
            ("https://{tenant}.example/t", "https://{tenant}.example/t"),
        ] {
            assert_eq!(without_query(url), shown);
        }
    }
}
