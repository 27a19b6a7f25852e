//! The error of a [`BearerAuth`](crate::bearer::BearerAuth) service.

use std::{error::Error as StdError, fmt};

use crate::error::{BoxError, Error};

/// Either the inner service's error, as it was, or this crate's.
///
/// Boxed, it *is* the error inside: layers such as `tower::timeout` or `tower::buffer`, and `?` in a function that returns a
/// `Box<dyn Error>`, see the inner service's error or an [`Error`], and `downcast_ref` finds it by its own type. That holds
/// for inner services whose error is a box already, as those of `tower::buffer` and `tower::limit` have it; and it is why this
/// type does not implement `std::error::Error` itself: a box does not, and what stands for one cannot.
/// (With `anyhow`: `.map_err(|error| anyhow::Error::from_boxed(error.into()))`.)
///
/// ```
/// use tower_oauth2_client::bearer::BearerAuthError;
///
/// let error = BearerAuthError::Inner(std::io::Error::other("reset"));
/// assert_eq!(error.to_string(), "reset");
///
/// let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
/// assert!(boxed.is::<std::io::Error>());
/// ```
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

impl<E: Into<BoxError>> From<BearerAuthError<E>> for BoxError {
    fn from(error: BearerAuthError<E>) -> Self {
        match error {
            BearerAuthError::Token(error) => error.into(),
            BearerAuthError::Inner(error) => error.into(),
        }
    }
}

impl<E: Into<BoxError>> From<BearerAuthError<E>> for Box<dyn StdError> {
    fn from(error: BearerAuthError<E>) -> Self {
        BoxError::from(error)
    }
}
