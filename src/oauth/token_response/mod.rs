//! Successful token responses.
//!
//! Parsing is lenient where providers differ (the spelling of a lifetime, omitted members), and
//! strict where a wrong guess would do harm (no token, another token type). Unknown members do no
//! harm (RFC 6749 section 5.1), and are kept for the program.
//!
//! A response has one of three results:
//!
//! | the response contains | result |
//! | --- | --- |
//! | a usable access token | a token set, with the refresh token if there is one |
//! | a refresh token, but no usable access token | an error that carries the refresh token |
//! | neither | an error; unless the response is a rejection, it counts as lost |

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;

use super::{
    clock_skew::Skew,
    date, endpoint_error,
    members::{Member, Members},
};
use crate::{
    error::{Error, ErrorKind, OAuthErrorCode, ResponseDetails},
    provider::{LifetimeUnit, Provider},
    telemetry::ResponseNotice,
    token::{AccessToken, LONGEST_LIFETIME, NamedValues, RefreshToken, TokenSet},
};

const ENDPOINT: &str = "token endpoint";

/// The longest access token that is used. Servers accept headers of 8 to 64 KiB.
///
/// A refresh token has no limit of its own: it must not be lost. The response limits its length.
const LONGEST_ACCESS_TOKEN: usize = 64 * 1024;

/// The token set of a token response, and what else the response contains.
#[derive(Clone, Debug)]
pub struct TokenResponse {
    tokens: TokenSet,
    members: NamedValues,
    /// Whether the access token is bound to the key of the request.
    is_bound: bool,
    /// The oddities that telemetry reports.
    notices: Vec<ResponseNotice>,
}

impl TokenResponse {
    /// The token set.
    #[must_use]
    pub fn tokens(&self) -> &TokenSet {
        &self.tokens
    }

    /// The members that RFC 6749 does not define, such as `id_token`. A string is given as text,
    /// and any other value as JSON.
    #[must_use]
    pub fn members(&self) -> &NamedValues {
        &self.members
    }

    /// Returns the token set alone.
    #[must_use]
    pub fn into_tokens(self) -> TokenSet {
        self.tokens
    }

    pub(super) fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// Takes the oddities that telemetry reports.
    pub(super) fn take_notices(&mut self) -> Vec<ResponseNotice> {
        std::mem::take(&mut self.notices)
    }

    pub(super) fn map_tokens(self, map: impl FnOnce(TokenSet) -> TokenSet) -> Self {
        Self {
            tokens: map(self.tokens),
            ..self
        }
    }
}

