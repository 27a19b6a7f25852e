//! An MCP server on loopback, whose authorization server is the sandbox.

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_oauth2_client::sandbox::{MetadataDocuments, Pkce, Sandbox};

use crate::Http;

pub(crate) const CLIENT_ID: &str = "mcp-example";
pub(crate) const CLIENT_SECRET: &str = "mcp-example-secret";
pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:8765/callback";

const METADATA_PATH: &str = "/.well-known/oauth-protected-resource/mcp";
/// The scope of each request, and that of the call of a tool.
const SCOPES: [&str; 2] = ["company.basic:read", "member.basic:read"];

pub(crate) struct McpServer {
    address: SocketAddr,
    sandbox: Arc<Sandbox>,
    consents: Arc<AtomicUsize>,
}

/// A user of the sandbox, which allows everything.
#[derive(Clone)]
pub(crate) struct User {
    sandbox: Arc<Sandbox>,
    consents: Arc<AtomicUsize>,
}

impl User {
    pub(crate) async fn consent(&self, url: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
        self.consents.fetch_add(1, Ordering::Relaxed);
        Ok(self.sandbox.consent(url).await?)
    }
}

impl McpServer {
    pub(crate) async fn start(http: Http) -> io::Result<Self> {
        let sandbox = Sandbox::builder()
            .client_id(CLIENT_ID)
            .client_secret(CLIENT_SECRET)
            .redirect_uri(REDIRECT_URI)
            .behavior(|behavior| {
                behavior.metadata = MetadataDocuments::Both;
                behavior.pkce = Pkce::Required;
            });
        let sandbox = Arc::new(sandbox.start().await?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let api = Arc::new(Api {
            resource: format!("http://{address}"),
            issuer: sandbox.url(),
            http,
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let api = Arc::clone(&api);
                let service = service_fn(move |request| {
                    let api = Arc::clone(&api);
                    async move { Ok::<_, Infallible>(api.respond(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self {
            address,
            sandbox,
            consents: Arc::default(),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub(crate) fn issuer(&self) -> String {
        self.sandbox.url()
    }

    /// How often the user was asked.
    pub(crate) fn consents(&self) -> usize {
        self.consents.load(Ordering::Relaxed)
    }

    pub(crate) fn user(&self) -> User {
        User {
            sandbox: Arc::clone(&self.sandbox),
            consents: Arc::clone(&self.consents),
        }
    }
}

struct Api {
    resource: String,
    issuer: String,
    http: Http,
}

impl Api {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, METADATA_PATH) => json_response(&json!({
                "resource": format!("{}/mcp", self.resource),
                "authorization_servers": [self.issuer],
                "scopes_supported": [SCOPES[0]],
            })),
            (&Method::POST, "/mcp") => self.message(request).await,
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    async fn message(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return status(StatusCode::BAD_REQUEST);
        };
        let Ok(message) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let method = message["method"].as_str().unwrap_or_default();
        let is_call = method == "tools/call";
        // The API of the sandbox knows the token. A server in production introspects it, or checks
        // its signature and audience.
        let path = if is_call {
            "/v1/members"
        } else {
            "/v1/company"
        };
        let data = match self.data(path, &head.headers).await {
            Some((StatusCode::OK, data)) => data,
            Some((StatusCode::FORBIDDEN, _)) => {
                let scopes = SCOPES.join(" ");
                return self.challenge(
                    StatusCode::FORBIDDEN,
                    &format!("error=\"insufficient_scope\", scope=\"{scopes}\""),
                );
            }
            Some((StatusCode::UNAUTHORIZED, _)) => {
                return self.challenge(StatusCode::UNAUTHORIZED, "error=\"invalid_token\"");
            }
            _ => return status(StatusCode::BAD_GATEWAY),
        };
        if message.get("id").is_none() {
            return status(StatusCode::ACCEPTED);
        }
        let result = match method {
            "initialize" => json!({
                "protocolVersion": "2025-11-25",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "example", "version": "1" },
            }),
            "tools/list" => json!({
                "tools": [{ "name": "count_members", "inputSchema": { "type": "object" } }],
            }),
            _ => {
                let count = data["items"].as_array().map_or(0, Vec::len);
                let text = format!("{count} members on the first page");
                json!({ "content": [{ "type": "text", "text": text }] })
            }
        };
        json_response(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
    }

    /// The response of the sandbox's API to the token of a request.
    async fn data(&self, path: &str, headers: &HeaderMap) -> Option<(StatusCode, Value)> {
        let mut request = Request::get(format!("{}{path}", self.issuer));
        if let Some(token) = headers.get(AUTHORIZATION) {
            request = request.header(AUTHORIZATION, token);
        }
        let response = self
            .http
            .request(request.body(Full::default()).ok()?)
            .await
            .ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn challenge(&self, code: StatusCode, cause: &str) -> Response<Full<Bytes>> {
        let mut response = status(code);
        let metadata = format!("{}{METADATA_PATH}", self.resource);
        let value = format!("Bearer resource_metadata=\"{metadata}\", {cause}");
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }
}

fn json_response(json: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(json.to_string()));
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}
