//! Flaws of what is listed.

use tower_oauth2_client::token::{Grant, GrantState, TenantId};

use crate::{flaws::Flaw, world::Tables};

/// A page, as a store that is broken so brings it over the handle of this number.
pub(crate) fn page(
    flaw: Flaw,
    handle: usize,
    tables: &mut Tables,
    after: Option<&str>,
    limit: usize,
) -> Vec<TenantId> {
    let begins_anew = std::mem::take(&mut tables.somebody_is_new);
    let after = after.filter(|_| !(begins_anew && flaw == Flaw::ListsAnewWhenSomebodyIsNew));
    let mut names = in_order(flaw, handle, tables);
    let place = after.and_then(|after| names.iter().position(|name| name == after));
    let from = match (after, place) {
        (None, _) => 0,
        (Some(_), Some(place)) if flaw == Flaw::ListsTheLastOnceMore => place,
        (Some(_), Some(place)) => place + 1,
        (Some(after), None) => match flaw {
            Flaw::BeginsAnewBehindAnUnknownName => 0,
            Flaw::EndsBehindAnUnknownName | Flaw::ListsWhoWasSavedLastAtTheEnd => names.len(),
            _ => names.partition_point(|name| &**name <= after),
        },
    };
    let mut page = names.split_off(from);
    if page.is_empty() && flaw == Flaw::ListsInRounds {
        page = names;
    }
    page.truncate(limit + usize::from(flaw == Flaw::ListsMoreThanAsked));
    if flaw == Flaw::LimitsAndThenLooks {
        page.retain(|name| tables.grants.contains_key(name));
    }
    page.into_iter()
        .map(|name| TenantId::new(name).unwrap())
        .collect()
}

fn in_order(flaw: Flaw, handle: usize, tables: &Tables) -> Vec<String> {
    let all = tables.grants.keys().cloned();
    let is_active = |grant: &Grant| matches!(grant.state, GrantState::Active(_));
    match flaw {
        Flaw::ListsWhoWasSavedLastAtTheEnd => tables.order.clone(),
        Flaw::ListsTheFirstHundred => all.take(100).collect(),
        Flaw::ListsLowerCase => all.map(|name| name.to_lowercase()).collect(),
        Flaw::ListsItsOwnAlone => all
            .filter(|name| tables.savers.get(name) == Some(&handle))
            .collect(),
        Flaw::ListsWhoIsActive => all.filter(|name| is_active(&tables.grants[name])).collect(),
        Flaw::ListsInAnotherOrderOverEachHandle if handle % 2 == 1 => all.rev().collect(),
        Flaw::LimitsAndThenLooks => {
            let mut names: Vec<String> = all.chain(tables.leases.keys().cloned()).collect();
            names.sort();
            names.dedup();
            names
        }
        _ => all.collect(),
    }
}
