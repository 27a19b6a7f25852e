//! What every store promises, held against each of them.

use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tower_oauth2_client::{
    store::{FileStore, MemoryStore, SaveOutcome, TokenStore},
    token::{AccessToken, Generation, Grant, GrantState, TenantId, TokenSet},
};

#[tokio::test]
async fn memory_keeps_the_contract() {
    keeps_the_contract(MemoryStore::new()).await;
}

#[tokio::test]
async fn file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    keeps_the_contract(FileStore::open(folder.path()).unwrap()).await;
}

async fn keeps_the_contract<S: TokenStore + Clone>(store: S) {
    nothing_is_there_at_first(&store).await;
    save_is_conditional(&store).await;
    tenants_are_apart(&store).await;
    p12_of_many_writers_one_commits(&store).await;
}

async fn nothing_is_there_at_first<S: TokenStore>(store: &S) {
    assert_eq!(store.load(&tenant("nobody")).await.unwrap(), None);
}

async fn save_is_conditional<S: TokenStore>(store: &S) {
    let acme = tenant("conditional");
    let (one, two, three) = (grant(1, "a"), grant(2, "b"), grant(3, "c"));
    let generation = |number| Some(Generation::from_u64(number));

    let early = store.save(&acme, generation(1), &two).await.unwrap();
    assert_eq!(early, SaveOutcome::Superseded(None));
    assert_eq!(
        store.save(&acme, None, &one).await.unwrap(),
        SaveOutcome::Committed
    );
    assert_eq!(store.load(&acme).await.unwrap(), Some(one.clone()));

    let again = store.save(&acme, None, &one).await.unwrap();
    assert_eq!(again, SaveOutcome::Superseded(Some(one)));
    assert_eq!(
        store.save(&acme, generation(1), &two).await.unwrap(),
        SaveOutcome::Committed
    );
    let late = store.save(&acme, generation(1), &three).await.unwrap();
    assert_eq!(late, SaveOutcome::Superseded(Some(two.clone())));
    assert_eq!(store.load(&acme).await.unwrap(), Some(two));
}

async fn tenants_are_apart<S: TokenStore>(store: &S) {
    let names = ["a", "A", "a/", "a\\", "../a", "é", "e\u{301}", "a b", "."];
    for (number, name) in (1..).zip(names) {
        let (tenant, grant) = (tenant(name), grant(number, &name_token(number)));
        let saved = store.save(&tenant, None, &grant).await.unwrap();
        assert_eq!(saved, SaveOutcome::Committed, "{name}");
    }
    for (number, name) in (1..).zip(names) {
        let held = store.load(&tenant(name)).await.unwrap();
        assert_eq!(held, Some(grant(number, &name_token(number))), "{name}");
    }
}

async fn p12_of_many_writers_one_commits<S: TokenStore + Clone>(store: &S) {
    let race = tenant("race");
    let mut expected = None;
    for round in 1..=10_u64 {
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let (store, race) = (store.clone(), race.clone());
            writers.spawn(async move {
                let mine = grant(round, &format!("round-{round}-writer-{writer}"));
                (store.save(&race, expected, &mine).await.unwrap(), mine)
            });
        }
        let outcomes = writers.join_all().await;
        let committed: Vec<_> = outcomes
            .iter()
            .filter(|(outcome, _)| *outcome == SaveOutcome::Committed)
            .collect();
        assert_eq!(committed.len(), 1);
        let winner = &committed[0].1;
        assert_eq!(store.load(&race).await.unwrap().as_ref(), Some(winner));
        for (outcome, _) in &outcomes {
            if let SaveOutcome::Superseded(held) = outcome {
                assert_eq!(held.as_ref(), Some(winner), "a loser is told who won");
            }
        }
        expected = Some(winner.generation);
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn name_token(number: u64) -> String {
    format!("token-{number}")
}

fn grant(generation: u64, token: &str) -> Grant {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    let access_token = AccessToken::new(token).unwrap();
    Grant {
        generation: Generation::from_u64(generation),
        state: GrantState::Active(TokenSet::new(access_token, Duration::from_secs(60), at)),
    }
}
