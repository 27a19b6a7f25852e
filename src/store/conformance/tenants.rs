//! Names that a careless store takes for one another.

use super::{
    Rule,
    samples::{difference, plain},
    scene::{LONG, Scene, Step},
};
use crate::{
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{Grant, TenantId},
};

/// Alike but for what some file system, database or key-value store makes the same, or takes for something of its own. `@`
/// stands for what makes them this check's own: 20 digits, so that some of them are numbers.
#[rustfmt::skip] // one to a line, it would be five pages
const ALIKE: &[&str] = &[
    // Of which the first is a part of all others.
    "@", "@a", "@aa", "@ab",
    // Case, also where one letter becomes two, or the language decides.
    "@A", "@AA", "@i", "@I", "@ı", "@İ", "@ss", "@ß", "@ẞ", "@ſs", "@k", "@\u{212a}", "@σ", "@ς", "@Σ",
    // Blanks, of all widths.
    "@a ", "@a  ", " @a", "@ a", "@a\u{a0}", "@a\u{200b}", "@a\u{feff}", "@a\u{ad}",
    // Unicode: composed and not, of another alphabet, of another width.
    "@\u{e9}", "@e\u{301}", "@e", "@\u{c5}", "@\u{212b}", "@\u{430}", "@\u{ff41}", "@\u{fb01}", "@fi", "@\u{1f600}", "@\u{1f601}",
    // Numbers.
    "0@", "+@", "-@", "@.0", "@e0", "0x@",
    // Separators and paths.
    "@/", "@/a", "@//a", "@/./a", "@/../a", "/@", "../@", "./@", "@.", "@..", "@\\a", "@:a", "@::a", "@|a", "@,a", "@;a",
    "@.json", "@.lock", "@~",
    // What queries, patterns, templates, shells and addresses make something of.
    "@%", "@_", "@*", "@?", "@[a]", "@[ab]", "@{a}", "{@}a", "@'", "@''", "@\"", "@`a`", "@$a", "@${a}", "@--", "@#", "@&a",
    "@=a", "@%61", "@%2561", "@\\u0061", "@+a", "@<a>", "@' OR '1'='1", "@^", "@!",
];

/// The rules of the two kinds of things that tenants have.
pub(super) async fn look_at_grants<S: TokenStore>(scene: &mut Scene<S>) {
    let _ = tenants_are_apart(scene).await;
}

pub(super) async fn look_at_leases<S: TokenStore>(scene: &mut Scene<S>) {
    let _ = lease_of_another_tenant_is_another(scene).await;
}

async fn tenants_are_apart<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::TenantsAreApart, &[Rule::SavesCommit])?;
    let mut saved: Vec<(TenantId, Grant)> = Vec::new();
    for (number, tenant) in (1..).zip(tenants(scene)) {
        let grant = plain(number, "name");
        // One that cannot be saved says nothing of the others, unless saves have ceased to come back.
        scene.comes_back("save")?;
        match scene.save(0, &tenant, None, &grant).await {
            Ok(SaveOutcome::Committed) => saved.push((tenant, grant)),
            Ok(SaveOutcome::Superseded(held)) => {
                let other = saved.iter().find(|(_, grant)| Some(grant) == held.as_ref());
                let taken_for = match other {
                    Some((other, _)) => format!("for {}", shown(other)),
                    None => "for somebody else".into(),
                };
                scene.violated(format!("{} was taken {taken_for}", shown(&tenant)));
            }
            Err(_) => {
                scene.violated(format!("{} could not be saved", shown(&tenant)));
            }
        }
    }
    for (tenant, grant) in &saved {
        let loaded = scene.load(0, tenant).await?;
        if let Some(seen) = difference(Some(grant), loaded.as_ref()) {
            scene.violated(format!("a load of {} brought {seen}", shown(tenant)));
        }
    }
    Ok(())
}

async fn lease_of_another_tenant_is_another<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [
        Rule::LeaseNeedsNoGrantAndTouchesNone,
        Rule::LeaseHasOneOwner,
    ];
    scene.begin(Rule::LeaseOfAnotherTenantIsAnother, &rests_on)?;
    let tenants = tenants(scene);
    let owners: Vec<_> = tenants.iter().map(|_| LeaseOwner::random()).collect();
    let handles = scene.handles.len();
    for (number, (tenant, owner)) in tenants.iter().zip(&owners).enumerate() {
        scene.comes_back("acquire")?;
        match scene.acquire(number % handles, tenant, owner, LONG).await {
            Ok(LeaseOutcome::Acquired) => {}
            Ok(LeaseOutcome::HeldByAnother) => {
                let seen = format!("that of {} was another tenant's", shown(tenant));
                scene.violated(seen);
            }
            Err(_) => {
                scene.violated(format!("that of {} could not be had", shown(tenant)));
            }
        }
    }
    for (number, (tenant, owner)) in tenants.iter().zip(&owners).enumerate() {
        scene.release(number % handles, tenant, owner).await?;
    }
    Ok(())
}

fn tenants<S: TokenStore>(scene: &Scene<S>) -> Vec<TenantId> {
    let mut names: Vec<String> = ALIKE.iter().map(|name| (*name).to_owned()).collect();
    names.extend(longest());
    names.iter().map(|name| scene.named(name)).collect()
}

/// Names as long as they may be, which differ in their last letter, and one without it.
fn longest() -> impl Iterator<Item = String> {
    const TAG: usize = 20;
    let filled = |filling: &str, last: &str| {
        let room = TenantId::MAX_LENGTH - TAG - last.len();
        format!("@{}{last}", filling.repeat(room / filling.len()))
    };
    [
        filled("x", "a"),
        filled("x", "b"),
        filled("x", ""),
        filled("x", "aa"),
        filled("ü", "aa"),
        filled("ü", "ab"),
        filled("%", "a"),
        filled("%", "b"),
    ]
    .into_iter()
}

/// Spelled so that what looks alike does not.
pub(super) fn shown(tenant: &TenantId) -> String {
    format!("tenant \"{}\"", tenant.as_str().escape_default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn p23_names_are_legal_and_no_two_the_same() {
        let scene = Scene::<MemoryStore>::new();
        let tenants = tenants(&scene);
        let distinct: HashSet<_> = tenants.iter().collect();
        assert_eq!(distinct.len(), tenants.len());
        assert!(tenants.iter().any(|name| name.as_str().len() == 255));
    }
}
