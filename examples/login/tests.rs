//! Who ends the wait for the browser, who does not, and what a second run needs.

use std::{cell::Cell, net::SocketAddr};

use http::StatusCode;
use tokio::net::TcpStream;
use tower_oauth2_client::{OAuthErrorCode, sandbox::Sandbox};

use super::*;

#[tokio::test]
async fn strangers_do_not_end_the_wait() -> Outcome {
    let loopback = Loopback::open("http://127.0.0.1:0/callback").await?;
    let callback = loopback.redirect_uri().to_owned();
    let icon = callback.replace("/callback", "/favicon.ico");
    let elsewhere = callback.replace("/callback", "/");
    let strangers = [
        icon,
        format!("{elsewhere}?state=ours&code=no"),
        callback.clone(),
        format!("{callback}?code=no"),
        format!("{callback}?state=theirs&code=no"),
        format!("{callback}?state=&code=no"),
    ];
    let others = async {
        // Browsers open connections ahead, and send nothing.
        let address: SocketAddr = callback["http://".len()..]
            .split('/')
            .next()
            .unwrap()
            .parse()?;
        let silent = TcpStream::connect(address).await?;
        for stranger in strangers {
            let answer = reqwest::get(&stranger).await?;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{stranger}");
        }
        let sent = format!("{callback}?state=ours&code=no");
        let posted = reqwest::Client::new().post(sent).send().await?;
        assert_eq!(
            posted.status(),
            StatusCode::NOT_FOUND,
            "the browser is sent by GET"
        );
        let answer = reqwest::get(format!("{callback}?code=a%26b&state=ours")).await?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
        assert!(answer.text().await?.contains("You can close this"));
        Ok(silent)
    };
    let (query, _silent) = tokio::try_join!(loopback.callback("ours"), others)?;
    assert_eq!(query, "code=a%26b&state=ours");
    Ok(())
}

#[tokio::test]
async fn only_a_redirect_uri_on_loopback_is_listened_at() -> Outcome {
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

/// What `main` does, counted.
#[tokio::test]
async fn a_second_run_asks_nobody() -> Outcome {
    let (settings, open) = in_sandbox().await?;
    let sandbox = settings.own_sandbox().unwrap();
    let asked = Cell::new(0);
    let person = async |url: &str| {
        asked.set(asked.get() + 1);
        stand_in(&settings)(url).await
    };
    let first = company(&settings, Some(&open), person).await?;
    assert!(first.starts_with("200 OK\n{"), "{first}");
    assert_eq!(company(&settings, Some(&open), person).await?, first);
    assert_eq!(asked.get(), 1);
    assert_eq!(sandbox.counters().code_exchanges, 1);

    // What has ended is asked for again.
    sandbox.revoke_grants();
    let ended = company(&settings, Some(&open), person).await?;
    assert!(ended.starts_with("401 "), "{ended}");
    assert_eq!(company(&settings, Some(&open), person).await?, first);
    assert_eq!(asked.get(), 2);
    Ok(())
}

#[tokio::test]
async fn a_person_who_denies_ends_it() -> Outcome {
    let (settings, open) = in_sandbox().await?;
    let person = async |url: &str| {
        let callback = settings.own_sandbox().unwrap().deny(url).await?;
        reqwest::get(callback).await?.error_for_status()?;
        Ok(())
    };
    let denied = company(&settings, Some(&open), person).await.unwrap_err();
    let denied: &tower_oauth2_client::Error = denied.downcast_ref().unwrap();
    assert_eq!(denied.oauth_code(), Some(OAuthErrorCode::AccessDenied));
    Ok(())
}

async fn in_sandbox() -> Outcome<(Settings, Loopback)> {
    let open = Loopback::open("http://127.0.0.1:0/callback").await?;
    let sandbox = Sandbox::builder().redirect_uri(open.redirect_uri());
    Ok((Settings::of_sandbox(sandbox.start().await?)?, open))
}
