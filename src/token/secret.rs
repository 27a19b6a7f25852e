//! Secret strings.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, header::InvalidHeaderValue};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// Defines a secret string type. It has no `Display`, prints as stars in `Debug`, is wiped from
/// memory when dropped, and is readable only through `expose`.
macro_rules! secret {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Wraps a secret. A `String` is taken over without a copy.
            pub fn new(secret: impl Into<String>) -> Self {
                Self(Zeroizing::new(secret.into()))
            }

            /// The secret in the clear. Keep it out of logs, errors and URLs.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(secret: String) -> Self {
                Self::new(secret)
            }
        }

        impl From<&String> for $name {
            fn from(secret: &String) -> Self {
                Self::new(secret)
            }
        }

        impl From<&str> for $name {
            fn from(secret: &str) -> Self {
                Self::new(secret)
            }
        }

        impl From<Zeroizing<String>> for $name {
            fn from(secret: Zeroizing<String>) -> Self {
                Self(secret)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }
    };
}

secret! {
    /// A refresh token (RFC 6749 section 1.5). Most providers rotate it, and accept it only once.
    RefreshToken
}
secret! {
    /// A client secret (RFC 6749 section 2.3.1), which authenticates a client to the provider.
    ClientSecret
}
secret! {
    /// A signed statement that is sent as a grant, such as a JWT (RFC 7521 section 3). Most
    /// providers accept it only once.
    Assertion
}
secret! {
    /// An authorization code (RFC 6749 section 4.1.2). It is valid for one code exchange.
    ///
    /// If a provider receives a code twice, it may revoke all tokens that it issued for the code.
    AuthorizationCode
}
secret! {
    /// A PKCE code verifier (RFC 7636 section 4.1).
    CodeVerifier
}
secret! {
    /// The private key that a grant's tokens are bound to by DPoP (RFC 9449), as text: a key for
    /// ES256 in PKCS #8, in base64url.
    ///
    /// It is created with the grant, and stays with it. A store keeps it like a token.
    DpopKey
}

const PREFIX: &str = "Bearer ";

/// An access token (RFC 6749 section 1.4), which requests carry.
///
/// It is stored as a header value, marked sensitive, so that adding it to a request copies a
/// pointer. Its memory is wiped when the last copy of that value is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    header: HeaderValue,
}

impl AccessToken {
    /// Wraps an access token.
    ///
    /// # Errors
    ///
    /// [`InvalidResponse`](ErrorKind::InvalidResponse) if it is empty, or contains characters other
    /// than visible ASCII. RFC 6750 section 2.1 allows even fewer.
    pub fn new(token: impl Into<String>) -> Result<Self, Error> {
        let token = Zeroizing::new(token.into());
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::InvalidResponse,
                "access token is empty or contains characters that no header can carry; \
                 ask the provider for a valid token",
            ));
        }
        let header = sensitive(PREFIX, &token).map_err(|error| {
            Error::new(
                ErrorKind::InvalidResponse,
                "access token cannot be a header value: see the source",
            )
            .with_source(error)
        })?;
        Ok(Self { header })
    }

    /// The token in the clear. Keep it out of logs, errors and URLs.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.header
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix(PREFIX))
            .unwrap_or_default()
    }

    /// The value of the `Authorization` header, `Bearer <token>`, marked sensitive.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// The value of a header with another scheme before the token, or none. It is marked sensitive,
    /// and wiped as the token is.
    pub(crate) fn header_value_with(&self, scheme: &str) -> HeaderValue {
        let space = if scheme.is_empty() { "" } else { " " };
        let value = sensitive(&format!("{scheme}{space}"), self.expose());
        // Both consist of visible ASCII characters, so this cannot fail.
        value.unwrap_or_else(|_| self.header.clone())
    }
}

/// A header value in memory that is wiped.
fn sensitive(prefix: &str, token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = Zeroizing::new(Vec::with_capacity(prefix.len() + token.len()));
    value.extend_from_slice(prefix.as_bytes());
    value.extend_from_slice(token.as_bytes());
    let mut header = HeaderValue::from_maybe_shared(wiped(value))?;
    header.set_sensitive(true);
    Ok(header)
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(***)")
    }
}

/// Shared bytes that are wiped from memory when the last copy is dropped.
pub(crate) fn wiped(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    struct Wiped(Zeroizing<Vec<u8>>);

    impl AsRef<[u8]> for Wiped {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    Bytes::from_owner(Wiped(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_token_is_a_valid_header_value() {
        for bad in ["", "with space", "line\nbreak", "héhé", "\u{0}"] {
            let error = AccessToken::new(bad).unwrap_err();
            assert!(bad.is_empty() || !format!("{error} {error:?}").contains(bad));
        }
        let token = AccessToken::new("a.b-c_d~e+f/g==").unwrap();
        assert_eq!(token.expose(), "a.b-c_d~e+f/g==");
        assert_eq!(token.header_value(), "Bearer a.b-c_d~e+f/g==");
        assert!(token.header_value().is_sensitive());
    }

    #[test]
    fn p21_debug_output_contains_no_secret() {
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            AccessToken::new("seeded").unwrap(),
            RefreshToken::new("seeded"),
            ClientSecret::new("seeded"),
            AuthorizationCode::new("seeded"),
            CodeVerifier::new("seeded"),
            DpopKey::new("seeded"),
        );
        assert!(!shown.contains("seeded"));
        assert_eq!(shown.matches("***").count(), 6);
    }

    #[test]
    fn p01_copies_share_one_allocation() {
        let token = AccessToken::new("shared").unwrap();
        let copy = token.header_value().clone();
        assert_eq!(
            copy.as_bytes().as_ptr(),
            token.header_value().as_bytes().as_ptr()
        );
    }
}
