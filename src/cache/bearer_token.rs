//! What a request carries.

use std::fmt;

use http::HeaderValue;

use crate::token::{AccessToken, Generation};

/// An access token, ready for a request, and which one it is.
#[derive(Clone)]
pub struct BearerToken {
    header: HeaderValue,
    generation: Generation,
}

impl BearerToken {
    pub(super) fn new(token: &AccessToken, generation: Generation) -> Self {
        Self {
            header: token.header_value().clone(),
            generation,
        }
    }

    /// The same in memory of its own, whose references nobody else counts.
    pub(super) fn apart(&self) -> Self {
        let mut apart = self.clone();
        if let Ok(mut header) = HeaderValue::from_bytes(self.header.as_bytes()) {
            header.set_sensitive(self.header.is_sensitive());
            apart.header = header;
        }
        apart
    }

    /// `Bearer <token>`, marked sensitive: the value of the `Authorization` header.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// The state of the grant that it comes from.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) fn into_header_value(self) -> HeaderValue {
        self.header
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
