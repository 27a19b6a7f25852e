//! The cookies of pending flows: their tenant, their lifetime, and that they cannot be forged.

use http::{HeaderValue, Method, StatusCode, header::COOKIE};
use tower_oauth2_client::{connect::ConnectFailureKind, store::EncryptionKeys};

use crate::{
    shared::ManualClock,
    support::{Browser, Replica, SECOND, Setup, TestStore, key, keys, local, replica, sandbox},
};

#[tokio::test(start_paused = true)]
async fn two_tabs_connect_in_any_order() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let one = browser.consent(&replica).await;
    let other = browser.consent(&replica).await;
    // The second flow comes back first.
    assert_eq!(browser.get(&replica, &other).await.text, "connected acme");
    assert_eq!(browser.jar.len(), 1);
    assert_eq!(browser.get(&replica, &one).await.text, "connected acme");
    assert!(browser.jar.is_empty());
    assert_eq!(replica.code_exchanges(), 2);
}

#[tokio::test(start_paused = true)]
async fn p23_tabs_of_two_tenants_connect_their_own_tenant() {
    let clock = ManualClock::new();
    let sandbox = sandbox(&clock).build();
    let setup = Setup {
        allows_all: true,
        ..Setup::default()
    };
    let replica = Replica::new(&sandbox, &clock, TestStore::default(), setup);
    let mut browser = Browser::of("acme");
    let acme = browser.consent(&replica).await;
    browser.session = Some("initech");
    let initech = browser.consent(&replica).await;
    // The flow names its tenant, whatever the session says now.
    assert_eq!(browser.get(&replica, &acme).await.text, "connected acme");
    assert_eq!(
        browser.get(&replica, &initech).await.text,
        "connected initech"
    );
    let refresh_token = async |name: &str| {
        let grant = replica.stored(name).await.unwrap();
        grant.tokens().unwrap().refresh_token().unwrap().clone()
    };
    assert_ne!(refresh_token("acme").await, refresh_token("initech").await);
}

#[tokio::test(start_paused = true)]
async fn a_fifth_flow_replaces_the_oldest() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let mut callbacks = Vec::new();
    for _ in 0..5 {
        callbacks.push(browser.consent(&replica).await);
        assert!(browser.jar.len() <= 4);
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(browser.jar.len(), 4);
    let response = browser.get(&replica, &callbacks[0]).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    for callback in &callbacks[1..] {
        assert_eq!(browser.get(&replica, callback).await.text, "connected acme");
    }
}

#[tokio::test(start_paused = true)]
async fn useless_cookies_are_removed_before_pending_flows() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let mut callbacks = Vec::new();
    for _ in 0..3 {
        callbacks.push(browser.consent(&replica).await);
        tokio::time::sleep(SECOND).await;
    }
    let (name, value) = browser.jar.first_key_value().unwrap();
    let (name, value) = (name.clone(), value.clone());
    let prefix = name.rsplit_once('-').unwrap().0.to_owned();
    // The value of another flow under a new name, and an invalid value.
    browser.jar.insert(format!("{prefix}-AAAA"), value);
    browser
        .jar
        .insert(format!("{prefix}-BBBB"), "tow1.k1.AAAA".into());
    callbacks.push(browser.consent(&replica).await);
    assert_eq!(browser.jar.len(), 4);
    for callback in &callbacks {
        assert_eq!(browser.get(&replica, callback).await.text, "connected acme");
    }
}

#[tokio::test(start_paused = true)]
async fn cookies_of_another_client_are_unchanged() {
    let clock = ManualClock::new();
    let one = sandbox(&clock).build();
    let other = sandbox(&clock).client_id("another-client").build();
    let one = Replica::new(&one, &clock, TestStore::default(), Setup::default());
    let other = Replica::new(&other, &clock, TestStore::default(), Setup::default());
    let mut browser = Browser::of("acme");
    browser.jar.insert("session".into(), "abc".into());
    let callback = browser.consent(&one).await;
    for _ in 0..5 {
        browser.start(&other).await;
    }
    assert_eq!(browser.jar.len(), 1 + 1 + 4);
    // A code of one client is rejected by the other.
    let response = browser.get(&other, &callback).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(other.codes_sent(), 0);
    assert_eq!(browser.get(&one, &callback).await.text, "connected acme");
    assert_eq!(browser.jar["session"], "abc");
}

