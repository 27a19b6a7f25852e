//! Events of the sandbox. They contain no secrets.

use std::{fmt, time::SystemTime};

use hmac_sha256::Hash as Sha256;

use super::fault::Endpoint;

/// Something that happened in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The time of the event, by the sandbox's clock.
    pub at: SystemTime,
    /// The kind, with its details.
    pub kind: EventKind,
}

/// The kind of an [`Event`], with its details.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A user, or the sandbox in place of a user, consented.
    ConsentGranted {
        /// The client that asked for consent.
        client_id: String,
        /// The scopes granted, separated by spaces.
        scope: String,
    },
    /// A user, or the sandbox in place of a user, denied consent.
    ConsentDenied {
        /// The client that asked for consent.
        client_id: String,
    },
    /// A client pushed an authorization request.
    AuthorizationRequestPushed {
        /// The client.
        client_id: String,
    },
    /// The token endpoint issued tokens.
    TokensIssued {
        /// The type of the credential in the token request.
        grant_type: GrantType,
        /// The code or refresh token in the token request.
        presented: TokenHash,
        /// The number of the grant, counted from 1.
        grant: u64,
        /// The access token issued.
        access_token: TokenHash,
        /// The refresh token issued, if any.
        refresh_token: Option<TokenHash>,
    },
    /// The token endpoint refused a token request.
    TokenRequestRefused {
        /// The code or refresh token in the token request, if it was read.
        presented: Option<TokenHash>,
        /// The OAuth error code.
        error: &'static str,
    },
    /// A refresh token that a rotation had replaced was used again.
    RefreshTokenReused {
        /// The refresh token.
        presented: TokenHash,
        /// The number of its grant.
        grant: u64,
    },
    /// Reuse of a refresh token or code revoked a grant.
    GrantRevoked {
        /// The number of the grant.
        grant: u64,
    },
    /// A request with a code or a token reached a host that is not its own, and was refused.
    Misdirected {
        /// The code or token, if the request had one that is known.
        presented: Option<TokenHash>,
    },
    /// The revocation endpoint accepted a request.
    RevocationRequested {
        /// The token in the request.
        token: TokenHash,
        /// Whether the token was known, so that it was revoked.
        known: bool,
    },
    /// The API accepted the access token of a request.
    Authorized {
        /// The endpoint.
        endpoint: Endpoint,
        /// The access token.
        token: TokenHash,
    },
    /// The API responded with 401.
    Unauthorized {
        /// The endpoint.
        endpoint: Endpoint,
        /// The access token, if the request had one.
        token: Option<TokenHash>,
    },
    /// A token or API request was refused because of its DPoP proof.
    ProofRefused {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why it was refused.
        reason: &'static str,
    },
    /// The API responded with 403.
    Forbidden {
        /// The endpoint.
        endpoint: Endpoint,
        /// The access token.
        token: TokenHash,
    },
    /// A row of a deductions request was processed.
    DeductionSubmitted {
        /// The row's `operation_id`, truncated to 64 characters.
        operation_id: String,
        /// Whether this row created the deduction; `false` for a repeated or invalid row.
        created: bool,
    },
    /// A request triggered a fault.
    FaultTriggered {
        /// The endpoint.
        endpoint: Endpoint,
        /// The description of the fault.
        fault: String,
    },
}

/// A client's text, truncated to bound what the log keeps of it.
pub(super) fn truncated(text: &str) -> String {
    text.chars().take(MAX_CHARACTERS).collect()
}

/// Enough for a UUID, or two.
const MAX_CHARACTERS: usize = 64;

/// The description of the event, as the status page shows it.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsentGranted { client_id, scope } => {
                write!(f, "consent granted to {client_id}: {scope}")
            }
            Self::AuthorizationRequestPushed { client_id } => {
                write!(f, "authorization request pushed by {client_id}")
            }
            Self::ConsentDenied { client_id } => write!(f, "consent denied to {client_id}"),
            Self::TokensIssued {
                grant_type,
                presented,
                grant,
                access_token,
                refresh_token,
            } => {
                write!(
                    f,
                    "{grant_type} {presented} of grant {grant} accepted; issued access token {access_token}"
                )?;
                match refresh_token {
                    Some(token) => write!(f, " and refresh token {token}"),
                    None => Ok(()),
                }
            }
            Self::TokenRequestRefused { presented, error } => match presented {
                Some(token) => write!(f, "token request with {token} refused: {error}"),
                None => write!(f, "token request refused: {error}"),
            },
            Self::RefreshTokenReused { presented, grant } => {
                write!(f, "refresh token {presented} of grant {grant} reused")
            }
            Self::Misdirected {
                presented: Some(token),
            } => {
                write!(f, "{token} sent to a wrong host")
            }
            Self::Misdirected { .. } => f.write_str("request to an unknown host"),
            Self::GrantRevoked { grant } => write!(f, "grant {grant} revoked because of reuse"),
            Self::RevocationRequested { token, known: true } => write!(f, "token {token} revoked"),
            Self::RevocationRequested { token, .. } => {
                write!(f, "revocation of unknown token {token} requested")
            }
            Self::Authorized { endpoint, token } => {
                write!(f, "{endpoint:?} accepted access token {token}")
            }
            Self::Unauthorized {
                endpoint,
                token: Some(token),
            } => write!(f, "{endpoint:?} responded 401 to access token {token}"),
            Self::Unauthorized { endpoint, .. } => {
                write!(f, "{endpoint:?} responded 401 to a request without a token")
            }
            Self::ProofRefused { endpoint, reason } => {
                write!(f, "{endpoint:?} refused a DPoP proof: {reason}")
            }
            Self::Forbidden { endpoint, token } => {
                write!(f, "{endpoint:?} responded 403 to access token {token}")
            }
            Self::DeductionSubmitted {
                operation_id,
                created: true,
            } => write!(f, "deduction {operation_id} created"),
            Self::DeductionSubmitted { operation_id, .. } => {
                write!(f, "deduction {operation_id} repeated or refused")
            }
            Self::FaultTriggered { endpoint, fault } => {
                write!(f, "{endpoint:?} triggered fault: {fault}")
            }
        }
    }
}

/// The type of the credential in a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantType {
    /// An authorization code, for a code exchange.
    AuthorizationCode,
    /// A refresh token, for a refresh.
    RefreshToken,
    /// The credentials of the client. The presented text is the client id.
    ClientCredentials,
    /// An assertion.
    Assertion,
    /// A subject token, for a token exchange.
    SubjectToken,
    /// A device code.
    DeviceCode,
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthorizationCode => "code",
            Self::RefreshToken => "refresh token",
            Self::ClientCredentials => "client",
            Self::Assertion => "assertion",
            Self::SubjectToken => "subject token",
            Self::DeviceCode => "device code",
        })
    }
}

/// The first 32 bits of a token's SHA-256.
///
/// They distinguish the tokens of a test, and do not help an attacker.
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
