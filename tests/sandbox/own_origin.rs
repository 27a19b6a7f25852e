//! Requests of web pages to a sandbox on a socket.

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower_oauth2_client::sandbox::{Endpoint, Fault, Sandbox};

use crate::support::{authorization_url, connect};

async fn with_status_page() -> (Sandbox, u16) {
    let builder = Sandbox::builder().status_page(true).host("box");
    let sandbox = builder.start().await.unwrap();
    let port = sandbox.address().unwrap().port();
    (sandbox, port)
}

/// Sends a request head with these lines, and returns the response.
async fn send(sandbox: &Sandbox, lines: &[&str]) -> String {
    let address = sandbox.address().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n"));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8(response).unwrap()
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn p20_rebound_page_reads_nothing() {
    let (sandbox, port) = with_status_page().await;
    let tokens = connect(&sandbox).await;
    let bearer = format!("authorization: Bearer {}", tokens.access);
    for path in ["/sandbox", "/v1/company", "/oauth/authorize", "/nothing"] {
        let line = format!("GET {path} HTTP/1.1");
        for host in [
            format!("rebound.example:{port}"),
            format!("127.0.0.1.rebound.example:{port}"),
            "localhost".to_owned(),
            format!("localhost:{}", port ^ 1),
        ] {
            let response = send(&sandbox, &[&line, &format!("host: {host}"), &bearer]).await;
            assert_eq!(status(&response), "421", "{host}: {response}");
            assert!(response.contains("SANDBOX_HOST"), "{response}");
            assert!(!response.contains("rebound"), "{response}");
        }
        // By HTTP/1.0 a request needs no host, and a request to a proxy has one in its target.
        for lines in [
            &[format!("GET {path} HTTP/1.0"), bearer.clone()][..],
            &[line.clone(), bearer.clone()],
            &[
                format!("GET http://rebound.example:{port}{path} HTTP/1.1"),
                format!("host: localhost:{port}"),
                bearer.clone(),
            ],
        ] {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            assert_eq!(status(&send(&sandbox, &lines).await), "400", "{lines:?}");
        }
    }
    assert_eq!(sandbox.counters().authorized, 0);
}

#[tokio::test]
async fn sandbox_is_reached_by_each_of_its_names() {
    let (sandbox, port) = with_status_page().await;
    for host in [
        format!("127.0.0.1:{port}"),
        format!("LocalHost:{port}"),
        format!("localhost.:{port}"),
        format!("[::1]:{port}"),
        "box".to_owned(),
        "box:9000".to_owned(),
    ] {
        for line in ["GET /sandbox HTTP/1.1", "GET /sandbox HTTP/1.0"] {
            let response = send(&sandbox, &[line, &format!("host: {host}")]).await;
            assert_eq!(status(&response), "200", "{host}: {response}");
        }
        let line = format!("GET http://{host}/sandbox HTTP/1.1");
        let response = send(&sandbox, &[&line, &format!("host: {host}")]).await;
        assert_eq!(status(&response), "200", "{host}: {response}");
    }
}

#[tokio::test]
async fn page_of_another_origin_switches_nothing() {
    let (sandbox, port) = with_status_page().await;
    sandbox.inject(Endpoint::Company, Fault::hang());
    let host = format!("host: localhost:{port}");
    let form = [
        "POST /sandbox/action HTTP/1.1",
        &host,
        "content-type: application/x-www-form-urlencoded",
        "content-length: 0",
    ];
    for header in [
        "origin: http://evil.example",
        "origin: http://localhost:3000",
        "origin: null",
        "sec-fetch-site: cross-site",
        "sec-fetch-site: same-site",
    ] {
        let response = send(&sandbox, &[&form[..], &[header]].concat()).await;
        assert_eq!(status(&response), "403", "{header}: {response}");
    }
    // The page's own form, which is empty here.
    for header in [
        format!("origin: http://localhost:{port}"),
        "origin: null\r\nsec-fetch-site: same-origin".to_owned(),
    ] {
        let response = send(&sandbox, &[&form[..], &[&header]].concat()).await;
        assert_eq!(status(&response), "400", "{header}: {response}");
    }
}

#[tokio::test]
async fn client_redirects_the_browser_to_the_consent_page() {
    let (sandbox, _) = with_status_page().await;
    let request = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
        .get(authorization_url(&sandbox, &[]))
        .header("sec-fetch-site", "cross-site");
    let response = request.try_clone().unwrap().send().await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let navigation = request.header("sec-fetch-mode", "navigate");
    assert_eq!(navigation.send().await.unwrap().status(), StatusCode::FOUND);
}
