//! Stores that can list their tenants.

use std::collections::BTreeSet;

use super::{
    Rule,
    samples::plain,
    scene::{LONG, Scene, Step},
    tenants::shown,
};
use crate::{
    store::{LeaseOwner, TokenStore},
    token::TenantId,
};

/// A page that is large enough to be soon through with whatever there is.
const LARGE: usize = 100;

/// As many tenants are listed in small pages, of a store that may hold any number of others.
const MOST: usize = 180;

/// Between so many pages something is saved.
const SAVES: usize = 18;

/// That of every grant that is saved here.
const ONLY: u64 = 1;

pub(super) async fn look<S: TokenStore>(scene: &mut Scene<S>) {
    let _ = every_tenant_is_listed(scene).await;
    let _ = listing_goes_on_through_saves(scene).await;
    let _ = listing_goes_on_behind_any_name(scene).await;
}

/// What has to be right of all that was saved so far, and of what was listed.
const RESTS_ON: [Rule; 12] = [
    Rule::SavesCommit,
    Rule::EveryStateComesBackWhole,
    Rule::SaveMayKeepTheGeneration,
    Rule::TombstoneStays,
    Rule::TenantsAreApart,
    Rule::OtherHandlesSeeItAtOnce,
    Rule::DroppedFuturesLeaveItWhole,
    Rule::LeaseNeedsNoGrantAndTouchesNone,
    Rule::LeaseHasOneOwner,
    Rule::LeaseOfAnotherTenantIsAnother,
    // Each of these is looked at before it could be broken.
    Rule::EveryTenantIsListed,
    Rule::ListingGoesOnThroughSaves,
];

async fn every_tenant_is_listed<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::EveryTenantIsListed, &RESTS_ON)?;
    // A page of these alone is not the end, if a store has them in one table with those who have a grant.
    for number in 0..6 {
        let tenant = scene.tenant(&format!("leased-{number}"));
        let owner = LeaseOwner::random();
        scene
            .takes(0, &tenant, &owner, LONG, "nobody had it")
            .await?;
    }
    let all = all_behind(scene, None, LARGE).await?;
    for tenant in scene.saved.clone() {
        if !all.contains(&tenant) {
            let seen = format!("{} has a grant, and is on no page", shown(&tenant));
            scene.violated(seen);
        }
    }
    // The last of them, in pages that are all full, as an end in the midst of one would hide what comes behind a full one.
    for limit in [1, 2, 5] {
        let from = all.len() - all.len().min(MOST) / limit * limit;
        let after = from.checked_sub(1).map(|last| all[last].clone());
        let listed = all_behind(scene, after, limit).await?;
        let (of_all, listed) = (own(scene, &all[from..]), own(scene, &listed));
        if of_all != listed {
            let (listed, of_all) = (listed.len(), of_all.len());
            return Err(scene.violated(format!(
                "pages of {LARGE} bring {of_all} tenants where those of {limit} bring {listed}, or others, or in another order"
            )));
        }
    }
    Ok(())
}

async fn listing_goes_on_through_saves<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::ListingGoesOnThroughSaves, &RESTS_ON)?;
    let before: Vec<_> = (0..9)
        .map(|number| scene.tenant(&format!("listed-{number}")))
        .collect();
    for tenant in &before {
        let grant = plain(ONLY, "listed");
        scene.commit(0, tenant, None, &grant).await?;
    }
    let all = all_behind(scene, None, LARGE).await?;
    let from = all.iter().position(|tenant| before.contains(tenant));
    let after = from.and_then(|from| from.checked_sub(1));
    let mut list = List::from(after.map(|last| all[last].clone()));
    // A store of other people's may have any number of tenants between these.
    while list.pages < MOST && list.has_more(scene, 2).await? {
        let number = list.pages - 1;
        if number < SAVES {
            save_meanwhile(scene, number, &before).await?;
        }
    }
    let is_left_out = |tenant: &&TenantId| list.pages < MOST && !list.found.contains(*tenant);
    if let Some(tenant) = before.iter().find(is_left_out) {
        let seen = format!(
            "{} was saved before the first page, and is on none, as others were saved meanwhile",
            shown(tenant)
        );
        return Err(scene.violated(seen));
    }
    let all = all_behind(scene, None, LARGE).await?;
    for tenant in scene.saved.clone() {
        if !all.contains(&tenant) {
            let seen = format!(
                "{} was saved between pages, and is never listed",
                shown(&tenant)
            );
            return Err(scene.violated(seen));
        }
    }
    Ok(())
}

