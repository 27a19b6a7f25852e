//! The encoding of reasons and times.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::token::ReauthorizationReason;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoredReason {
    InvalidGrant,
    RefreshTokenExpired,
    RotationLost,
    NoRefreshToken,
}

impl StoredReason {
    pub(super) fn encode(reason: ReauthorizationReason) -> Self {
        match reason {
            ReauthorizationReason::InvalidGrant => Self::InvalidGrant,
            ReauthorizationReason::RefreshTokenExpired => Self::RefreshTokenExpired,
            ReauthorizationReason::RotationLost => Self::RotationLost,
            ReauthorizationReason::NoRefreshToken => Self::NoRefreshToken,
        }
    }

    pub(super) fn decode(self) -> ReauthorizationReason {
        match self {
            Self::InvalidGrant => ReauthorizationReason::InvalidGrant,
            Self::RefreshTokenExpired => ReauthorizationReason::RefreshTokenExpired,
            Self::RotationLost => ReauthorizationReason::RotationLost,
            Self::NoRefreshToken => ReauthorizationReason::NoRefreshToken,
        }
    }
}

/// Converts a time. Years outside of -9999 to 9999 become the nearest time within.
pub(super) fn to_timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(if time < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
