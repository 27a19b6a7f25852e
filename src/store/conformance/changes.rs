//! Stores that can tell of changes.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{
    Rule,
    samples::plain,
    scene::{LONG, Scene, Step},
};
use crate::{
    store::{LeaseOwner, TokenStore},
    token::TenantId,
};

/// Those who wait look again by themselves, so a store that tells later than this tells nothing.
const SOON: Duration = Duration::from_secs(1);

pub(super) async fn look<S: TokenStore>(scene: &mut Scene<S>) {
    let _ = changed_wakes(scene).await;
}

async fn changed_wakes<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [
        Rule::SavesCommit,
        Rule::LeaseNeedsNoGrantAndTouchesNone,
        Rule::LeaseHasOneOwner,
    ];
    scene.begin(Rule::ChangedWakes, &rests_on)?;
    let tenant = scene.tenant("watched");
    let mut expected = None;
    for number in 1..=3 {
        let grant = plain(number, "watched");
        let why = format!("generation {number} was saved");
        let save = async |scene: &mut Scene<S>| scene.commit(0, &tenant, expected, &grant).await;
        wakes(scene, &tenant, &why, save).await?;
        expected = Some(grant.generation);
    }
    let owner = LeaseOwner::random();
    let why = "nobody had it";
    scene.takes(0, &tenant, &owner, LONG, why).await?;
    let release = async |scene: &mut Scene<S>| scene.release(0, &tenant, &owner).await;
    wakes(scene, &tenant, "a lease was given back", release).await
}

/// Waits on another handle for what is done meanwhile.
async fn wakes<S: TokenStore>(
    scene: &mut Scene<S>,
    tenant: &TenantId,
    why: &str,
    change: impl AsyncFnOnce(&mut Scene<S>) -> Step,
) -> Step {
    let store = Arc::clone(&scene.handles[1 % scene.handles.len()]);
    let mut told = pin!(store.changed(tenant));
    // A change counts from the first poll on, however much the store has yet to do until it listens.
    let is_told = poll_fn(|context| Poll::Ready(told.as_mut().poll(context).is_ready())).await;
    change(scene).await?;
    if is_told || tokio::time::timeout(SOON, told).await.is_ok() {
        return Ok(());
    }
    Err(scene.violated(format!("nobody was told within {SOON:?} that {why}")))
}