async fn save_meanwhile<S: TokenStore>(
    scene: &mut Scene<S>,
    number: usize,
    before: &[TenantId],
) -> Step {
    let handle = number % scene.handles.len();
    // Most often, one that has been listed, and one that has not.
    let place = number % before.len();
    for tenant in [&before[place], &before[before.len() - 1 - place]] {
        let grant = plain(ONLY, &format!("again-{number}"));
        let expected = Some(grant.generation);
        scene.commit(handle, tenant, expected, &grant).await?;
    }
    // Names that come before and behind all others, wherever names are ordered by their letters.
    let words = ["!-@-meanwhile", "conformance-@-meanwhile", "~-@-meanwhile"];
    let new = scene.named(&format!("{}-{number}", words[number % words.len()]));
    scene.commit(handle, &new, None, &plain(ONLY, "new")).await
}

async fn listing_goes_on_behind_any_name<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::ListingGoesOnBehindAnyName, &RESTS_ON)?;
    // No call takes a grant away. But where one would be that was, one can be that has yet to come.
    let absent = ["!-@-gone", "conformance-@-gone", "@a-gone", "~-@-gone"];
    let absent = absent.map(|name| scene.named(name));
    let mut behind = Vec::new();
    for tenant in &absent {
        behind.push(all_behind(scene, Some(tenant.clone()), LARGE).await?);
    }
    for tenant in &absent {
        scene.commit(0, tenant, None, &plain(ONLY, "gone")).await?;
    }
    let all = all_behind(scene, None, LARGE).await?;
    for (tenant, behind) in absent.iter().zip(behind) {
        let place = all.iter().position(|listed| listed == tenant);
        let mut expected = own(scene, &all[place.map_or(all.len(), |place| place + 1)..]);
        expected.retain(|listed| !absent.contains(listed));
        let brought = own(scene, &behind);
        if place.is_none() || brought != expected {
            let (brought, expected) = (brought.len(), expected.len());
            return Err(scene.violated(format!(
                "behind {}, while it was not there, {brought} tenants were listed, and {expected} when it was, or others",
                shown(tenant)
            )));
        }
    }
    Ok(())
}

/// Those of this check, in the order in which they are: others may come while it looks.
fn own<S: TokenStore>(scene: &Scene<S>, listed: &[TenantId]) -> Vec<TenantId> {
    let is_own = |tenant: &&TenantId| scene.saved.contains(*tenant);
    listed.iter().filter(is_own).cloned().collect()
}

/// What is listed, page after page, each over another handle.
struct List {
    after: Option<TenantId>,
    found: BTreeSet<TenantId>,
    order: Vec<TenantId>,
    pages: usize,
}

impl List {
    fn from(after: Option<TenantId>) -> Self {
        Self {
            after,
            found: BTreeSet::new(),
            order: Vec::new(),
            pages: 0,
        }
    }

    /// Whether there was another page, and not the end.
    async fn has_more<S: TokenStore>(&mut self, scene: &mut Scene<S>, limit: usize) -> Step<bool> {
        let handle = self.pages % scene.handles.len();
        let page = scene.list(handle, self.after.as_ref(), limit).await?;
        self.pages += 1;
        if page.len() > limit {
            let (length, page) = (page.len(), self.pages);
            return Err(scene.violated(format!("{length} tenants are on page {page} of {limit}")));
        }
        let Some(last) = page.last() else {
            return Ok(false);
        };
        self.after = Some(last.clone());
        for tenant in page {
            if !self.found.insert(tenant.clone()) {
                let seen = format!("in pages of {limit}, {} was listed twice", shown(&tenant));
                return Err(scene.violated(seen));
            }
            self.order.push(tenant);
        }
        Ok(true)
    }
}

/// Until a page is empty.
async fn all_behind<S: TokenStore>(
    scene: &mut Scene<S>,
    after: Option<TenantId>,
    limit: usize,
) -> Step<Vec<TenantId>> {
    let mut list = List::from(after);
    while list.has_more(scene, limit).await? {}
    Ok(list.order)
}
