//! A status as a map, for serde.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::status::{Status, TokenState};
use crate::{error::Error, rfc3339::rfc3339, token::Generation};

/// The members of the map, in this order.
#[derive(Serialize)]
struct Members<'a> {
    state: &'static str,
    reason: Option<&'static str>,
    since: Option<String>,
    needs_consent: bool,
    generation: Option<u64>,
    expires_at: Option<String>,
    has_refresh_token: bool,
    refresh_token_expires_at: Option<String>,
    no_refresh_after_401_until: Option<String>,
    stuck_since: Option<String>,
    is_refreshing: bool,
    last_error: Option<&'a Error>,
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (reason, since) = match self.state {
            TokenState::ReauthorizationRequired { reason, since } => {
                (Some(reason.as_str()), Some(since))
            }
            TokenState::Uncertain { since } | TokenState::Revoked { since } => (None, Some(since)),
            _ => (None, None),
        };
        let text = |time: Option<SystemTime>| time.and_then(rfc3339);
        let members = Members {
            state: self.state.as_str(),
            reason,
            since: text(since),
            needs_consent: self.needs_consent(),
            generation: self.generation.map(Generation::as_u64),
            expires_at: text(self.expires_at),
            has_refresh_token: self.has_refresh_token,
            refresh_token_expires_at: text(self.refresh_token_expires_at),
            no_refresh_after_401_until: text(self.no_refresh_after_401_until),
            stuck_since: text(self.stuck_since),
            is_refreshing: self.is_refreshing,
            last_error: self.last_error.as_ref(),
        };
        members.serialize(serializer)
    }
}

/// The name of the state: see [`TokenState::as_str`].
impl Serialize for TokenState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::token::ReauthorizationReason;

    #[test]
    fn a_status_is_a_map_without_secrets() {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_366_400);
        let status = Status {
            state: TokenState::ReauthorizationRequired {
                reason: ReauthorizationReason::InvalidGrant,
                since,
            },
            generation: Some(Generation::FIRST),
            last_error: Some(Error::invalid_grant()),
            ..Status::absent()
        };
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({
                "state": "reauthorization_required",
                "reason": "invalid_grant",
                "since": "2026-03-01T12:00:00Z",
                "needs_consent": true,
                "generation": Generation::FIRST.as_u64(),
                "expires_at": null,
                "has_refresh_token": false,
                "refresh_token_expires_at": null,
                "no_refresh_after_401_until": null,
                "stuck_since": null,
                "is_refreshing": false,
                "last_error": {
                    "kind": "refused",
                    "message": "provider rejected the grant (invalid_grant)",
                    "provider_code": "invalid_grant",
                },
            })
        );
    }

    #[test]
    fn only_a_new_consent_helps_a_grant_that_is_absent_or_over() {
        let since = SystemTime::UNIX_EPOCH;
        let reason = ReauthorizationReason::RotationLost;
        let generation = Generation::FIRST;
        for (state, name, needs_consent) in [
            (TokenState::Absent, "absent", true),
            (TokenState::Fresh, "fresh", false),
            (TokenState::Advisory, "advisory", false),
            (TokenState::Mandatory, "mandatory", false),
            (TokenState::Expired, "expired", false),
            (TokenState::Rejected { generation }, "rejected", false),
            (TokenState::Uncertain { since }, "uncertain", false),
            (
                TokenState::ReauthorizationRequired { reason, since },
                "reauthorization_required",
                true,
            ),
            (TokenState::Revoked { since }, "revoked", true),
        ] {
            let status = Status {
                state,
                ..Status::absent()
            };
            assert_eq!(status.needs_consent(), needs_consent, "{name}");
            assert_eq!(serde_json::to_value(state).unwrap(), name);
        }
    }
}
