//! The grants and tokens that the status page shows.

use std::collections::BTreeMap;

use super::model::{Authority, Grant, RefreshTokenState};
use crate::sandbox::{clock::Moment, event::TokenHash};

pub(in crate::sandbox) struct GrantOverview {
    pub(in crate::sandbox) number: u64,
    pub(in crate::sandbox) client_id: String,
    pub(in crate::sandbox) scopes: String,
    pub(in crate::sandbox) revoked: bool,
    /// Newest first.
    pub(in crate::sandbox) access_tokens: Vec<TokenOverview>,
    /// Newest first.
    pub(in crate::sandbox) refresh_tokens: Vec<TokenOverview>,
}

pub(in crate::sandbox) struct TokenOverview {
    pub(in crate::sandbox) token: TokenHash,
    pub(in crate::sandbox) expires_at: Moment,
    pub(in crate::sandbox) state: &'static str,
}

/// Expiry, secret and state of a token.
type Candidate<'a> = (Moment, &'a str, &'static str);

/// A grant with all of its tokens.
struct Family<'a> {
    grant: &'a Grant,
    access_tokens: Vec<Candidate<'a>>,
    refresh_tokens: Vec<Candidate<'a>>,
}

impl Authority {
    /// Describes at most `max_grants` grants with at most `max_tokens` tokens each, newest first.
    pub(in crate::sandbox) fn overview(
        &self,
        now: Moment,
        max_grants: usize,
        max_tokens: usize,
    ) -> Vec<GrantOverview> {
        let mut families = self.families(max_grants);
        for (secret, token) in &self.access_tokens {
            if let Some(family) = families.get_mut(&token.grant) {
                let live = !token.revoked && now < token.expires_at && !family.grant.revoked;
                let state = if live { "live" } else { "invalid" };
                family.access_tokens.push((token.expires_at, secret, state));
            }
        }
        for (secret, token) in &self.refresh_tokens {
            if let Some(family) = families.get_mut(&token.grant) {
                let grant_live = !family.grant.revoked;
                let state = match token.state {
                    RefreshTokenState::Live if now < token.expires_at && grant_live => "live",
                    RefreshTokenState::Used { .. } if grant_live => "rotated",
                    _ => "invalid",
                };
                family
                    .refresh_tokens
                    .push((token.expires_at, secret, state));
            }
        }
        let newest_first = families.into_iter().rev();
        newest_first
            .map(|(number, family)| GrantOverview {
                number,
                client_id: family.grant.client_id.clone(),
                scopes: family.grant.scopes.to_string(),
                revoked: family.grant.revoked,
                access_tokens: newest(family.access_tokens, max_tokens),
                refresh_tokens: newest(family.refresh_tokens, max_tokens),
            })
            .collect()
    }

    fn families(&self, max_grants: usize) -> BTreeMap<u64, Family<'_>> {
        let newest = self.grants.iter().rev().take(max_grants);
        newest
            .map(|(number, grant)| {
                let family = Family {
                    grant,
                    access_tokens: Vec::new(),
                    refresh_tokens: Vec::new(),
                };
                (*number, family)
            })
            .collect()
    }
}

/// The tokens that expire last. Only these are hashed, because a sandbox can hold very many tokens.
fn newest(mut candidates: Vec<Candidate<'_>>, max_tokens: usize) -> Vec<TokenOverview> {
    candidates.sort_unstable_by(|left, right| right.cmp(left));
    candidates
        .into_iter()
        .take(max_tokens)
        .map(|(expires_at, secret, state)| TokenOverview {
            token: TokenHash::of(secret),
            expires_at,
            state,
        })
        .collect()
}
