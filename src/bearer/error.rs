//! The error of a [`BearerAuth`](crate::bearer::BearerAuth) service.

use std::{error::Error as StdError, fmt};

use crate::error::Error;

/// Either the inner service's error, as it was, or this crate's.
///
/// Its message is that of the error inside, and so is its [`source`](StdError::source): it adds nothing to a chain of
/// errors. Behind a `Box<dyn Error>` it is found by its own type, `downcast_ref::<BearerAuthError<E>>()`.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "there is no third place that an error could come from"
)]
pub enum BearerAuthError<E> {
    /// There was no token for the request, or it may not carry one. Nothing was sent.
    Token(Error),
    /// What the inner service said.
    Inner(E),
}

impl<E> BearerAuthError<E> {
    /// This crate's error, if it is one.
    pub fn token_error(&self) -> Option<&Error> {
        match self {
            Self::Token(error) => Some(error),
            Self::Inner(_) => None,
        }
    }

    /// The inner service's error, if it is one.
    pub fn inner(&self) -> Option<&E> {
        match self {
            Self::Token(_) => None,
            Self::Inner(error) => Some(error),
        }
    }

    /// The inner service's error, if it is one.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Token(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E: fmt::Display> fmt::Display for BearerAuthError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError> StdError for BearerAuthError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Token(error) => error.source(),
            Self::Inner(error) => error.source(),
        }
    }
}
