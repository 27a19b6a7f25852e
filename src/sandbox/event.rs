//! What happened, one event each, without a secret in it.

use std::fmt;
use std::time::SystemTime;

use hmac_sha256::Hash as Sha256;

use super::fault::Endpoint;

/// One thing that happened in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When, by the sandbox's clock.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
}

/// What an [`Event`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A person, or the sandbox for them, allowed an app.
    ConsentGranted {
        /// The app.
        client_id: String,
        /// The scopes granted, separated by spaces.
        scope: String,
    },
    /// A person, or the sandbox for them, denied an app.
    ConsentDenied {
        /// The app.
        client_id: String,
    },
    /// The token endpoint gave out tokens.
    TokensIssued {
        /// By what.
        grant_type: GrantType,
        /// The code or refresh token presented.
        presented: TokenHash,
        /// The number of the grant, counted from 1.
        grant: u64,
        /// The access token given out.
        access_token: TokenHash,
        /// The refresh token given out, if any.
        refresh_token: Option<TokenHash>,
    },
    /// The token endpoint refused.
    TokenRequestRefused {
        /// The code or refresh token presented, if the request came that far.
        presented: Option<TokenHash>,
        /// The OAuth error code.
        error: &'static str,
    },
    /// A refresh token that had been replaced was presented again.
    RefreshTokenReused {
        /// The token.
        presented: TokenHash,
        /// The number of its grant.
        grant: u64,
    },
    /// A reused refresh token or code ended its whole grant.
    GrantRevoked {
        /// The number of the grant.
        grant: u64,
    },
    /// The revocation endpoint was asked to revoke a token, and did if it knew it.
    RevocationRequested {
        /// The token.
        token: TokenHash,
        /// Whether it was known, and this app's.
        known: bool,
    },
    /// A resource let a request through.
    Authorized {
        /// Where.
        endpoint: Endpoint,
        /// The access token used.
        token: TokenHash,
    },
    /// A resource answered 401.
    Unauthorized {
        /// Where.
        endpoint: Endpoint,
        /// The access token used, if any.
        token: Option<TokenHash>,
    },
    /// A resource answered 403.
    Forbidden {
        /// Where.
        endpoint: Endpoint,
        /// The access token used.
        token: TokenHash,
    },
    /// A row of a deduction request was read.
    DeductionSubmitted {
        /// The row's `operation_id`, cut to 64 characters.
        operation_id: String,
        /// Whether this row created the deduction: `false` for a repeated or refused one.
        created: bool,
    },
    /// A scripted fault was played.
    FaultTriggered {
        /// Where.
        endpoint: Endpoint,
        /// The fault, in words.
        fault: String,
    },
}

/// A client's text, cut so that what is kept of it is bounded.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(CHARACTERS_KEPT).collect()
}

/// Enough for a UUID, or two.
const CHARACTERS_KEPT: usize = 64;

/// The event in words, as the status page shows it.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsentGranted { client_id, scope } => {
                write!(f, "{client_id} was allowed {scope}")
            }
            Self::ConsentDenied { client_id } => write!(f, "{client_id} was denied"),
            Self::TokensIssued {
                grant_type,
                presented,
                grant,
                access_token,
                refresh_token,
            } => {
                let by = match grant_type {
                    GrantType::AuthorizationCode => "code",
                    GrantType::RefreshToken => "refresh token",
                };
                write!(
                    f,
                    "{by} {presented} of grant {grant} gave access token {access_token}"
                )?;
                match refresh_token {
                    Some(token) => write!(f, " and refresh token {token}"),
                    None => Ok(()),
                }
            }
            Self::TokenRequestRefused { presented, error } => match presented {
                Some(token) => write!(f, "exchange of {token} refused: {error}"),
                None => write!(f, "exchange refused: {error}"),
            },
            Self::RefreshTokenReused { presented, grant } => {
                write!(
                    f,
                    "replaced refresh token {presented} of grant {grant} presented again"
                )
            }
            Self::GrantRevoked { grant } => write!(f, "grant {grant} ended by a reuse"),
            Self::RevocationRequested { token, known } => {
                let known = if *known { "" } else { ", which is unknown" };
                write!(f, "asked to revoke {token}{known}")
            }
            Self::Authorized { endpoint, token } => write!(f, "{endpoint:?} opened by {token}"),
            Self::Unauthorized { endpoint, token } => match token {
                Some(token) => write!(f, "{endpoint:?} answered 401 to {token}"),
                None => write!(f, "{endpoint:?} answered 401 to a request without a token"),
            },
            Self::Forbidden { endpoint, token } => {
                write!(f, "{endpoint:?} answered 403 to {token}")
            }
            Self::DeductionSubmitted {
                operation_id,
                created,
            } => {
                let outcome = if *created {
                    "created"
                } else {
                    "repeated or refused"
                };
                write!(f, "deduction {operation_id} {outcome}")
            }
            Self::FaultTriggered { endpoint, fault } => write!(f, "{endpoint:?} played {fault}"),
        }
    }
}

/// What an exchange was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantType {
    /// An authorization code.
    AuthorizationCode,
    /// A refresh token.
    RefreshToken,
}

/// The first 32 bits of a token's SHA-256: enough to tell a test's tokens apart, and of no use to a thief.
///
/// ```
/// use tower_oauth2_client::sandbox::TokenHash;
///
/// assert_eq!(TokenHash::of("a token").to_string().len(), 8);
/// assert_eq!(TokenHash::of("a token"), TokenHash::of("a token"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 4]);

impl TokenHash {
    /// The hash of this code or token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let [a, b, c, d, ..] = Sha256::hash(token.as_bytes());
        Self([a, b, c, d])
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}
