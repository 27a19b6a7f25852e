//! The listener for the callback, on the user's machine (RFC 8252, section 7.3).

use std::{
    convert::Infallible,
    error::Error,
    sync::{Arc, OnceLock},
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::own_host::{OTHER_HOST, OwnHosts};

/// A listener at the address of a redirect URI.
#[derive(Debug)]
pub(crate) struct Loopback {
    listener: TcpListener,
    redirect_uri: String,
    path: String,
}

impl Loopback {
    /// Listens at the redirect URI. Port 0 takes any free port.
    pub(crate) async fn open(redirect_uri: &str) -> Result<Self, Box<dyn Error>> {
        let uri: Uri = redirect_uri.parse()?;
        let (Some("http"), Some(host @ ("127.0.0.1" | "[::1]" | "localhost"))) =
            (uri.scheme_str(), uri.host())
        else {
            return Err(format!(
                "redirect URI {redirect_uri} does not lead to this program; register one like \
                 http://127.0.0.1:8000/callback"
            )
            .into());
        };
        let port = uri.port_u16().unwrap_or(80);
        let listener = TcpListener::bind(format!("{host}:{port}"))
            .await
            .map_err(|error| {
                format!("the port of {redirect_uri} cannot be listened on: {error}")
            })?;
        let redirect_uri = match port {
            0 => redirect_uri.replacen(":0", &format!(":{}", listener.local_addr()?.port()), 1),
            _ => redirect_uri.to_owned(),
        };
        Ok(Self {
            listener,
            redirect_uri,
            path: uri.path().to_owned(),
        })
    }

    /// The redirect URI, with the actual port.
    pub(crate) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits for the callback with this state, responds with a page, and returns the callback's
    /// query.
    ///
    /// Any program on this machine, and any page in the browser, can send requests here. They do
    /// not know the state, so they do not end the wait. A page that rebinds its name to this
    /// machine gets no response that it could use.
    pub(crate) async fn callback(&self, state: &str) -> Result<String, Box<dyn Error>> {
        let expected = Arc::new(Expected {
            path: self.path.clone(),
            state: state.to_owned(),
            hosts: OwnHosts::of_listener(self.listener.local_addr()?),
        });
        // Dropping the set closes the connections that browsers leave open.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted?;
                    connections.spawn(serve(stream, Arc::clone(&expected)));
                }
                Some(ended) = connections.join_next() => {
                    if let Some(query) = ended? {
                        return Ok(query);
                    }
                }
            }
        }
    }
}

/// The host, the path and the state of the callback.
struct Expected {
    hosts: OwnHosts,
    path: String,
    state: String,
}

impl Expected {
    /// The query of the request, if the request is the callback.
    ///
    /// A denial is a callback too, and so is a malformed query:
    /// [`complete_authorization`](tower_oauth2_client::cache::TokenCache::complete_authorization)
    /// checks it.
    fn query_of<'a, B>(&self, request: &'a Request<B>) -> Option<&'a str> {
        let query = request.uri().query()?;
        let is_ours = form_urlencoded::parse(query.as_bytes())
            .any(|(name, value)| name == "state" && value == self.state);
        (request.method() == Method::GET && request.uri().path() == self.path && is_ours)
            .then_some(query)
    }
}

/// Serves one request, and returns its query if it was the callback.
async fn serve(stream: TcpStream, expected: Arc<Expected>) -> Option<String> {
    let callback = OnceLock::new();
    let service = service_fn(|request: Request<Incoming>| {
        let response = if expected.hosts.are_in(&request) {
            let query = expected.query_of(&request);
            if let Some(query) = query {
                let _ = callback.set(query.to_owned());
            }
            page(query.is_some())
        } else {
            let mut response = Response::new(OTHER_HOST.to_owned());
            *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
            response
        };
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // The callback counts even if the browser closed the connection before it had the page.
    drop(connection);
    callback.into_inner()
}

fn page(is_callback: bool) -> Response<String> {
    let (status, text) = if is_callback {
        (
            StatusCode::OK,
            "You can close this page and return to the terminal.",
        )
    } else {
        (StatusCode::NOT_FOUND, "This page does not exist.")
    };
    let mut page = Response::new(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Login</title>\
         <p>{text}</p></html>\n"
    ));
    *page.status_mut() = status;
    // The URL of this page contains the code.
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        page.headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    page
}
