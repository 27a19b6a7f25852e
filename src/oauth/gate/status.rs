//! The state of a token endpoint, for health checks.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::error::Error;

/// The state of a token endpoint at one moment, from
/// [`EndpointGate::status`](super::EndpointGate::status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The state of the circuit breaker.
    pub circuit: CircuitState,
    /// How long until a token request is sent again. `None` unless the circuit breaker is open.
    pub retry_after: Option<Duration>,
    /// The failure that opened the circuit breaker. `None` if it is closed.
    pub last_error: Option<Error>,
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CircuitState {
    /// Token requests are sent.
    Closed,
    /// Token requests are sent, except for grants whose last one failed or whose access token has
    /// expired: see [degraded grants](crate::oauth#degraded-grants).
    OpenForDegraded,
    /// No token request is sent.
    Open,
    /// The pause is over, and the outcome of the next token request decides.
    HalfOpen,
}

impl EndpointStatus {
    pub(super) fn closed() -> Self {
        Self {
            circuit: CircuitState::Closed,
            retry_after: None,
            last_error: None,
        }
    }

    /// Whether the provider has rejected the client id or secret (`invalid_client`). Until the
    /// program [replaces](crate::oauth::OAuthClient::replace_secret) the secret, no grant is
    /// refreshed.
    #[must_use]
    pub fn is_client_rejected(&self) -> bool {
        self.last_error
            .as_ref()
            .is_some_and(Error::is_invalid_client)
    }
}

impl CircuitState {
    /// The name of the state, such as `half_open`. It is stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::OpenForDegraded => "open_for_degraded",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A map of the state, `retry_after_seconds`, `is_client_rejected` and the last error.
impl Serialize for EndpointStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = self.retry_after.map(|time| time.as_secs());
        let mut map = serializer.serialize_struct("EndpointStatus", 4)?;
        map.serialize_field("circuit", self.circuit.as_str())?;
        map.serialize_field("retry_after_seconds", &seconds)?;
        map.serialize_field("is_client_rejected", &self.is_client_rejected())?;
        map.serialize_field("last_error", &self.last_error)?;
        map.end()
    }
}
