//! Whether a request is meant for a server on loopback.
//!
//! Every web page in a browser on this machine can send requests to it. After DNS rebinding, the
//! page's name even resolves to this machine, and the page can read the responses. Only `Host`
//! distinguishes such a request.

use std::net::SocketAddr;

use http::{HeaderValue, Request, Uri, header};

/// The values of `Host` that name a server.
#[derive(Clone, Debug)]
pub(crate) struct OwnHosts(Vec<String>);

impl OwnHosts {
    /// The names of a listener on loopback.
    pub(crate) fn of_listener(address: SocketAddr) -> Self {
        let port = address.port();
        let names = ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}"));
        let mut hosts = names.to_vec();
        hosts.push(address.to_string());
        Self(hosts).without_default_port()
    }

    /// Adds the host of a URL, such as that of a tunnel to the server.
    #[allow(dead_code, reason = "for `partner_app`")]
    pub(crate) fn and_of(mut self, url: &str) -> Self {
        let url = url.parse::<Uri>().ok();
        self.0
            .extend(url.and_then(|url| Some(url.authority()?.to_string())));
        self
    }

    /// Browsers omit the port 80.
    fn without_default_port(mut self) -> Self {
        for host in &mut self.0 {
            if let Some(name) = host.strip_suffix(":80") {
                *host = name.to_owned();
            }
        }
        self
    }

    /// Whether the request names this server, and no other.
    pub(crate) fn are_in<B>(&self, request: &Request<B>) -> bool {
        let named: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
        let is_own = |host: &str| self.0.iter().any(|own| own.eq_ignore_ascii_case(host));
        // The target of a request to a proxy has an authority too.
        request
            .uri()
            .authority()
            .is_none_or(|target| is_own(target.as_str()))
            && matches!(named[..], [host] if host.to_str().is_ok_and(is_own))
    }
}

/// Whether no web page of another origin sent the request.
///
/// A program sends neither header. A page without a referrer sends `Origin: null`.
#[allow(dead_code, reason = "for `axum_proxy`")]
pub(crate) fn is_same_origin<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let origin = headers
        .get(header::ORIGIN)
        .filter(|origin| site.is_none() || *origin != "null");
    let own = headers
        .get(header::HOST)
        .map(|host| [b"http://", host.as_bytes()].concat());
    matches!(site, None | Some(b"same-origin" | b"none"))
        && origin.is_none_or(|origin| Some(origin.as_bytes()) == own.as_deref())
}

/// The text of a response with status 421 (Misdirected Request).
pub(crate) const OTHER_HOST: &str =
    "This program accepts requests to its own address only. Use the URL that it printed.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_requests_to_own_names_are_accepted() {
        let hosts = OwnHosts::of_listener("127.0.0.1:3000".parse().unwrap())
            .and_of("https://tunnel.example/connect/callback");
        for own in [
            "localhost:3000",
            "LOCALHOST:3000",
            "127.0.0.1:3000",
            "[::1]:3000",
            "tunnel.example",
        ] {
            assert!(hosts.are_in(&request("/", &[("host", own)])), "{own}");
        }
        for other in [
            "rebound.example:3000",
            "localhost",
            "localhost:3001",
            "localhost:3000.rebound.example",
            "tunnel.example:3000",
            "",
        ] {
            assert!(!hosts.are_in(&request("/", &[("host", other)])), "{other}");
        }
        let own = ("host", "localhost:3000");
        assert!(!hosts.are_in(&request("/", &[])));
        assert!(!hosts.are_in(&request("/", &[own, own])));
        assert!(!hosts.are_in(&request("http://rebound.example:3000/", &[own])));
        let port_80 = OwnHosts::of_listener("[::1]:80".parse().unwrap());
        assert!(port_80.are_in(&request("/", &[("host", "[::1]")])));
    }

    #[test]
    fn requests_of_other_pages_are_refused() {
        let host = ("host", "localhost:3000");
        for (own, headers) in [
            (true, &[host][..]),
            (true, &[host, ("origin", "http://localhost:3000")]),
            (true, &[host, ("sec-fetch-site", "none")]),
            (
                true,
                &[host, ("sec-fetch-site", "same-origin"), ("origin", "null")],
            ),
            (false, &[host, ("origin", "null")]),
            (false, &[host, ("origin", "http://localhost:8080")]),
            (
                false,
                &[host, ("origin", "http://localhost:3000.evil.example")],
            ),
            (false, &[host, ("sec-fetch-site", "cross-site")]),
            (false, &[host, ("sec-fetch-site", "same-site")]),
        ] {
            assert_eq!(is_same_origin(&request("/", headers)), own, "{headers:?}");
        }
    }
}
