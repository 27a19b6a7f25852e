//! What was found.

use std::fmt;

/// How often one rule is told of, at most: a store that breaks it once more is no worse for that.
const MOST_OF_ONE_RULE: usize = 8;

/// A rule that every store keeps. Its [`name`](Self::name) stays the same from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// `opens`: the store can be opened several times at once.
    Opens,
    /// `calls_end`: every call comes back within 10 seconds. What needs a call that did not is not looked at.
    CallsEnd,
    /// `nothing_at_first`: a tenant that nobody has saved has no grant.
    NothingAtFirst,
    /// `saves_commit`: a save that expects what is there commits and says so, and the next load brings it.
    SavesCommit,
    /// `save_is_conditional`: a save that expects anything else than what is there commits nothing and changes nothing.
    SaveIsConditional,
    /// `superseded_brings_what_is_there`: who is told [`Superseded`](crate::store::SaveOutcome::Superseded) is told by what,
    /// whole.
    SupersededBringsWhatIsThere,
    /// `every_state_comes_back_whole`: each [`GrantState`](crate::token::GrantState) with all that can stand in it: long
    /// tokens of every character that one may have, scopes or none, times to the last digit.
    EveryStateComesBackWhole,
    /// `save_may_keep_the_generation`: a save may bring the generation that it expects, and replaces what is there.
    SaveMayKeepTheGeneration,
    /// `generations_may_skip`: generations need not follow one another, and are kept to the last digit up to 2⁶³ − 1.
    GenerationsMaySkip,
    /// `tombstone_stays`: a revoked grant is a grant. It is not taken for an empty place, and only a save that expects its
    /// generation replaces it.
    TombstoneStays,
    /// `tenants_are_apart`: every name that a [`TenantId`](crate::token::TenantId) may have is somebody else's than every
    /// other, byte for byte.
    TenantsAreApart,
    /// `other_handles_see_it_at_once`: what one handle has committed, every other one loads.
    OtherHandlesSeeItAtOnce,
    /// `one_of_many_writers_commits`: of many that save at once, over several handles, one commits.
    OneOfManyWritersCommits,
    /// `loads_never_go_back`: while somebody saves, each load brings a committed grant, whole, and never an older one than
    /// the load before.
    LoadsNeverGoBack,
    /// `dropped_futures_leave_it_whole`: a save whose future is dropped, at whatever point, has happened whole or not at all,
    /// and stands in nobody's way.
    DroppedFuturesLeaveItWhole,
    /// `lease_needs_no_grant_and_touches_none`: a lease is there without a grant, and neither changes the other.
    LeaseNeedsNoGrantAndTouchesNone,
    /// `lease_has_one_owner`: whoever asks first has it, whichever handle the others ask.
    LeaseHasOneOwner,
    /// `lease_runs_out`: a lease that is not extended is free once its time is over, and then somebody else's.
    LeaseRunsOut,
    /// `lease_is_extended_by_its_owner`: over any handle, and also when its time has run out and nobody has taken it since.
    LeaseIsExtendedByItsOwner,
    /// `lease_is_given_back_by_its_owner_alone`: and is free at once then.
    LeaseIsGivenBackByItsOwnerAlone,
    /// `lease_of_another_tenant_is_another`: for names as much alike as those of `tenants_are_apart`.
    LeaseOfAnotherTenantIsAnother,
    /// `changed_wakes`: [`changed`](crate::store::TokenStore::changed) ends within a second after another handle has saved a
    /// grant, or given back a lease. Looked at only if [asked for](super::Check::tells_of_changes).
    ChangedWakes,
    /// `every_tenant_is_listed`: page after page, each tenant who has a grant is listed once, in the same order whatever the
    /// size of a page and over whichever handle, until a page is empty. Looked at only if
    /// [asked for](super::Check::lists_tenants), as the next two.
    EveryTenantIsListed,
    /// `listing_goes_on_through_saves`: what is saved between two pages, for the first time or again, keeps no other tenant
    /// from being listed, and puts none on two pages.
    ListingGoesOnThroughSaves,
    /// `listing_goes_on_behind_any_name`: the tenant that a page comes behind need not be there.
    ListingGoesOnBehindAnyName,
}

