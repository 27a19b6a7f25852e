//! One handle, one tenant: what is saved is loaded, and what is not expected is not saved.

use super::{
    Rule,
    samples::{difference, plain, states, tombstone},
    scene::{Scene, Step, in_words},
};
use crate::{
    store::{SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

/// What a signed column of 64 bits holds, which is all that most databases have.
const LARGEST: u64 = i64::MAX.unsigned_abs();

/// The first number whose follower is lost where numbers are floating point.
const EXACT: u64 = 1 << 53;

pub(super) async fn look<S: TokenStore>(scene: &mut Scene<S>) {
    let _ = nothing_at_first(scene).await;
    let _ = saves_commit(scene).await;
    let _ = save_is_conditional(scene).await;
    let _ = every_state_comes_back_whole(scene).await;
    let _ = save_may_keep_the_generation(scene).await;
    let _ = generations_may_skip(scene).await;
    let _ = tombstone_stays(scene).await;
}

async fn nothing_at_first<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::NothingAtFirst, &[])?;
    let tenant = scene.tenant("nobody");
    for handle in 0..scene.handles.len() {
        scene.finds(handle, &tenant, None).await?;
    }
    Ok(())
}

async fn saves_commit<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::SavesCommit, &[])?;
    let tenant = scene.tenant("saved");
    let mut expected = None;
    for number in 1..=3 {
        let grant = plain(number, "saved");
        scene.commit(0, &tenant, expected, &grant).await?;
        scene.finds(0, &tenant, Some(&grant)).await?;
        expected = Some(grant.generation);
    }
    Ok(())
}

async fn save_is_conditional<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [Rule::NothingAtFirst, Rule::SavesCommit];
    scene.begin(Rule::SaveIsConditional, &rests_on)?;
    let tenant = scene.tenant("conditional");
    for wrong in [0, 1, LARGEST] {
        let rival = plain(2, "rival");
        is_refused(scene, &tenant, number(wrong), &rival, None).await?;
    }
    let held = plain(5, "held");
    scene.commit(0, &tenant, None, &held).await?;
    // A rival may bring an older generation, the same one or a newer one: only what it expects counts.
    for wrong in [None, number(0), number(4), number(6), number(LARGEST)] {
        for brought in [4, 5, 6, 7] {
            let rival = plain(brought, "rival");
            is_refused(scene, &tenant, wrong, &rival, Some(&held)).await?;
        }
    }
    let next = plain(6, "next");
    scene.commit(0, &tenant, number(5), &next).await?;
    let late = plain(6, "late");
    is_refused(scene, &tenant, number(5), &late, Some(&next)).await
}

async fn every_state_comes_back_whole<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::EveryStateComesBackWhole, &[Rule::SavesCommit])?;
    for (number, (word, grant)) in states().into_iter().enumerate() {
        let tenant = scene.tenant(&format!("state-{number}"));
        // One that cannot be saved says nothing of the others.
        if scene.commit(0, &tenant, None, &grant).await.is_err() {
            continue;
        }
        let Ok(loaded) = scene.load(0, &tenant).await else {
            continue;
        };
        if let Some(seen) = difference(Some(&grant), loaded.as_ref()) {
            scene.violated(format!("{word} came back with {seen}"));
        }
    }
    Ok(())
}

async fn save_may_keep_the_generation<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::SaveMayKeepTheGeneration, &[Rule::SavesCommit])?;
    let tenant = scene.tenant("same-generation");
    let mut expected = None;
    for word in ["before", "noted", "noted-again"] {
        let grant = plain(1, word);
        scene.commit(0, &tenant, expected, &grant).await?;
        scene.finds(0, &tenant, Some(&grant)).await?;
        expected = Some(grant.generation);
    }
    Ok(())
}

async fn generations_may_skip<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [Rule::SavesCommit, Rule::SaveIsConditional];
    scene.begin(Rule::GenerationsMaySkip, &rests_on)?;
    let tenant = scene.tenant("far-apart");
    let mut expected = None;
    let far_apart = [
        1,
        7,
        1 << 31,
        1 << 32,
        EXACT,
        EXACT + 1,
        LARGEST - 1,
        LARGEST,
    ];
    for (place, generation) in far_apart.into_iter().enumerate() {
        let grant = plain(generation, "far-apart");
        scene.commit(0, &tenant, expected, &grant).await?;
        scene.finds(0, &tenant, Some(&grant)).await?;
        // What stood there before is what a number without its last digits would be taken for.
        if place > 0 {
            let rival = plain(generation, "rival");
            is_refused(scene, &tenant, expected, &rival, Some(&grant)).await?;
        }
        expected = Some(grant.generation);
    }
    Ok(())
}

async fn tombstone_stays<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [Rule::SavesCommit, Rule::SaveIsConditional];
    scene.begin(Rule::TombstoneStays, &rests_on)?;
    let tenant = scene.tenant("revoked");
    let revoked = tombstone(2);
    let first = plain(1, "revoked");
    scene.commit(0, &tenant, None, &first).await?;
    scene.commit(0, &tenant, number(1), &revoked).await?;
    scene.finds(0, &tenant, Some(&revoked)).await?;
    for wrong in [None, number(1), number(3)] {
        let rival = plain(3, "rival");
        is_refused(scene, &tenant, wrong, &rival, Some(&revoked)).await?;
    }
    // Somebody consents anew.
    let anew = plain(3, "anew");
    scene.commit(0, &tenant, number(2), &anew).await?;
    scene.finds(0, &tenant, Some(&anew)).await
}

/// Saves where that must be refused.
async fn is_refused<S: TokenStore>(
    scene: &mut Scene<S>,
    tenant: &TenantId,
    expected: Option<Generation>,
    rival: &Grant,
    held: Option<&Grant>,
) -> Step {
    let there = in_words(held.map(|held| held.generation));
    let expectation = in_words(expected);
    match scene.save(0, tenant, expected, rival).await? {
        SaveOutcome::Committed => {
            let seen = format!("a save that expected {expectation} has replaced {there}");
            return Err(scene.violated(seen));
        }
        SaveOutcome::Superseded(brought) => {
            if let Some(seen) = difference(held, brought.as_ref()) {
                let seen = format!("who expected {expectation} was told of {seen}");
                scene.violated_another(Rule::SupersededBringsWhatIsThere, seen);
            }
        }
    }
    let loaded = scene.load(0, tenant).await?;
    match difference(held, loaded.as_ref()) {
        None => Ok(()),
        Some(seen) => {
            let seen = format!(
                "a save that expected {expectation} instead of {there} was refused, and yet a load brought {seen}"
            );
            Err(scene.violated(seen))
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is what a save expects, which may be nothing"
)]
fn number(generation: u64) -> Option<Generation> {
    Some(Generation::from_u64(generation))
}
