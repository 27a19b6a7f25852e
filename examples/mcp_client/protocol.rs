//! The part of MCP that the example needs: JSON-RPC over streamable HTTP.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

use crate::Outcome;

const PROTOCOL_VERSION: &str = "2025-11-25";

/// An HTTP client whose requests are authorized.
pub(crate) trait Mcp {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Outcome<Response<Bytes>>;
}

impl<S, R> Mcp for S
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: Body,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Outcome<Response<Bytes>> {
        let service = self.ready().await.map_err(Into::into)?;
        let response = service.call(request).await.map_err(Into::into)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(Into::into)?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

pub(crate) struct Session<S> {
    endpoint: String,
    mcp: S,
    /// The name of the session at the server, if it has one.
    id: Option<header::HeaderValue>,
    version: Option<String>,
    requests: u64,
}

impl<S: Mcp> Session<S> {
    pub(crate) fn new(endpoint: &str, mcp: S) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            mcp,
            id: None,
            version: None,
            requests: 0,
        }
    }

    pub(crate) async fn initialize(&mut self) -> Outcome {
        let parameters = json!({
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": { "name": "tower-oauth2-client", "version": "0.1.0" },
        });
        let result = self.request("initialize", parameters).await?;
        let version = result["protocolVersion"].as_str();
        self.version = version.map(str::to_owned);
        let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        self.post(&notification).await?;
        Ok(())
    }

    pub(crate) async fn list_tools(&mut self) -> Outcome<Vec<String>> {
        let result = self.request("tools/list", json!({})).await?;
        let tools = result["tools"].as_array().cloned().unwrap_or_default();
        let names = tools.iter().filter_map(|tool| tool["name"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    pub(crate) async fn call_tool(&mut self, name: &str) -> Outcome<String> {
        let parameters = json!({ "name": name, "arguments": {} });
        let result = self.request("tools/call", parameters).await?;
        Ok(result["content"][0]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    async fn request(&mut self, method: &str, parameters: Value) -> Outcome<Value> {
        self.requests += 1;
        let id = self.requests;
        let message = json!({
            "jsonrpc": "2.0", "id": id, "method": method, "params": parameters,
        });
        let response = self.post(&message).await?;
        let found = messages(&response)?
            .into_iter()
            .find(|message| message["id"] == id)
            .ok_or_else(|| format!("{method}: the server sent no response"))?;
        match found.get("error") {
            Some(error) => Err(format!("{method}: {error}").into()),
            None => Ok(found["result"].clone()),
        }
    }

    async fn post(&mut self, message: &Value) -> Outcome<Response<Bytes>> {
        let mut request = Request::post(&self.endpoint)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(id) = &self.id {
            request = request.header("mcp-session-id", id);
        }
        if let Some(version) = &self.version {
            request = request.header("mcp-protocol-version", version);
        }
        let body = Full::new(Bytes::from(message.to_string()));
        let response = self.mcp.send(request.body(body)?).await?;
        if let Some(id) = response.headers().get("mcp-session-id") {
            self.id = Some(id.clone());
        }
        if !response.status().is_success() {
            let status = response.status();
            return Err(format!("the server responded with {status}").into());
        }
        Ok(response)
    }
}

/// The messages of a response: one as JSON, or several as server-sent events.
fn messages(response: &Response<Bytes>) -> Outcome<Vec<Value>> {
    if response.status() == StatusCode::ACCEPTED {
        return Ok(Vec::new());
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return Ok(vec![serde_json::from_slice(response.body())?]);
    }
    let text = std::str::from_utf8(response.body())?.replace("\r\n", "\n");
    let mut messages = Vec::new();
    for event in text.split("\n\n") {
        let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
        let data: Vec<&str> = data.map(str::trim_start).collect();
        if !data.is_empty() {
            messages.push(serde_json::from_str(&data.join("\n"))?);
        }
    }
    Ok(messages)
}
