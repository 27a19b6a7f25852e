//! The challenges of an MCP server, in a 401 or a 403.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

use super::scopes::Scopes;
use crate::discovery::ProtectedResource;

/// The `Bearer` challenges of a response, as far as they matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Where the metadata of the resource are (RFC 9728 section 5.1).
    pub(super) metadata_url: Option<String>,
    /// The scopes that the request needs (RFC 6750 section 3).
    pub(super) scopes: Scopes,
    /// Whether the token has too few scopes (RFC 6750 section 3.1).
    pub(super) is_insufficient_scope: bool,
}

impl Challenge {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut challenge = Self {
            metadata_url: ProtectedResource::metadata_url(headers),
            ..Self::default()
        };
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let challenges = values.filter_map(|value| http_auth::parse_challenges(value).ok());
        let bearer = challenges
            .flatten()
            .filter(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"));
        for (name, value) in bearer.flat_map(|challenge| challenge.params) {
            let value = value.to_unescaped();
            if name.eq_ignore_ascii_case("scope") {
                challenge.scopes = challenge.scopes.union(&Scopes::parse(&value));
            } else if name.eq_ignore_ascii_case("error") && value == "insufficient_scope" {
                challenge.is_insufficient_scope = true;
            }
        }
        challenge
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn challenge_names_the_metadata_the_scopes_and_the_cause() {
        let url = "https://mcp.example.com/.well-known/oauth-protected-resource";
        for (values, metadata_url, scopes, is_insufficient_scope) in [
            (&[] as &[&str], None, "", false),
            (&["Bearer"], None, "", false),
            (
                &[
                    "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource\", scope=\"a b\"",
                ],
                Some(url),
                "a b",
                false,
            ),
            (
                &["BEARER SCOPE=\"a\", Error=insufficient_scope"],
                None,
                "a",
                true,
            ),
            (
                &["Basic scope=\"x\", error=\"insufficient_scope\""],
                None,
                "",
                false,
            ),
            (
                &["Bearer scope=\"a\"", "Bearer scope=\"b a\""],
                None,
                "a b",
                false,
            ),
            (&["Bearer scope=\"a"], None, "", false),
        ] {
            let values = values
                .iter()
                .map(|value| (WWW_AUTHENTICATE, HeaderValue::from_static(value)));
            let challenge = Challenge::of(&values.collect());
            assert_eq!(challenge.metadata_url.as_deref(), metadata_url);
            assert_eq!(challenge.scopes.to_string(), scopes);
            assert_eq!(challenge.is_insufficient_scope, is_insufficient_scope);
        }
    }
}