/// The token types that are accepted.
#[derive(Clone, Copy)]
pub(super) enum ExpectedType {
    /// `Bearer`, those of the provider's data, and another one.
    Bearer { or: Option<&'static str> },
    /// `DPoP`, because the request carried a proof, and another one, whose tokens are not bound.
    Dpop { or: Option<&'static str> },
}

/// The token type of a security token that is no access token (RFC 8693 section 2.2.1).
pub(super) const NOT_APPLICABLE: &str = "N_A";

/// Parses the response to a token request, which may be cut off. The request was sent at `sent` and
/// the response arrived by `now`, both by this machine's wall clock.
pub(super) fn parse(
    response: &Response<Bytes>,
    sent: SystemTime,
    now: SystemTime,
    provider: &Provider,
    expected: ExpectedType,
) -> Result<TokenResponse, Error> {
    let usual_lifetime = provider.access_token_lifetime();
    let refusals = provider.refusals();
    if !response.status().is_success() {
        return Err(endpoint_error::to_error(ENDPOINT, response, now, refusals));
    }
    let Some(members) = Members::read(response.body(), provider) else {
        let problem = "is not a JSON object with the members of RFC 6749";
        return Err(unusable(response, problem).with_response_lost());
    };
    if members.access_token.is_blank()
        && members.refresh_token.is_blank()
        && let Some(error) = endpoint_error::refused(ENDPOINT, response, now, refusals)
    {
        return Err(error);
    }
    let refresh_token = members
        .refresh_token
        .text()
        // RFC 6749 appendix A.17 has no such characters. They come from the server's template.
        .map(|token| RefreshToken::new(token.trim_matches(char::is_control)));
    let access_token = match expected {
        ExpectedType::Bearer { or } => access_token(&members, provider.accepted_token_types(), or)
            .map(|access_token| (access_token, false)),
        ExpectedType::Dpop { or } => bound_access_token(&members, or),
    };
    match access_token {
        Ok((access_token, is_bound)) if refresh_token.is_some() || !members.is_damaged => {
            let server_now = date::of_response(response.headers());
            let mut notices = Vec::new();
            if let Some(server_now) = server_now {
                let skew = Skew::between(server_now, sent, now);
                notices.push(ResponseNotice::ClockSkew {
                    size: skew.size(),
                    is_large: skew.is_large(),
                });
            }
            let unit = provider.lifetime_unit();
            let stated = |expires_in: &Member, expires_at: &Member, usual| {
                let (relative, absolute) = (seconds(expires_in, unit), time(expires_at, unit));
                lifetime(relative, absolute, server_now, sent, usual)
            };
            let of_access_token = stated(&members.expires_in, &members.expires_at, usual_lifetime);
            match (of_access_token, usual_lifetime) {
                (None, Some(usual)) => notices.push(ResponseNotice::LifetimeAssumed(usual)),
                (None, None) if !provider.access_token_never_expires() => {
                    notices.push(ResponseNotice::LifetimeUnknown);
                }
                _ => {}
            }
            let mut tokens = TokenSet::new(access_token, of_access_token.or(usual_lifetime), sent);
            if let Some(refresh_token) = refresh_token {
                tokens = tokens.with_refresh_token(refresh_token, sent);
                if let Some(lifetime) = stated(
                    &members.refresh_token_expires_in,
                    &members.refresh_token_expires_at,
                    provider.refresh_token_lifetime(),
                ) {
                    tokens = tokens.with_refresh_token_lifetime(lifetime);
                }
            }
            if let Some(scope) = members.scope.words() {
                tokens = tokens.with_scope(separated(&scope, provider.scope_separator()));
            }
            Ok(TokenResponse {
                tokens,
                members: members.others,
                is_bound,
                notices,
            })
        }
        // The refresh token may have been in the part that is missing.
        Ok(_) => Err(unusable(response, "is cut off or damaged").with_response_lost()),
        Err(problem) => Err(match refresh_token {
            Some(refresh_token) => {
                unusable(response, &problem).with_refresh_token(&refresh_token, sent)
            }
            // A success that cannot be used may still have rotated the refresh token.
            None if is_rejection(&members) => unusable(response, &problem),
            None => unusable(response, &problem).with_response_lost(),
        }),
    }
}

/// Some servers reject a request with status 200. That is not permanent: no specification defines
/// what it means.
fn is_rejection(members: &Members) -> bool {
    !members.error.is_blank()
        && members.access_token.is_blank()
        && members.refresh_token.is_blank()
        && !members.is_damaged
}

/// The access token, or why there is none to use.
fn access_token(
    members: &Members,
    accepted_types: &[String],
    accepted_type: Option<&'static str>,
) -> Result<AccessToken, Cow<'static, str>> {
    token_with(members, |token_type| {
        let accepted = accepted_types.iter().map(|accepted| accepted.trim());
        let mut accepted = accepted.chain(["bearer"]).chain(accepted_type);
        let is_accepted = token_type.is_some_and(|token_type| {
            accepted.any(|accepted| accepted.eq_ignore_ascii_case(token_type.trim()))
        });
        if is_accepted || members.token_type.is_blank() {
            return Ok(());
        }
        // RFC 6749 section 7.1: a token of a type that is not understood must not be used.
        Err(match token_type {
            Some(token_type) if is_not_applicable(token_type) => NO_ACCESS_TOKEN,
            _ => "contains a token that is not a bearer token",
        })
    })
}

/// The access token of a response to a DPoP proof, and whether it is bound to the key; or why there
/// is none to use (RFC 9449 section 5).
fn bound_access_token(
    members: &Members,
    accepted_type: Option<&'static str>,
) -> Result<(AccessToken, bool), Cow<'static, str>> {
    let mut is_bound = true;
    let access_token = token_with(members, |token_type| {
        let token_type = token_type.map(str::trim);
        let is = |name: &str| token_type.is_some_and(|token| token.eq_ignore_ascii_case(name));
        if is("dpop") {
            return Ok(());
        }
        if accepted_type.is_some_and(is) {
            is_bound = false;
            return Ok(());
        }
        Err(match token_type {
            Some(token_type) if is_not_applicable(token_type) => NO_ACCESS_TOKEN,
            Some(token_type) if token_type.eq_ignore_ascii_case("bearer") => {
                "contains a token that is not bound to the DPoP key: its token_type is Bearer, so \
                 the provider has ignored the proof"
            }
            _ => "contains a token that is not bound to the DPoP key: its token_type is not DPoP",
        })
    })?;
    Ok((access_token, is_bound))
}

const NO_ACCESS_TOKEN: &str =
    "contains a token that is no access token: its token_type is N_A (RFC 8693 section 2.2.1)";

fn is_not_applicable(token_type: &str) -> bool {
    token_type.trim().eq_ignore_ascii_case(NOT_APPLICABLE)
}

fn token_with(
    members: &Members,
    check_type: impl FnOnce(Option<&str>) -> Result<(), &'static str>,
) -> Result<AccessToken, Cow<'static, str>> {
    match &members.error {
        error if error.is_blank() => {}
        // No error, as a number.
        Member::Number(_, number) if *number == 0.0 => {}
        error => {
            return Err(match error.text().and_then(OAuthErrorCode::parse) {
                Some(code) => format!("is the error {code} in a success").into(),
                None => "is an unknown error in a success".into(),
            });
        }
    }
    let Some(access_token) = members.access_token.text() else {
        return Err("contains no access token".into());
    };
    check_type(members.token_type.text())?;
    // White space around a token comes from the server's template. No header could carry it.
    let access_token = access_token.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    if access_token.len() > LONGEST_ACCESS_TOKEN {
        return Err("contains an access token of more than 64 KiB".into());
    }
    AccessToken::new(access_token)
        .map_err(|_| "contains an access token that no header can carry".into())
}

