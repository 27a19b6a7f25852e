//! The listener that the browser comes back to, on the machine of whoever logs in (RFC 8252, section 7.3).

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

/// An open listener, where a redirect URI says.
#[derive(Debug)]
pub(crate) struct Loopback {
    listener: TcpListener,
    redirect_uri: String,
    path: String,
}

impl Loopback {
    /// Listens where the redirect URI points to. That has to be registered with the provider, so that it is the one to say which
    /// address, port and path are used. Port 0 takes any that is free.
    pub(crate) async fn open(redirect_uri: &str) -> Result<Self, Box<dyn Error>> {
        let uri: Uri = redirect_uri.parse()?;
        let (Some("http"), Some(host @ ("127.0.0.1" | "[::1]" | "localhost"))) =
            (uri.scheme_str(), uri.host())
        else {
            return Err(format!(
                "no browser comes back to this program by {redirect_uri}: register one like http://127.0.0.1:8000/callback"
            )
            .into());
        };
        let port = uri.port_u16().unwrap_or(80);
        let listener = TcpListener::bind(format!("{host}:{port}"))
            .await
            .map_err(|error| {
                format!("{redirect_uri} names a port that cannot be listened on: {error}")
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

    /// The redirect URI, with the port that is listened on.
    pub(crate) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits until the browser comes back with this state, shows it a page, and gives the query that it came with.
    ///
    /// Any program on this machine, and any page in the browser, can send requests here. None of them knows the state, and so
    /// none of them ends the wait.
    pub(crate) async fn callback(&self, state: &str) -> Result<String, Box<dyn Error>> {
        let expected = Arc::new(Expected {
            path: self.path.clone(),
            state: state.to_owned(),
        });
        // Those that are open at the end, as browsers leave them, end with it.
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

/// What the callback is known by.
struct Expected {
    path: String,
    state: String,
}

impl Expected {
    /// The query, if it is this request.
    ///
    /// A denial is a callback too, and so is one that makes no sense: it is for
    /// [`accept`](tower_oauth2_client::oauth::PendingAuthorization::accept) to say what it means.
    fn query_of<'a, B>(&self, request: &'a Request<B>) -> Option<&'a str> {
        let query = request.uri().query()?;
        let is_ours = form_urlencoded::parse(query.as_bytes())
            .any(|(name, value)| name == "state" && value == self.state);
        (request.method() == Method::GET && request.uri().path() == self.path && is_ours)
            .then_some(query)
    }
}

/// One request, its answer written whole. Gives the callback's query, if that was it.
async fn serve(stream: TcpStream, expected: Arc<Expected>) -> Option<String> {
    let callback = OnceLock::new();
    let answer = service_fn(|request: Request<Incoming>| {
        let query = expected.query_of(&request);
        if let Some(query) = query {
            let _ = callback.set(query.to_owned());
        }
        let answer = page(query.is_some());
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    // Whoever hung up before the page was there has called all the same.
    drop(connection);
    callback.into_inner()
}

fn page(is_callback: bool) -> Response<String> {
    let (status, text) = if is_callback {
        (
            StatusCode::OK,
            "You can close this. The terminal says how it went.",
        )
    } else {
        (StatusCode::NOT_FOUND, "There is nothing here.")
    };
    let mut page = Response::new(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Login</title><p>{text}</p></html>\n"
    ));
    *page.status_mut() = status;
    // The address of this page holds the code.
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
