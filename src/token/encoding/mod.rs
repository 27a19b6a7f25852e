//! The encoding of grants, for stores.
//!
//! The format is JSON, so that operators can read it and later versions can extend it. It names the
//! format, its version and the tenant. Decoding fails if any of them is not the expected one.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{
    AccessToken, ClientIdentity, DpopKey, Generation, Grant, GrantState, ReauthorizationReason,
    RefreshToken, TenantId, TokenSet,
    buffer::{SecretBuffer, unescaped},
};

mod history;
mod name;
mod scalar;

pub(crate) use self::name::tenant_of;
use self::{
    history::StoredHistory,
    name::FORMAT,
    scalar::{StoredReason, to_timestamp},
};

const VERSION: u32 = 2;

/// Of grants with values, and of those that ended for want of a refresh token. Versions of this
/// crate that do not know them would lose the values with the next save, and do not know the
/// reason, so they must not read such a grant.
const VERSION_WITH_VALUES: u32 = 3;

/// Of grants of another kind than consents and client credentials. Versions of this crate that do
/// not know kinds would use such a grant as a customer's.
const VERSION_WITH_GRANT_KIND: u32 = 4;

/// Of grants with a key. Versions of this crate that do not know it would send the tokens without a
/// proof, and lose the key with the next save. Without the feature `dpop` this crate makes no
/// proofs either.
const VERSION_WITH_KEY: u32 = 5;

const NEWEST_VERSION: u32 = if cfg!(feature = "dpop") {
    VERSION_WITH_KEY
} else {
    VERSION_WITH_GRANT_KIND
};

/// The version before grants had an identity. It is read, and never written.
const VERSION_WITHOUT_IDENTITY: u32 = 1;

/// Bytes are not a grant of the expected tenant. The message says why, without quoting them.
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
    /// Encodes the grant as UTF-8 JSON, with the tokens in the clear. The buffer is wiped when
    /// dropped.
    ///
    /// For a store that others can read, use [`EncryptedStore`](crate::store::EncryptedStore). It
    /// encrypts the tokens and binds them to the tenant.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "strings and numbers can always be written as JSON, and an \
                  empty file would be worse than a panic"
    )]
    pub fn to_bytes(&self, tenant: &TenantId) -> Zeroizing<Vec<u8>> {
        let stored = Stored {
            format: FORMAT.into(),
            version: self.format_version(),
            tenant: tenant.as_str().into(),
            identity: self.identity.as_ref().map(StoredIdentity::encode),
            generation: self.generation.as_u64(),
            state: StoredState::encode(&self.state),
            history: StoredHistory::encode(&self.history),
        };
        let mut bytes = SecretBuffer::with_capacity(1024);
        serde_json::to_writer_pretty(&mut bytes, &stored).expect("a grant can be written as JSON");
        bytes.into_vec()
    }

    fn format_version(&self) -> u32 {
        let has_key = self
            .tokens()
            .is_some_and(|tokens| tokens.dpop_key().is_some());
        let has_values = self
            .tokens()
            .is_some_and(|tokens| !tokens.values().is_empty());
        let has_new_reason = matches!(
            self.state,
            GrantState::ReauthorizationRequired {
                reason: ReauthorizationReason::NoRefreshToken,
                ..
            }
        );
        let is_of_kind = self.identity.as_ref().is_some_and(|identity| {
            identity.grant_kind().is_some() && !identity.is_client_credentials()
        });
        if has_key {
            VERSION_WITH_KEY
        } else if is_of_kind {
            VERSION_WITH_GRANT_KIND
        } else if has_values || has_new_reason {
            VERSION_WITH_VALUES
        } else {
            VERSION
        }
    }

    /// Decodes what [`to_bytes`](Self::to_bytes) returned.
    ///
    /// Grants of format version 1 have no identity, so their [`identity`](Self::identity) is
    /// `None`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the bytes are damaged, or have another version, format or tenant.
    pub fn from_bytes(tenant: &TenantId, bytes: &[u8]) -> Result<Self, DecodeError> {
        let fail = |message: String| Err(DecodeError { message });
        let head: Head = match serde_json::from_slice(bytes) {
            Ok(head) => head,
            Err(error) => return fail(describe(&error)),
        };
        if head.format.as_deref() != Some(FORMAT) {
            return fail("not a grant; another program wrote it".into());
        }
        if !matches!(
            head.version,
            Some(VERSION_WITHOUT_IDENTITY..=NEWEST_VERSION)
        ) {
            if head.version == Some(VERSION_WITH_KEY) {
                return fail("its tokens are bound to a key; add the feature `dpop`".into());
            }
            return fail(format!(
                "format version is not between {VERSION_WITHOUT_IDENTITY} and {NEWEST_VERSION}; \
                 another version of this crate wrote it"
            ));
        }
        let stored: Stored = match serde_json::from_slice(bytes) {
            Ok(stored) => stored,
            Err(error) => return fail(describe(&error)),
        };
        if *stored.tenant != *tenant.as_str() {
            return fail("grant of another tenant".into());
        }
        let Some(state) = stored.state.decode() else {
            return fail("value out of range".into());
        };
        let identity = stored
            .identity
            .filter(|_| stored.version != VERSION_WITHOUT_IDENTITY)
            .map(StoredIdentity::decode);
        Ok(Self {
            generation: Generation::from_u64(stored.generation),
            state,
            identity,
            history: stored.history.decode(),
        })
    }
}

