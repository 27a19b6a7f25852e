//! What a token endpoint's success means.
//!
//! Lenient where providers differ (how a lifetime is written, what is left out), strict where a wrong guess would hurt
//! (no token, another token type). Unknown members are ignored (RFC 6749 section 5.1).

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
    error::{Answer, Error, ErrorKind, OAuthErrorCode},
    telemetry,
    token::{AccessToken, RefreshToken, TokenSet},
};

const ENDPOINT: &str = "token endpoint";

/// A provider's clock that is off by more than this is worth a warning.
const NOTABLE_SKEW: Duration = Duration::from_secs(30);

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

/// Reads the answer to a request that was `sent` and has been answered by `now`, both by this machine's wall clock.
pub(super) fn read(
    response: &Response<Bytes>,
    sent: SystemTime,
    now: SystemTime,
    default_lifetime: Duration,
) -> Result<TokenSet, Error> {
    let refuse = |what: &str, is_lost: bool| {
        Err(Error::new(
            ErrorKind::InvalidResponse,
            format!(
                "the {ENDPOINT}'s answer {what} ({} {}): check its URL, and what stands before it",
                response.status().as_u16(),
                endpoint_error::describe(response)
            ),
        )
        .with_answer(Answer {
            status: Some(response.status()),
            is_lost,
            ..Answer::default()
        }))
    };
    // A success that cannot be used may still have replaced the refresh token.
    let fail = |what: &str| refuse(what, true);
    if !response.status().is_success() {
        return Err(endpoint_error::read(ENDPOINT, response, now));
    }
    let Some(body) = endpoint_error::object::<Body>(response.body()) else {
        return fail("is not a JSON object with OAuth's members");
    };
    // Some servers say no with a status of 200. Not final: nothing in the specifications says what it means.
    let known = match &body.error {
        Member::Absent => None,
        Member::Text(error) => Some(OAuthErrorCode::parse(error)),
        Member::Number(_) | Member::Other => Some(None),
    };
    match known {
        None => {}
        Some(Some(code)) => return refuse(&format!("is the error {code} in a success"), false),
        Some(None) => return refuse("is an error of its own in a success", false),
    }
    let Member::Text(access_token) = &body.access_token else {
        return fail("holds no access token");
    };
    match &body.token_type {
        Member::Absent => {}
        Member::Text(sort) if sort.eq_ignore_ascii_case("bearer") => {}
        // RFC 6749 section 7.1: a token of a type that is not understood must not be used.
        _ => return fail("holds a token that is not a bearer token"),
    }
    let Ok(access_token) = AccessToken::new(access_token.as_str()) else {
        return fail("holds an access token that no header can carry");
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

/// `expires_at` against the server's own clock and this one, and `expires_in`; past ends count as none left.
fn lifetime(
    body: &Body,
    headers: &HeaderMap,
    sent: SystemTime,
    now: SystemTime,
    usual: Duration,
) -> Option<Duration> {
    let server_now = date::of(headers);
    if let Some(server_now) = server_now {
        warn_of_skew(server_now, sent, now);
    }
    let relative = seconds(&body.expires_in);
    let Some(expires_at) = moment(&body.expires_at) else {
        return relative;
    };
    let from = |now: SystemTime| expires_at.duration_since(now).unwrap_or(Duration::ZERO);
    let absolute = match server_now {
        Some(server_now) if agree(server_now, sent) => from(server_now).min(from(sent)),
        Some(server_now) => soberly(from(server_now), from(sent), usual),
        // The server's clock is taken to agree with this one.
        None => from(sent),
    };
    // No clock has to do with the relative one, so it counts where the other is longer, or far off.
    Some(match relative {
        Some(relative) if absolute > relative || absolute < relative / 2 => relative,
        _ => absolute,
    })
}

/// Whether two clocks show the same, as far as one can tell: a `Date` has whole seconds.
fn agree(server_now: SystemTime, sent: SystemTime) -> bool {
    let apart = server_now
        .duration_since(sent)
        .unwrap_or_else(|error| error.duration());
    apart <= Duration::from_secs(2)
}

/// The shorter of what is left by the `Date` and by this machine's clock, since either may be wrong, and only too long a
/// life does harm; unless it is less than half of the other, so that a clock that is far off does not have the client
/// exchange all the time. Then the `Date` counts, or, if nothing would be left by that, this clock up to the `usual` life.
fn soberly(by_date: Duration, by_own_clock: Duration, usual: Duration) -> Duration {
    let shorter = by_date.min(by_own_clock);
    if shorter >= by_date.max(by_own_clock) / 2 {
        shorter
    } else if by_date.is_zero() {
        by_own_clock.min(usual)
    } else {
        by_date
    }
}

fn warn_of_skew(server_now: SystemTime, sent: SystemTime, now: SystemTime) {
    // The answer was dated somewhere between these two, to the second.
    let skew = server_now
        .duration_since(now)
        .or_else(|_| sent.duration_since(server_now))
        .unwrap_or(Duration::ZERO);
    telemetry::clock_skew_measured(skew);
    if skew > NOTABLE_SKEW {
        telemetry::clock_skewed(skew);
    }
}

/// RFC 3339 with any offset; without one it is taken for UTC. Also seconds since 1970, as a number or as digits.
fn moment(member: &Member) -> Option<SystemTime> {
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

/// A number of seconds, or digits. Negative ones count as none left.
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

/// A member of any sort, so that one of a wrong sort spoils only itself.
#[derive(Default)]
enum Member {
    /// Not there, or null.
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
