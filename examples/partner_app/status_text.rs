//! The state of a connection, in plain words for the partner's staff.

use tower_oauth2_client::{
    cache::{Status, TokenState},
    clock::{Clock, SystemClock},
    token::ReauthorizationReason,
};

/// The description of a [`Status`].
pub(super) struct StatusText {
    /// The rest of a sentence that begins with the customer's name.
    pub(super) state: &'static str,
    /// The reason for the state and what to do, if there is something to know.
    pub(super) advice: Option<&'static str>,
    /// Whether the customer can be disconnected.
    pub(super) is_connected: bool,
    /// Whether a new consent is needed, or soon.
    pub(super) needs_reconnect: bool,
}

impl StatusText {
    /// The store cannot be read.
    pub(super) const UNKNOWN: Self = Self {
        state: "is in an unknown state at the moment",
        advice: Some("Please try again in a few minutes."),
        is_connected: false,
        needs_reconnect: false,
    };

    pub(super) fn new(status: &Status) -> Self {
        let (state, advice, is_connected) = match status.state {
            TokenState::Absent => ("is not connected", None, false),
            TokenState::Revoked { .. } => ("is disconnected", None, false),
            TokenState::ReauthorizationRequired { reason, .. } => {
                ("needs to reconnect", Some(how_to_reconnect(reason)), true)
            }
            TokenState::Uncertain { .. } => (
                "is connected for now",
                Some(
                    "A response of the provider was lost, so the connection may not be \
                     refreshable. You do not need to do anything now. This page will say if the \
                     customer needs to reconnect.",
                ),
                true,
            ),
            TokenState::Rejected { .. } => (
                "is connected for now",
                Some(
                    "The API rejected the last access token. The next request will ask the \
                     provider for a new one.",
                ),
                true,
            ),
            // The cache refreshes the others by itself.
            _ => ("is connected", None, true),
        };
        let has_ended = matches!(status.state, TokenState::ReauthorizationRequired { .. });
        let is_ending = is_connected
            && advice.is_none()
            && days_left(status).is_some_and(|days| days <= LAST_DAYS);
        let expires = "The connection expires within a few days, because it could not be \
             refreshed. Please check the technical details, or ask the customer to press Reconnect.";
        Self {
            state,
            advice: if is_ending { Some(expires) } else { advice },
            is_connected,
            needs_reconnect: has_ended || is_ending,
        }
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

/// Days before the expiry at which a warning is shown. Idle grants are refreshed long before.
const LAST_DAYS: u64 = 3;

fn how_to_reconnect(reason: ReauthorizationReason) -> &'static str {
    match reason {
        ReauthorizationReason::RefreshTokenExpired => {
            "The connection was not refreshed in time and has expired. Please ask the customer to \
             press Reconnect and to allow access again."
        }
        ReauthorizationReason::RotationLost => {
            "A response of the provider was lost, and the connection cannot be refreshed without \
             it. Please ask the customer to press Reconnect and to allow access again."
        }
        ReauthorizationReason::NoRefreshToken => {
            "The connection has expired, and the provider issued nothing to extend it. Please \
             ask the customer to press Reconnect and to allow access again."
        }
        // The provider responds with the same error in every other case.
        _ => {
            "The provider has ended the connection, most likely because the customer removed it \
             there. Please ask the customer to press Reconnect and to allow access again."
        }
    }
}
