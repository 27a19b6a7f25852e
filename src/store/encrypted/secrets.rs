//! The secret fields of a grant.

use zeroize::Zeroizing;

use super::envelope::Field;
use crate::{
    error::Error,
    token::{AccessToken, DpopKey, Grant, GrantState, RefreshToken, TokenSet},
};

/// The secrets of a grant. A revoked grant has none.
pub(super) fn secrets(grant: &Grant) -> impl Iterator<Item = &str> {
    let tokens = grant.tokens();
    let access_token = tokens.map(|tokens| tokens.access_token().expose());
    let refresh_token = tokens.and_then(|tokens| Some(tokens.refresh_token()?.expose()));
    let values = tokens.into_iter().flat_map(|tokens| tokens.values().iter());
    let values = values.map(|(_, value)| value);
    let key = tokens.and_then(|tokens| Some(tokens.dpop_key()?.expose()));
    let tokens = access_token.into_iter().chain(refresh_token);
    tokens.chain(values).chain(key)
}

/// Replaces the secrets of a grant and keeps all other fields.
pub(super) fn with_secrets(
    grant: &Grant,
    change: impl Fn(Field<'_>, &str) -> Result<Zeroizing<String>, Error>,
) -> Result<Grant, Error> {
    let change = |tokens: &TokenSet| -> Result<TokenSet, Error> {
        let access_token = change(Field::AccessToken, tokens.access_token().expose())?;
        let mut changed = TokenSet::new(
            AccessToken::new(access_token.as_str()).map_err(Error::store)?,
            tokens.lifetime(),
            tokens.issued_at(),
        );
        if let (Some(token), Some(issued_at)) =
            (tokens.refresh_token(), tokens.refresh_token_issued_at())
        {
            let refresh_token = change(Field::RefreshToken, token.expose())?;
            let refresh_token = RefreshToken::new(refresh_token.as_str());
            changed = changed.with_refresh_token(refresh_token, issued_at);
        }
        if let Some(lifetime) = tokens.refresh_token_lifetime() {
            changed = changed.with_refresh_token_lifetime(lifetime);
        }
        if let Some(scope) = tokens.scope() {
            changed = changed.with_scope(scope);
        }
        for (name, value) in tokens.values().iter() {
            changed = changed.with_stored_value(name, &change(Field::Value(name), value)?);
        }
        if let Some(key) = tokens.dpop_key() {
            let key = change(Field::DpopKey, key.expose())?;
            changed = changed.with_dpop_key(DpopKey::from(key));
        }
        Ok(changed)
    };
    let state = match &grant.state {
        GrantState::Active(tokens) => GrantState::Active(change(tokens)?),
        GrantState::Refreshing {
            tokens,
            since,
            is_replayed,
        } => GrantState::Refreshing {
            tokens: change(tokens)?,
            since: *since,
            is_replayed: *is_replayed,
        },
        GrantState::ReauthorizationRequired {
            tokens,
            reason,
            since,
        } => GrantState::ReauthorizationRequired {
            tokens: change(tokens)?,
            reason: *reason,
            since: *since,
        },
        GrantState::Revoked { since } => GrantState::Revoked { since: *since },
    };
    let changed = Grant::new(grant.generation, state).with_identity(grant.identity.clone());
    Ok(changed.with_history(grant.history.clone()))
}
