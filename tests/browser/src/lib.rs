//! Drives chromium through the pages that users see.
//!
//! The tests need `chromium` and `chromedriver` on the `PATH` (Debian: `chromium` and
//! `chromium-driver`).

use std::{error::Error, process::Stdio, time::Duration};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

mod audit;

pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A running browser. Clones share it.
#[derive(Clone, Debug)]
pub struct Browser {
    client: Client,
}

/// Runs `steps` in a new browser and closes the browser, also if a step fails.
///
/// # Errors
///
/// If the browser does not start, or a step fails.
pub async fn browse(steps: impl AsyncFnOnce(&Browser) -> Outcome) -> Outcome {
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
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub async fn goto(&self, url: &str) -> Outcome {
        Ok(self.client.goto(url).await?)
    }

    /// Fills in the sandbox's login page.
    pub async fn log_in(&self) -> Outcome {
        let password = self.element("//input[@id='password']").await?;
        password.send_keys("anything").await?;
        self.press("Next").await
    }

    pub async fn press(&self, button: &str) -> Outcome {
        let button = format!("//button[text()='{button}']");
        Ok(self.element(&button).await?.click().await?)
    }

    /// Waits for an element. A click does not wait for the page that it loads.
    pub async fn element(&self, xpath: &str) -> Outcome<Element> {
        let wait = self.client.wait().at_most(PATIENCE).every(INTERVAL);
        Ok(wait.for_element(Locator::XPath(xpath)).await?)
    }

    /// Waits for an element with exactly this text.
    ///
    /// One query checks both, so the page cannot change between two checks.
    pub async fn expect_text(&self, element: &str, text: &str) -> Outcome {
        let xpath = format!("//{element}[normalize-space()='{text}']");
        self.element(&xpath).await.map(drop)
    }
}

/// Starts chromedriver on a free port.
async fn start_driver() -> Outcome<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            format!("cannot start chromedriver: {error}; install Debian's chromium-driver")
        })?;
    let output = driver
        .stdout
        .take()
        .ok_or("chromedriver has no standard output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        let port = line
            .strip_prefix("ChromeDriver was started successfully on port ")
            .and_then(|rest| rest.trim_end_matches('.').parse().ok());
        if let Some(port) = port {
            // A full pipe would block chromedriver.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((driver, port));
        }
    }
    Err("chromedriver exited before it printed its port".into())
}

const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(50);

/// The profile is missing here: chromedriver creates a temporary one by default.
const CHROMIUM_ARGUMENTS: [&str; 7] = [
    "--headless",
    // Chromium's own sandbox does not work for root, the usual user in containers.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
