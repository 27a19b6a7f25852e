//! The command `list`.

use serde_json::Value;
use tower_oauth2_client::{store::MemoryStore, token::ClientIdentity};

use super::*;
use crate::{
    list::STATES,
    pages::{Pages, count},
};

async fn scene() -> Scene {
    let scene = Scene::new().await;
    let store = scene.store("grants");
    for (name, days) in [("a-20", 20), ("b-3", 3), ("c-6", 6)] {
        save(&store, name, &grant(name, days)).await;
    }
    save(&store, "d-ended", &has_ended("d")).await;
    save(&store, "e-revoked", &revoked()).await;
    save(&store, "f-damaged", &revoked()).await;
    damage(&scene.path("grants"), "f-damaged");
    let other = ClientIdentity::new("https://other.example/token", "other");
    save(&store, "g-other", &grant("g", 20).with_identity(other)).await;
    scene
}

fn names(ended: &Ended) -> Vec<String> {
    let name = |row: &Value| row["tenant"].as_str().unwrap().to_owned();
    ended.json_lines().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_are_listed_with_their_state_and_the_days_that_are_left() {
    let scene = scene().await;
    let ended = scene.run(&["list", "--json"]).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    let rows = ended.json_lines();
    assert_eq!(rows.len(), 7, "{ended:?}");
    for (tenant, state, days) in [
        ("a-20", "fresh", Some(20)),
        ("b-3", "fresh", Some(3)),
        ("c-6", "fresh", Some(6)),
        ("d-ended", "reauthorization_required", None),
        ("e-revoked", "revoked", None),
        ("f-damaged", "unreadable", None),
        ("g-other", "other_client", None),
    ] {
        let row = rows.iter().find(|row| row["tenant"] == tenant).unwrap();
        assert_eq!(row["state"], state);
        assert_eq!(row["days_left"].as_u64(), days, "{row}");
    }
    let text = scene
        .run(&["list", "--state", "fresh,unreadable"])
        .await
        .stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "STATE                     DAYS LEFT  TENANT");
    assert!(
        lines.contains(&"fresh                            20  a-20"),
        "{text}"
    );
    assert!(text.contains("f-damaged  (") && lines.len() == 5, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_sorted_and_continued() {
    let scene = scene().await;
    let expiring = scene
        .run(&["list", "--json", "--expiring-within", "7d"])
        .await;
    let mut expiring = names(&expiring);
    expiring.sort();
    assert_eq!(expiring, ["b-3", "c-6"]);
    let sorted = scene
        .run(&["list", "--json", "--sort", "days-left", "--limit", "3"])
        .await;
    assert_eq!(names(&sorted), ["b-3", "c-6", "a-20"]);

    let all = names(&scene.run(&["list", "--json"]).await);
    let mut continued = names(&scene.run(&["list", "--json", "--limit", "4"]).await);
    assert_eq!(continued.len(), 4);
    let rest = scene
        .run(&["list", "--json", "--after", &continued[3]])
        .await;
    continued.extend(names(&rest));
    assert_eq!(continued, all);
}

/// The reads of an operator do not make tenants resident, so nothing is refreshed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_commands_send_no_request_and_change_nothing() {
    let scene = Scene::new().await;
    let store = scene.store("grants");
    let tokens = tokens("due", 20);
    // A lost response, whose replay a program would begin at once.
    let since = SystemClock.wall();
    let state = GrantState::Refreshing {
        tokens,
        since,
        is_replayed: false,
    };
    let due = Grant::new(Generation::FIRST, state);
    save(&store, "due", &due).await;
    for arguments in [
        vec!["list"],
        vec!["show", "due"],
        vec!["diagnose", "due"],
        vec!["health"],
    ] {
        scene.run(&arguments).await;
    }
    assert_eq!(store.load(&tenant("due")).await.unwrap(), Some(due));
    assert_eq!(scene.sandbox.counters().requests, 0);
}

#[test]
fn the_states_are_those_of_stored_grants() {
    let counts = serde_json::to_value(tower_oauth2_client::tenants::StateCounts::default());
    let Value::Object(counts) = counts.unwrap() else {
        panic!("not a map");
    };
    // Only the program knows that a token was rejected, and a stuck grant is in any state.
    let known = counts
        .keys()
        .filter(|name| !["rejected", "stuck"].contains(&name.as_str()));
    let mut known: Vec<&str> = known.map(String::as_str).collect();
    known.extend(["unreadable", "other_client"]);
    known.sort_unstable();
    let mut listed = STATES;
    listed.sort_unstable();
    assert_eq!(listed.as_slice(), known);
}

#[tokio::test]
async fn pages_name_each_tenant_once() {
    let store = MemoryStore::new();
    for number in 0..2_500 {
        save(&store, &format!("{number:04}"), &revoked()).await;
    }
    let store = AnyStore::new(store);
    let mut pages = Pages::new(store.clone());
    let (mut sizes, mut names) = (Vec::new(), std::collections::BTreeSet::new());
    while let Some(page) = pages.next().await.unwrap() {
        sizes.push(page.len());
        names.extend(page);
    }
    assert_eq!(sizes, [1_000, 1_000, 500]);
    assert_eq!(names.len(), 2_500);
    assert_eq!(count(&store).await.unwrap(), 2_500);
}
