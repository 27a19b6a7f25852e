//! Why a refresh is requested.

use std::time::SystemTime;

use crate::token::Generation;

/// Why a refresh is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The token is in its advisory window.
    Advisory,
    /// The token is in its mandatory window, has expired, or is absent.
    Mandatory,
    /// A request with this generation got a 401.
    Rejected(Generation),
    /// The program requests a newer generation than this.
    Manual(Option<Generation>),
    /// The grant with this generation is idle, and its refresh token must be kept alive.
    KeepAlive(Option<Generation>),
    /// The response to the refresh that started at this time was lost, perhaps by another process.
    LostResponse(SystemTime),
}

impl Reason {
    /// Whether no caller waits for the result.
    pub(crate) fn is_background(self) -> bool {
        matches!(
            self,
            Self::Advisory | Self::KeepAlive(_) | Self::LostResponse(_)
        )
    }
}
