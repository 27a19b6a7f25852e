//! Strings that must not be seen.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// A secret string type: no `Display`, a starred `Debug`, wiped on drop, read only by a method
/// named for it.
macro_rules! secret {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Takes the secret.
            pub fn new(secret: impl Into<String>) -> Self {
                Self(Zeroizing::new(secret.into()))
            }

            /// The secret itself. Keep it out of logs, errors and URLs.
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

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }
    };
}

secret! {
    /// The long-lived half of a token set: buys the next one. Most providers accept it once.
    RefreshToken
}
secret! {
    /// What the application proves itself with at the token endpoint.
    ClientSecret
}
secret! {
    /// What the browser brings back from the provider, good for one exchange (RFC 6749 section
    /// 4.1.2).
    ///
    /// Not `Copy`, and taken by value where it is used: a provider may revoke everything if it sees
    /// a code twice.
    AuthorizationCode
}
secret! {
    /// The secret behind a PKCE challenge (RFC 7636 section 4.1).
    CodeVerifier
}

const PREFIX: &str = "Bearer ";

/// The short-lived half of a token set: what a request carries.
///
/// Kept as the header value that requests will carry, built and marked sensitive once, so that
/// putting it on a request copies a pointer. Its memory is wiped when the last copy of that value
/// is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    header: HeaderValue,
}

impl AccessToken {
    /// Takes the token.
    ///
    /// # Errors
    ///
    /// [`InvalidResponse`](ErrorKind::InvalidResponse) if it is empty or holds anything but visible
    /// ASCII, and so could not stand in a header (RFC 6750 section 2.1 allows less than that).
    pub fn new(token: impl Into<String>) -> Result<Self, Error> {
        let token = Zeroizing::new(token.into());
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::InvalidResponse,
                "the access token is empty or holds characters that no header can carry: ask the provider what it sent",
            ));
        }
        let mut value = Zeroizing::new(Vec::with_capacity(PREFIX.len() + token.len()));
        value.extend_from_slice(PREFIX.as_bytes());
        value.extend_from_slice(token.as_bytes());
        let mut header = HeaderValue::from_maybe_shared(wiped(value)).map_err(|error| {
            Error::new(
                ErrorKind::InvalidResponse,
                "the access token cannot stand in a header",
            )
            .with_source(error)
        })?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    /// The token itself. Keep it out of logs, errors and URLs.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.header
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix(PREFIX))
            .unwrap_or_default()
    }

    /// `Bearer <token>`, marked sensitive: the value of the `Authorization` header.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(***)")
    }
}

/// Bytes that can be shared, and are wiped when the last copy of them is dropped.
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
    fn access_token_must_fit_a_header() {
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
    fn p21_debug_is_starred() {
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            AccessToken::new("seeded").unwrap(),
            RefreshToken::new("seeded"),
            ClientSecret::new("seeded"),
            AuthorizationCode::new("seeded"),
            CodeVerifier::new("seeded"),
        );
        assert!(!shown.contains("seeded"));
        assert_eq!(shown.matches("***").count(), 5);
    }

    #[test]
    fn p01_copies_share_one_value() {
        let token = AccessToken::new("shared").unwrap();
        let copy = token.header_value().clone();
        assert_eq!(
            copy.as_bytes().as_ptr(),
            token.header_value().as_bytes().as_ptr()
        );
    }
}