impl Rule {
    /// Every rule, in the order in which they are looked at.
    pub const ALL: &'static [Self] = &[
        Self::Opens,
        Self::CallsEnd,
        Self::NothingAtFirst,
        Self::SavesCommit,
        Self::SaveIsConditional,
        Self::SupersededBringsWhatIsThere,
        Self::EveryStateComesBackWhole,
        Self::SaveMayKeepTheGeneration,
        Self::GenerationsMaySkip,
        Self::TombstoneStays,
        Self::TenantsAreApart,
        Self::OtherHandlesSeeItAtOnce,
        Self::OneOfManyWritersCommits,
        Self::LoadsNeverGoBack,
        Self::DroppedFuturesLeaveItWhole,
        Self::LeaseNeedsNoGrantAndTouchesNone,
        Self::LeaseHasOneOwner,
        Self::LeaseRunsOut,
        Self::LeaseIsExtendedByItsOwner,
        Self::LeaseIsGivenBackByItsOwnerAlone,
        Self::LeaseOfAnotherTenantIsAnother,
        Self::ChangedWakes,
        Self::EveryTenantIsListed,
        Self::ListingGoesOnThroughSaves,
        Self::ListingGoesOnBehindAnyName,
    ];

    /// The rule's name, as it stands in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opens => "opens",
            Self::CallsEnd => "calls_end",
            Self::NothingAtFirst => "nothing_at_first",
            Self::SavesCommit => "saves_commit",
            Self::SaveIsConditional => "save_is_conditional",
            Self::SupersededBringsWhatIsThere => "superseded_brings_what_is_there",
            Self::EveryStateComesBackWhole => "every_state_comes_back_whole",
            Self::SaveMayKeepTheGeneration => "save_may_keep_the_generation",
            Self::GenerationsMaySkip => "generations_may_skip",
            Self::TombstoneStays => "tombstone_stays",
            Self::TenantsAreApart => "tenants_are_apart",
            Self::OtherHandlesSeeItAtOnce => "other_handles_see_it_at_once",
            Self::OneOfManyWritersCommits => "one_of_many_writers_commits",
            Self::LoadsNeverGoBack => "loads_never_go_back",
            Self::DroppedFuturesLeaveItWhole => "dropped_futures_leave_it_whole",
            Self::LeaseNeedsNoGrantAndTouchesNone => "lease_needs_no_grant_and_touches_none",
            Self::LeaseHasOneOwner => "lease_has_one_owner",
            Self::LeaseRunsOut => "lease_runs_out",
            Self::LeaseIsExtendedByItsOwner => "lease_is_extended_by_its_owner",
            Self::LeaseIsGivenBackByItsOwnerAlone => "lease_is_given_back_by_its_owner_alone",
            Self::LeaseOfAnotherTenantIsAnother => "lease_of_another_tenant_is_another",
            Self::ChangedWakes => "changed_wakes",
            Self::EveryTenantIsListed => "every_tenant_is_listed",
            Self::ListingGoesOnThroughSaves => "listing_goes_on_through_saves",
            Self::ListingGoesOnBehindAnyName => "listing_goes_on_behind_any_name",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    rule: Rule,
    seen: String,
}

impl Violation {
    /// Which rule.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// What was seen, in words. Quotes no token, but whatever the store's own errors say.
    #[must_use]
    pub fn seen(&self) -> &str {
        &self.seen
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.seen)
    }
}

/// What came of a check.
#[derive(Clone, Debug, Default)]
#[must_use = "says whether the store keeps its contract"]
pub struct Report {
    violations: Vec<Violation>,
}

impl Report {
    /// What was broken, in the order in which it was found: eight times the same rule at most.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Whether nothing was.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// For the end of a test.
    ///
    /// # Panics
    ///
    /// If anything was broken, with the list of it.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.is_clean(), "{self}");
    }

    pub(super) fn add(&mut self, rule: Rule, seen: String) {
        let violation = Violation { rule, seen };
        let of_this_rule = self.violations.iter().filter(|other| other.rule == rule);
        if of_this_rule.count() < MOST_OF_ONE_RULE && !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    pub(super) fn has(&self, rule: Rule) -> bool {
        self.violations
            .iter()
            .any(|violation| violation.rule == rule)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("the store keeps its contract");
        }
        f.write_str("the store breaks its contract:")?;
        for violation in &self.violations {
            write!(f, "\n* {violation}")?;
        }
        Ok(())
    }
}
