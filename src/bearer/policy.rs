//! The policies of the layer: cross-origin requests, and how much of a body is recorded.

use http::Extensions;

/// How the layer treats a request to an origin that may not receive the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrossOrigin {
    /// Fails the request. Nothing is sent.
    Reject,
    /// Sends the request unchanged, without a token, and returns its response unchanged.
    SendUnauthenticated,
}

/// How much memory, in bytes, the layer takes to send a request body again after a 401.
///
/// A limit in a request's extensions replaces the
/// [`replay_limit`](crate::bearer::BearerAuthLayer::replay_limit) of the layer for that request:
///
/// ```
/// use tower_oauth2_client::bearer::ReplayLimit;
///
/// // This request is never sent twice.
/// let request = http::Request::post("https://api.example.com/v1/payments")
///     .extension(ReplayLimit::NEVER)
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplayLimit(usize);

impl ReplayLimit {
    /// Turns the retry off, even for requests without a body.
    pub const NEVER: Self = Self(0);

    /// The layer's default: 64 KiB.
    pub(super) const DEFAULT: Self = Self(64 * 1024);

    /// A limit of this many bytes. 0 is [`NEVER`](Self::NEVER).
    #[must_use]
    pub const fn bytes(limit: usize) -> Self {
        Self(limit)
    }

    pub(crate) fn get(self) -> usize {
        self.0
    }

    /// The limit in a request's extensions, or else this one.
    #[inline]
    pub(crate) fn or_from(self, extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(self)
    }
}
