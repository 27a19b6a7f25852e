//! How the stores are broken, and which rules must fail.

use std::time::{Duration, SystemTime};

use tower_oauth2_client::{
    Error,
    token::{
        AccessToken, Generation, Grant, GrantState, ReauthorizationReason, RefreshToken, TokenSet,
    },
};

macro_rules! flaws {
    ($($flaw:ident: $($rule:ident),+;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Flaw {
            None,
            $($flaw,)+
        }

        /// The rules that each flaw breaks. The first broken rule is one of them; rules that build
        /// on it may fail as well.
        pub(crate) const FLAWS: &[(Flaw, &[&str])] = &[
            $((Flaw::$flaw, &[$(stringify!($rule)),+]),)+
        ];
    };
}

flaws! {
    LoadHangs: calls_complete;
    SaveHangs: calls_complete;
    AcquireHangs: calls_complete;
    ReleaseHangs: calls_complete;
    InventsGrants: unknown_tenant_has_no_grant;
    CommitsAndReturnsSuperseded: save_commits;
    ReturnsCommittedWithoutWriting: save_commits;
    IgnoresExpected: save_is_conditional;
    AcceptsOlderExpectations: save_is_conditional;
    AcceptsAnyExpectationForNoGrant: save_is_conditional;
    WritesAndReturnsSuperseded: save_is_conditional;
    SupersededIsEmpty: superseded_returns_the_stored_grant;
    SupersededContainsTheNewGrant: superseded_returns_the_stored_grant;
    LosesSubseconds: every_state_round_trips;
    CutsLongTokens: every_state_round_trips;
    RefusesLongTokens: every_state_round_trips;
    LosesScope: every_state_round_trips;
    LosesValues: every_state_round_trips;
    LosesKey: every_state_round_trips;
    LosesRefreshTokenLifetime: every_state_round_trips;
    LosesReplayFlag: every_state_round_trips;
    ConfusesReasons: every_state_round_trips;
    LosesRefreshTokenAge: every_state_round_trips;
    LosesIdentity: identity_round_trips;
    LosesReplacedIdentity: identity_round_trips;
    RefusesTheSameGeneration: save_may_keep_the_generation;
    IgnoresTheSameGeneration: save_may_keep_the_generation;
    RefusesGaps: generations_may_skip;
    CutsGenerations: generations_may_skip;
    ComparesFloats: generations_may_skip;
    DeletesRevokedGrants: every_state_round_trips, revoked_grant_is_kept;
    TreatsRevokedAsAbsent: revoked_grant_is_kept;
    FoldsCase: tenants_are_isolated, leases_are_isolated;
    TruncatesNames: tenants_are_isolated, leases_are_isolated;
    TrimsNames: tenants_are_isolated, leases_are_isolated;
    TreatsNamesAsPatterns: tenants_are_isolated;
    HandlesHaveTheirOwnGrants: saves_are_visible_to_all_handles;
    ChecksThenWrites: one_of_concurrent_saves_commits;
    DeletesThenInserts: loads_are_monotonic, dropped_save_is_atomic;
    WritesTheGenerationFirst: loads_are_monotonic, dropped_save_is_atomic;
    KeepsItsLockWhenDropped: dropped_save_is_atomic;
    LeaseNeedsGrant: lease_and_grant_are_independent;
    LeaseWipesGrant: lease_and_grant_are_independent;
    SaveEndsLease: lease_and_grant_are_independent;
    LeaseForEveryOwner: lease_and_grant_are_independent, lease_has_one_owner;
    LeaseForNoOwner: lease_and_grant_are_independent, lease_has_one_owner;
    HandlesHaveTheirOwnLeases: lease_and_grant_are_independent, lease_has_one_owner;
    ChecksThenLeases: lease_has_one_owner;
    LeaseNeverExpires: lease_expires;
    LeaseIsReclaimed: lease_expires;
    LeaseIsNotExtended: lease_is_extended_by_its_owner;
    LeaseIsRefusedToItsOwner: lease_is_extended_by_its_owner;
    EveryOwnerReleases: lease_is_released_by_its_owner_only;
    ReleaseDoesNothing: lease_is_released_by_its_owner_only;
    OneLeaseForAll: leases_are_isolated;
    ParsesLeaseNames: reserved_names_have_leases;
    NeverReportsChanges: changed_wakes;
    ReportsSavesOnly: changed_wakes;
    AnnouncesNothing: saves_are_announced;
    AnnouncesOneTenantOnly: saves_are_announced;
    AnnouncesTheReplacedGeneration: saves_are_announced;
    AnnouncesTooEarly: announced_saves_can_be_loaded;
    ListHangs: calls_complete;
    CannotList: every_tenant_is_listed;
    ListsOwnSavesOnly: every_tenant_is_listed;
    ListsActiveGrantsOnly: every_tenant_is_listed;
    ExceedsTheLimit: every_tenant_is_listed;
    RepeatsTheLastTenant: every_tenant_is_listed;
    ListsTheFirstHundred: every_tenant_is_listed;
    WrapsAround: every_tenant_is_listed;
    LimitsBeforeFiltering: every_tenant_is_listed;
    OrderDependsOnTheHandle: every_tenant_is_listed;
    ListsLowerCase: every_tenant_is_listed;
    ListsInOrderOfSaves: listing_survives_saves;
    RestartsAfterANewTenant: listing_survives_saves;
    RestartsAfterAnUnknownName: listing_resumes_after_any_name;
    EndsAfterAnUnknownName: listing_resumes_after_any_name;
}

/// Whether a save over `expected` is accepted.
pub(crate) fn is_as_expected(
    flaw: Flaw,
    stored: Option<&Grant>,
    expected: Option<Generation>,
    new: Generation,
) -> bool {
    let number = stored.map(|stored| stored.generation);
    let is_equal = number == expected;
    #[expect(clippy::cast_precision_loss, reason = "that is the flaw")]
    let float = |generation: Generation| generation.as_u64() as f64;
    match flaw {
        Flaw::IgnoresExpected => true,
        Flaw::AcceptsOlderExpectations => number >= expected,
        Flaw::AcceptsAnyExpectationForNoGrant => is_equal || stored.is_none(),
        Flaw::TreatsRevokedAsAbsent => {
            let is_revoked =
                stored.is_some_and(|stored| matches!(stored.state, GrantState::Revoked { .. }));
            is_equal || (is_revoked && expected.is_none())
        }
        Flaw::ComparesFloats => number.map(float) == expected.map(float),
        Flaw::RefusesTheSameGeneration => is_equal && expected != Some(new),
        Flaw::RefusesGaps => is_equal && expected.is_none_or(|expected| new <= expected.next()),
        _ => is_equal,
    }
}

/// The grant that is written instead, if any.
pub(crate) fn altered(flaw: Flaw, grant: &Grant) -> Result<Option<Grant>, Error> {
    let mut grant = grant.clone();
    match (flaw, &mut grant.state) {
        (Flaw::DeletesRevokedGrants, GrantState::Revoked { .. }) => return Ok(None),
        (Flaw::CutsGenerations, _) => {
            let cut = grant.generation.as_u64() & 0x7fff_ffff;
            grant.generation = Generation::from_u64(cut);
        }
        (Flaw::LosesIdentity, _) => grant.identity = None,
        // A column that an update does not set.
        (Flaw::LosesReplacedIdentity, _) if grant.generation > Generation::FIRST.next() => {
            grant.identity = None;
        }
        (Flaw::LosesReplayFlag, GrantState::Refreshing { is_replayed, .. }) => {
            *is_replayed = false;
        }
        (Flaw::ConfusesReasons, GrantState::ReauthorizationRequired { reason, .. }) => {
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
        GrantState::Refreshing { tokens, since, .. }
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
            Flaw::LosesRefreshTokenAge => issued_at,
            _ => time(flaw, tokens.refresh_token_issued_at().unwrap()),
        };
        altered = altered.with_refresh_token(RefreshToken::new(refresh.expose()), age);
    }
    if let Some(lifetime) = tokens.refresh_token_lifetime()
        && flaw != Flaw::LosesRefreshTokenLifetime
    {
        altered = altered.with_refresh_token_lifetime(lifetime);
    }
    if flaw != Flaw::LosesValues {
        for (name, value) in tokens.values().iter() {
            altered = altered.with_value(name, value);
        }
    }
    if let Some(key) = tokens.dpop_key()
        && flaw != Flaw::LosesKey
    {
        altered = altered.with_dpop_key(key.clone());
    }
    match tokens.scope().filter(|_| flaw != Flaw::LosesScope) {
        Some(scope) => altered.with_scope(scope),
        None => altered,
    }
}
