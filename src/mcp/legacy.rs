//! The metadata of servers of MCP 2025-03-26, which compared no issuers.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING},
};
use serde::Deserialize;

use crate::{
    error::{Error, ErrorKind},
    oauth::{SendError, Transport},
};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Named {
    issuer: String,
}

/// Loads the metadata at the root of an origin, with the issuer that they name. Its caller decides
/// whether they can be used.
pub(super) async fn load(http: &Transport, origin: &str) -> Result<(String, Bytes), Error> {
    let location = format!("{origin}/.well-known/oauth-authorization-server");
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = location
        .parse()
        .map_err(|error| invalid().with_source(error))?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let response = http.send(request, TIMEOUT).await.map_err(|error| {
        let (SendError::NotSent(error)
        | SendError::ResponseLost(error)
        | SendError::ResponseCut(_, error)) = error;
        error
    })?;
    if response.status() != StatusCode::OK {
        return Err(invalid());
    }
    let json = response.into_body();
    let named: Named =
        serde_json::from_slice(&json).map_err(|error| invalid().with_source(error))?;
    Ok((named.issuer, json))
}

fn invalid() -> Error {
    Error::new(
        ErrorKind::InvalidResponse,
        "authorization server metadata: the MCP server has none that can be used; it has to be \
         corrected",
    )
}
