//! Where a request comes from, and whether a customer has caused it.

use http::{
    HeaderMap, HeaderValue, Uri,
    header::{ORIGIN, REFERER},
};

use crate::origin::Origin;

/// Whether the request comes from one of the program's own pages. Every browser sends at least one
/// of the two headers with a POST; a request without both is rejected.
pub(super) fn is_same_origin(headers: &HeaderMap, origin: &Origin) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        // Not `same-site`: a sibling host may have another owner. `none` is a reload by the user.
        (Some(site), _) => is_same_site(site),
        (None, Some(other)) => is_of(other, origin),
        (None, None) => false,
    }
}

/// Whether a link or a redirect of another site has not caused the request. A link needs no click:
/// any page can open it.
///
/// Browsers that do not send `Sec-Fetch-Site` (Safari before 16.4, of 2023) may send a `Referer`. A
/// request without both headers may come from anywhere.
pub(super) fn is_own_link(headers: &HeaderMap, origin: &Origin) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(REFERER)) {
        (Some(site), _) => is_same_site(site),
        (None, Some(page)) => is_of(page, origin),
        (None, None) => false,
    }
}

/// Not `same-site`: a sibling host may have another owner. `none` is a navigation by the user.
fn is_same_site(site: &HeaderValue) -> bool {
    site == "same-origin" || site == "none"
}

fn is_of(url: &HeaderValue, origin: &Origin) -> bool {
    let url = url.to_str().ok().and_then(|url| url.parse::<Uri>().ok());
    url.is_some_and(|url| origin.matches(&url))
}

/// Whether the browser loads the page in advance or for a preview, so that no customer may ever see
/// it. The headers are those of the Fetch standard, of earlier versions of Chrome and Safari, of
/// Firefox, and of Safari's previews.
pub(super) fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz", "x-purpose"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([';', ',']))
        .map(str::trim)
        .any(|purpose| {
            ["prefetch", "prerender", "preview"]
                .iter()
                .any(|advance| purpose.eq_ignore_ascii_case(advance))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(headers: &[(&'static str, &'static str)]) -> bool {
        let origin = "https://partner.example.com".parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        is_same_origin(&map, &origin)
    }

    #[test]
    fn only_requests_from_the_programs_own_pages_are_accepted() {
        let own_origin = ("origin", "https://partner.example.com");
        let other_origin = ("origin", "https://evil.example");
        for good in [
            &[("sec-fetch-site", "same-origin"), own_origin][..],
            // Sent from a page with `Referrer-Policy: no-referrer`.
            &[("sec-fetch-site", "same-origin"), ("origin", "null")],
            &[("sec-fetch-site", "none")],
            &[own_origin],
        ] {
            assert!(accepts(good), "{good:?}");
        }
        for bad in [
            &[("sec-fetch-site", "cross-site"), own_origin][..],
            &[("sec-fetch-site", "same-site"), own_origin],
            &[("sec-fetch-site", ""), own_origin],
            &[other_origin],
            &[("origin", "null")],
            &[("origin", "http://partner.example.com")],
            &[("origin", "https://partner.example.com:8443")],
            &[("origin", "https://partner.example.com.evil.example")],
            &[],
        ] {
            assert!(!accepts(bad), "{bad:?}");
        }
    }
}