/// The scopes of a response, separated by spaces (RFC 6749 section 3.3).
fn separated<'a>(scope: &'a str, separator: &str) -> Cow<'a, str> {
    if separator == "," && scope.contains(',') {
        let scopes = scope.split(|c: char| c == ',' || c.is_whitespace());
        let scopes: Vec<&str> = scopes.filter(|scope| !scope.is_empty()).collect();
        Cow::Owned(scopes.join(" "))
    } else {
        Cow::Borrowed(scope)
    }
}

fn unusable(response: &Response<Bytes>, problem: &str) -> Error {
    Error::new(
        ErrorKind::InvalidResponse,
        format!(
            "{ENDPOINT}'s response {problem} ({} {}); check its URL, and any proxy before it",
            response.status().as_u16(),
            endpoint_error::describe(response)
        ),
    )
    .with_response(ResponseDetails {
        status: Some(response.status()),
        ..ResponseDetails::default()
    })
}

/// The lifetime from `expires_at`, compared with the server's clock and this machine's, and from
/// `expires_in`. `None` if neither can be true: a token that has just been issued has not expired,
/// and none lives for a century.
fn lifetime(
    expires_in: Option<Duration>,
    expires_at: Option<SystemTime>,
    server_now: Option<SystemTime>,
    sent: SystemTime,
    usual: Option<Duration>,
) -> Option<Duration> {
    let relative = expires_in.filter(is_credible);
    let absolute = expires_at.and_then(|expires_at| {
        let from = |now: SystemTime| expires_at.duration_since(now).unwrap_or(Duration::ZERO);
        let lifetime = match server_now {
            Some(server_now) if agree(server_now, sent) => from(server_now).min(from(sent)),
            Some(server_now) => plausible(from(server_now), from(sent), usual),
            // Without a `Date` the clocks cannot be compared, and only too long a lifetime does
            // harm. If this machine's clock is ahead, less than nothing may be left.
            None => usual.map_or(from(sent), |usual| usual.min(from(sent))),
        };
        Some(lifetime).filter(is_credible)
    });
    // `expires_in` does not depend on any clock, so it wins if `expires_at` gives more, or less
    // than half.
    match (relative, absolute) {
        (Some(relative), Some(absolute)) if absolute > relative || absolute < relative / 2 => {
            Some(relative)
        }
        (relative, absolute) => absolute.or(relative),
    }
}

/// Whether a token that has just been issued may have this lifetime. Servers write 0, -1 or the
/// year 9999 for "never", and a clock that is wrong by more than the lifetime makes it negative.
fn is_credible(lifetime: &Duration) -> bool {
    !lifetime.is_zero() && *lifetime <= LONGEST_LIFETIME
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
/// time. Then the `Date` wins, or if that leaves nothing, this machine's clock up to the provider's
/// `usual` lifetime.
fn plausible(by_date: Duration, by_own_clock: Duration, usual: Option<Duration>) -> Duration {
    let shorter = by_date.min(by_own_clock);
    if shorter >= by_date.max(by_own_clock) / 2 {
        shorter
    } else if by_date.is_zero() {
        usual.map_or(by_own_clock, |usual| usual.min(by_own_clock))
    } else {
        by_date
    }
}

/// A time in RFC 3339 with any offset, or UTC without one; or the time since 1970 in the provider's
/// unit, as a number or as text.
fn time(member: &Member, unit: LifetimeUnit) -> Option<SystemTime> {
    let since_1970 = |number: f64| {
        let since = Duration::try_from_secs_f64(unit.in_seconds(number)).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(since)
    };
    match member {
        Member::Number(_, number) => since_1970(*number),
        Member::Text(text) => {
            let text = text.trim();
            if let Ok(number) = text.parse::<u64>() {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "exact up to the year 285 million"
                )]
                return since_1970(number as f64);
            }
            let timestamp = text
                .parse::<Timestamp>()
                .or_else(|_| format!("{text}Z").parse::<Timestamp>())
                .ok()?;
            timestamp.try_into().ok()
        }
        Member::Absent | Member::List(_) | Member::Other => None,
    }
}

/// A time in the provider's unit, as a number or as text. A negative number is zero.
fn seconds(member: &Member, unit: LifetimeUnit) -> Option<Duration> {
    let number = match member {
        Member::Number(_, number) => *number,
        Member::Text(text) => text.trim().parse().ok()?,
        Member::Absent | Member::List(_) | Member::Other => return None,
    };
    if number.is_nan() {
        return None;
    }
    let seconds = unit.in_seconds(number.max(0.0));
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests;
