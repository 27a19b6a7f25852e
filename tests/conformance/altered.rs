//! Flaws of what is let through, and of what is written.

use std::time::{Duration, SystemTime};

use tower_oauth2_client::{
    Error,
    token::{
        AccessToken, Generation, Grant, GrantState, ReauthorizationReason, RefreshToken, TokenSet,
    },
};

use crate::flaws::Flaw;

/// What a store that is broken so would let through.
pub(crate) fn is_as_expected(
    flaw: Flaw,
    held: Option<&Grant>,
    expected: Option<Generation>,
    new: Generation,
) -> bool {
    let number = held.map(|held| held.generation);
    let is_equal = number == expected;
    #[expect(clippy::cast_precision_loss, reason = "that is the flaw")]
    let float = |generation: Generation| generation.as_u64() as f64;
    match flaw {
        Flaw::IgnoresExpected => true,
        Flaw::TakesOlderExpectations => number >= expected,
        Flaw::TakesAnythingForNothing => is_equal || held.is_none(),
        Flaw::TakesTombstonesForNothing => {
            let is_revoked =
                held.is_some_and(|held| matches!(held.state, GrantState::Revoked { .. }));
            is_equal || (is_revoked && expected.is_none())
        }
        Flaw::ComparesFloats => number.map(float) == expected.map(float),
        Flaw::RefusesTheSameGeneration => is_equal && expected != Some(new),
        Flaw::RefusesGaps => is_equal && expected.is_none_or(|expected| new <= expected.next()),
        _ => is_equal,
    }
}

/// What is written in its place.
pub(crate) fn altered(flaw: Flaw, grant: &Grant) -> Result<Option<Grant>, Error> {
    let mut grant = grant.clone();
    match (flaw, &mut grant.state) {
        (Flaw::DeletesTheRevoked, GrantState::Revoked { .. }) => return Ok(None),
        (Flaw::CutsGenerations, _) => {
            let cut = grant.generation.as_u64() & 0x7fff_ffff;
            grant.generation = Generation::from_u64(cut);
        }
        (Flaw::ForgetsReplays, GrantState::Exchanging { is_replayed, .. }) => {
            *is_replayed = false;
        }
        (Flaw::MixesUpReasons, GrantState::ReauthorizationRequired { reason, .. }) => {
            *reason = ReauthorizationReason::InvalidGrant;
        }
        (Flaw::RefusesLongTokens, GrantState::Active(tokens))
            if tokens.access_token().expose().len() > 4_096 =>
        {
            return Err(Error::store("value too long for a column"));
        }
        _ => {}
    }
    match &mut grant.state {
        GrantState::Active(tokens) => *tokens = other_tokens(flaw, tokens),
        GrantState::Exchanging { tokens, since, .. }
        | GrantState::ReauthorizationRequired { tokens, since, .. } => {
            *tokens = other_tokens(flaw, tokens);
            *since = time(flaw, *since);
        }
        GrantState::Revoked { since } => *since = time(flaw, *since),
        _ => {}
    }
    Ok(Some(grant))
}

fn time(flaw: Flaw, at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    match flaw {
        Flaw::LosesSubseconds => SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        _ => at,
    }
}

fn other_tokens(flaw: Flaw, tokens: &TokenSet) -> TokenSet {
    let access = tokens.access_token().expose();
    let access: String = match flaw {
        Flaw::CutsLongTokens => access.chars().take(4_096).collect(),
        _ => access.to_owned(),
    };
    let issued_at = time(flaw, tokens.issued_at());
    let access = AccessToken::new(access).unwrap();
    let mut altered = TokenSet::new(access, tokens.lifetime(), issued_at);
    if let Some(refresh) = tokens.refresh_token() {
        let age = match flaw {
            Flaw::ForgetsTheRefreshTokensAge => issued_at,
            _ => time(flaw, tokens.refresh_token_issued_at().unwrap()),
        };
        altered = altered.with_refresh_token(RefreshToken::new(refresh.expose()), age);
    }
    match tokens.scope().filter(|_| flaw != Flaw::ForgetsScope) {
        Some(scope) => altered.with_scope(scope),
        None => altered,
    }
}
