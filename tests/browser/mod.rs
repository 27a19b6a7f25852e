//! A real browser, and what a person does in it.
//!
//! Needs `chromium` and `chromedriver` on the path (Debian: `chromium` and `chromium-driver`).

use std::{error::Error, process::Stdio, time::Duration};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Clones are handles to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    client: Client,
}

/// Takes these steps in a browser, and closes it whatever came of them.
pub(crate) async fn browse(steps: impl AsyncFnOnce(&Browser) -> Outcome) -> Outcome {
    let (mut driver, port) = start_driver().await?;
    let mut capabilities = serde_json::Map::new();
    capabilities.insert(
        "goog:chromeOptions".to_owned(),
        json!({ "args": CHROMIUM_ARGUMENTS }),
    );
    let client = ClientBuilder::new(HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await?;
    let outcome = steps(&Browser {
        client: client.clone(),
    })
    .await;
    client.close().await?;
    driver.kill().await?;
    outcome
}

impl Browser {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn goto(&self, url: &str) -> Outcome {
        Ok(self.client.goto(url).await?)
    }

    /// On the sandbox's page.
    pub(crate) async fn log_in(&self) -> Outcome {
        let password = self.element("//input[@id='password']").await?;
        password.send_keys("anything").await?;
        self.press("Next").await
    }

    pub(crate) async fn press(&self, button: &str) -> Outcome {
        let button = format!("//button[text()='{button}']");
        Ok(self.element(&button).await?.click().await?)
    }

    /// Waits for an element: a click does not wait for the page it leads to.
    pub(crate) async fn element(&self, xpath: &str) -> Outcome<Element> {
        let wait = self.client.wait().at_most(PATIENCE).every(INTERVAL);
        Ok(wait.for_element(Locator::XPath(xpath)).await?)
    }

    /// Waits for an element with exactly this text. Asking for both at once leaves no time for the page to change.
    pub(crate) async fn reads(&self, element: &str, text: &str) -> Outcome {
        let xpath = format!("//{element}[normalize-space()='{text}']");
        self.element(&xpath).await.map(drop)
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
