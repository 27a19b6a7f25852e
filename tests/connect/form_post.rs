//! Callbacks by `form_post`: the provider's page sends a form from another site.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::{
    Method, Request, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use tower::ServiceExt;
use tower_oauth2_client::{connect::ConnectFailureKind, provider::ResponseMode};

use crate::{
    shared::ManualClock,
    support::{
        Browser, BrowserResponse, Replica, SECOND, Setup, TestStore, parameter, sandbox,
        send_to_app,
    },
};

const FORM: &str = "application/x-www-form-urlencoded";

fn replica() -> Replica {
    replica_with(Setup::default())
}

fn replica_with(setup: Setup) -> Replica {
    let clock = ManualClock::new();
    let sandbox = sandbox(&clock).redirect_uri(setup.redirect_uri).build();
    let setup = Setup {
        response_mode: ResponseMode::FormPost,
        ..setup
    };
    Replica::new(&sandbox, &clock, TestStore::default(), setup)
}

/// The parameters of a callback, as a form.
fn form(callback: &str) -> String {
    callback.split_once('?').unwrap().1.to_owned()
}

/// A form from another site, so without cookies.
fn post(path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(CONTENT_TYPE, content_type)
        .header("origin", "null")
        .header("sec-fetch-site", "cross-site")
        .body(body.into())
        .unwrap()
}

pub(crate) async fn send_form(replica: &Replica, form: &str) -> BrowserResponse {
    let request = post("/connect/callback", FORM, form.to_owned());
    send_to_app(&replica.app, request).await
}

#[tokio::test(start_paused = true)]
async fn p23_form_post_reaches_the_flow_by_a_redirect() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let url = browser.start(&replica).await;
    assert_eq!(parameter(&url, "response_mode"), "form_post");
    let form = form(&replica.sandbox.consent(&url).await.unwrap());

    let response = send_form(&replica, &form).await;
    assert_eq!(response.status, StatusCode::SEE_OTHER);
    assert_eq!(response.location(), format!("?{form}"));
    assert!(response.headers[LOCATION].is_sensitive());
    assert!(response.cookies().is_empty() && response.text.is_empty());
    assert_eq!((replica.codes_sent(), replica.failures()), (0, 0));
    assert_eq!(replica.store.all_callback_leases(), 0);

    let callback = format!("/connect/callback{}", response.location());
    let kept = browser.clone();
    let response = browser.get(&replica, &callback).await;
    assert_eq!(response.text, "connected acme");
    assert!(browser.jar.is_empty());
    // The browser repeats both requests.
    assert_eq!(
        send_form(&replica, &form).await.location(),
        format!("?{form}")
    );
    let response = kept.clone().get(&replica, &callback).await;
    assert_eq!(response.text, "connected acme");
    assert_eq!(replica.codes_sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn p23_code_by_another_name_reaches_the_flow_by_either_mode() {
    for by_form in [false, true] {
        let setup = Setup {
            code_parameter: "auth_code",
            ..Setup::default()
        };
        let replica = if by_form {
            replica_with(setup)
        } else {
            let clock = ManualClock::new();
            Replica::new(
                &sandbox(&clock).build(),
                &clock,
                TestStore::default(),
                setup,
            )
        };
        let mut browser = Browser::of("acme");
        let url = browser.start(&replica).await;
        let query = form(&replica.sandbox.consent(&url).await.unwrap());
        let renamed = query.replacen("code=", "auth_code=", 1);
        for (query, text) in [(&query, None), (&renamed, Some("connected acme"))] {
            let query = if by_form {
                send_form(&replica, query).await.location().to_owned()
            } else {
                format!("?{query}")
            };
            let callback = format!("/connect/callback{query}");
            let response = browser.clone().get(&replica, &callback).await;
            assert_eq!(response.status.is_success(), text.is_some(), "{query}");
            if let Some(text) = text {
                assert_eq!(response.text, text);
            }
        }
        assert_eq!(replica.codes_sent(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p23_form_of_a_denial_or_an_error_is_a_callback_too() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let url = browser.start(&replica).await;
    let denied = form(&replica.sandbox.deny(&url).await.unwrap());
    let response = send_form(&replica, &denied).await;
    let callback = format!("/connect/callback{}", response.location());
    assert_eq!(browser.get(&replica, &callback).await.text, "denied acme");
    // As from a provider that does not know the mode.
    let state = parameter(&browser.start(&replica).await, "state");
    let callback = format!("/connect/callback?error=invalid_request&state={state}");
    browser.get(&replica, &callback).await;
    assert_eq!(replica.failure(), Some(ConnectFailureKind::Provider));
}

#[tokio::test(start_paused = true)]
async fn p23_only_the_query_of_the_redirect_uri_is_kept() {
    for redirect_uri in [
        "https://partner.example.com/connect/callback?from=provider",
        "https://partner.example.com/a/proxy/removes/connect/callback?from=provider",
    ] {
        let replica = replica_with(Setup {
            redirect_uri,
            ..Setup::default()
        });
        let mut browser = Browser::of("acme");
        let url = browser.start(&replica).await;
        let callback = replica.sandbox.consent(&url).await.unwrap();
        let form = form(&callback).replacen("from=provider&", "", 1);
        let request = post(
            "/connect/callback?code=forged&next=https://evil.example",
            FORM,
            form.clone(),
        );
        let response = send_to_app(&replica.app, request).await;
        assert_eq!(response.location(), format!("?from=provider&{form}"));
        let callback = format!("/connect/callback{}", response.location());
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.text, "connected acme");
    }
}

#[tokio::test(start_paused = true)]
async fn p23_form_post_is_served_only_if_the_provider_uses_it() {
    let replica = crate::support::replica();
    let form = form(&Browser::of("acme").consent(&replica).await);
    let response = send_form(&replica, &form).await;
    assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers["allow"], "GET");
    assert!(!response.headers.contains_key(LOCATION));
}

#[tokio::test(start_paused = true)]
async fn p11_other_methods_and_prefetches_have_no_effect() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    for method in [Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
        let response = browser
            .clone()
            .send(&replica, browser.request(method, &callback))
            .await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers["allow"], "GET, POST");
        assert!(response.cookies().is_empty());
    }
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("purpose", "prefetch"),
        ("x-purpose", "preview"),
    ] {
        let mut request = post("/connect/callback", FORM, form(&callback));
        request.headers_mut().insert(name, value.parse().unwrap());
        let response = send_to_app(&replica.app, request).await;
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!response.headers.contains_key(LOCATION));
    }
    assert_eq!((replica.codes_sent(), replica.failures()), (0, 0));
    assert_eq!(
        browser.get(&replica, &callback).await.text,
        "connected acme"
    );
}

