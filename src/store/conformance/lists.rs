//! Rules for listing tenants.

use std::collections::BTreeSet;

use super::{
    names::{alike, shown},
    samples::{plain, states},
    suite::{LONG, Suite},
};
use crate::{
    store::{LeaseOwner, TokenStore},
    token::TenantId,
};

/// Few pages, however full the store is.
const LARGE: usize = 100;

/// How many tenants are listed in small pages, and how many small pages there are at most: a store
/// may hold any number of other tenants.
const MOST: usize = 180;

/// A save follows each of the first pages.
const SAVES: usize = 18;

/// The generation of every grant that is saved here.
const ONLY: u64 = 1;

/// Page after page, each tenant with a grant is listed once, until a page is empty. The order
/// depends neither on the size of the pages nor on the handle.
pub async fn every_tenant_is_listed(suite: &Suite<impl TokenStore>) {
    // A page of these only is not the end, if a store keeps leases and grants in one table.
    for number in 0..6 {
        let tenant = suite.tenant(&format!("leased-{number}"));
        let owner = LeaseOwner::random();
        let why = "the lease is free";
        suite.acquires(0, &tenant, &owner, LONG, why).await;
        // Such a name is not a tenant's, and must not make the list fail.
        let internal = suite.reserved(&format!("@-leased-{number}"));
        suite.acquires(0, &internal, &owner, LONG, why).await;
    }
    let mut saved = BTreeSet::new();
    let named = alike()
        .into_iter()
        .map(|name| (name, plain(ONLY, "listed")));
    let states = states().into_iter().zip(0..).map(|((_, grant), number)| {
        let name = format!("conformance-@-listed-{number}");
        (name, grant)
    });
    for (number, (name, grant)) in named.chain(states).enumerate() {
        let (handle, tenant) = (number % suite.handles.len(), suite.named(&name));
        suite.commit(handle, &tenant, None, &grant).await;
        saved.insert(tenant);
    }
    let all = all_after(suite, None, LARGE).await;
    is_complete(suite, &saved, &all);
    // The last tenants, so that the last page is full: a page that ends early would hide what
    // follows a full page.
    for limit in [1, 2, 5] {
        let from = all.len() - all.len().min(MOST) / limit * limit;
        let after = from.checked_sub(1).map(|last| all[last].clone());
        let listed = own(&saved, &all_after(suite, after, limit).await);
        let expected = own(&saved, &all[from..]);
        if listed != expected {
            suite.fail(format_args!(
                "pages of {LARGE} list {} tenants; pages of {limit} list {}, or others, or in \
                 another order",
                expected.len(),
                listed.len(),
            ));
        }
    }
}

/// Saves between two pages, of old and new tenants, neither hide another tenant nor list it twice.
pub async fn listing_survives_saves(suite: &Suite<impl TokenStore>) {
    let before = (0..9).map(|number| suite.tenant(&format!("listed-{number}")));
    let before: Vec<TenantId> = before.collect();
    let mut saved: BTreeSet<_> = before.iter().cloned().collect();
    for tenant in &before {
        suite.commit(0, tenant, None, &plain(ONLY, "listed")).await;
    }
    let all = all_after(suite, None, LARGE).await;
    let from = all.iter().position(|tenant| before.contains(tenant));
    let after = from.and_then(|from| from.checked_sub(1));
    let mut listing = Listing::after(after.map(|last| all[last].clone()));
    while listing.pages < MOST && listing.next_page(suite, 2).await {
        let number = listing.pages - 1;
        if number < SAVES {
            saved.insert(save_between_pages(suite, number, &before).await);
        }
    }
    let is_missing = |tenant: &&TenantId| listing.pages < MOST && !listing.found.contains(*tenant);
    if let Some(tenant) = before.iter().find(is_missing) {
        suite.fail(format_args!(
            "{} was saved before the first page and is on none; others were saved between pages",
            shown(tenant)
        ));
    }
    is_complete(suite, &saved, &all_after(suite, None, LARGE).await);
}

