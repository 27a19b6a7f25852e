//! How long tokens live, and when they may be refreshed.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The lifetime of access tokens for which token responses name none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsualLifetime {
    Seconds(u64),
    Never,
}

const NEVER: &str = "never";

impl Serialize for UsualLifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seconds(seconds) => serializer.serialize_u64(*seconds),
            Self::Never => serializer.serialize_str(NEVER),
        }
    }
}

impl<'de> Deserialize<'de> for UsualLifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = UsualLifetime;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("whole seconds or \"never\"")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
                Ok(UsualLifetime::Seconds(seconds))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Self::Value, E> {
                let unexpected = de::Unexpected::Signed(seconds);
                u64::try_from(seconds)
                    .map(UsualLifetime::Seconds)
                    .map_err(|_| E::invalid_value(unexpected, &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == NEVER {
                    Ok(UsualLifetime::Never)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// When a refresh is accepted, relative to the end of the access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RefreshWindow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) earliest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latest: Option<u64>,
}

impl RefreshWindow {
    /// How long before the end of the access token the first refresh is accepted.
    pub(crate) fn earliest(self) -> Option<Duration> {
        self.earliest.map(Duration::from_secs)
    }

    /// How long before the end of the access token the last refresh is accepted.
    pub(crate) fn latest(self) -> Option<Duration> {
        self.latest.map(Duration::from_secs)
    }
}
