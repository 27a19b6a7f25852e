//! Checks a page at two widths and in two color schemes, and takes a picture of each.

use std::{env, fs, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fantoccini::wd::WebDriverCompatibleCommand;
use http::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

use super::{Browser, Outcome};

/// A phone and a desk, in CSS pixels.
const WIDTHS: [u32; 2] = [390, 1000];
const SCHEMES: [&str; 2] = ["light", "dark"];

/// Returns the problems of the page that is open.
const AUDIT: &str = include_str!("audit.js");

impl Browser {
    /// Checks the page that is open at each width and in each color scheme: its structure, that
    /// nothing is cut off, the size of its controls, their labels and focus, and the contrast of
    /// its text. The pictures are written to `target/pages/NAME-WIDTH-SCHEME.png`.
    ///
    /// # Errors
    ///
    /// If the page has a problem. The error lists all of them.
    pub async fn audit(&self, name: &str) -> Outcome {
        let mut problems = Vec::new();
        for width in WIDTHS {
            for scheme in SCHEMES {
                let what = format!("{name}-{width}-{scheme}");
                let found = self.audit_as(&what, width, scheme).await?;
                problems.extend(found.iter().map(|problem| format!("{what}: {problem}")));
            }
        }
        self.devtools("Emulation.clearDeviceMetricsOverride", json!({}))
            .await?;
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [] }))
            .await?;
        if problems.is_empty() {
            return Ok(());
        }
        Err(problems.join("\n").into())
    }

    async fn audit_as(&self, what: &str, width: u32, scheme: &str) -> Outcome<Vec<String>> {
        let metrics = json!({
            "width": width,
            "height": 800,
            "deviceScaleFactor": 1,
            // As phones do, the browser then lays out a page without a viewport at 980 px.
            "mobile": width < 600,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await?;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await?;
        let found = self.client().execute(AUDIT, vec![json!(width)]).await?;
        let clip = json!({
            "x": 0, "y": 0, "width": width, "height": found["height"], "scale": 1,
        });
        let picture = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.devtools("Page.captureScreenshot", picture).await?;
        let picture = picture["data"].as_str().ok_or("no picture")?;
        let directory = directory();
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{what}.png"));
        fs::write(path, BASE64_STANDARD.decode(picture)?)?;
        let mut problems: Vec<String> = serde_json::from_value(found["problems"].clone())?;
        if found["isDark"] != json!(scheme == "dark") {
            problems.push("the background does not follow the color scheme".to_owned());
        }
        Ok(problems)
    }

    /// Sends a command of the Chrome DevTools Protocol.
    async fn devtools(&self, command: &'static str, parameters: Value) -> Outcome<Value> {
        let command = DevTools {
            command,
            parameters,
        };
        Ok(self.client().issue_cmd(command).await?)
    }
}

fn directory() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target"));
    target.unwrap_or_else(default).join("pages")
}

#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.parameters });
        (Method::POST, Some(body.to_string()))
    }
}
