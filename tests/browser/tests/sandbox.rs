//! A user allows and denies on the sandbox's pages in a real browser.

use browser_tests::{Browser, Outcome};
use fantoccini::Locator;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::ServiceExt;
use tower_oauth2_client::sandbox::{Consent, Sandbox};

#[tokio::test]
async fn allow_grants_the_sensitive_scopes_only_if_ticked() -> Outcome {
    visit(async |visit: &Visit| {
        let scope = "member.basic:read member.dob:read member.sex:read";
        for (ticked, granted) in [(false, "member.basic:read"), (true, scope)] {
            visit.open(scope).await?;
            visit.browser.log_in().await?;
            visit
                .browser
                .expect_text("h1", "Allow <Payroll & Co> to access Sandbox Bakery?")
                .await?;
            visit
                .browser
                .expect_text("li", "See the list of members member.basic:read")
                .await?;
            if ticked {
                visit
                    .browser
                    .element("//input[@id='sensitive']")
                    .await?
                    .click()
                    .await?;
            }
            let callback = visit.decide("Allow").await?;
            assert_eq!(
                parameter(&callback, "state").as_deref(),
                Some("state-of-the-client")
            );
            let code = parameter(&callback, "code").ok_or(callback)?;
            assert_eq!(visit.exchange_code(&code).await?["scope"], granted);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn deny_redirects_with_access_denied() -> Outcome {
    visit(async |visit: &Visit| {
        visit.open("member.basic:read").await?;
        visit.browser.log_in().await?;
        visit
            .browser
            .expect_text("h1", "Allow <Payroll & Co> to access Sandbox Bakery?")
            .await?;
        let sensitive = visit
            .browser
            .client()
            .find_all(Locator::Id("sensitive"))
            .await?;
        assert!(sensitive.is_empty(), "no sensitive scope was requested");
        let callback = visit.decide("Deny").await?;
        assert_eq!(
            parameter(&callback, "error").as_deref(),
            Some("access_denied")
        );
        assert_eq!(
            parameter(&callback, "state").as_deref(),
            Some("state-of-the-client")
        );
        assert_eq!(parameter(&callback, "code"), None);
        assert_eq!(visit.sandbox.counters().denials, 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_pages_explain_a_missing_password_and_a_foreign_redirect_uri() -> Outcome {
    visit(async |visit: &Visit| {
        visit.open("payroll:read").await?;
        visit.browser.press("Next").await?;
        let alert = "p[@role='alert']";
        visit.browser.expect_text(alert, "Please enter an email address and a password.").await?;

        let foreign = format!(
            "{}/oauth/authorize?response_type=code&client_id=sandbox-client&redirect_uri=https://evil.example/",
            visit.sandbox.url(),
        );
        visit.browser.goto(&foreign).await?;
        visit.browser.expect_text(alert, "The redirect URI is not registered for this client.").await?;
        assert_eq!(visit.browser.client().current_url().await?.as_str(), foreign);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_status_page_injects_a_fault() -> Outcome {
    visit(async |visit: &Visit| {
        visit
            .browser
            .goto(&format!("{}/sandbox", visit.sandbox.url()))
            .await?;
        visit.browser.press("Inject").await?;
        let row = "//tr[td[1]='Authorize' and td[2]='status 401 before processing' and td[3]='1']";
        visit.browser.element(row).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn pages_are_accessible_at_each_width_and_in_each_scheme() -> Outcome {
    visit(async |visit: &Visit| {
        let browser = &visit.browser;
        let url = visit.sandbox.url();
        let mut problems = Vec::new();
        let mut audit = async |name: &str| {
            if let Err(problem) = browser.audit(name).await {
                problems.push(problem.to_string());
            }
        };
        visit
            .open("company.basic:read member.basic:read payroll:read member.dob:read")
            .await?;
        audit("sandbox-login").await;
        browser.press("Next").await?;
        browser.element("//p[@role='alert']").await?;
        audit("sandbox-login-again").await;
        browser.log_in().await?;
        browser.element("//button[.='Allow']").await?;
        audit("sandbox-consent").await;
        let callback = visit.decide("Allow").await?;
        let code = parameter(&callback, "code").ok_or(callback)?;
        let tokens = visit.exchange_code(&code).await?;
        browser.goto(&format!("{url}/oauth/authorize")).await?;
        audit("sandbox-error").await;
        let token = tokens["access_token"].as_str().ok_or("no token")?;
        for path in ["/v1/company", "/v1/members"].repeat(20) {
            visit.call_api(path, token).await?;
        }
        visit.call_api("/v1/company", "wrong").await?;
        browser.goto(&format!("{url}/sandbox")).await?;
        browser.press("Inject").await?;
        browser
            .element("//td[.='status 401 before processing']")
            .await?;
        audit("sandbox-status").await;
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
        Ok(())
    })
    .await
}

/// A sandbox, a browser, and a client that listens for the callback.
struct Visit {
    sandbox: Sandbox,
    browser: Browser,
    client: TcpListener,
}

/// Runs `steps` in a browser and closes it, also if a step fails.
async fn visit(steps: impl AsyncFnOnce(&Visit) -> Outcome) -> Outcome {
    let client = TcpListener::bind("127.0.0.1:0").await?;
    let sandbox = Sandbox::builder()
        .client_name("<Payroll & Co>")
        .redirect_uri(format!("http://{}/callback", client.local_addr()?))
        .behavior(|behavior| behavior.consent = Consent::Page)
        .status_page(true)
        .start()
        .await?;
    browser_tests::browse(async |browser: &Browser| {
        let visit = Visit {
            sandbox: sandbox.clone(),
            browser: browser.clone(),
            client,
        };
        steps(&visit).await
    })
    .await
}

impl Visit {
    /// Opens an authorization URL of the client.
    async fn open(&self, scope: &str) -> Outcome {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", self.sandbox.client_id())
            .append_pair("redirect_uri", self.sandbox.redirect_uri())
            .append_pair("scope", scope)
            .append_pair("state", "state-of-the-client")
            .finish();
        let url = format!("{}/oauth/authorize?{query}", self.sandbox.url());
        self.browser.goto(&url).await
    }

    /// Presses a button and returns the target of the callback that follows.
    async fn decide(&self, button: &str) -> Outcome<String> {
        let ((), target) =
            tokio::try_join!(self.browser.press(button), receive_callback(&self.client))?;
        Ok(target)
    }

    /// Sends a request to the API.
    async fn call_api(&self, path: &str, token: &str) -> Outcome {
        let request = Request::get(path)
            .header("authorization", format!("Bearer {token}"))
            .body(Full::from(String::new()))?;
        self.sandbox.service().oneshot(request).await?;
        Ok(())
    }

    /// Exchanges a code as the client would.
    async fn exchange_code(&self, code: &str) -> Outcome<Value> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("client_id", self.sandbox.client_id())
            .append_pair("client_secret", self.sandbox.client_secret())
            .append_pair("redirect_uri", self.sandbox.redirect_uri())
            .append_pair("code", code)
            .finish();
        let request = Request::post("/oauth/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(form))?;
        let response = self.sandbox.service().oneshot(request).await?;
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Waits for the browser's callback, responds to it, and returns the target of its request.
async fn receive_callback(client: &TcpListener) -> Outcome<String> {
    loop {
        let (mut stream, _) = client.accept().await?;
        let mut head = vec![0; 8 * 1024];
        let length = stream.read(&mut head).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            .await?;
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        // Browsers also preconnect and request an icon.
        if let Some(target) = head.split(' ').nth(1)
            && target.starts_with("/callback")
        {
            return Ok(target.to_owned());
        }
    }
}

fn parameter(target: &str, name: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
