//! A flow that is pending: the browser was redirected to the provider and has not come back yet.
//!
//! The flow is stored in an encrypted cookie of that browser.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, header::SET_COOKIE};
use zeroize::Zeroizing;

use super::cookie::{Cookies, named};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    oauth::{OAuthClient, PendingAuthorization},
    origin::Origin,
    store::{EncryptionKeys, sealed},
    token::{CodeVerifier, NamedValues, TenantId},
};

const FORMAT: &str = "tower-oauth2-client/flow/1";

/// How long the customer has, including the login at the provider. (A code is valid for at most ten
/// minutes from when it is issued: RFC 6749 section 4.1.2.)
pub(super) const FLOW_LIFETIME: Duration = Duration::from_secs(600);

/// How far the clocks of two replicas may differ.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

/// How many flows can be pending in one browser.
const MAX_FLOWS: usize = 4;

/// The data that the callback needs.
pub(super) struct PendingFlow {
    pub(super) tenant: TenantId,
    pub(super) state: Zeroizing<String>,
    verifier: Option<CodeVerifier>,
    /// The values of the program: at most 1 KiB, so that the cookie is far smaller than the 4 KiB
    /// that browsers accept.
    values: NamedValues,
    /// By the wall clock of the replica that started the flow.
    pub(super) started_at: SystemTime,
}

/// Stores flows in cookies. The encryption prevents that a browser reads, forges or swaps them.
#[derive(Debug)]
pub(super) struct FlowCookies {
    keys: EncryptionKeys,
    clock: Arc<dyn Clock>,
    cookies: Cookies,
    /// Identifies the client, its provider and its redirect URI.
    client: Vec<u8>,
}

impl FlowCookies {
    pub(super) fn new(
        oauth: &OAuthClient,
        keys: EncryptionKeys,
        clock: Arc<dyn Clock>,
        origin: &Origin,
    ) -> Result<Self, Error> {
        let provider = oauth.provider();
        let client = sealed::associated_data(&[
            oauth.client_id().as_bytes(),
            provider
                .authorization_endpoint()
                .map(ToString::to_string)
                .unwrap_or_default()
                .as_bytes(),
            provider.token_endpoint().to_string().as_bytes(),
            oauth.redirect_uri()?.as_bytes(),
        ]);
        Ok(Self {
            keys,
            clock,
            cookies: Cookies::new(origin.scheme() == http::uri::Scheme::HTTPS, &client),
            client,
        })
    }

    /// Returns the cookies to set for a new flow: its own, and removals of flows that have expired
    /// or are too many.
    pub(super) fn start(
        &self,
        tenant: &TenantId,
        pending: &PendingAuthorization,
        request: &HeaderMap,
    ) -> Result<Vec<HeaderValue>, Error> {
        let now = self.clock.wall();
        let text = serialize(tenant, pending, now);
        let state = pending.state();
        let key = self.keys.current();
        let associated_data = self.associated_data(key.id(), &self.cookies.name(state));
        let cookie = sealed::seal(key, &associated_data, &text, sealed::nonce()?)
            .and_then(|value| {
                self.cookies
                    .set(&self.cookies.name(state), &value, FLOW_LIFETIME.as_secs())
            })
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Interrupted,
                    "the cookie of the flow could not be encrypted",
                )
            })?;
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, cookie);
        for name in self.to_remove(request, now) {
            self.cookies.remove(name, &mut headers);
        }
        Ok(headers.into_iter().map(|(_, cookie)| cookie).collect())
    }

    /// Finds the flow with this state, if this browser has started it and it has not expired.
    pub(super) fn find(&self, request: &HeaderMap, state: &str) -> Option<PendingFlow> {
        let name = self.cookies.name(state);
        let now = self.clock.wall();
        named(request, &name)
            .filter_map(|value| self.open(&name, value))
            .find(|flow| *flow.state == state && !flow.is_expired(now))
    }

    /// Removes the flow with this state from the browser, if it is there.
    pub(super) fn remove(&self, request: &HeaderMap, state: &str, response: &mut HeaderMap) {
        let name = self.cookies.name(state);
        if named(request, &name).next().is_some() {
            self.cookies.remove(&name, response);
        }
    }

    /// The cookies to remove before another flow starts: those that are useless, and then the
    /// oldest.
    fn to_remove<'a>(&'a self, request: &'a HeaderMap, now: SystemTime) -> Vec<&'a str> {
        let mut found: Vec<_> = self
            .cookies
            .all(request)
            .map(|(name, value)| {
                let flow = self.open(name, value).filter(|flow| !flow.is_expired(now));
                (flow.map(|flow| flow.started_at), name)
            })
            .collect();
        found.sort_unstable_by(|left, right| right.cmp(left));
        let useful = found
            .iter()
            .filter(|(started_at, _)| started_at.is_some())
            .count();
        let removed = found.split_off(useful.min(MAX_FLOWS - 1));
        removed.into_iter().map(|(_, name)| name).collect()
    }

    fn open(&self, name: &str, value: &str) -> Option<PendingFlow> {
        let text = sealed::open(&self.keys, |key| self.associated_data(key, name), value).ok()?;
        deserialize(&text)
    }

    fn associated_data(&self, key: &str, name: &str) -> Vec<u8> {
        sealed::associated_data(&[
            FORMAT.as_bytes(),
            key.as_bytes(),
            &self.client,
            name.as_bytes(),
        ])
    }
}