/// Saves two old tenants and a new one, which is returned.
async fn save_between_pages(
    suite: &Suite<impl TokenStore>,
    number: usize,
    before: &[TenantId],
) -> TenantId {
    let handle = number % suite.handles.len();
    // Usually one that has been listed and one that has not.
    let place = number % before.len();
    for tenant in [&before[place], &before[before.len() - 1 - place]] {
        let grant = plain(ONLY, &format!("again-{number}"));
        suite.commit(handle, tenant, Some(ONLY), &grant).await;
    }
    // Names before, between and after all others, in stores that order by name.
    let words = ["!-@-new", "conformance-@-new", "~-@-new"];
    let new = suite.named(&format!("{}-{number}", words[number % words.len()]));
    suite.commit(handle, &new, None, &plain(ONLY, "new")).await;
    new
}

/// A page may follow a tenant that is not stored.
pub async fn listing_resumes_after_any_name(suite: &Suite<impl TokenStore>) {
    let stored = (0..9).map(|number| format!("conformance-@-resumed-{number}"));
    let mut saved = BTreeSet::new();
    for name in stored.chain(alike().into_iter().take(9)) {
        let tenant = suite.named(&name);
        suite.commit(0, &tenant, None, &plain(ONLY, "listed")).await;
        saved.insert(tenant);
    }
    // Grants cannot be deleted, but the position of a name can be seen once it is saved.
    let absent = ["!-@-gone", "conformance-@-gone", "@a-gone", "~-@-gone"];
    let absent = absent.map(|name| suite.named(name));
    let mut pages = Vec::new();
    for tenant in &absent {
        pages.push(own(
            &saved,
            &all_after(suite, Some(tenant.clone()), LARGE).await,
        ));
    }
    for tenant in &absent {
        suite.commit(0, tenant, None, &plain(ONLY, "gone")).await;
    }
    let all = all_after(suite, None, LARGE).await;
    is_complete(suite, &absent.iter().cloned().collect(), &all);
    for (tenant, listed) in absent.iter().zip(pages) {
        let behind = all.iter().skip_while(|listed| *listed != tenant).skip(1);
        let expected = own(&saved, &behind.cloned().collect::<Vec<_>>());
        if listed != expected {
            suite.fail(format_args!(
                "after {}, {} tenants are listed while it is not stored, and {} once it is, or \
                 others",
                shown(tenant),
                listed.len(),
                expected.len(),
            ));
        }
    }
}

fn is_complete(suite: &Suite<impl TokenStore>, saved: &BTreeSet<TenantId>, all: &[TenantId]) {
    let missing = saved.iter().filter(|tenant| !all.contains(tenant));
    let finding = |tenant| format!("{} has a grant and is on no page", shown(tenant));
    suite.fail_if_any(missing.map(finding).collect());
}

/// The suite's own tenants, in order: other tenants may be saved concurrently.
fn own(saved: &BTreeSet<TenantId>, listed: &[TenantId]) -> Vec<TenantId> {
    let is_own = |tenant: &&TenantId| saved.contains(*tenant);
    listed.iter().filter(is_own).cloned().collect()
}

/// Pages, each from the next handle.
struct Listing {
    last: Option<TenantId>,
    found: BTreeSet<TenantId>,
    order: Vec<TenantId>,
    pages: usize,
}

impl Listing {
    fn after(last: Option<TenantId>) -> Self {
        Self {
            last,
            found: BTreeSet::new(),
            order: Vec::new(),
            pages: 0,
        }
    }

    /// Whether the page contained a tenant.
    async fn next_page(&mut self, suite: &Suite<impl TokenStore>, limit: usize) -> bool {
        let handle = self.pages % suite.handles.len();
        let page = suite.list(handle, self.last.as_ref(), limit).await;
        self.pages += 1;
        if page.len() > limit {
            let length = page.len();
            suite.fail(format_args!(
                "a page of at most {limit} contains {length} tenants"
            ));
        }
        for tenant in &page {
            if !self.found.insert(tenant.clone()) {
                let tenant = shown(tenant);
                suite.fail(format_args!("{tenant} is listed twice in pages of {limit}"));
            }
        }
        self.last = page.last().cloned().or(self.last.take());
        self.order.extend_from_slice(&page);
        !page.is_empty()
    }
}

/// All tenants up to the empty page.
async fn all_after(
    suite: &Suite<impl TokenStore>,
    after: Option<TenantId>,
    limit: usize,
) -> Vec<TenantId> {
    let mut listing = Listing::after(after);
    while listing.next_page(suite, limit).await {}
    listing.order
}
