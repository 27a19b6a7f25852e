//! Successful token responses.
//!
//! Parsing is lenient where providers differ (the spelling of a lifetime, omitted members), and
//! strict where a wrong guess would do harm (no token, another token type). Unknown members are
//! ignored (RFC 6749 section 5.1).

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

use super::{date, endpoint_error};
use crate::{
    error::{Error, ErrorKind, OAuthErrorCode, ResponseDetails},
    telemetry,
    token::{AccessToken, RefreshToken, TokenSet},
};

const ENDPOINT: &str = "token endpoint";

/// A difference between the clocks that causes a warning.
const MAX_SKEW: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    access_token: Member,
    #[serde(default)]
    token_type: Member,
    #[serde(default)]
    expires_at: Member,
    #[serde(default)]
    expires_in: Member,
    #[serde(default)]
    refresh_token: Member,
    #[serde(default)]
    scope: Member,
    #[serde(default)]
    error: Member,
}

/// Parses the response to a token request. The request was sent at `sent` and the response arrived
/// by `now`, both by this machine's wall clock.
pub(super) fn parse(
    response: &Response<Bytes>,
    sent: SystemTime,
    now: SystemTime,
    default_lifetime: Duration,
) -> Result<TokenSet, Error> {
    let invalid = |problem: &str, is_lost: bool| {
        Err(Error::new(
            ErrorKind::InvalidResponse,
            format!(
                "{ENDPOINT}'s response {problem} ({} {}); check its URL, and any proxy before it",
                response.status().as_u16(),
                endpoint_error::describe(response)
            ),
        )
        .with_response(ResponseDetails {
            status: Some(response.status()),
            is_lost,
            ..ResponseDetails::default()
        }))
    };
    // A success that cannot be used may still have rotated the refresh token.
    let lost = |problem: &str| invalid(problem, true);
    if !response.status().is_success() {
        return Err(endpoint_error::to_error(ENDPOINT, response, now));
    }
    let Some(body) = endpoint_error::object::<Body>(response.body()) else {
        return lost("is not a JSON object with the members of RFC 6749");
    };
    // Some servers reject a request with status 200. That is not permanent: no specification
    // defines what it means.
    let known = match &body.error {
        Member::Absent => None,
        Member::Text(error) => Some(OAuthErrorCode::parse(error)),
        Member::Number(_) | Member::Other => Some(None),
    };
    match known {
        None => {}
        Some(Some(code)) => return invalid(&format!("is the error {code} in a success"), false),
        Some(None) => return invalid("is an unknown error in a success", false),
    }
    let Member::Text(access_token) = &body.access_token else {
        return lost("contains no access token");
    };
    match &body.token_type {
        Member::Absent => {}
        Member::Text(token_type) if token_type.eq_ignore_ascii_case("bearer") => {}
        // RFC 6749 section 7.1: a token of a type that is not understood must not be used.
        _ => return lost("contains a token that is not a bearer token"),
    }
    let Ok(access_token) = AccessToken::new(access_token.as_str()) else {
        return lost("contains an access token that no header can carry");
    };
    let lifetime =
        lifetime(&body, response.headers(), sent, now, default_lifetime).unwrap_or_else(|| {
            telemetry::lifetime_assumed(default_lifetime);
            default_lifetime
        });
    let mut tokens = TokenSet::new(access_token, lifetime, sent);
    if let Member::Text(refresh_token) = &body.refresh_token
        && !refresh_token.is_empty()
    {
        tokens = tokens.with_refresh_token(RefreshToken::new(refresh_token.as_str()), sent);
    }
    if let Member::Text(scope) = &body.scope {
        tokens = tokens.with_scope(scope.as_str());
    }
    Ok(tokens)
}

