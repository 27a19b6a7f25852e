//! The code exchange.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac_sha256::Hash as Sha256;

use super::model::{
    Authority, CodeChallenge, IssuedTokens, RefreshToken, RefreshTokenState, Refusal,
};
use crate::sandbox::{
    behavior::{Behavior, Pkce, RefreshTokenField},
    clock::Moment,
    scope::Scopes,
};

/// A code exchange of an authenticated client.
pub(in crate::sandbox) struct CodeExchange<'a> {
    pub(in crate::sandbox) code: &'a str,
    pub(in crate::sandbox) client_id: &'a str,
    pub(in crate::sandbox) redirect_uri: Option<&'a str>,
    pub(in crate::sandbox) verifier: Option<&'a str>,
    /// The thumbprint of the key in the DPoP proof.
    pub(in crate::sandbox) key: Option<String>,
}

impl Authority {
    /// Exchanges a code for the first tokens of a new grant.
    pub(in crate::sandbox) fn exchange_code(
        &mut self,
        exchange: &CodeExchange<'_>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<IssuedTokens, Refusal> {
        let Some(code) = self.codes.get_mut(exchange.code) else {
            return Err(Refusal::invalid_grant("the code is unknown"));
        };
        if code.client_id != exchange.client_id {
            return Err(Refusal::invalid_grant(
                "the code was issued to another client",
            ));
        }
        if let Some(grant) = code.grant {
            let revoked = behavior.code_reuse_revokes && self.revoke_grant(grant);
            return Err(Refusal {
                revoked_grant: revoked.then_some(grant),
                ..Refusal::invalid_grant("the code was already used")
            });
        }
        if now >= code.expires_at {
            return Err(Refusal::invalid_grant("the code has expired"));
        }
        match exchange.redirect_uri {
            Some(redirect_uri) if redirect_uri != code.redirect_uri => {
                return Err(Refusal::invalid_grant(
                    "the code was issued for another redirect_uri",
                ));
            }
            None if code.redirect_uri_sent => {
                return Err(Refusal::new("invalid_request", "redirect_uri is missing"));
            }
            _ => {}
        }
        if behavior.pkce != Pkce::Ignored {
            verify(code.challenge.as_ref(), exchange.verifier).map_err(Refusal::invalid_grant)?;
        }
        let scopes = code.scopes.clone();
        let (client_id, tenant) = (code.client_id.clone(), code.tenant.clone());
        let number = self.create_grant(client_id, tenant, scopes.clone(), behavior, now);
        if let Some(code) = self.codes.get_mut(exchange.code) {
            code.grant = Some(number);
        }
        self.bind_grant(number, exchange.key.as_deref());
        Ok(self.issue_first_tokens(number, scopes, behavior, now))
    }

    /// Whether the client of a grant has a live refresh token, of any grant.
    fn has_refresh_token(&self, grant: u64, now: Moment) -> bool {
        let client_of = |grant| {
            let grant = self.grants.get(&grant).filter(|grant| !grant.revoked);
            grant.map(|grant| &grant.client_id)
        };
        let client = client_of(grant);
        self.refresh_tokens.values().any(|token| {
            matches!(token.state, RefreshTokenState::Live)
                && now < token.expires_at
                && client_of(token.grant) == client
        })
    }

    pub(super) fn issue_first_tokens(
        &mut self,
        grant: u64,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> IssuedTokens {
        let expires_at = now.saturating_add(behavior.access_token_lifetime);
        let access_token = self.issue_access_token(grant, scopes.clone(), None, behavior, now);
        let is_sent = match behavior.refresh_token_field {
            RefreshTokenField::Never => false,
            RefreshTokenField::FirstConsent => !self.has_refresh_token(grant, now),
            _ => true,
        };
        let refresh_token = is_sent.then(|| {
            self.issue_refresh_token(RefreshToken {
                grant,
                issued_at: now,
                expires_at: now.saturating_add(behavior.refresh_token_lifetime),
                state: RefreshTokenState::Live,
                replaced: false,
                access_token: access_token.clone(),
                retires: None,
            })
        });
        IssuedTokens {
            grant,
            access_token,
            refresh_token,
            scopes,
            expires_at,
            reused: false,
        }
    }
}

/// Checks that the code exchange comes from the client that made the authorization request.
fn verify(challenge: Option<&CodeChallenge>, verifier: Option<&str>) -> Result<(), &'static str> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (Some(challenge), Some(verifier)) if matches(challenge, verifier) => Ok(()),
        (Some(_), Some(_)) => Err("code_verifier does not match the challenge"),
        (Some(_), None) => Err("code_verifier is missing"),
        // RFC 9700, section 2.1.1: otherwise an attacker could remove the challenge unnoticed.
        (None, Some(_)) => Err("the authorization request had no code_challenge"),
    }
}

fn matches(challenge: &CodeChallenge, verifier: &str) -> bool {
    match challenge {
        CodeChallenge::Plain(challenge) => challenge == verifier,
        CodeChallenge::S256(challenge) => {
            *challenge == URL_SAFE_NO_PAD.encode(Sha256::hash(verifier.as_bytes()))
        }
    }
}