#[tokio::test(start_paused = true)]
async fn p23_form_that_cannot_be_used_has_no_effect() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let form = form(&callback);
    let state = parameter(&callback, "state");
    let code = parameter(&callback, "code");
    let full = format!("{form}&x={}", "x".repeat(16 * 1024 - form.len() - 3));
    let before = browser.jar.clone();
    for (content_type, body) in [
        ("text/plain", form.clone()),
        ("multipart/form-data; boundary=x", form.clone()),
        ("application/json", format!("{{\"state\":\"{state}\"}}")),
        (FORM, String::new()),
        (FORM, format!("code={code}")),
        (FORM, format!("{form}&state={state}")),
        (FORM, format!("{form}%")),
        (FORM, format!("{form}#")),
        (FORM, format!("{form}\r\nset-cookie: a=b")),
        (FORM, format!("{form}&x=ö")),
        (FORM, format!("{full}x")),
        (FORM, format!("{form}&x={}", "x".repeat(1_000_000))),
    ] {
        let failures = replica.failures();
        // Even in a browser that sends the cookies.
        let mut request = post("/connect/callback", content_type, body);
        let own = browser.request(Method::POST, "/connect/callback");
        request.headers_mut().extend(own.headers().clone());
        let response = browser.send(&replica, request).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{content_type}");
        assert!(!response.headers.contains_key(LOCATION));
        assert_eq!(response.headers[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(replica.failures(), failures + 1);
        assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPending));
        let failure = replica.partner.failures.lock().unwrap().pop().unwrap();
        let text = format!("{failure:?} {failure} {}", failure.error().unwrap());
        assert!(text.contains("the form of a callback cannot be used: it"));
        for secret in [&state, &code] {
            assert!(!text.contains(secret) && !response.text.contains(secret));
        }
    }
    assert_eq!(browser.jar, before);
    assert_eq!(replica.codes_sent(), 0);
    assert_eq!(replica.store.all_callback_leases(), 0);
    // The longest one that is forwarded is parsed too.
    let response = send_form(&replica, &full).await;
    let callback = format!("/connect/callback{}", response.location());
    assert_eq!(
        browser.get(&replica, &callback).await.text,
        "connected acme"
    );
}

#[tokio::test(start_paused = true)]
async fn p23_form_that_does_not_arrive_ends_after_10_seconds() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let form = form(&callback);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, async |mut receiver| {
        let data = receiver.recv().await?;
        Some((Ok::<_, Infallible>(data), receiver))
    });
    let request = post("/connect/callback", FORM, Body::from_stream(body));
    let sent_at = tokio::time::Instant::now();
    let response = tokio::spawn(replica.app.clone().oneshot(request));
    sender.send(form.into()).await.unwrap();
    let response = response.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(sent_at.elapsed().as_secs(), 10 * SECOND.as_secs());
    assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPending));
    // The body is dropped, so a slow sender holds nothing.
    assert!(sender.is_closed());
    // One that breaks off.
    let broken = stream::iter([
        Ok(Bytes::from("state=s1")),
        Err(std::io::Error::other("reset")),
    ]);
    let request = post("/connect/callback", FORM, Body::from_stream(broken));
    let response = send_to_app(&replica.app, request).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        browser.get(&replica, &callback).await.text,
        "connected acme"
    );
}

#[tokio::test(start_paused = true)]
async fn p23_form_of_an_attacker_is_rejected_without_its_flow() {
    let replica = replica();
    let mut attacker = Browser::of("evil");
    let injected = form(&attacker.consent(&replica).await);
    let mut victim = Browser::of("acme");
    let own = victim.consent(&replica).await;
    let response = send_form(&replica, &injected).await;
    let callback = format!("/connect/callback{}", response.location());
    let response = victim.get(&replica, &callback).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPending));
    assert_eq!((replica.codes_sent(), victim.jar.len()), (0, 1));
    assert_eq!(victim.get(&replica, &own).await.text, "connected acme");
}
