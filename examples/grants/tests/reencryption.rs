//! The command `reencrypt`.

use tower_oauth2_client::store::{LeaseOutcome, LeaseOwner};

use super::*;

/// Grants under the key `old`.
async fn scene(count: u32) -> Scene {
    let scene = Scene::new().await;
    let encrypted = scene.encrypted("grants", "old");
    for number in 0..count {
        let name = format!("tenant-{number:03}");
        save(&encrypted, &name, &grant(&name, 20)).await;
    }
    scene.key("new");
    scene
}

fn arguments(scene: &Scene, more: &[&str]) -> Vec<String> {
    let old = format!("old={}", scene.path("old").display());
    let mut arguments: Vec<String> = ["reencrypt", "--decryption-key", &old, "--wait", "0s"]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(scene.key_options("new"));
    arguments.extend(more.iter().map(ToString::to_string));
    arguments
}

/// Waits for grants that are busy.
fn waiting(scene: &Scene) -> Vec<String> {
    let mut arguments = arguments(scene, &[]);
    for argument in &mut arguments {
        if argument == "0s" {
            *argument = "1h".into();
        }
    }
    arguments
}

/// How many grants are under the key `new`.
async fn rewritten(scene: &Scene) -> usize {
    let store = scene.store("grants");
    let mut rewritten = 0;
    for name in store.tenants(None, 1_000).await.unwrap() {
        let stored = store.load(&name).await.unwrap().unwrap();
        let token = stored.tokens().unwrap().access_token();
        rewritten += usize::from(token.expose().starts_with("tow1.new."));
    }
    rewritten
}

fn count(ended: &Ended, name: &str) -> usize {
    let line = ended.stdout.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("{ended:?}"))[name.len()..]
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_grants_are_rewritten_once_and_those_that_are_left_are_named() {
    let scene = scene(6).await;
    let store = scene.store("grants");
    damage(&scene.path("grants"), "tenant-003");
    let owner = LeaseOwner::random();
    let leased = store
        .acquire(&tenant("tenant-004"), &owner, DAY)
        .await
        .unwrap();
    assert_eq!(leased, LeaseOutcome::Acquired);

    let check = scene.run(&arguments(&scene, &["--check"])).await;
    assert_eq!(check.code, code(Exit::Left), "{check:?}");
    assert_eq!(count(&check, "to be rewritten:"), 5);

    let ended = scene.run(&arguments(&scene, &[])).await;
    assert_eq!(ended.code, code(Exit::Left), "{ended:?}");
    assert_eq!(count(&ended, "rewritten:"), 4);
    assert_eq!(count(&ended, "busy:"), 1);
    assert_eq!(count(&ended, "unreadable:"), 1);
    assert!(ended.stderr.contains("tenant-003: "), "{ended:?}");
    assert!(
        ended.stderr.contains("tenant-004: it is being refreshed"),
        "{ended:?}"
    );

    store.release(&tenant("tenant-004"), &owner).await.unwrap();
    let ended = scene.run(&arguments(&scene, &[])).await;
    assert_eq!(count(&ended, "rewritten:"), 1);
    assert_eq!(count(&ended, "already current:"), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_grant_is_tried_again_while_the_command_waits() {
    let scene = scene(2).await;
    let store = scene.store("grants");
    let (busy, owner) = (tenant("tenant-000"), LeaseOwner::random());
    store.acquire(&busy, &owner, DAY).await.unwrap();
    // Without a wait the grant is left.
    let ended = scene.run(&arguments(&scene, &[])).await;
    assert_eq!(ended.code, code(Exit::Left), "{ended:?}");
    assert_eq!(count(&ended, "rewritten:"), 1);

    let encrypted = scene.encrypted("grants", "old");
    save(&encrypted, "tenant-002", &grant("tenant-002", 20)).await;
    let child = scene.command(&waiting(&scene)).spawn().unwrap();
    // The third grant is rewritten after the first one was found busy.
    while rewritten(&scene).await < 2 {
        tokio::task::yield_now().await;
    }
    store.release(&busy, &owner).await.unwrap();
    let ended = Ended::of_child(child).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_eq!(rewritten(&scene).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_killed_or_interrupted_is_resumed() {
    const COUNT: usize = 40;
    let scene = scene(40).await;
    let store = scene.store("grants");
    // Keeps the first commands from their end.
    let (busy, owner) = (tenant("tenant-020"), LeaseOwner::random());
    store.acquire(&busy, &owner, DAY).await.unwrap();
    let waiting = waiting(&scene);

    let mut killed = scene.command(&waiting).spawn().unwrap();
    while rewritten(&scene).await == 0 {
        tokio::task::yield_now().await;
    }
    killed.kill().await.unwrap();
    let before = rewritten(&scene).await;
    assert!((1..COUNT).contains(&before));

    let interrupted = scene.command(&waiting).spawn().unwrap();
    while rewritten(&scene).await < COUNT - 1 {
        tokio::task::yield_now().await;
    }
    let id = interrupted.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &id]).status().await;
    assert!(sent.unwrap().success());
    let ended = Ended::of_child(interrupted).await;
    assert_eq!(ended.code, code(Exit::Left), "{ended:?}");
    assert!(
        ended.stdout.contains("interrupted; repeat the command"),
        "{ended:?}"
    );
    assert_eq!(count(&ended, "busy:"), 1);

    store.release(&busy, &owner).await.unwrap();
    let ended = scene.run(&arguments(&scene, &[])).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_eq!(count(&ended, "rewritten:"), 1);
    assert_eq!(rewritten(&scene).await, COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_in_plain_text_are_encrypted_if_they_are_accepted() {
    let scene = Scene::new().await;
    save(&scene.store("grants"), "acme", &grant("acme", 20)).await;
    scene.key("old");
    scene.key("new");
    let refused = scene.run(&arguments(&scene, &[])).await;
    assert_eq!(refused.code, code(Exit::Left), "{refused:?}");
    let ended = scene.run(&arguments(&scene, &["--accept-plaintext"])).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_eq!(rewritten(&scene).await, 1);
}
