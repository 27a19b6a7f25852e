//! Requests that end the wait for the callback, requests that do not, and a second run.

use std::{cell::Cell, net::SocketAddr};

use http::StatusCode;
use tokio::net::TcpStream;
use tower_oauth2_client::{OAuthErrorCode, sandbox::Sandbox};

use super::*;

#[tokio::test]
async fn only_the_callback_with_the_state_ends_the_wait() -> Outcome {
    let loopback = Loopback::open("http://127.0.0.1:0/callback").await?;
    let callback = loopback.redirect_uri().to_owned();
    let icon = callback.replace("/callback", "/favicon.ico");
    let other_path = callback.replace("/callback", "/");
    let wrong_requests = [
        icon,
        format!("{other_path}?state=ours&code=no"),
        callback.clone(),
        format!("{callback}?code=no"),
        format!("{callback}?state=foreign&code=no"),
        format!("{callback}?state=&code=no"),
    ];
    let requests = async {
        // Browsers open spare connections and send nothing over them.
        let address: SocketAddr = callback["http://".len()..]
            .split('/')
            .next()
            .unwrap()
            .parse()?;
        let silent = TcpStream::connect(address).await?;
        for wrong in wrong_requests {
            let response = reqwest::get(&wrong).await?;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{wrong}");
        }
        let sent = format!("{callback}?state=ours&code=no");
        let posted = reqwest::Client::new().post(sent).send().await?;
        assert_eq!(
            posted.status(),
            StatusCode::NOT_FOUND,
            "a redirected browser sends GET"
        );
        let rebound = reqwest::Client::new().get(format!("{callback}?code=no&state=ours"));
        let rebound = rebound.header("host", "rebound.example").send().await?;
        assert_eq!(rebound.status(), StatusCode::MISDIRECTED_REQUEST);
        let response = reqwest::get(format!("{callback}?code=a%26b&state=ours")).await?;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        assert!(response.text().await?.contains("You can close this page"));
        Ok(silent)
    };
    let (query, _silent) = tokio::try_join!(loopback.callback("ours"), requests)?;
    assert_eq!(query, "code=a%26b&state=ours");
    Ok(())
}

#[tokio::test]
async fn redirect_uri_must_be_on_loopback_and_its_port_free() -> Outcome {
    for wrong in [
        "https://127.0.0.1:8000/callback",
        "http://partner.example.com:8000/callback",
        "http://0.0.0.0:8000/callback",
        "/callback",
    ] {
        let refused = Loopback::open(wrong).await.unwrap_err().to_string();
        assert!(refused.contains(wrong), "{refused}");
    }
    let first = Loopback::open("http://127.0.0.1:0/callback").await?;
    let refused = Loopback::open(first.redirect_uri()).await.unwrap_err();
    assert!(
        refused.to_string().contains("cannot be listened on"),
        "{refused}"
    );
    Ok(())
}

#[tokio::test]
async fn second_run_needs_no_consent() -> Outcome {
    let (settings, loopback) = in_sandbox().await?;
    let sandbox = settings.own_sandbox().unwrap();
    let consents = Cell::new(0);
    let user = async |url: &str| {
        consents.set(consents.get() + 1);
        simulated_user(&settings)(url).await
    };
    let first = company(&settings, Some(&loopback), user).await?;
    assert!(first.starts_with("200 OK\n{"), "{first}");
    assert_eq!(company(&settings, Some(&loopback), user).await?, first);
    assert_eq!(consents.get(), 1);
    assert_eq!(sandbox.counters().code_exchanges, 1);

    // A grant that has ended needs a new consent. The first of these runs waits, because the API
    // may not know the new token yet. The second one detects the end.
    sandbox.revoke_grants();
    for _ in 0..2 {
        let ended = company(&settings, Some(&loopback), user).await?;
        assert!(ended.starts_with("401 "), "{ended}");
    }
    assert_eq!(company(&settings, Some(&loopback), user).await?, first);
    assert_eq!(consents.get(), 2);
    Ok(())
}

#[tokio::test]
async fn denial_fails_the_login() -> Outcome {
    let (settings, loopback) = in_sandbox().await?;
    let user = async |url: &str| {
        let callback = settings.own_sandbox().unwrap().deny(url).await?;
        reqwest::get(callback).await?.error_for_status()?;
        Ok(())
    };
    let denied = company(&settings, Some(&loopback), user).await.unwrap_err();
    let denied: &tower_oauth2_client::Error = denied.downcast_ref().unwrap();
    assert_eq!(denied.oauth_code(), Some(OAuthErrorCode::AccessDenied));
    Ok(())
}

async fn in_sandbox() -> Outcome<(Settings, Loopback)> {
    let loopback = Loopback::open("http://127.0.0.1:0/callback").await?;
    let sandbox = Sandbox::builder().redirect_uri(loopback.redirect_uri());
    Ok((Settings::for_sandbox(sandbox.start().await?)?, loopback))
}
