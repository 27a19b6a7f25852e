//! The addresses of a persona: which endpoint a request is for, and whose tenant it names.

use http::{HeaderValue, Request};
use percent_encoding::percent_decode_str;

use super::{
    provider_file::ProviderFile,
    record::Record,
    text::{Captures, Text},
};

/// The header in which [`RoutedService`](crate::sandbox::RoutedService) names the host that a
/// request was for.
pub(in crate::sandbox) const HOST_HEADER: &str = "sandbox-host";

/// The endpoint that a request is for. A tenant is set where the address names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum Route {
    Authorize {
        tenant: Option<String>,
    },
    Token {
        tenant: Option<String>,
        accepts_codes: bool,
        accepts_refresh_tokens: bool,
    },
    Revoke {
        tenant: Option<String>,
        /// The token and the client in the address.
        token: Option<String>,
        client_id: Option<String>,
    },
    Api {
        tenant: Option<String>,
    },
    /// No endpoint of this provider is on the host.
    Misdirected,
}

/// All addresses of a provider.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    authorization: Option<Address>,
    token: Address,
    refresh: Option<Address>,
    revocation: Option<Address>,
    api_hosts: Vec<Text>,
}

impl Addresses {
    pub(super) fn new(provider: &ProviderFile, record: &Record) -> Self {
        let replace = |name: &str| match name {
            "tenant" | "token" | "client_id" => None,
            _ => Some(
                record
                    .variables
                    .get(name)
                    .map_or_else(|| "{tenant}".to_owned(), Clone::clone),
            ),
        };
        let address = |url: &str| Address::parse(url, replace);
        let optional = |url: &Option<String>| url.as_deref().map(address);
        Self {
            authorization: optional(&provider.authorization_endpoint),
            token: address(&provider.token_endpoint),
            refresh: optional(&provider.refresh_endpoint),
            revocation: optional(&provider.revocation_endpoint),
            api_hosts: provider
                .api_origins
                .iter()
                .map(|origin| Text::parse(host_and_rest(origin).0, replace))
                .collect(),
        }
    }

    pub(super) fn route<B>(&self, request: &Request<B>) -> Route {
        let host = host_of(request);
        let host = host.as_deref();
        let target = request.uri();
        let find = |address: &Option<Address>| {
            address
                .as_ref()
                .and_then(|address| address.captures(host, target.path(), target.query()))
        };
        if let Some(captures) = find(&self.authorization) {
            let tenant = tenant(captures);
            return Route::Authorize { tenant };
        }
        if let Some(captures) = find(&self.refresh) {
            return Route::Token {
                tenant: tenant(captures),
                accepts_codes: false,
                accepts_refresh_tokens: true,
            };
        }
        let token = self.token.captures(host, target.path(), target.query());
        if let Some(captures) = token {
            return Route::Token {
                tenant: tenant(captures),
                accepts_codes: true,
                accepts_refresh_tokens: self.refresh.is_none(),
            };
        }
        if let Some(captures) = find(&self.revocation) {
            let decoded = |name: &str| {
                let text = captures.get(name)?;
                Some(percent_decode_str(text).decode_utf8_lossy().into_owned())
            };
            return Route::Revoke {
                token: decoded("token"),
                client_id: decoded("client_id"),
                tenant: captures.get("tenant").cloned(),
            };
        }
        let Some(host) = host else {
            return Route::Api { tenant: None };
        };
        let api = self.api_hosts.iter().find_map(|api| api.captures(host));
        match api {
            Some(captures) => Route::Api {
                tenant: tenant(captures),
            },
            None => Route::Misdirected,
        }
    }
}

/// The URL of an endpoint.
#[derive(Clone, Debug)]
struct Address {
    host: Text,
    path: Text,
    query: Option<Text>,
}

impl Address {
    fn parse(url: &str, replace: impl Fn(&str) -> Option<String> + Copy) -> Self {
        let (host, rest) = host_and_rest(url);
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Self {
            host: Text::parse(host, replace),
            path: Text::parse(if path.is_empty() { "/" } else { path }, replace),
            query: query.map(|query| Text::parse(query, replace)),
        }
    }

    /// The texts in the holes. Without a host, only path and query count.
    fn captures(&self, host: Option<&str>, path: &str, query: Option<&str>) -> Option<Captures> {
        let mut captures = match host {
            Some(host) => self.host.captures(host)?,
            None => Captures::new(),
        };
        let parts = [
            Some(self.path.captures(path)?),
            match &self.query {
                Some(expected) => Some(expected.captures(query.unwrap_or_default())?),
                None => None,
            },
        ];
        for (name, value) in parts.into_iter().flatten().flatten() {
            match captures.get(&name) {
                Some(other) if *other != value => return None,
                _ => captures.insert(name, value),
            };
        }
        Some(captures)
    }
}

/// The host that a request is for, or `None` if it is the sandbox's own.
fn host_of<B>(request: &Request<B>) -> Option<String> {
    let named = request.headers().get(HOST_HEADER).map(HeaderValue::to_str);
    let host = match named {
        Some(host) => host.ok()?,
        None => request.uri().host()?,
    };
    let is_own = host == "localhost" || host.starts_with("127.") || host.starts_with('[');
    (!is_own).then(|| host.to_ascii_lowercase())
}

fn host_and_rest(url: &str) -> (&str, &str) {
    let behind_scheme = url.split_once("://").map_or(url, |(_, behind)| behind);
    behind_scheme.split_at(
        behind_scheme
            .find(['/', '?'])
            .unwrap_or(behind_scheme.len()),
    )
}

fn tenant(mut captures: Captures) -> Option<String> {
    captures.remove("tenant")
}
