//! Authorization codes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac_sha256::Hash as Sha256;

use super::refresh::{RefreshState, RefreshToken};
use super::{Authority, Behavior, Grant, Issued, Moment, Refused, Scopes};
use crate::sandbox::behavior::{Pkce, RefreshTokenField};

pub(super) struct Code {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) redirect_uri_sent: bool,
    pub(super) scopes: Scopes,
    pub(super) challenge: Option<CodeChallenge>,
    pub(super) expires_at: Moment,
    /// The grant that came of it.
    pub(super) redeemed_for: Option<u64>,
}

/// What a client presents together with its credentials to redeem a code.
pub(in crate::sandbox) struct Redemption<'a> {
    pub(in crate::sandbox) code: &'a str,
    pub(in crate::sandbox) client_id: &'a str,
    pub(in crate::sandbox) redirect_uri: Option<&'a str>,
    pub(in crate::sandbox) verifier: Option<&'a str>,
}

/// A PKCE challenge (RFC 7636, 4.2).
#[derive(Clone)]
pub(in crate::sandbox) enum CodeChallenge {
    Plain(String),
    S256(String),
}

impl CodeChallenge {
    fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::S256(challenge) => {
                *challenge == URL_SAFE_NO_PAD.encode(Sha256::hash(verifier.as_bytes()))
            }
        }
    }
}

impl Authority {
    /// Exchanges a code for the first tokens of a new grant.
    pub(in crate::sandbox) fn redeem(
        &mut self,
        redemption: &Redemption<'_>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<Issued, Refused> {
        let Some(code) = self.codes.get_mut(redemption.code) else {
            return Err(Refused::invalid_grant("the code is unknown"));
        };
        if code.client_id != redemption.client_id {
            return Err(Refused::invalid_grant(
                "the code was issued to another client",
            ));
        }
        if let Some(grant) = code.redeemed_for {
            let killed = behavior.code_reuse_revokes && self.kill(grant);
            return Err(Refused {
                killed: killed.then_some(grant),
                ..Refused::invalid_grant("the code was used before")
            });
        }
        if now >= code.expires_at {
            return Err(Refused::invalid_grant("the code has expired"));
        }
        match redemption.redirect_uri {
            Some(redirect_uri) if redirect_uri != code.redirect_uri => {
                return Err(Refused::invalid_grant(
                    "the code was issued for another redirect_uri",
                ));
            }
            None if code.redirect_uri_sent => {
                return Err(Refused::new("invalid_request", "redirect_uri is missing"));
            }
            _ => {}
        }
        if behavior.pkce != Pkce::Ignored {
            verify(code.challenge.as_ref(), redemption.verifier).map_err(Refused::invalid_grant)?;
        }
        // Not the number of grants held: one that was pruned keeps its number.
        self.granted += 1;
        let number = self.granted;
        code.redeemed_for = Some(number);
        let grant = Grant {
            client_id: code.client_id.clone(),
            scopes: code.scopes.clone(),
            closes_at: now.saturating_add(behavior.refresh_token_lifetime),
            ended: false,
        };
        let scopes = grant.scopes.clone();
        self.grants.insert(number, grant);
        Ok(self.first_tokens(number, scopes, behavior, now))
    }

    fn first_tokens(
        &mut self,
        grant: u64,
        scopes: Scopes,
        behavior: &Behavior,
        now: Moment,
    ) -> Issued {
        let expires_at = now.saturating_add(behavior.access_token_lifetime);
        let access_token = self.issue_access_token(grant, scopes.clone(), expires_at, None);
        let refresh_token = (behavior.refresh_token_field != RefreshTokenField::Never).then(|| {
            self.issue_refresh_token(RefreshToken {
                grant,
                expires_at: now.saturating_add(behavior.refresh_token_lifetime),
                state: RefreshState::Live,
                replaced: false,
                companion: access_token.clone(),
                retires: None,
            })
        });
        Issued {
            grant,
            access_token,
            refresh_token,
            scopes,
            expires_at,
            reused: false,
        }
    }
}

/// Whether a verifier proves that whoever redeems a code also asked for it.
fn verify(challenge: Option<&CodeChallenge>, verifier: Option<&str>) -> Result<(), &'static str> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (Some(challenge), Some(verifier)) if challenge.is_met_by(verifier) => Ok(()),
        (Some(_), Some(_)) => Err("code_verifier does not match the challenge"),
        (Some(_), None) => Err("code_verifier is missing"),
        // RFC 9700, 2.1.1: otherwise an attacker could strip the challenge unnoticed.
        (None, Some(_)) => Err("the code has no challenge to verify"),
    }
}
