//! A grant as bytes, for stores.
//!
//! JSON, so that an operator can read what is there and a later version can add to it. The bytes name their format, its
//! version and the tenant, and are refused if any of these is another's.

use std::{fmt, time::SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    AccessToken, Generation, Grant, GrantState, ReauthorizationReason, RefreshToken, TenantId,
    TokenSet,
};

mod name;

use self::name::FORMAT;
pub(crate) use self::name::tenant_of;

const VERSION: u32 = 1;

/// Bytes that are not a grant of the tenant asked for. Says what is wrong with them, and quotes nothing of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    message: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl Grant {
    /// The grant as a store keeps it: UTF-8 JSON that holds the tokens in the clear, wiped on drop.
    ///
    /// Around a store that others can read goes an [`EncryptedStore`](crate::store::EncryptedStore), so that the tokens in
    /// these bytes are encrypted and bound to the tenant.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "strings and numbers can always be written as JSON, and an empty file would be worse than a panic"
    )]
    pub fn to_bytes(&self, tenant: &TenantId) -> Zeroizing<Vec<u8>> {
        let stored = Stored {
            format: FORMAT.into(),
            version: VERSION,
            tenant: tenant.as_str().into(),
            generation: self.generation.as_u64(),
            state: StoredState::of(&self.state),
        };
        let bytes = serde_json::to_vec_pretty(&stored).expect("a grant can be written as JSON");
        Zeroizing::new(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// If the bytes are damaged, of a later version, of another format, or of another tenant.
    pub fn from_bytes(tenant: &TenantId, bytes: &[u8]) -> Result<Self, DecodeError> {
        let fail = |message: String| Err(DecodeError { message });
        let head: Head = match serde_json::from_slice(bytes) {
            Ok(head) => head,
            Err(error) => return fail(describe(&error)),
        };
        if head.format.as_deref() != Some(FORMAT) {
            return fail("not a grant: something else wrote this".into());
        }
        if head.version != Some(VERSION) {
            return fail(format!(
                "a format version other than {VERSION}: written by another version of this crate"
            ));
        }
        let stored: Stored = match serde_json::from_slice(bytes) {
            Ok(stored) => stored,
            Err(error) => return fail(describe(&error)),
        };
        if *stored.tenant != *tenant.as_str() {
            return fail("a grant of another tenant".into());
        }
        let Some(state) = stored.state.read() else {
            return fail("a value is out of range".into());
        };
        Ok(Self {
            generation: Generation::from_u64(stored.generation),
            state,
        })
    }
}

/// `serde_json`'s own message may quote what it read, so only the place and the sort of error are told.
fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "ends too early",
        serde_json::error::Category::Data => "JSON, but not a grant",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "not JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

#[derive(Deserialize)]
struct Head {
    format: Option<String>,
    version: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: String,
    version: u32,
    tenant: String,
    generation: u64,
    state: StoredState,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredState {
    Active {
        tokens: StoredTokens,
    },
    #[serde(rename = "exchanging")]
    Refreshing {
        tokens: StoredTokens,
        since: Timestamp,
        is_replayed: bool,
    },
    ReauthorizationRequired {
        tokens: StoredTokens,
        reason: StoredReason,
        since: Timestamp,
    },
    Revoked {
        since: Timestamp,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredReason {
    InvalidGrant,
    RefreshTokenExpired,
    RotationLost,
}

impl StoredReason {
    fn of(reason: ReauthorizationReason) -> Self {
        match reason {
            ReauthorizationReason::InvalidGrant => Self::InvalidGrant,
            ReauthorizationReason::RefreshTokenExpired => Self::RefreshTokenExpired,
            ReauthorizationReason::RotationLost => Self::RotationLost,
        }
    }

    fn read(self) -> ReauthorizationReason {
        match self {
            Self::InvalidGrant => ReauthorizationReason::InvalidGrant,
            Self::RefreshTokenExpired => ReauthorizationReason::RefreshTokenExpired,
            Self::RotationLost => ReauthorizationReason::RotationLost,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct StoredTokens {
    access_token: Secret,
    lifetime_ms: u64,
    issued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(Zeroizing<String>);

impl StoredState {
    fn of(state: &GrantState) -> Self {
        match state {
            GrantState::Active(tokens) => Self::Active {
                tokens: StoredTokens::of(tokens),
            },
            GrantState::Refreshing {
                tokens,
                since,
                is_replayed,
            } => Self::Refreshing {
                tokens: StoredTokens::of(tokens),
                since: to_timestamp(*since),
                is_replayed: *is_replayed,
            },
            GrantState::ReauthorizationRequired {
                tokens,
                reason,
                since,
            } => Self::ReauthorizationRequired {
                tokens: StoredTokens::of(tokens),
                reason: StoredReason::of(*reason),
                since: to_timestamp(*since),
            },
            GrantState::Revoked { since } => Self::Revoked {
                since: to_timestamp(*since),
            },
        }
    }

    fn read(self) -> Option<GrantState> {
        Some(match self {
            Self::Active { tokens } => GrantState::Active(tokens.read()?),
            Self::Refreshing {
                tokens,
                since,
                is_replayed,
            } => GrantState::Refreshing {
                tokens: tokens.read()?,
                since: since.try_into().ok()?,
                is_replayed,
            },
            Self::ReauthorizationRequired {
                tokens,
                reason,
                since,
            } => GrantState::ReauthorizationRequired {
                tokens: tokens.read()?,
                reason: reason.read(),
                since: since.try_into().ok()?,
            },
            Self::Revoked { since } => GrantState::Revoked {
                since: since.try_into().ok()?,
            },
        })
    }
}

impl StoredTokens {
    fn of(tokens: &TokenSet) -> Self {
        Self {
            access_token: Secret::of(tokens.access_token().expose()),
            lifetime_ms: u64::try_from(tokens.lifetime().as_millis()).unwrap_or(u64::MAX),
            issued_at: to_timestamp(tokens.issued_at()),
            refresh_token: tokens
                .refresh_token()
                .map(|token| Secret::of(token.expose())),
            refresh_token_issued_at: tokens.refresh_token_issued_at().map(to_timestamp),
            scope: tokens.scope().map(str::to_owned),
        }
    }

    fn read(self) -> Option<TokenSet> {
        let access_token = AccessToken::new(self.access_token.0.as_str()).ok()?;
        let lifetime = std::time::Duration::from_millis(self.lifetime_ms);
        let mut tokens = TokenSet::new(access_token, lifetime, self.issued_at.try_into().ok()?);
        if let Some(refresh_token) = &self.refresh_token {
            tokens = tokens.with_refresh_token(
                RefreshToken::new(refresh_token.0.as_str()),
                self.refresh_token_issued_at
                    .unwrap_or(self.issued_at)
                    .try_into()
                    .ok()?,
            );
        }
        if let Some(scope) = self.scope {
            tokens = tokens.with_scope(scope);
        }
        Some(tokens)
    }
}

impl Secret {
    fn of(secret: &str) -> Self {
        Self(Zeroizing::new(secret.to_owned()))
    }
}

/// Times before the year -9999 or after 9999 become the nearest that can be written.
fn to_timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(if time < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

#[cfg(test)]
mod tests;