/// The lifetime from `expires_at`, compared with the server's clock and this machine's, and from
/// `expires_in`. An end in the past is a lifetime of zero.
fn lifetime(
    body: &Body,
    headers: &HeaderMap,
    sent: SystemTime,
    now: SystemTime,
    default: Duration,
) -> Option<Duration> {
    let server_now = date::of_response(headers);
    if let Some(server_now) = server_now {
        warn_of_skew(server_now, sent, now);
    }
    let relative = seconds(&body.expires_in);
    let Some(expires_at) = time(&body.expires_at) else {
        return relative;
    };
    let from = |now: SystemTime| expires_at.duration_since(now).unwrap_or(Duration::ZERO);
    let absolute = match server_now {
        Some(server_now) if agree(server_now, sent) => from(server_now).min(from(sent)),
        Some(server_now) => plausible(from(server_now), from(sent), default),
        // Without a `Date`, the server's clock is assumed to agree with this machine's.
        None => from(sent),
    };
    // `expires_in` does not depend on any clock, so it wins if `expires_at` gives more, or less
    // than half.
    Some(match relative {
        Some(relative) if absolute > relative || absolute < relative / 2 => relative,
        _ => absolute,
    })
}

/// Whether two clocks agree. A `Date` has whole seconds.
fn agree(server_now: SystemTime, sent: SystemTime) -> bool {
    let difference = server_now
        .duration_since(sent)
        .unwrap_or_else(|error| error.duration());
    difference <= Duration::from_secs(2)
}

/// Chooses between the lifetimes by the `Date` and by this machine's clock.
///
/// Either clock may be wrong, and only too long a lifetime does harm, so the shorter one wins. If
/// it is less than half of the other, one clock is far off, and a refresh would be due all the
/// time. Then the `Date` wins, or if that leaves nothing, this machine's clock up to the `default`
/// lifetime.
fn plausible(by_date: Duration, by_own_clock: Duration, default: Duration) -> Duration {
    let shorter = by_date.min(by_own_clock);
    if shorter >= by_date.max(by_own_clock) / 2 {
        shorter
    } else if by_date.is_zero() {
        by_own_clock.min(default)
    } else {
        by_date
    }
}

fn warn_of_skew(server_now: SystemTime, sent: SystemTime, now: SystemTime) {
    // The server created the response between `sent` and `now`, rounded to a second.
    let skew = server_now
        .duration_since(now)
        .or_else(|_| sent.duration_since(server_now))
        .unwrap_or(Duration::ZERO);
    telemetry::clock_skew_measured(skew);
    if skew > MAX_SKEW {
        telemetry::clock_skewed(skew);
    }
}

/// A time in RFC 3339 with any offset, or UTC without one; or seconds since 1970, as a number or as
/// text.
fn time(member: &Member) -> Option<SystemTime> {
    let from_seconds = |seconds: f64| {
        let since = Duration::try_from_secs_f64(seconds).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(since)
    };
    match member {
        Member::Number(seconds) => from_seconds(*seconds),
        Member::Text(text) => {
            let text = text.trim();
            if let Ok(seconds) = text.parse::<u64>() {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "exact up to the year 285 million"
                )]
                return from_seconds(seconds as f64);
            }
            let timestamp = text
                .parse::<Timestamp>()
                .or_else(|_| format!("{text}Z").parse::<Timestamp>())
                .ok()?;
            timestamp.try_into().ok()
        }
        Member::Absent | Member::Other => None,
    }
}

/// Seconds, as a number or as text. A negative number is zero.
fn seconds(member: &Member) -> Option<Duration> {
    let number = match member {
        Member::Number(number) => *number,
        Member::Text(text) => text.trim().parse().ok()?,
        Member::Absent | Member::Other => return None,
    };
    if number.is_nan() {
        return None;
    }
    Some(Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(Duration::MAX))
}

/// A member of any JSON type, so that a wrong type affects only this member.
#[derive(Default)]
enum Member {
    /// Missing, or null.
    #[default]
    Absent,
    Text(Zeroizing<String>),
    Number(f64),
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        #[expect(
            clippy::cast_precision_loss,
            reason = "lifetimes and dates are far from 2^53"
        )]
        impl<'de> Visitor<'de> for Any {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Member, E> {
                Ok(Member::Text(Zeroizing::new(text.to_owned())))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Member, E> {
                Ok(Member::Number(number as f64))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Member, E> {
                Ok(Member::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Member, E> {
                Ok(Member::Number(number))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
                Ok(Member::Other)
            }
            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::Absent)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Member, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Member, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;
