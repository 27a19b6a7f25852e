//! The authorization server as a state machine: apps, codes, grants and tokens, and no HTTP.

mod code;
mod consent;
mod overview;
mod prune;
mod refresh;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use self::code::Code;
pub(super) use self::code::{CodeChallenge, Redemption};
pub(super) use self::consent::AuthorizationRequest;
use self::consent::Waiting;
pub(super) use self::overview::{GrantOverview, TokenOverview};
use self::prune::FEWEST_PRUNED;
use self::refresh::{RefreshState, RefreshToken};
use super::behavior::Behavior;
use super::client::ClientRegistration;
use super::clock::Moment;
use super::scope::Scopes;

/// Who may do what, and for how long.
pub(super) struct Authority {
    apps: Vec<ClientRegistration>,
    random: fastrand::Rng,
    waiting: HashMap<String, Waiting>,
    codes: HashMap<String, Code>,
    grants: BTreeMap<u64, Grant>,
    /// How many grants there have ever been.
    granted: u64,
    access_tokens: HashMap<String, AccessToken>,
    refresh_tokens: HashMap<String, RefreshToken>,
    /// How many codes and tokens are held before it is worth looking for dead ones.
    crowded_at: usize,
}

/// One consent, and all tokens that come of it: a family.
pub(super) struct Grant {
    client_id: String,
    scopes: Scopes,
    /// When a fixed refresh window closes.
    closes_at: Moment,
    ended: bool,
}

struct AccessToken {
    grant: u64,
    scopes: Scopes,
    expires_at: Moment,
    revoked: bool,
    /// The refresh token that dies when this token is first used.
    retires: Option<String>,
}

/// Tokens given out by one exchange.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) grant: u64,
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) scopes: Scopes,
    pub(super) expires_at: Moment,
    /// Whether the refresh token presented had been replaced before.
    pub(super) reused: bool,
}

/// A refused exchange, in the words of RFC 6749, 5.2.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) error: &'static str,
    pub(super) description: &'static str,
    /// The grant whose replaced refresh token was presented.
    pub(super) reused: Option<u64>,
    /// The grant that this request ended.
    pub(super) killed: Option<u64>,
}

/// What became of a request to revoke a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Revocation {
    Done,
    Unknown,
    AnotherApps,
}

impl Authority {
    pub(super) fn new(apps: Vec<ClientRegistration>, random: fastrand::Rng) -> Self {
        Self {
            apps,
            random,
            waiting: HashMap::new(),
            codes: HashMap::new(),
            grants: BTreeMap::new(),
            granted: 0,
            access_tokens: HashMap::new(),
            refresh_tokens: HashMap::new(),
            crowded_at: FEWEST_PRUNED,
        }
    }

    /// The app with this client id.
    pub(super) fn app(&self, client_id: &str) -> Option<&ClientRegistration> {
        self.apps.iter().find(|app| app.client_id == client_id)
    }

    /// Whether these are an app's credentials.
    pub(super) fn authenticates(&self, client_id: &str, client_secret: &str) -> bool {
        self.app(client_id)
            .is_some_and(|app| app.client_secret == client_secret)
    }

    /// The scopes an access token opens a resource with, or `None` if it opens none.
    pub(super) fn use_access_token(&mut self, token: &str, now: Moment) -> Option<Scopes> {
        let held = self.access_tokens.get_mut(token)?;
        let alive = self.grants.get(&held.grant).is_some_and(|g| !g.ended);
        if !alive || held.revoked || now >= held.expires_at {
            return None;
        }
        let scopes = held.scopes.clone();
        if let Some(refresh_token) = held.retires.take() {
            self.retire(&refresh_token, now);
        }
        Some(scopes)
    }

    /// Revokes an access or refresh token at its app's wish.
    pub(super) fn revoke(
        &mut self,
        token: &str,
        client_id: &str,
        behavior: &Behavior,
    ) -> Revocation {
        let access_token = self.access_tokens.get_mut(token);
        let refresh_token = self.refresh_tokens.get_mut(token);
        let number = match (&access_token, &refresh_token) {
            (Some(held), _) => held.grant,
            (_, Some(held)) => held.grant,
            (None, None) => return Revocation::Unknown,
        };
        let Some(grant) = self.grants.get_mut(&number) else {
            return Revocation::Unknown;
        };
        if grant.client_id != client_id {
            return Revocation::AnotherApps;
        }
        if let Some(held) = access_token {
            held.revoked = true;
        }
        if let Some(held) = refresh_token {
            held.state = RefreshState::Revoked;
            grant.ended |= behavior.revocation_cascades;
        }
        Revocation::Done
    }

    /// Ends the life of every access token now.
    pub(super) fn expire_access_tokens(&mut self, now: Moment) {
        for held in self.access_tokens.values_mut() {
            held.expires_at = held.expires_at.min(now);
        }
    }

    /// Revokes every access token, and no refresh token.
    pub(super) fn revoke_access_tokens(&mut self) {
        for held in self.access_tokens.values_mut() {
            held.revoked = true;
        }
    }

    /// Ends every grant, as a person does who disconnects the app.
    pub(super) fn revoke_grants(&mut self) {
        for grant in self.grants.values_mut() {
            grant.ended = true;
        }
    }

    /// Gives out an access token.
    fn issue_access_token(
        &mut self,
        grant: u64,
        scopes: Scopes,
        expires_at: Moment,
        retires: Option<String>,
    ) -> String {
        let token = self.secret("access");
        let held = AccessToken {
            grant,
            scopes,
            expires_at,
            revoked: false,
            retires,
        };
        self.access_tokens.insert(token.clone(), held);
        token
    }

    /// Ends a grant. Says whether it was still alive.
    fn kill(&mut self, grant: u64) -> bool {
        match self.grants.get_mut(&grant) {
            Some(grant) => !std::mem::replace(&mut grant.ended, true),
            None => false,
        }
    }

    /// A fresh secret that says what it is, so that a leaked one is found by searching for `sandbox-`.
    fn secret(&mut self, sort: &str) -> String {
        let random: String = (0..SECRET_LENGTH)
            .map(|_| self.random.alphanumeric())
            .collect();
        format!("sandbox-{sort}-{random}")
    }
}

impl Refused {
    fn new(error: &'static str, description: &'static str) -> Self {
        Self {
            error,
            description,
            reused: None,
            killed: None,
        }
    }

    fn invalid_grant(description: &'static str) -> Self {
        Self::new("invalid_grant", description)
    }
}

/// 32 alphanumeric characters carry about 190 bits.
const SECRET_LENGTH: usize = 32;