/// Describes an error by its category and position, because `serde_json`'s message may quote the
/// input.
fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "incomplete JSON",
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<StoredIdentity>,
    generation: u64,
    state: StoredState,
    /// Last, because an operator reads it least.
    #[serde(default, skip_serializing_if = "StoredHistory::is_empty")]
    history: StoredHistory,
}

#[derive(Serialize, Deserialize)]
struct StoredIdentity {
    token_endpoint: String,
    client_id: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_client_credentials: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant_kind: Option<String>,
}

impl StoredIdentity {
    fn encode(identity: &ClientIdentity) -> Self {
        Self {
            token_endpoint: identity.token_endpoint().into(),
            client_id: identity.client_id().into(),
            is_client_credentials: identity.is_client_credentials(),
            grant_kind: identity
                .grant_kind()
                .filter(|_| !identity.is_client_credentials())
                .map(str::to_owned),
        }
    }

    fn decode(self) -> ClientIdentity {
        let identity = ClientIdentity::new(self.token_endpoint, self.client_id);
        match self.grant_kind {
            Some(kind) => identity.with_grant_kind(kind),
            None if self.is_client_credentials => identity.with_client_credentials(),
            None => identity,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredState {
    Active {
        tokens: StoredTokens,
    },
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
struct StoredTokens {
    access_token: Secret,
    /// Absent if the lifetime is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifetime_ms: Option<u64>,
    issued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_issued_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token_lifetime_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_key: Option<Secret>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Secret(Zeroizing<String>);

/// Reads the text as it is written: a JSON parser decodes escapes in a buffer that it does not
/// wipe.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        inner
            .and_then(|inner| unescaped(inner.as_bytes()))
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a text"))
    }
}

impl StoredState {
    fn encode(state: &GrantState) -> Self {
        match state {
            GrantState::Active(tokens) => Self::Active {
                tokens: StoredTokens::encode(tokens),
            },
            GrantState::Refreshing {
                tokens,
                since,
                is_replayed,
            } => Self::Refreshing {
                tokens: StoredTokens::encode(tokens),
                since: to_timestamp(*since),
                is_replayed: *is_replayed,
            },
            GrantState::ReauthorizationRequired {
                tokens,
                reason,
                since,
            } => Self::ReauthorizationRequired {
                tokens: StoredTokens::encode(tokens),
                reason: StoredReason::encode(*reason),
                since: to_timestamp(*since),
            },
            GrantState::Revoked { since } => Self::Revoked {
                since: to_timestamp(*since),
            },
        }
    }

    fn decode(self) -> Option<GrantState> {
        Some(match self {
            Self::Active { tokens } => GrantState::Active(tokens.decode()?),
            Self::Refreshing {
                tokens,
                since,
                is_replayed,
            } => GrantState::Refreshing {
                tokens: tokens.decode()?,
                since: since.try_into().ok()?,
                is_replayed,
            },
            Self::ReauthorizationRequired {
                tokens,
                reason,
                since,
            } => GrantState::ReauthorizationRequired {
                tokens: tokens.decode()?,
                reason: reason.decode(),
                since: since.try_into().ok()?,
            },
            Self::Revoked { since } => GrantState::Revoked {
                since: since.try_into().ok()?,
            },
        })
    }
}

impl StoredTokens {
    fn encode(tokens: &TokenSet) -> Self {
        Self {
            access_token: Secret::new(tokens.access_token().expose()),
            lifetime_ms: tokens.lifetime().map(as_millis),
            issued_at: to_timestamp(tokens.issued_at()),
            refresh_token: tokens
                .refresh_token()
                .map(|token| Secret::new(token.expose())),
            refresh_token_issued_at: tokens.refresh_token_issued_at().map(to_timestamp),
            refresh_token_lifetime_ms: tokens.refresh_token_lifetime().map(as_millis),
            scope: tokens.scope().map(str::to_owned),
            values: tokens
                .values()
                .iter()
                .map(|(name, value)| (name.to_owned(), Secret::new(value)))
                .collect(),
            dpop_key: tokens.dpop_key().map(|key| Secret::new(key.expose())),
        }
    }

    fn decode(self) -> Option<TokenSet> {
        let access_token = AccessToken::new(self.access_token.0.as_str()).ok()?;
        let lifetime = self.lifetime_ms.map(Duration::from_millis);
        let issued_at = self.issued_at.try_into().ok()?;
        let mut tokens = TokenSet::new(access_token, lifetime, issued_at);
        if let Some(refresh_token) = &self.refresh_token {
            tokens = tokens.with_refresh_token(
                RefreshToken::new(refresh_token.0.as_str()),
                self.refresh_token_issued_at
                    .unwrap_or(self.issued_at)
                    .try_into()
                    .ok()?,
            );
        }
        if let Some(lifetime) = self.refresh_token_lifetime_ms {
            tokens = tokens.with_refresh_token_lifetime(Duration::from_millis(lifetime));
        }
        if let Some(scope) = self.scope {
            tokens = tokens.with_scope(scope);
        }
        for (name, value) in &self.values {
            tokens = tokens.with_stored_value(name, &value.0);
        }
        if let Some(key) = &self.dpop_key {
            tokens = tokens.with_dpop_key(DpopKey::new(key.0.as_str()));
        }
        Some(tokens)
    }
}

impl Secret {
    fn new(secret: &str) -> Self {
        Self(Zeroizing::new(secret.to_owned()))
    }
}

fn as_millis(lifetime: Duration) -> u64 {
    u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
