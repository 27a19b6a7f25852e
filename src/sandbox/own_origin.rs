//! Requests that a sandbox on a socket refuses, because a web page of another origin may have sent
//! them.
//!
//! Every page in the developer's browser can send requests to loopback. After DNS rebinding, its
//! name even resolves to the sandbox's address, and the page can read the responses: only `Host`
//! distinguishes such a request. Hence a request must name the sandbox by an address or by
//! `localhost`, and a request that the browser ascribes to another origin has no effect.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{HOST, ORIGIN},
    uri::Authority,
};

/// The origin of a sandbox on a socket, under all of its names.
#[derive(Clone, Debug)]
pub(super) struct OwnOrigin {
    /// The address of the listener.
    listener: SocketAddr,
    /// The address that the client connected to. It differs if the listener's address is
    /// unspecified, such as `0.0.0.0`.
    connection: IpAddr,
    /// Further host names and addresses, which any port may follow.
    hosts: Arc<[Name]>,
}

/// The status and the text of the response to a request that is refused.
pub(super) type Refused = (StatusCode, &'static str);

impl OwnOrigin {
    pub(super) fn new(listener: SocketAddr, hosts: &[String]) -> Self {
        Self {
            listener,
            connection: listener.ip(),
            hosts: hosts.iter().map(|host| Name::of_setting(host)).collect(),
        }
    }

    /// The origin as one connection sees it.
    pub(super) fn of_connection(&self, address: SocketAddr) -> Self {
        Self {
            connection: address.ip(),
            ..self.clone()
        }
    }

    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let headers = request.headers();
        let hosts = headers.get_all(HOST).iter().map(HeaderValue::to_str);
        // The target of a request to a proxy, and of every request by HTTP/2, has an authority.
        let authority = request.uri().authority().map(Authority::as_str);
        let mut named = None;
        for host in hosts.chain(authority.map(Ok)) {
            let host = host.ok().and_then(Host::parse);
            if host.is_none() || named.is_some() && named != host {
                return Err((StatusCode::BAD_REQUEST, INVALID_HOST));
            }
            named = host;
        }
        let Some(named) = named else {
            return Err((StatusCode::BAD_REQUEST, INVALID_HOST));
        };
        if !self.is_own(&named) {
            return Err((StatusCode::MISDIRECTED_REQUEST, OTHER_HOST));
        }
        // A link or a redirect shows its page to the user only.
        let is_navigation = request.method() == Method::GET
            && headers.get("sec-fetch-mode").map(HeaderValue::as_bytes) == Some(b"navigate");
        if !is_navigation && is_cross_origin(headers, &named) {
            return Err((StatusCode::FORBIDDEN, OTHER_ORIGIN));
        }
        Ok(())
    }

    fn is_own(&self, host: &Host) -> bool {
        let is_name_of_listener = match &host.name {
            Name::Address(address) => {
                address.to_canonical().is_loopback()
                    || [self.listener.ip(), self.connection].contains(address)
            }
            Name::Dns(name) => name == "localhost",
        };
        is_name_of_listener && host.port == self.listener.port() || self.hosts.contains(&host.name)
    }
}

/// Whether a browser sent the request for a page of another site. Two ports of one host are one
/// site.
pub(super) fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    !matches!(site, None | Some(b"same-origin" | b"none"))
}

/// Whether a browser sent the request for a page of another origin than `own`.
fn is_cross_origin(headers: &HeaderMap, own: &Host) -> bool {
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().ok()?;
        let (_, authority) = origin.split_once("://")?;
        Some(Host::parse(authority)? == *own)
    };
    is_cross_site(headers)
        || headers.get_all(ORIGIN).iter().any(|origin| {
            // A page without a referrer sends `null`, also to its own origin.
            let hidden = origin == "null" && headers.contains_key("sec-fetch-site");
            !hidden && is_own(origin) != Some(true)
        })
}

/// The host and the port that a request names.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    name: Name,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Address(IpAddr),
    /// In lower case, without the dot of the root.
    Dns(String),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        // User information is not a part of `Host`.
        let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
        let host = authority.host();
        let port = match authority.as_str().get(host.len()..)? {
            "" | ":" => 80,
            port => port.strip_prefix(':')?.parse().ok()?,
        };
        let name = Name::parse(host)?;
        Some(Self { name, port })
    }
}

impl Name {
    fn parse(host: &str) -> Option<Self> {
        let mut name = host.to_ascii_lowercase();
        if name.ends_with('.') {
            name.pop();
        }
        let literal = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        Some(match (literal, name.parse()) {
            (Some(literal), _) => Self::Address(IpAddr::V6(literal.parse().ok()?)),
            (None, Ok(address)) => Self::Address(IpAddr::V4(address)),
            (None, Err(_)) => Self::Dns(name),
        })
    }

    /// A setting may also be an IPv6 address without brackets.
    fn of_setting(host: &str) -> Self {
        let address = host.parse().ok().map(Self::Address);
        address
            .or_else(|| Self::parse(host))
            .unwrap_or_else(|| Self::Dns(host.to_owned()))
    }
}

const INVALID_HOST: &str = "The request names no host, an invalid one, or several.\n";
const OTHER_HOST: &str = "\
    The request names another host than this sandbox, as one of a web page after DNS rebinding does.\n\
    Use the URL that the sandbox printed, or localhost with the same port. If the sandbox has another\n\
    name or port, as a container has, allow the name by SandboxBuilder::host (SANDBOX_HOST).\n";
