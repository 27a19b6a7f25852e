//! Flaws of listings.

use tower_oauth2_client::token::{Grant, GrantState, TenantId};

use crate::{broken::Tables, flaws::Flaw};

/// A page from the handle with this number.
pub(crate) fn page(
    flaw: Flaw,
    handle: usize,
    tables: &mut Tables,
    after: Option<&str>,
    limit: usize,
) -> Vec<TenantId> {
    let restarts = std::mem::take(&mut tables.has_new_tenant);
    let after = after.filter(|_| !(restarts && flaw == Flaw::RestartsAfterANewTenant));
    let mut names = in_order(flaw, handle, tables);
    let place = after.and_then(|after| names.iter().position(|name| name == after));
    let from = match (after, place) {
        (None, _) => 0,
        (Some(_), Some(place)) if flaw == Flaw::RepeatsTheLastTenant => place,
        (Some(_), Some(place)) => place + 1,
        (Some(after), None) => match flaw {
            Flaw::RestartsAfterAnUnknownName => 0,
            Flaw::EndsAfterAnUnknownName | Flaw::ListsInOrderOfSaves => names.len(),
            _ => names.partition_point(|name| &**name <= after),
        },
    };
    let mut page = names.split_off(from);
    if page.is_empty() && flaw == Flaw::WrapsAround {
        page = names;
    }
    page.truncate(limit + usize::from(flaw == Flaw::ExceedsTheLimit));
    if flaw == Flaw::LimitsBeforeFiltering {
        page.retain(|name| tables.grants.contains_key(name));
    }
    page.into_iter()
        .filter_map(|name| TenantId::new(name).ok())
        .collect()
}

fn in_order(flaw: Flaw, handle: usize, tables: &Tables) -> Vec<String> {
    let all = tables.grants.keys().cloned();
    let is_active = |grant: &Grant| matches!(grant.state, GrantState::Active(_));
    match flaw {
        Flaw::ListsInOrderOfSaves => tables.save_order.clone(),
        Flaw::ListsTheFirstHundred => all.take(100).collect(),
        Flaw::ListsLowerCase => all.map(|name| name.to_lowercase()).collect(),
        Flaw::ListsOwnSavesOnly => all
            .filter(|name| tables.savers.get(name) == Some(&handle))
            .collect(),
        Flaw::ListsActiveGrantsOnly => all.filter(|name| is_active(&tables.grants[name])).collect(),
        Flaw::OrderDependsOnTheHandle if handle % 2 == 1 => all.rev().collect(),
        Flaw::LimitsBeforeFiltering => {
            let mut names: Vec<String> = all.chain(tables.leases.keys().cloned()).collect();
            names.sort();
            names.dedup();
            names
        }
        _ => all.collect(),
    }
}
