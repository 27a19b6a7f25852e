//! The commands about one grant, and `health`.

use tower_oauth2_client::{
    cache::TokenCache,
    sandbox::{Endpoint, Fault},
};

use super::*;

/// A customer has connected, so the provider knows the tokens.
async fn connected() -> Scene {
    let scene = Scene::new().await;
    let (oauth, store) = (scene.oauth(), scene.store("grants"));
    let tokens = scene.sandbox.connect(&oauth).await.unwrap();
    let cache = TokenCache::builder(oauth)
        .store(store)
        .tenant("acme")
        .build()
        .unwrap();
    cache.set_tokens(tokens).await.unwrap();
    cache.shutdown(DAY).await.unwrap();
    scene
}

/// Whether an output contains a token of the stored grant.
async fn assert_no_token(scene: &Scene, ended: &Ended) {
    let Some(grant) = scene.store("grants").load(&tenant("acme")).await.unwrap() else {
        return;
    };
    let Some(tokens) = grant.tokens() else { return };
    let refresh_token = tokens.refresh_token().unwrap().expose();
    for token in [tokens.access_token().expose(), refresh_token] {
        assert!(!ended.stdout.contains(token) && !ended.stderr.contains(token));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_grant_is_shown_without_its_tokens() {
    let scene = connected().await;
    let ended = scene.run(&["show", "acme"]).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_no_token(&scene, &ended).await;
    for part in [
        "tenant:                  acme",
        "fresh",
        "days left:               29",
        "connected",
    ] {
        assert!(ended.stdout.contains(part), "{part} {ended:?}");
    }
    let ended = scene.run(&["show", "acme", "--json"]).await;
    assert_no_token(&scene, &ended).await;
    let shown = &ended.json_lines()[0];
    assert_eq!(shown["client_id"], scene.sandbox.client_id());
    assert_eq!(shown["days_left"], 29);
    assert_eq!(shown["diagnosis"]["history"][0]["event"], "connected");
    let absent = scene.run(&["show", "absent"]).await;
    assert_eq!(absent.code, code(Exit::Failed));
    assert!(
        absent.stderr.contains("no grant of this tenant"),
        "{absent:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diagnosis_names_the_cause_and_its_exit_code_says_whether_there_is_one() {
    let scene = connected().await;
    save(&scene.store("grants"), "ended", &has_ended("ended")).await;
    let works = scene.run(&["diagnose", "acme"]).await;
    assert_eq!(works.code, code(Exit::Done), "{works:?}");
    assert_no_token(&scene, &works).await;
    let ended = scene.run(&["diagnose", "ended", "--json"]).await;
    assert_eq!(ended.code, code(Exit::Left), "{ended:?}");
    assert_eq!(ended.json_lines()[0]["cause"], "revoked_at_provider");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_json_and_its_exit_code_says_whether_the_store_is_readable() {
    let scene = connected().await;
    let ended = scene.run(&["health"]).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_eq!(ended.json_lines()[0]["is_ready"], true);
    damage(&scene.path("grants"), "acme");
    let ended = scene.run(&["health"]).await;
    assert_eq!(ended.code, code(Exit::Left), "{ended:?}");
    assert_eq!(ended.json_lines()[0]["store"]["state"], "unreadable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_revoked_at_the_provider_once_that_is_confirmed() {
    let scene = connected().await;
    for input in [None, Some("no\n"), Some("y\n")] {
        let ended = Ended::of(&mut scene.command(&["revoke", "acme"]), input).await;
        assert_eq!(ended.code, code(Exit::Failed), "{ended:?}");
        assert!(
            ended.stdout.contains("deletes its tokens from the store"),
            "{ended:?}"
        );
    }
    assert_eq!(scene.sandbox.counters().revocations, 0);
    let ended = Ended::of(&mut scene.command(&["revoke", "acme"]), Some("yes\n")).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert!(scene.sandbox.counters().revocations > 0);
    let stored = scene
        .store("grants")
        .load(&tenant("acme"))
        .await
        .unwrap()
        .unwrap();
    assert!(stored.tokens().is_none());

    let again = scene.run(&["revoke", "acme", "--yes"]).await;
    assert_eq!(again.code, code(Exit::Done), "{again:?}");
    assert!(again.stdout.contains("was revoked before"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_the_provider_does_not_confirm_is_left_to_do() {
    let scene = connected().await;
    let fault = Fault::status(http::StatusCode::SERVICE_UNAVAILABLE).always();
    scene.sandbox.inject(Endpoint::Revoke, fault);
    let ended = scene.run(&["revoke", "acme", "--yes"]).await;
    assert_eq!(ended.code, code(Exit::Left), "{ended:?}");
    assert!(ended.stdout.contains("revoke the grant there"), "{ended:?}");
    let stored = scene
        .store("grants")
        .load(&tenant("acme"))
        .await
        .unwrap()
        .unwrap();
    assert!(stored.tokens().is_none());
}

/// The provider would confirm the revocation of tokens that it has never issued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_grant_is_not_revoked_without_its_key() {
    let scene = Scene::new().await;
    let encrypted = scene.encrypted("grants", "old");
    save(&encrypted, "acme", &grant("acme", 20)).await;
    let ended = scene.run(&["revoke", "acme", "--yes"]).await;
    assert_eq!(ended.code, code(Exit::Failed), "{ended:?}");
    assert!(ended.stderr.contains("--key-file"), "{ended:?}");
    assert_eq!(scene.sandbox.counters().revocations, 0);
    assert_eq!(
        encrypted
            .load(&tenant("acme"))
            .await
            .unwrap()
            .unwrap()
            .generation
            .as_u64(),
        1
    );

    let options = scene.key_options("old");
    let mut arguments = vec!["revoke", "acme", "--yes"];
    arguments.extend(options.iter().map(String::as_str));
    assert_eq!(scene.run(&arguments).await.code, code(Exit::Done));
    assert!(scene.sandbox.counters().revocations > 0);
}
