//! The command `migrate`.

use std::sync::{Arc, Mutex};

use tower_oauth2_client::{
    Error,
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome},
};

use super::*;
use crate::migrate::{Outcome, copy};

fn count(ended: &Ended, name: &str) -> usize {
    let line = ended.stdout.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("{ended:?}"))[name.len()..]
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_are_copied_as_they_are_and_compared() {
    let scene = Scene::new().await;
    let source = scene.store("grants");
    let identity = scene.oauth().identity();
    let grants = [
        ("acme", grant("acme", 20).with_identity(identity)),
        ("ended", has_ended("ended")),
        ("revoked", revoked()),
    ];
    for (name, grant) in &grants {
        save(&source, name, grant).await;
    }
    let (to, check) = (scene.url("target"), ["migrate", "--check", "--to"]);
    // A comparison creates nothing.
    let missing = scene.run(&[&check[..], &[&to]].concat()).await;
    assert_eq!(missing.code, code(Exit::Failed), "{missing:?}");
    assert!(!scene.path("target").exists());

    let ended = scene.run(&["migrate", "--to", &to]).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_eq!(count(&ended, "copied:"), 3);
    let target = scene.store("target");
    for (name, grant) in &grants {
        assert_eq!(
            target.load(&tenant(name)).await.unwrap().as_ref(),
            Some(grant)
        );
        assert_eq!(
            source.load(&tenant(name)).await.unwrap().as_ref(),
            Some(grant)
        );
    }
    let again = scene.run(&["migrate", "--to", &to]).await;
    assert_eq!(again.code, code(Exit::Done), "{again:?}");
    assert_eq!(count(&again, "equal in both:"), 3);
    let compared = scene.run(&[&check[..], &[&to]].concat()).await;
    assert_eq!(compared.code, code(Exit::Done), "{compared:?}");
    assert_eq!(count(&compared, "equal in both:"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_grant_of_the_target_is_overwritten() {
    let scene = Scene::new().await;
    let (source, target) = (scene.store("grants"), scene.store("target"));
    let with_generation = |name: &str, generation| {
        let state = GrantState::Active(tokens(name, 9));
        Grant::new(Generation::from_u64(generation), state)
    };
    let cases = [
        (
            "newer",
            5,
            6,
            "a newer grant (generation 6, and 5 in the source)",
        ),
        (
            "older",
            5,
            4,
            "an older grant (generation 4, and 5 in the source)",
        ),
        ("other", 5, 5, "another grant of generation 5"),
    ];
    for (name, ours, theirs, _) in cases {
        save(&source, name, &with_generation("source", ours)).await;
        save(&target, name, &with_generation("target", theirs)).await;
    }
    save(&source, "missing", &grant("missing", 9)).await;
    save(&source, "damaged", &grant("damaged", 9)).await;
    damage(&scene.path("grants"), "damaged");
    let to = scene.url("target");
    for more in [vec!["--check"], vec![]] {
        let arguments = [vec!["migrate", "--to", &to], more.clone()].concat();
        let ended = scene.run(&arguments).await;
        assert_eq!(ended.code, code(Exit::Left), "{ended:?}");
        for (name, _, _, reason) in cases {
            assert!(
                ended
                    .stderr
                    .contains(&format!("{name}: the target has {reason}")),
                "{ended:?}"
            );
        }
        assert_eq!(count(&ended, "failed:"), 1);
        let is_check = !more.is_empty();
        assert_eq!(count(&ended, "different:"), 3 + usize::from(is_check));
        for (name, _, theirs, _) in cases {
            let stored = target.load(&tenant(name)).await.unwrap().unwrap();
            assert_eq!(stored.generation.as_u64(), theirs);
        }
    }
    assert!(target.load(&tenant("missing")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_another_process_refreshes_is_not_copied() {
    let scene = Scene::new().await;
    let source = scene.store("grants");
    save(&source, "acme", &grant("acme", 20)).await;
    save(&source, "busy", &grant("busy", 20)).await;
    let owner = LeaseOwner::random();
    source.acquire(&tenant("busy"), &owner, DAY).await.unwrap();
    let arguments = ["migrate", "--wait", "0s", "--to", &scene.url("target")].map(str::to_owned);
    let ended = scene.run(&arguments).await;
    assert_eq!(ended.code, code(Exit::Left), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("busy: another process uses the source"),
        "{ended:?}"
    );
    let target = scene.store("target");
    assert_eq!(target.load(&tenant("busy")).await.unwrap(), None);
    assert!(target.load(&tenant("acme")).await.unwrap().is_some());

    source.release(&tenant("busy"), &owner).await.unwrap();
    let ended = scene.run(&arguments).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_eq!(count(&ended, "copied:"), 1);
    // The lease is released.
    let leased = source.acquire(&tenant("acme"), &owner, DAY).await.unwrap();
    assert_eq!(leased, LeaseOutcome::Acquired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encryption_is_introduced_kept_or_carried_along() {
    let scene = Scene::new().await;
    let stored = grant("acme", 20);
    save(&scene.store("grants"), "acme", &stored).await;
    scene.key("old");
    let key = scene.key_options("old");
    let run = async |from: &str, to: &str, more: &[String]| {
        let (from, to) = (scene.url(from), scene.url(to));
        let mut arguments = ["migrate", "--store", &from, "--to", &to]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(more.iter().cloned());
        scene.run(&arguments).await
    };
    // Plain text is refused, unless it is accepted; the copy is encrypted.
    assert_eq!(run("grants", "one", &key).await.code, code(Exit::Left));
    let accepting = [&key[..], &["--accept-plaintext".to_owned()]].concat();
    let ended = run("grants", "one", &accepting).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_eq!(run("one", "two", &key).await.code, code(Exit::Done));
    // Without a key, encrypted grants are copied as they are.
    assert_eq!(run("two", "three", &[]).await.code, code(Exit::Done));
    for name in ["one", "two", "three"] {
        let loaded = scene
            .encrypted(name, "old")
            .load(&tenant("acme"))
            .await
            .unwrap();
        assert_eq!(loaded.as_ref(), Some(&stored), "{name}");
        let raw = scene
            .store(name)
            .load(&tenant("acme"))
            .await
            .unwrap()
            .unwrap();
        assert!(
            raw.tokens()
                .unwrap()
                .access_token()
                .expose()
                .starts_with("tow1.old.")
        );
    }
}

/// A target in front of which the program refreshes the grant of the source, as if its lease had
/// ended early.
#[derive(Clone)]
struct Racing {
    target: MemoryStore,
    source: AnyStore,
    refreshed: Arc<Mutex<Option<Grant>>>,
}

impl TokenStore for Racing {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.target.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let refreshed = self.refreshed.lock().unwrap().take();
        if let Some(refreshed) = refreshed {
            let generation = Some(grant.generation);
            self.source.save(tenant, generation, &refreshed).await?;
        }
        self.target.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.target.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.target.release(tenant, owner).await
    }
}

#[tokio::test]
async fn a_refresh_of_the_source_during_the_copy_is_noticed() {
    let source = AnyStore::new(MemoryStore::new());
    save(&source, "acme", &grant("acme", 20)).await;
    let state = GrantState::Active(tokens("refreshed", 30));
    let refreshed = Grant::new(Generation::FIRST.next(), state);
    let target = AnyStore::new(Racing {
        target: MemoryStore::new(),
        source: source.clone(),
        refreshed: Arc::new(Mutex::new(Some(refreshed))),
    });
    let reason = |outcome| match outcome {
        Outcome::Refused(reason) => reason,
        other => panic!("{other:?}"),
    };
    let copied = reason(copy(&source, &target, &tenant("acme")).await.unwrap());
    assert!(
        copied.starts_with("the source has changed during the copy"),
        "{copied}"
    );
    // The copy is reported until an operator has removed it.
    let again = reason(copy(&source, &target, &tenant("acme")).await.unwrap());
    assert!(
        again.starts_with("the target has an older grant"),
        "{again}"
    );
}
