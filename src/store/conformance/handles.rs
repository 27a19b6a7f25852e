//! Several handles, as several processes would have them: they see the same, and do not overwrite each other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    Rule,
    samples::{difference, plain},
    scene::{MANY, Scene, Step, Trouble, at_once, in_words, within},
};
use crate::{
    store::{SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

/// What fails counts as passing, the more so where many come at once.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// How often is saved while others load, and how often each of them loads: enough to meet, and an end to it.
const SAVES: u64 = 20;
const LOADS: u32 = 500;

pub(super) async fn look<S: TokenStore>(scene: &mut Scene<S>) {
    let _ = other_handles_see_it_at_once(scene).await;
    let _ = one_of_many_writers_commits(scene).await;
    let _ = loads_never_go_back(scene).await;
}

async fn other_handles_see_it_at_once<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::OtherHandlesSeeItAtOnce, &[Rule::SavesCommit])?;
    let tenant = scene.tenant("shared");
    let handles = scene.handles.len();
    let mut expected = None;
    for (number, writer) in (1..).zip((0..handles).chain(0..handles)) {
        let grant = plain(number, "shared");
        scene.commit(writer, &tenant, expected, &grant).await?;
        for reader in 0..handles {
            scene.finds(reader, &tenant, Some(&grant)).await?;
        }
        expected = Some(grant.generation);
    }
    Ok(())
}

async fn one_of_many_writers_commits<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [
        Rule::SavesCommit,
        Rule::SaveIsConditional,
        Rule::OtherHandlesSeeItAtOnce,
    ];
    scene.begin(Rule::OneOfManyWritersCommits, &rests_on)?;
    let tenant = scene.tenant("race");
    let mut expected = None;
    for round in 1..=3 {
        scene.comes_back("save")?;
        let writers = scene.handles.iter().cycle().take(MANY).enumerate();
        let writers = writers.map(|(writer, store)| {
            let mine = plain(round, &format!("writer-{writer}"));
            write(Arc::clone(store), tenant.clone(), expected, mine)
        });
        let mut committed = Vec::new();
        let mut told = Vec::new();
        for (outcome, mine) in at_once(writers).await {
            match scene.judge(outcome)? {
                SaveOutcome::Committed => committed.push(mine),
                SaveOutcome::Superseded(held) => told.push(held),
            }
        }
        let [winner] = &committed[..] else {
            let number = committed.len();
            let expected = in_words(expected);
            let seen = format!("{number} of {MANY} have committed, who all expected {expected}");
            return Err(scene.violated(seen));
        };
        for handle in 0..scene.handles.len() {
            scene.finds(handle, &tenant, Some(winner)).await?;
        }
        for held in told {
            if let Some(seen) = difference(Some(winner), held.as_ref()) {
                let seen = format!("who came too late was told of {seen}");
                scene.violated_another(Rule::SupersededBringsWhatIsThere, seen);
            }
        }
        expected = Some(winner.generation);
    }
    Ok(())
}

async fn write<S: TokenStore>(
    store: Arc<S>,
    tenant: TenantId,
    expected: Option<Generation>,
    mine: Grant,
) -> (Result<SaveOutcome, Trouble>, Grant) {
    let mut attempt = 1;
    loop {
        let saved = within("save", store.save(&tenant, expected, &mine)).await;
        match saved {
            Err(Trouble::Failed(..)) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
            // What failed has happened all the same.
            Ok(SaveOutcome::Superseded(Some(held))) if attempt > 1 && held == mine => {
                return (Ok(SaveOutcome::Committed), mine);
            }
            outcome => return (outcome, mine),
        }
        attempt += 1;
    }
}

async fn loads_never_go_back<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [Rule::SavesCommit, Rule::OtherHandlesSeeItAtOnce];
    scene.begin(Rule::LoadsNeverGoBack, &rests_on)?;
    scene.comes_back("load")?;
    let tenant = scene.tenant("busy");
    let first = plain(1, "busy");
    scene.commit(0, &tenant, None, &first).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for store in scene.handles.clone() {
        readers.spawn(read(store, tenant.clone(), Arc::clone(&is_over)));
    }
    let mut written = Ok(());
    for number in 2..=SAVES {
        let expected = Some(Generation::from_u64(number - 1));
        let grant = plain(number, "busy");
        written = scene.commit(0, &tenant, expected, &grant).await;
        if written.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    is_over.store(true, Ordering::Relaxed);
    for seen in readers.join_all().await {
        if let Some(seen) = scene.judge(seen)? {
            scene.violated(seen);
        }
    }
    written
}

/// Loads again and again. What was wrong, if anything was.
async fn read<S: TokenStore>(
    store: Arc<S>,
    tenant: TenantId,
    is_over: Arc<AtomicBool>,
) -> Result<Option<String>, Trouble> {
    let mut newest = plain(1, "busy");
    for _ in 0..LOADS {
        let loaded = within("load", store.load(&tenant)).await?;
        let Some(loaded) = loaded else {
            return Ok(Some("a load while somebody saved brought nothing".into()));
        };
        let (generation, before) = (loaded.generation, newest.generation);
        if generation < before {
            return Ok(Some(format!(
                "a load brought generation {generation}, and the one before it {before}"
            )));
        }
        let whole = plain(generation.as_u64(), "busy");
        if let Some(seen) = difference(Some(&whole), Some(&loaded)) {
            return Ok(Some(format!("a load while somebody saved brought {seen}")));
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        newest = whole;
        tokio::task::yield_now().await;
    }
    Ok(None)
}