#[tokio::test(start_paused = true)]
async fn an_altered_or_swapped_cookie_is_rejected() {
    type Change = fn(&mut Browser, &str, &str);
    let changes: [Change; 6] = [
        // One byte is changed.
        |browser, name, _| {
            let value = browser.jar.get_mut(name).unwrap();
            let at = value.len() - 4;
            let byte = if &value[at..=at] == "A" { "B" } else { "A" };
            value.replace_range(at..=at, byte);
        },
        // Truncated.
        |browser, name, _| {
            let value = browser.jar.get_mut(name).unwrap();
            value.truncate(value.len() / 2);
        },
        // The cookie of another flow, renamed.
        |browser, name, other| {
            let value = browser.jar[other].clone();
            browser.jar.insert(name.into(), value);
        },
        |browser, name, _| drop(browser.jar.insert(name.into(), String::new())),
        |browser, name, _| drop(browser.jar.insert(name.into(), "tow1.k1.".into())),
        // An unknown key.
        |browser, name, _| {
            let value = browser.jar[name].replace("tow1.k1.", "tow1.k2.");
            browser.jar.insert(name.into(), value);
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let replica = replica();
        let mut browser = Browser::of("acme");
        browser.start(&replica).await;
        let other = browser.jar.keys().next().unwrap().clone();
        let callback = browser.consent(&replica).await;
        let name = browser
            .jar
            .keys()
            .find(|name| **name != other)
            .unwrap()
            .clone();
        change(&mut browser, &name, &other);
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "change {number}");
        assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPending));
        assert_eq!(replica.codes_sent(), 0);
        // The other flow is unchanged.
        assert_eq!(browser.jar.keys().collect::<Vec<_>>(), [&other]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cookie_of_other_keys_is_rejected() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    // The key has the same name and other bytes.
    let setup = Setup {
        keys: EncryptionKeys::new(key("k1", 2)),
        ..Setup::default()
    };
    let stranger = replica.another_with(&replica.clock, setup);
    let response = browser.clone().get(&stranger, &callback).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(replica.codes_sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_rotation_keeps_pending_flows() {
    let before = replica();
    let set = |keys| Setup {
        keys,
        ..Setup::default()
    };
    let rotated = EncryptionKeys::new(key("k2", 2)).with_decryption_key(key("k1", 1));
    let after = before.another_with(&before.clock, set(rotated.unwrap()));
    let prepared = keys().with_decryption_key(key("k2", 2)).unwrap();
    let between = before.another_with(&before.clock, set(prepared));
    for (from, to) in [(&before, &after), (&after, &between), (&between, &before)] {
        let mut browser = Browser::of("acme");
        let url = browser.start(from).await;
        let callback = local(&from.sandbox.consent(&url).await.unwrap());
        assert_eq!(browser.get(to, &callback).await.text, "connected acme");
    }
}

#[tokio::test(start_paused = true)]
async fn the_cookie_of_the_flow_is_found_among_others() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let (name, value) = browser.jar.pop_first().unwrap();
    let mut request = browser.request(Method::GET, &callback);
    // Set by a sibling host and by other programs: not UTF-8, in headers of their own, or without a
    // value.
    for cookie in [
        format!("{name}=tossed; {name}; =; ;;{name} = {value}x").into_bytes(),
        b"\xff\xfe=\xff; a=b".to_vec(),
        [
            b"caf\xe9=1; ".as_slice(),
            format!("{name}={value}").as_bytes(),
        ]
        .concat(),
    ] {
        let cookie = HeaderValue::from_bytes(&cookie).unwrap();
        request.headers_mut().append(COOKIE, cookie);
    }
    assert_eq!(browser.send(&replica, request).await.text, "connected acme");
}

#[tokio::test(start_paused = true)]
async fn a_redirect_uri_on_loopback_works_over_http() {
    const LOCAL: &str = "http://127.0.0.1:3000/connect/callback";
    let clock = ManualClock::new();
    let sandbox = sandbox(&clock).redirect_uri(LOCAL).build();
    let setup = Setup {
        redirect_uri: LOCAL,
        ..Setup::default()
    };
    let replica = Replica::new(&sandbox, &clock, TestStore::default(), setup);
    let mut browser = Browser::of("acme");
    let response = browser.get(&replica, "/connect/start").await;
    let cookie = response.cookies()[0];
    assert!(cookie.starts_with("connect-"), "{cookie}");
    assert!(cookie.ends_with("; Max-Age=600; Path=/; HttpOnly; SameSite=Lax"));
    let callback = sandbox.consent(response.location()).await.unwrap();
    let callback = callback.strip_prefix("http://127.0.0.1:3000").unwrap();
    assert_eq!(browser.get(&replica, callback).await.text, "connected acme");
    assert!(browser.jar.is_empty());
}
