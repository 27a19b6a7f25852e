//! Saves whose future is dropped, as when a deadline or a shutdown ends a caller.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{
    Rule,
    samples::plain,
    scene::{Scene, Step, in_words, within},
};
use crate::{
    store::{SaveOutcome, TokenStore},
    token::{Grant, TenantId},
};

/// More waits than a save should need. One that waits more often is not cut beyond.
const MOST_WAITS: u32 = 24;

pub(super) async fn look<S: TokenStore>(scene: &mut Scene<S>) {
    let _ = dropped_futures_leave_it_whole(scene).await;
}

async fn dropped_futures_leave_it_whole<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [
        Rule::SavesCommit,
        Rule::SaveIsConditional,
        Rule::OtherHandlesSeeItAtOnce,
    ];
    scene.begin(Rule::DroppedFuturesLeaveItWhole, &rests_on)?;
    let tenant = scene.tenant("dropped");
    let mut held = plain(1, "held");
    scene.commit(0, &tenant, None, &held).await?;
    for waits in 1..=MOST_WAITS {
        let mut has_ended = true;
        // Both while what it waits for is under way, and after that is done but before it is told.
        for is_told in [true, false] {
            let new = plain(held.generation.next().as_u64(), "dropped");
            scene.comes_back("save")?;
            let work = scene.handles[0].save(&tenant, Some(held.generation), &new);
            let work = cut(work, waits, is_told);
            let outcome = within("save", async { work.await.transpose() }).await;
            let outcome = scene.judge(outcome)?;
            has_ended &= outcome.is_some();
            held = go_on(scene, &tenant, held, new, outcome).await?;
        }
        if has_ended {
            break;
        }
    }
    Ok(())
}

/// Polls until the future has waited so many times, and drops it then: at once, or just when it would go on.
async fn cut<T>(future: impl Future<Output = T>, waits: u32, is_at_once: bool) -> Option<T> {
    let mut future = pin!(future);
    let mut waited = 0;
    poll_fn(|context| {
        if waited == waits {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                waited += 1;
                if is_at_once && waited == waits {
                    return Poll::Ready(None);
                }
                Poll::Pending
            }
        }
    })
    .await
}

/// Saves once more, over another handle, what comes next. Returns it.
async fn go_on<S: TokenStore>(
    scene: &mut Scene<S>,
    tenant: &TenantId,
    old: Grant,
    new: Grant,
    outcome: Option<SaveOutcome>,
) -> Step<Grant> {
    let other = 1 % scene.handles.len();
    if let Some(SaveOutcome::Superseded(held)) = &outcome {
        let held = in_words(held.as_ref().map(|held| held.generation));
        return Err(scene.violated(format!("a save after a dropped one was told of {held}")));
    }
    let loaded = scene.load(other, tenant).await?;
    let is_new = loaded.as_ref() == Some(&new);
    if !is_new && (outcome.is_some() || loaded.as_ref() != Some(&old)) {
        let held = in_words(loaded.map(|held| held.generation));
        return Err(scene.violated(format!(
            "after a dropped save a load brought {held}, which is neither what was there nor what was saved"
        )));
    }
    let held = if is_new { &new } else { &old };
    let next = following(held);
    let expected = Some(held.generation);
    let next = match scene.save(other, tenant, expected, &next).await? {
        SaveOutcome::Committed => next,
        // What was dropped has gone on by itself, and was there first.
        SaveOutcome::Superseded(Some(late)) if !is_new && late == new => {
            let next = following(&new);
            let expected = Some(new.generation);
            scene.commit(other, tenant, expected, &next).await?;
            next
        }
        SaveOutcome::Superseded(told) => {
            let (expected, told) = (in_words(expected), told.map(|told| told.generation));
            let told = in_words(told);
            let seen =
                format!("after a dropped save, one that expected {expected} was told of {told}");
            return Err(scene.violated(seen));
        }
    };
    scene.finds(0, tenant, Some(&next)).await?;
    Ok(next)
}

fn following(grant: &Grant) -> Grant {
    plain(grant.generation.next().as_u64(), "next")
}
