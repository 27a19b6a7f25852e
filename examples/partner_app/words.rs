//! How a connection does, in plain words.

use tower_oauth2_client::{
    cache::{Status, TokenState},
    clock::{Clock, SystemClock},
    token::ReauthorizationReason,
};

/// What the partner's staff is told.
pub(super) struct Words {
    /// What follows the name.
    pub(super) state: &'static str,
    /// What is to be done, and why, if anything is.
    pub(super) advice: Option<&'static str>,
    /// Whether there is something to disconnect.
    pub(super) is_connected: bool,
}

pub(super) fn of(status: &Status) -> Words {
    let (state, advice, is_connected) = match status.state {
        TokenState::Absent => ("is not connected", None, false),
        TokenState::Revoked { .. } => ("is disconnected", None, false),
        TokenState::ReauthorizationRequired { reason, .. } => {
            ("has to consent again", Some(why(reason)), true)
        }
        TokenState::Uncertain { .. } => (
            "is connected, for now",
            Some(
                "An answer of the provider was lost on the way. It is looked after, and there is nothing to do unless it \
                 comes to an end, which this page will say.",
            ),
            true,
        ),
        TokenState::Rejected { .. } => (
            "is connected, for now",
            Some("The API has refused the last token. The next call asks for a new one."),
            true,
        ),
        // Renewed by itself, before the next call or with it.
        _ => ("is connected", None, true),
    };
    let advice = match days_left(status) {
        Some(0..=LAST_DAYS) if is_connected && advice.is_none() => Some(
            "This runs out within days, and is not renewed: see the last trouble, or let the customer reconnect.",
        ),
        _ => advice,
    };
    Words {
        state,
        advice,
        is_connected,
    }
}

/// Whole days until the refresh token expires, if that is known.
pub(super) fn days_left(status: &Status) -> Option<u64> {
    let left = status
        .refresh_token_expires_at?
        .duration_since(SystemClock.wall())
        .unwrap_or_default();
    Some(left.as_secs() / 86_400)
}

/// Idle grants are renewed long before.
const LAST_DAYS: u64 = 3;

/// Each ends with the same advice, as there is no other.
fn why(reason: ReauthorizationReason) -> &'static str {
    match reason {
        ReauthorizationReason::RefreshTokenExpired => {
            "The connection was not renewed for so long that it has run out. Ask the customer to press Reconnect and to allow \
             it once more; nothing else brings it back."
        }
        ReauthorizationReason::RotationLost => {
            "An answer of the provider was lost on the way, and the key to the connection with it. Ask the customer to press \
             Reconnect and to allow it once more; nothing else brings it back."
        }
        // The provider's word for all there is beside those.
        _ => {
            "The provider has ended the connection: most likely the customer removed it there. Ask them to press Reconnect and \
             to allow it once more; nothing else brings it back."
        }
    }
}
