//! One way to the provider and back, kept in the browser that goes it.

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
    token::{CodeVerifier, TenantId},
};

const FORMAT: &str = "tower-oauth2-client/flow/1";

/// How long a person has. A code lives no longer (RFC 6749 section 4.1.2), but they have to log in first.
pub(super) const LIFE: Duration = Duration::from_secs(600);

/// How far the clocks of two replicas may be apart.
pub(super) const APART: Duration = Duration::from_secs(30);

/// How many flows may be pending in one browser.
const MOST: usize = 4;

/// What has to be known when the browser comes back.
pub(super) struct Flow {
    pub(super) tenant: TenantId,
    pub(super) state: Zeroizing<String>,
    verifier: Option<CodeVerifier>,
    /// By the wall clock of the replica where it was begun.
    pub(super) begun: SystemTime,
}

/// Keeps flows in cookies that nobody else can read, make, or use for something else.
#[derive(Debug)]
pub(super) struct Flows {
    keys: EncryptionKeys,
    clock: Arc<dyn Clock>,
    cookies: Cookies,
    /// The application at its provider, and where browsers come back to.
    application: Vec<u8>,
}

impl Flows {
    pub(super) fn new(
        oauth: &OAuthClient,
        keys: EncryptionKeys,
        clock: Arc<dyn Clock>,
        origin: &Origin,
    ) -> Result<Self, Error> {
        let provider = oauth.provider();
        let application = sealed::associated_data(&[
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
            cookies: Cookies::new(origin.scheme() == http::uri::Scheme::HTTPS, &application),
            application,
        })
    }

    /// The cookies of a response with which a flow begins: its own, and the ends of those that are too many or too old.
    pub(super) fn begin(
        &self,
        tenant: &TenantId,
        pending: &PendingAuthorization,
        request: &HeaderMap,
    ) -> Result<Vec<HeaderValue>, Error> {
        let now = self.clock.wall();
        let text = written(tenant, pending, now);
        let state = pending.state();
        let key = self.keys.current();
        let purpose = self.purpose(key.id(), &self.cookies.name(state));
        let cookie = sealed::seal(key, &purpose, &text, sealed::nonce()?)
            .and_then(|value| {
                self.cookies
                    .set(&self.cookies.name(state), &value, LIFE.as_secs())
            })
            .ok_or_else(|| Error::new(ErrorKind::Interrupted, "the flow's cookie was not made"))?;
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, cookie);
        for name in self.superfluous(request, now) {
            self.cookies.remove(name, &mut headers);
        }
        Ok(headers.into_iter().map(|(_, cookie)| cookie).collect())
    }

    /// The flow with this state, if this browser has begun it, and not too long ago.
    pub(super) fn find(&self, request: &HeaderMap, state: &str) -> Option<Flow> {
        let name = self.cookies.name(state);
        let now = self.clock.wall();
        named(request, &name)
            .filter_map(|value| self.open(&name, value))
            .find(|flow| *flow.state == state && flow.is_alive(now))
    }

    /// Removes the flow with this state from the browser, if it is there.
    pub(super) fn end(&self, request: &HeaderMap, state: &str, response: &mut HeaderMap) {
        let name = self.cookies.name(state);
        if named(request, &name).next().is_some() {
            self.cookies.remove(&name, response);
        }
    }

    /// The cookies that make room for one more: whatever is of no use, and then the oldest.
    fn superfluous<'a>(&'a self, request: &'a HeaderMap, now: SystemTime) -> Vec<&'a str> {
        let mut found: Vec<_> = self
            .cookies
            .all(request)
            .map(|(name, value)| {
                let flow = self.open(name, value).filter(|flow| flow.is_alive(now));
                (flow.map(|flow| flow.begun), name)
            })
            .collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        let useful = found.iter().filter(|(begun, _)| begun.is_some()).count();
        let superfluous = found.split_off(useful.min(MOST - 1));
        superfluous.into_iter().map(|(_, name)| name).collect()
    }

    fn open(&self, name: &str, value: &str) -> Option<Flow> {
        let text = sealed::open(&self.keys, |key| self.purpose(key, name), value).ok()?;
        read(&text)
    }

    fn purpose(&self, key: &str, name: &str) -> Vec<u8> {
        sealed::associated_data(&[
            FORMAT.as_bytes(),
            key.as_bytes(),
            &self.application,
            name.as_bytes(),
        ])
    }
}

impl Flow {
    pub(super) fn pending(&self, oauth: &OAuthClient) -> PendingAuthorization {
        oauth.resume_authorization(self.state.as_str(), self.verifier.clone())
    }

    fn is_alive(&self, now: SystemTime) -> bool {
        now.duration_since(self.begun)
            .map_or_else(|early| early.duration() <= APART, |age| age < LIFE)
    }
}

/// Four lines; a tenant's name has no line ends in it.
fn written(
    tenant: &TenantId,
    pending: &PendingAuthorization,
    begun: SystemTime,
) -> Zeroizing<String> {
    let begun = begun.duration_since(UNIX_EPOCH).unwrap_or_default();
    let verifier = pending.code_verifier().map_or("", CodeVerifier::expose);
    Zeroizing::new(format!(
        "{}\n{}\n{verifier}\n{tenant}",
        begun.as_millis(),
        pending.state()
    ))
}

fn read(text: &str) -> Option<Flow> {
    let mut lines = text.splitn(4, '\n');
    let begun = Duration::from_millis(lines.next()?.parse().ok()?);
    let state = Zeroizing::new(lines.next()?.to_owned());
    let verifier = Some(lines.next()?).filter(|verifier| !verifier.is_empty());
    Some(Flow {
        begun: UNIX_EPOCH.checked_add(begun)?,
        state,
        verifier: verifier.map(CodeVerifier::new),
        tenant: TenantId::new(lines.next()?).ok()?,
    })
}