const OTHER_ORIGIN: &str = "\
    A web page of another origin sent this request. The sandbox serves programs, its own pages, and\n\
    links and redirects to its pages.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: &OwnOrigin, target: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let checked = origin.check(&request.body(()).unwrap());
        checked.map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    fn origin(listener: &str) -> OwnOrigin {
        OwnOrigin::new(listener.parse().unwrap(), &["Box.example.".to_owned()])
    }

    #[test]
    fn only_names_of_the_listener_are_own() {
        let origin = origin("127.0.0.1:8080");
        for (host, status) in [
            ("127.0.0.1:8080", 200),
            ("localhost:8080", 200),
            ("LocalHost:8080", 200),
            ("localhost.:8080", 200),
            ("[::1]:8080", 200),
            ("[0:0:0:0:0:0:0:1]:8080", 200),
            ("[::ffff:127.0.0.1]:8080", 200),
            ("127.0.0.2:8080", 200),
            ("box.example", 200),
            ("BOX.example.:9", 200),
            ("rebound.example:8080", 421),
            ("localhost.rebound.example:8080", 421),
            ("127.0.0.1.rebound.example:8080", 421),
            ("localhost", 421),
            ("localhost:80", 421),
            ("localhost:", 421),
            ("127.0.0.1:8081", 421),
            ("192.0.2.1:8080", 421),
            ("0.0.0.0:8080", 421),
            ("2130706433:8080", 421),
            ("[2001:db8::1]:8080", 421),
            ("localhost@rebound.example:8080", 400),
            ("rebound.example@localhost:8080", 400),
            ("localhost:99999", 400),
            ("localhost:8080, rebound.example", 400),
            ("[::1", 400),
            ("", 400),
        ] {
            assert_eq!(check(&origin, "/", &[("host", host)]), status, "{host}");
        }
    }

    #[test]
    fn default_port_is_80() {
        let origin = origin("[::1]:80");
        for host in ["[::1]", "localhost", "localhost:", "localhost:80"] {
            assert_eq!(check(&origin, "/", &[("host", host)]), 200, "{host}");
        }
        assert_eq!(check(&origin, "/", &[("host", "localhost:8080")]), 421);
    }

    #[test]
    fn unspecified_listener_is_reached_by_the_address_of_the_connection() {
        let origin = origin("0.0.0.0:8080");
        let host = [("host", "192.0.2.1:8080")];
        assert_eq!(check(&origin, "/", &host), 421);
        let origin = origin.of_connection("192.0.2.1:8080".parse().unwrap());
        assert_eq!(check(&origin, "/", &host), 200);
        assert_eq!(check(&origin, "/", &[("host", "192.0.2.2:8080")]), 421);
    }

    /// As a container with a published port is reached.
    #[test]
    fn names_of_the_settings_may_be_addresses_and_have_any_port() {
        let hosts = [
            "127.0.0.1",
            "::1",
            "[2001:db8::1]",
            "192.0.2.7",
            "LocalHost",
        ];
        let hosts = hosts.map(str::to_owned);
        let origin = OwnOrigin::new("0.0.0.0:8080".parse().unwrap(), &hosts);
        for host in [
            "127.0.0.1:9000",
            "[::1]:9000",
            "[2001:db8::1]",
            "192.0.2.7:9000",
            "localhost:9000",
        ] {
            assert_eq!(check(&origin, "/", &[("host", host)]), 200, "{host}");
        }
        for host in ["127.0.0.2:9000", "192.0.2.8", "rebound.example:9000"] {
            assert_eq!(check(&origin, "/", &[("host", host)]), 421, "{host}");
        }
    }

    #[test]
    fn host_and_target_are_both_checked() {
        let origin = origin("127.0.0.1:8080");
        let (own, other) = ("localhost:8080", "rebound.example:8080");
        let target = |authority| format!("http://{authority}/sandbox");
        // HTTP/2 has an authority only.
        assert_eq!(check(&origin, &target(own), &[]), 200);
        assert_eq!(check(&origin, &target(other), &[]), 421);
        assert_eq!(check(&origin, &target(own), &[("host", own)]), 200);
        assert_eq!(check(&origin, &target(other), &[("host", own)]), 400);
        assert_eq!(check(&origin, &target(own), &[("host", other)]), 400);
        assert_eq!(check(&origin, "/", &[]), 400);
        assert_eq!(check(&origin, "/", &[("host", own), ("host", other)]), 400);
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let listener = origin("127.0.0.1:8080");
        let own = ("host", "localhost:8080");
        let site = |site| ("sec-fetch-site", site);
        let origin = |origin| ("origin", origin);
        for (headers, status) in [
            (&[own, origin("http://localhost:8080")][..], 200),
            (&[own, origin("http://LOCALHOST:8080")], 200),
            (&[own, origin("null"), site("same-origin")], 200),
            (&[own, site("none")], 200),
            (&[own, origin("http://localhost:3000")], 403),
            (&[own, origin("http://localhost")], 403),
            (&[own, origin("http://127.0.0.1:8080")], 403),
            (&[own, origin("https://evil.example")], 403),
            (&[own, origin("http://localhost:8080.evil.example")], 403),
            (&[own, origin("null")], 403),
            (&[own, origin("null"), site("cross-site")], 403),
            (&[own, origin("")], 403),
            (&[own, site("cross-site")], 403),
            (&[own, site("same-site")], 403),
            // Only a GET can be a link.
            (
                &[own, site("cross-site"), ("sec-fetch-mode", "navigate")],
                403,
            ),
        ] {
            assert_eq!(check(&listener, "/", headers), status, "{headers:?}");
        }
        let link = Request::get("/sandbox")
            .header("host", "localhost:8080")
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "navigate");
        assert_eq!(listener.check(&link.body(()).unwrap()), Ok(()));
    }
}