impl PendingFlow {
    pub(super) fn authorization(&self, oauth: &OAuthClient) -> PendingAuthorization {
        oauth
            .resume_authorization(self.state.as_str(), self.verifier.clone())
            .with_values(self.values.clone())
    }

    fn is_expired(&self, now: SystemTime) -> bool {
        now.duration_since(self.started_at).map_or_else(
            |ahead| ahead.duration() > CLOCK_TOLERANCE,
            |age| age >= FLOW_LIFETIME,
        )
    }
}

/// Four lines, and then the name, the length and the text of each value. Only the text of a value
/// may contain line breaks.
fn serialize(
    tenant: &TenantId,
    pending: &PendingAuthorization,
    started_at: SystemTime,
) -> Zeroizing<String> {
    let started_at = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let verifier = pending.code_verifier().map_or("", CodeVerifier::expose);
    let (state, tenant) = (pending.state(), tenant.as_str());
    let started_at = started_at.as_millis().to_string();
    let lengths: Vec<_> = pending
        .values()
        .iter()
        .map(|(_, value)| value.len().to_string())
        .collect();
    let mut lines = vec![&*started_at, state, verifier, tenant];
    for ((name, value), length) in pending.values().iter().zip(&lengths) {
        lines.extend([name, length, value]);
    }
    // Large enough from the start: a string that grows does not wipe its old buffer.
    let length = lines.iter().map(|line: &&str| line.len() + 1).sum();
    let mut text = Zeroizing::new(String::with_capacity(length));
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(line);
    }
    text
}

fn deserialize(text: &str) -> Option<PendingFlow> {
    let mut lines = text.splitn(5, '\n');
    let started_at = Duration::from_millis(lines.next()?.parse().ok()?);
    let state = Zeroizing::new(lines.next()?.to_owned());
    let verifier = Some(lines.next()?).filter(|verifier| !verifier.is_empty());
    Some(PendingFlow {
        started_at: UNIX_EPOCH.checked_add(started_at)?,
        state,
        verifier: verifier.map(CodeVerifier::new),
        tenant: TenantId::new(lines.next()?).ok()?,
        values: values(lines.next())?,
    })
}

/// `None` if the text cannot be read.
fn values(text: Option<&str>) -> Option<NamedValues> {
    let mut values = Vec::new();
    let mut rest = text;
    while let Some(text) = rest {
        let (name, text) = text.split_once('\n')?;
        let (length, text) = text.split_once('\n')?;
        let (value, text) = text.split_at_checked(length.parse().ok()?)?;
        values.push((name, value));
        rest = text.strip_prefix('\n');
        if rest.is_none() && !text.is_empty() {
            return None;
        }
    }
    Some(values.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_flow_are_read_as_they_were_written() {
        let none = |text| values(text).is_some_and(|values| values.is_empty());
        assert!(none(None));
        let read = values(Some("a\n3\nx\ny\nb\n0\n\nc\n2\n\u{e9}")).unwrap();
        let read: Vec<_> = read.iter().collect();
        assert_eq!(read, [("a", "x\ny"), ("b", ""), ("c", "\u{e9}")]);
        for wrong in [
            "",
            "a",
            "a\n",
            "a\nx\n",
            "a\n2\nx",
            "a\n1\nxy",
            "a\n1\nx\n",
            "a\n1\n\u{e9}",
        ] {
            assert!(values(Some(wrong)).is_none(), "{wrong:?}");
        }
    }
}
