//! The default pages in the language of each request.

use axum::{Router, response::Response};
use http::{Method, StatusCode, request::Parts};
use tower_oauth2_client::{
    connect::{ConnectHandler, ConnectRouter, PageText, PageTexts},
    token::TenantId,
};

use crate::support::{Browser, BrowserResponse, Replica, keys, parameter, replica, tenant};

/// A program with the default pages in two languages.
struct Handler {
    texts: [PageTexts; 2],
}

impl ConnectHandler for Handler {
    async fn tenant(&self, _: &Parts) -> Result<TenantId, Response> {
        Ok(tenant("acme"))
    }

    fn texts(&self, request: &Parts) -> &PageTexts {
        PageTexts::preferred(request, &self.texts)
    }
}

fn site() -> Replica {
    let mut replica = replica();
    let german = PageTexts::new("de")
        .confirm(PageText::new("Konto verbinden", "Weiter?"), "Weiter")
        .connected(PageText::new("Verbunden", "Fertig."))
        .denied(PageText::new("Abgelehnt", "Nichts <hat> sich geändert."))
        .disconnected(PageText::new("Getrennt", "Fertig."))
        .start_again("Neu beginnen")
        .failed(|failure| Some(PageText::new("Fehler", format!("{:?}", failure.kind()))));
    let handler = Handler {
        texts: [PageTexts::english().clone(), german],
    };
    let (oauth, tenants) = (replica.oauth.clone(), replica.tenants.clone());
    let connect = ConnectRouter::new(oauth, tenants, keys(), handler).unwrap();
    replica.app = Router::new().nest("/connect", connect.router());
    replica
}

/// Sends a request of a browser whose user prefers a language.
async fn send(
    browser: &mut Browser,
    site: &Replica,
    language: &str,
    method: Method,
    target: &str,
    fetch_site: &str,
) -> BrowserResponse {
    let mut request = browser.request(method, target);
    for (name, value) in [
        ("accept-language", language),
        ("sec-fetch-site", fetch_site),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    browser.send(site, request).await
}

#[tokio::test(start_paused = true)]
async fn each_default_page_is_in_the_language_of_its_request() {
    for (language, lang, titles) in [
        (
            "de-AT, en;q=0.5",
            "de",
            [
                "Konto verbinden",
                "Abgelehnt",
                "Fehler",
                "Verbunden",
                "Getrennt",
            ],
        ),
        (
            "fr",
            "en",
            [
                "Connect your account",
                "Not connected",
                "Not connected",
                "Connected",
                "Disconnected",
            ],
        ),
    ] {
        let site = site();
        let mut browser = Browser::of("acme");
        let mut get = async |target: &str, fetch_site: &str| {
            let method = Method::GET;
            send(&mut browser, &site, language, method, target, fetch_site).await
        };
        let confirm = get("/connect/start", "cross-site").await;
        let start = get("/connect/start", "same-origin").await;
        let state = parameter(start.location(), "state");
        let denied = format!("/connect/callback?error=access_denied&state={state}");
        let denied = get(&denied, "cross-site").await;
        let failed = get("/connect/callback?code=c1&state=s1", "cross-site").await;
        let start = get("/connect/start", "same-origin").await;
        let callback = site.sandbox.consent(start.location()).await.unwrap();
        let (_, callback) = callback.split_once("/connect").unwrap();
        let connected = get(&format!("/connect{callback}"), "cross-site").await;
        let (method, target) = (Method::POST, "/connect/disconnect");
        let disconnected = send(&mut browser, &site, language, method, target, "same-origin").await;
        assert_eq!(connected.status, StatusCode::OK);
        let pages = [confirm, denied, failed, connected, disconnected];
        for (page, title) in pages.iter().zip(titles) {
            let html = format!("<html lang=\"{lang}\" dir=\"ltr\">");
            assert!(page.text.contains(&html), "{title}: {}", page.text);
            for element in ["title", "h1"] {
                let element = format!("<{element}>{title}</{element}>");
                assert!(page.text.contains(&element), "{element}: {}", page.text);
            }
            assert!(!page.text.contains("<hat>"));
        }
    }
}
