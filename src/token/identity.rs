//! Whose a grant is.

use std::{fmt, sync::Arc};

use hmac_sha256::Hash as Sha256;

/// The client that a grant was issued to: its token endpoint and its client id, and the kind of
/// grant, if it is not a customer's consent.
///
/// A refresh token works only for the client that it was issued to, and only at the provider that
/// issued it. A stored grant therefore [carries](crate::token::Grant::identity) the identity of the
/// [`TokenSource`](crate::cache::TokenSource) that uses it. A cache never uses a grant of another
/// identity.
///
/// URL and client id are compared byte for byte. `Display` shows both. Neither is a secret, so do
/// not pass a URL that contains one.
///
/// ```
/// use tower_oauth2_client::token::ClientIdentity;
///
/// let identity = ClientIdentity::new("https://id.example.com/token", "partner");
/// let text = r#"client "partner" at "https://id.example.com/token""#;
/// assert_eq!(identity.to_string(), text);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientIdentity(Arc<Parts>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Parts {
    token_endpoint: Box<str>,
    client_id: Box<str>,
    /// Empty for customers' consents.
    grant_kind: Box<str>,
}

const CLIENT_CREDENTIALS: &str = "client_credentials";

impl ClientIdentity {
    /// Creates an identity. `token_endpoint` is the URL as the source sends its requests to it.
    #[must_use]
    pub fn new(token_endpoint: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self(Arc::new(Parts {
            token_endpoint: token_endpoint.into().into(),
            client_id: client_id.into().into(),
            grant_kind: "".into(),
        }))
    }

    /// The client itself, by the client credentials grant (RFC 6749 section 4.4), instead of one of
    /// its customers. Such a grant never replaces a customer's.
    #[must_use]
    pub fn with_client_credentials(self) -> Self {
        self.with_grant_kind(CLIENT_CREDENTIALS)
    }

    /// Grants of another kind than customers' consents, such as those by token exchange. Grants of
    /// different kinds never replace each other. An empty text is no kind.
    ///
    /// A grant of a kind is stored in a format that versions of this crate without kinds refuse to
    /// read, except client credentials.
    #[must_use]
    pub fn with_grant_kind(mut self, kind: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).grant_kind = kind.into().into();
        self
    }

    /// The kind of the grants. `None` for customers' consents.
    #[must_use]
    pub fn grant_kind(&self) -> Option<&str> {
        Some(&*self.0.grant_kind).filter(|kind| !kind.is_empty())
    }

    /// Whether the grants are those of the client itself.
    #[must_use]
    pub fn is_client_credentials(&self) -> bool {
        self.grant_kind() == Some(CLIENT_CREDENTIALS)
    }

    /// The URL of the token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> &str {
        &self.0.token_endpoint
    }

    /// The client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }
}

impl ClientIdentity {
    /// All parts, as text to authenticate or to hash.
    pub(crate) fn parts(&self) -> [&str; 3] {
        [self.token_endpoint(), self.client_id(), &self.0.grant_kind]
    }
}

impl fmt::Display for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted, because the identity of a stored grant may consist of any characters.
        let (client_id, token_endpoint) = (self.client_id(), self.token_endpoint());
        write!(f, "client {client_id:?} at {token_endpoint:?}")?;
        match self.grant_kind() {
            None => Ok(()),
            Some(CLIENT_CREDENTIALS) => f.write_str(" (client credentials)"),
            Some(kind) => write!(f, " (grants by {kind:?})"),
        }
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientIdentity({self})")
    }
}

/// The digest of an identity and a key, in 64 hexadecimal digits, for names that must not be shared
/// between identities.
pub(crate) fn digest(identity: Option<&ClientIdentity>, key: &str) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        // After its length, so that different parts have different bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    add(key);
    for part in identity.iter().flat_map(|identity| identity.parts()) {
        add(part);
    }
    let mut digits = String::new();
    for byte in hash.finalize() {
        use fmt::Write as _;
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The source of a store's error about a grant that could not be read, although the identity that
/// it carries could. That identity is not authenticated.
#[derive(Debug)]
pub(crate) struct UnreadableGrant(pub(crate) ClientIdentity);

impl fmt::Display for UnreadableGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the grant belongs to {}", self.0)
    }
}

impl std::error::Error for UnreadableGrant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p25_digests_differ_with_each_part() {
        let identity = ClientIdentity::new;
        let digests = [
            digest(None, ""),
            digest(None, "a"),
            digest(Some(&identity("a", "")), ""),
            digest(Some(&identity("", "a")), ""),
            digest(Some(&identity("a", "b")), "c"),
            digest(Some(&identity("ab", "")), "c"),
            digest(Some(&identity("a", "bc")), ""),
            digest(Some(&identity("a", "bc").with_client_credentials()), ""),
            digest(Some(&identity("a", "bc").with_grant_kind("jwt_bearer")), ""),
        ];
        for (number, one) in digests.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!digests[..number].contains(one), "{number}");
        }
        assert_eq!(digest(None, ""), digests[0]);
    }

    #[test]
    fn p25_display_escapes_what_a_store_contains() {
        let identity = ClientIdentity::new("https://a\n", "\"b\"\u{1b}");
        let text = r#"client "\"b\"\u{1b}" at "https://a\n""#;
        assert_eq!(identity.to_string(), text);
        let of_kind = identity.clone().with_grant_kind("k\n");
        assert_eq!(of_kind.to_string(), format!(r#"{text} (grants by "k\n")"#));
        assert_eq!(format!("{identity:?}"), format!("ClientIdentity({text})"));
    }
}
