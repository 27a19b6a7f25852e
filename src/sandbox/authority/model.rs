//! Clients, codes, grants and tokens.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use crate::sandbox::{
    behavior::Behavior, client::ClientRegistration, clock::Moment, scope::Scopes,
};

/// The state of the authorization server.
pub(in crate::sandbox) struct Authority {
    clients: Vec<ClientRegistration>,
    random: fastrand::Rng,
    pub(super) pending_consents: HashMap<String, PendingConsent>,
    pub(super) consents_started: u64,
    pub(super) pushed_requests: HashMap<String, PushedRequest>,
    pub(super) codes: HashMap<String, AuthorizationCode>,
    /// The last codes that were issued, from the oldest on, also if they were exchanged.
    pub(super) recent_codes: VecDeque<String>,
    pub(super) grants: BTreeMap<u64, Grant>,
    /// The number of grants ever created. A pruned grant keeps its number.
    pub(super) grants_created: u64,
    pub(super) access_tokens: HashMap<String, AccessToken>,
    pub(super) refresh_tokens: HashMap<String, RefreshToken>,
    /// By their device codes.
    pub(super) devices: HashMap<String, DeviceAuthorization>,
    /// The assertions of clients and issuers that were used, with their expiry.
    pub(super) used_assertions: HashMap<String, Moment>,
    /// The number of codes and tokens at which expired ones are pruned.
    pub(super) prune_at: usize,
}

/// A valid authorization request: its client, redirect URI and scopes are registered.
#[derive(Clone)]
pub(in crate::sandbox) struct AuthorizationRequest {
    pub(in crate::sandbox) client_id: String,
    pub(in crate::sandbox) redirect_uri: String,
    /// Whether the request named the redirect URI. The code exchange must then name it too.
    pub(in crate::sandbox) redirect_uri_sent: bool,
    pub(in crate::sandbox) response_mode: ResponseMode,
    pub(in crate::sandbox) scopes: Scopes,
    pub(in crate::sandbox) state: Option<String>,
    pub(in crate::sandbox) challenge: Option<CodeChallenge>,
    /// Whose consent it is, at a provider with addresses per tenant.
    pub(in crate::sandbox) tenant: Option<String>,
}

/// How the parameters of a callback are sent.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sandbox) enum ResponseMode {
    #[default]
    Query,
    /// OAuth 2.0 Form Post Response Mode.
    FormPost,
}

/// A PKCE challenge (RFC 7636, section 4.2).
#[derive(Clone)]
pub(in crate::sandbox) enum CodeChallenge {
    Plain(String),
    S256(String),
}

/// The user's decision on an authorization request.
///
/// A caller in this process can attach it to a request as an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Decision {
    Allow,
    Deny,
}

/// An authorization request that a user sees on the pages.
pub(super) struct PendingConsent {
    pub(super) request: AuthorizationRequest,
    /// In the order of their start.
    pub(super) number: u64,
    pub(super) logged_in: bool,
    pub(super) expires_at: Moment,
}

/// An authorization request that a client has pushed.
pub(super) struct PushedRequest {
    pub(super) request: AuthorizationRequest,
    pub(super) expires_at: Moment,
}

pub(super) struct AuthorizationCode {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) redirect_uri_sent: bool,
    pub(super) scopes: Scopes,
    pub(super) challenge: Option<CodeChallenge>,
    pub(super) tenant: Option<String>,
    pub(super) expires_at: Moment,
    /// The grant that the code was exchanged for.
    pub(super) grant: Option<u64>,
}

/// A consent. It is the family of all tokens that descend from it.
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) tenant: Option<String>,
    pub(super) scopes: Scopes,
    /// The end of a fixed refresh window.
    pub(super) window_ends_at: Moment,
    pub(super) revoked: bool,
    /// The thumbprint of the key that new tokens are bound to.
    pub(super) key: Option<String>,
}

pub(super) struct AccessToken {
    pub(super) grant: u64,
    pub(super) scopes: Scopes,
    /// When the API knows the token.
    pub(super) known_at: Moment,
    pub(super) expires_at: Moment,
    pub(super) revoked: bool,
    /// The refresh token that the first use of this token retires.
    pub(super) retires: Option<String>,
    /// The thumbprint of the key that the token is bound to.
    pub(super) key: Option<String>,
}

pub(super) struct RefreshToken {
    pub(super) grant: u64,
    pub(super) issued_at: Moment,
    pub(super) expires_at: Moment,
    pub(super) state: RefreshTokenState,
    /// Whether a rotation replaced it, even if it stays valid until the replacement is used.
    pub(super) replaced: bool,
    /// The access token that was issued together with it.
    pub(super) access_token: String,
    /// The refresh token that the first use of this token retires.
    pub(super) retires: Option<String>,
}

pub(super) enum RefreshTokenState {
    Live,
    Used {
        at: Moment,
        /// The tokens that replaced it, for a replay within the reuse grace.
        issued: Option<Box<IssuedTokens>>,
    },
    Revoked,
}

