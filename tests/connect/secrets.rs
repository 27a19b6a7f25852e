//! P21: codes, states and cookies are not logged.

use http::StatusCode;
use tower_oauth2_client::sandbox::{Endpoint, Fault};

use crate::{
    shared::log::Log,
    support::{Browser, parameter, replica},
};

#[tokio::test(start_paused = true)]
async fn p21_codes_and_states_are_not_logged() {
    let log = Log::default();
    // For the whole process: tracing caches whether an event is enabled at its first use, which may
    // be in another test.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .init();

    let replica = replica();
    let mut browser = Browser::of("acme");
    let mut secrets = Vec::new();
    let mut texts = Vec::new();
    for fault in [
        None,
        Some(Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#)),
        Some(Fault::drop_connection().after_processing()),
        Some(Fault::garbage()),
    ] {
        let callback = browser.consent(&replica).await;
        secrets.push(parameter(&callback, "state"));
        secrets.push(parameter(&callback, "code"));
        secrets.extend(browser.jar.values().cloned());
        let kept = browser.clone();
        if let Some(fault) = fault {
            replica.sandbox.inject(Endpoint::Token, fault);
        }
        texts.push(format!("{:?}", browser.get(&replica, &callback).await));
        // Repeated with the cookie, and without it.
        texts.push(format!("{:?}", kept.clone().get(&replica, &callback).await));
        texts.push(format!("{:?}", browser.get(&replica, &callback).await));
    }
    for failure in replica.partner.failures.lock().unwrap().iter() {
        texts.push(format!("{failure} {failure:?} {:?}", failure.error()));
    }
    texts.push(format!("{:?}", replica.connect));
    let logs = log.text();
    assert!(logs.contains("a customer could not be connected"), "{logs}");
    assert!(
        logs.contains("request to connect or disconnect was rejected"),
        "{logs}"
    );
    assert!(secrets.len() == 12);
    texts.push(logs);
    for secret in secrets {
        for text in &texts {
            assert!(!text.contains(&secret), "{secret} in {text}");
        }
    }
}
