//! P21: codes, states and verifiers are told nowhere.

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::StatusCode;
use tower_oauth2_client::sandbox::{Endpoint, Fault};

use crate::support::{Browser, parameter, replica};

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn p21_codes_and_states_are_told_nowhere() {
    let paper = Paper::default();
    let logs = paper.clone();
    // Of the whole process: an event that a test beside this one comes upon first would else be lost to a thread's own.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || logs.clone())
        .init();

    let replica = replica();
    let mut browser = Browser::of("acme");
    let mut secrets = Vec::new();
    let mut told = Vec::new();
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
        told.push(format!("{:?}", browser.get(&replica, &callback).await));
        // Once more, and without a cookie; as a HEAD, and as a POST.
        told.push(format!("{:?}", kept.clone().get(&replica, &callback).await));
        told.push(format!("{:?}", browser.get(&replica, &callback).await));
    }
    for failure in replica.partner.failures.lock().unwrap().iter() {
        told.push(format!("{failure} {failure:?} {:?}", failure.error()));
    }
    told.push(format!("{:?}", replica.connect));
    let logs = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("a customer could not be connected"), "{logs}");
    assert!(
        logs.contains("request to connect or disconnect was rejected"),
        "{logs}"
    );
    assert!(secrets.len() == 12);
    told.push(logs);
    for secret in secrets {
        for text in &told {
            assert!(!text.contains(&secret), "told: {secret} in {text}");
        }
    }
}