/// A device authorization.
pub(super) struct DeviceAuthorization {
    pub(super) client_id: String,
    pub(super) user_code: String,
    pub(super) scopes: Scopes,
    pub(super) expires_at: Moment,
    pub(super) interval: Duration,
    /// An earlier poll is too early.
    pub(super) next_poll_at: Moment,
    pub(super) state: DeviceState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceState {
    Pending,
    Decided(Decision),
    Used,
}

/// The tokens of one token response.
#[derive(Clone)]
pub(in crate::sandbox) struct IssuedTokens {
    pub(in crate::sandbox) grant: u64,
    pub(in crate::sandbox) access_token: String,
    pub(in crate::sandbox) refresh_token: Option<String>,
    pub(in crate::sandbox) scopes: Scopes,
    pub(in crate::sandbox) expires_at: Moment,
    /// Whether a rotation had already replaced the refresh token in the request.
    pub(in crate::sandbox) reused: bool,
}

/// A refused token request, in the terms of RFC 6749, section 5.2.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Refusal {
    pub(in crate::sandbox) error: &'static str,
    pub(in crate::sandbox) description: &'static str,
    /// The grant of the refresh token in the request, if a rotation had already replaced the token.
    pub(in crate::sandbox) reused_grant: Option<u64>,
    /// The grant that this request revoked.
    pub(in crate::sandbox) revoked_grant: Option<u64>,
}

impl Authority {
    pub(in crate::sandbox) fn new(clients: Vec<ClientRegistration>, random: fastrand::Rng) -> Self {
        Self {
            clients,
            random,
            pending_consents: HashMap::new(),
            consents_started: 0,
            pushed_requests: HashMap::new(),
            codes: HashMap::new(),
            recent_codes: VecDeque::new(),
            grants: BTreeMap::new(),
            grants_created: 0,
            access_tokens: HashMap::new(),
            refresh_tokens: HashMap::new(),
            devices: HashMap::new(),
            used_assertions: HashMap::new(),
            prune_at: 0,
        }
    }

    pub(in crate::sandbox) fn client(&self, client_id: &str) -> Option<&ClientRegistration> {
        self.clients
            .iter()
            .find(|client| client.client_id == client_id)
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &ClientRegistration> {
        self.clients.iter()
    }

    /// Whether these are the credentials of a registered client.
    pub(in crate::sandbox) fn authenticates(&self, client_id: &str, client_secret: &str) -> bool {
        self.client(client_id)
            .is_some_and(|client| client.secrets().any(|secret| secret == client_secret))
    }

    /// Replaces the secrets of a client by this one, or accepts it as well.
    pub(in crate::sandbox) fn change_secret(
        &mut self,
        client_id: &str,
        secret: String,
        keeps_others: bool,
    ) {
        let mut clients = self.clients.iter_mut();
        let client = clients.find(|client| client.client_id == client_id);
        match client {
            Some(client) if keeps_others => client.more_secrets.push(secret),
            Some(client) => {
                client.client_secret = secret;
                client.more_secrets.clear();
            }
            None => {}
        }
    }

    pub(super) fn issue_access_token(
        &mut self,
        grant: u64,
        scopes: Scopes,
        retires: Option<String>,
        behavior: &Behavior,
        now: Moment,
    ) -> String {
        let token = self.random_secret("access");
        let access_token = AccessToken {
            grant,
            scopes,
            known_at: now.saturating_add(behavior.access_token_propagation),
            expires_at: now.saturating_add(behavior.access_token_lifetime),
            revoked: false,
            retires,
            key: self.grants.get(&grant).and_then(|grant| grant.key.clone()),
        };
        self.access_tokens.insert(token.clone(), access_token);
        token
    }

    pub(super) fn issue_refresh_token(&mut self, refresh_token: RefreshToken) -> String {
        let token = self.random_secret("refresh");
        self.refresh_tokens.insert(token.clone(), refresh_token);
        token
    }

    /// Revokes a grant, and returns whether it was live.
    pub(super) fn revoke_grant(&mut self, grant: u64) -> bool {
        match self.grants.get_mut(&grant) {
            Some(grant) => !std::mem::replace(&mut grant.revoked, true),
            None => false,
        }
    }

    /// A new code that a user enters, of letters that are no vowels (RFC 8628, section 6.1).
    pub(super) fn random_user_code(&mut self) -> String {
        let mut letters = || -> String {
            let letters = std::iter::repeat_with(|| self.random.choice(USER_CODE_LETTERS));
            letters.take(4).flatten().collect()
        };
        format!("{}-{}", letters(), letters())
    }

    /// A new secret that names its kind, so that a search for `sandbox-` finds a leaked one.
    pub(super) fn random_secret(&mut self, kind: &str) -> String {
        let random: String = (0..SECRET_LENGTH)
            .map(|_| self.random.alphanumeric())
            .collect();
        format!("sandbox-{kind}-{random}")
    }
}

impl Refusal {
    pub(super) fn new(error: &'static str, description: &'static str) -> Self {
        Self {
            error,
            description,
            reused_grant: None,
            revoked_grant: None,
        }
    }

    pub(in crate::sandbox) fn invalid_grant(description: &'static str) -> Self {
        Self::new("invalid_grant", description)
    }
}

const USER_CODE_LETTERS: [char; 20] = [
    'B', 'C', 'D', 'F', 'G', 'H', 'J', 'K', 'L', 'M', 'N', 'P', 'Q', 'R', 'S', 'T', 'V', 'W', 'X',
    'Z',
];

/// 32 alphanumeric characters carry about 190 bits.
const SECRET_LENGTH: usize = 32;
