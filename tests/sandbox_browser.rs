//! A person at a real browser allows and denies.
//!
//! Needs `chromium` and `chromedriver` on the path (Debian: `chromium` and `chromium-driver`).

use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tower::ServiceExt;
use tower_oauth2_client::sandbox::{Consent, Sandbox};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::test]
async fn a_person_allows_with_and_without_the_sensitive_scopes() -> Outcome {
    visit(async |visit: &Visit| {
        let scope = "member.basic:read member.dob:read member.sex:read";
        for (ticked, granted) in [(false, "member.basic:read"), (true, scope)] {
            visit.open(scope).await?;
            visit.log_in().await?;
            visit.reads("h1", "Connect <Payroll & Co>").await?;
            visit
                .reads("li", "See who works here member.basic:read")
                .await?;
            if ticked {
                visit
                    .element("//input[@id='sensitive']")
                    .await?
                    .click()
                    .await?;
            }
            let callback = visit.decide("Allow").await?;
            assert_eq!(
                parameter(&callback, "state").as_deref(),
                Some("from the app")
            );
            let code = parameter(&callback, "code").ok_or(callback)?;
            assert_eq!(visit.redeem(&code).await?["scope"], granted);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_person_denies() -> Outcome {
    visit(async |visit: &Visit| {
        visit.open("member.basic:read").await?;
        visit.log_in().await?;
        visit.reads("h1", "Connect <Payroll & Co>").await?;
        let sensitive = visit.browser.find_all(Locator::Id("sensitive")).await?;
        assert!(sensitive.is_empty(), "nothing sensitive was asked for");
        let callback = visit.decide("Deny").await?;
        assert_eq!(
            parameter(&callback, "error").as_deref(),
            Some("access_denied")
        );
        assert_eq!(
            parameter(&callback, "state").as_deref(),
            Some("from the app")
        );
        assert_eq!(parameter(&callback, "code"), None);
        assert_eq!(visit.sandbox.counters().denials, 1);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_person_is_told_what_they_forgot_and_what_is_wrong() -> Outcome {
    visit(async |visit: &Visit| {
        visit.open("payroll:read").await?;
        visit.press("Next").await?;
        let alert = "p[@role='alert']";
        visit.reads(alert, "Please give an email address and a password.").await?;

        let foreign = format!(
            "{}/oauth/authorize?response_type=code&client_id=sandbox-client&redirect_uri=https://evil.example/",
            visit.sandbox.url(),
        );
        visit.browser.goto(&foreign).await?;
        visit.reads(alert, "The redirect URI is not one that the app has registered.").await?;
        assert_eq!(visit.browser.current_url().await?.as_str(), foreign);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_developer_switches_a_fault_on() -> Outcome {
    visit(async |visit: &Visit| {
        visit
            .browser
            .goto(&format!("{}/sandbox", visit.sandbox.url()))
            .await?;
        visit.press("Inject").await?;
        let row = "//tr[td[1]='Authorize' and td[2]='status 401 before work' and td[3]='1']";
        visit.element(row).await.map(drop)
    })
    .await
}

/// A sandbox, a browser, and an app waiting to be called back.
struct Visit {
    sandbox: Sandbox,
    browser: Client,
    app: TcpListener,
}

/// Takes these steps in a browser, and closes it whatever came of them.
async fn visit(steps: impl AsyncFnOnce(&Visit) -> Outcome) -> Outcome {
    let app = TcpListener::bind("127.0.0.1:0").await?;
    let sandbox = Sandbox::builder()
        .client_name("<Payroll & Co>")
        .redirect_uri(format!("http://{}/callback", app.local_addr()?))
        .consent(Consent::Page)
        .status_page(true)
        .start()
        .await?;
    let (mut driver, port) = start_driver().await?;
    let mut capabilities = serde_json::Map::new();
    capabilities.insert(
        "goog:chromeOptions".to_owned(),
        json!({ "args": CHROMIUM_ARGUMENTS }),
    );
    let browser = ClientBuilder::new(HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await?;
    let visit = Visit {
        sandbox,
        browser: browser.clone(),
        app,
    };
    let outcome = steps(&visit).await;
    browser.close().await?;
    driver.kill().await?;
    outcome
}

impl Visit {
    /// Follows the app's link.
    async fn open(&self, scope: &str) -> Outcome {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", self.sandbox.client_id())
            .append_pair("redirect_uri", self.sandbox.redirect_uri())
            .append_pair("scope", scope)
            .append_pair("state", "from the app")
            .finish();
        let url = format!("{}/oauth/authorize?{query}", self.sandbox.url());
        Ok(self.browser.goto(&url).await?)
    }

    async fn log_in(&self) -> Outcome {
        let password = self.element("//input[@id='password']").await?;
        password.send_keys("anything").await?;
        self.press("Next").await
    }

    async fn press(&self, button: &str) -> Outcome {
        let button = format!("//button[text()='{button}']");
        Ok(self.element(&button).await?.click().await?)
    }

    /// Waits for an element: a click does not wait for the page it leads to.
    async fn element(&self, xpath: &str) -> Outcome<Element> {
        let wait = self.browser.wait().at_most(PATIENCE).every(INTERVAL);
        Ok(wait.for_element(Locator::XPath(xpath)).await?)
    }

    /// Waits for an element with exactly this text. Asking for both at once leaves no time for the page to change.
    async fn reads(&self, element: &str, text: &str) -> Outcome {
        let xpath = format!("//{element}[normalize-space()='{text}']");
        self.element(&xpath).await.map(drop)
    }

    /// Presses a button and waits for the browser to call the app. Gives what it called.
    async fn decide(&self, button: &str) -> Outcome<String> {
        let ((), target) = tokio::try_join!(self.press(button), called(&self.app))?;
        Ok(target)
    }

    /// Redeems a code as the app would.
    async fn redeem(&self, code: &str) -> Outcome<Value> {
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

/// Starts chromedriver on a port of its own choice.
async fn start_driver() -> Outcome<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("chromedriver could not be started, is it installed? {error}"))?;
    let output = driver.stdout.take().ok_or("chromedriver has no output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        let port = line
            .strip_prefix("ChromeDriver was started successfully on port ")
            .and_then(|rest| rest.trim_end_matches('.').parse().ok());
        if let Some(port) = port {
            // Whatever else it says has to go somewhere.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((driver, port));
        }
    }
    Err("chromedriver ended without naming its port".into())
}

/// Waits for the browser to call the app, answers it, and gives the target of its request.
async fn called(app: &TcpListener) -> Outcome<String> {
    loop {
        let (mut stream, _) = app.accept().await?;
        let mut head = vec![0; 8 * 1024];
        let length = stream.read(&mut head).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            .await?;
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        // Browsers open connections ahead, and ask for an icon.
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

const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(50);

/// A profile of its own is chromedriver's default.
const CHROMIUM_ARGUMENTS: [&str; 7] = [
    "--headless",
    // Chromium's own sandbox does not work for root, as which containers run.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
