//! What the status page shows of grants and their tokens.

use std::collections::BTreeMap;

use super::{Authority, Grant, Moment, RefreshState};
use crate::sandbox::event::TokenHash;

/// What there is to show of a grant.
pub(in crate::sandbox) struct GrantOverview {
    pub(in crate::sandbox) number: u64,
    pub(in crate::sandbox) client_id: String,
    pub(in crate::sandbox) scopes: String,
    pub(in crate::sandbox) ended: bool,
    /// The newest first.
    pub(in crate::sandbox) access_tokens: Vec<TokenOverview>,
    /// The newest first.
    pub(in crate::sandbox) refresh_tokens: Vec<TokenOverview>,
}

/// What there is to show of a token.
pub(in crate::sandbox) struct TokenOverview {
    pub(in crate::sandbox) token: TokenHash,
    pub(in crate::sandbox) expires_at: Moment,
    pub(in crate::sandbox) state: &'static str,
}

/// A token before it is known whether it is shown.
type Candidate<'a> = (Moment, &'a str, &'static str);

/// A grant with all of its tokens.
struct Family<'a> {
    grant: &'a Grant,
    access_tokens: Vec<Candidate<'a>>,
    refresh_tokens: Vec<Candidate<'a>>,
}

impl Authority {
    /// What there is to show of the newest grants and the newest tokens of each, the newest first.
    pub(in crate::sandbox) fn overview(
        &self,
        now: Moment,
        grants: usize,
        tokens: usize,
    ) -> Vec<GrantOverview> {
        let mut families = self.families(grants);
        for (token, held) in &self.access_tokens {
            if let Some(family) = families.get_mut(&held.grant) {
                let live = !held.revoked && now < held.expires_at && !family.grant.ended;
                let state = if live { "live" } else { "dead" };
                family.access_tokens.push((held.expires_at, token, state));
            }
        }
        for (token, held) in &self.refresh_tokens {
            if let Some(family) = families.get_mut(&held.grant) {
                let state = match held.state {
                    RefreshState::Live if now < held.expires_at && !family.grant.ended => "live",
                    RefreshState::Spent { .. } if !family.grant.ended => "replaced",
                    _ => "dead",
                };
                family.refresh_tokens.push((held.expires_at, token, state));
            }
        }
        let newest_first = families.into_iter().rev();
        newest_first
            .map(|(number, family)| GrantOverview {
                number,
                client_id: family.grant.client_id.clone(),
                scopes: family.grant.scopes.to_string(),
                ended: family.grant.ended,
                access_tokens: newest(family.access_tokens, tokens),
                refresh_tokens: newest(family.refresh_tokens, tokens),
            })
            .collect()
    }

    fn families(&self, most: usize) -> BTreeMap<u64, Family<'_>> {
        let newest = self.grants.iter().rev().take(most);
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

/// The tokens that end last, hashed only once it is known that they are shown: a sandbox may hold very many.
fn newest(mut candidates: Vec<Candidate<'_>>, most: usize) -> Vec<TokenOverview> {
    candidates.sort_unstable_by(|left, right| right.cmp(left));
    candidates
        .into_iter()
        .take(most)
        .map(|(expires_at, token, state)| TokenOverview {
            token: TokenHash::of(token),
            expires_at,
            state,
        })
        .collect()
}
