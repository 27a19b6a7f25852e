//! Faults of the connection, observed by a client that reads the socket itself.

use std::io::ErrorKind;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_oauth2_client::sandbox::{Endpoint, Fault, Sandbox};

use crate::support::connect;

const REQUEST: &[u8] =
    b"POST /oauth/token HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\ncontent-length: 9\r\n\r\nsomething";

/// A sandbox that is reached by the host of the requests here.
async fn start() -> Sandbox {
    Sandbox::builder().host("sandbox").start().await.unwrap()
}

/// Sends a request and reads until the connection ends.
async fn read_all(sandbox: &Sandbox) -> (String, Option<ErrorKind>) {
    let mut stream = TcpStream::connect(sandbox.address().unwrap())
        .await
        .unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut read = Vec::new();
    let ended = stream.read_to_end(&mut read).await.err();
    (
        String::from_utf8_lossy(&read).into_owned(),
        ended.map(|error| error.kind()),
    )
}

/// Waits until a condition holds, and fails after a minute.
async fn wait_until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, waiting)
        .await
        .expect("the condition holds within a minute");
}

#[tokio::test]
async fn a_dropped_connection_sends_no_byte() {
    let sandbox = start().await;
    for fault in [
        Fault::drop_connection(),
        Fault::drop_connection().after_processing(),
    ] {
        sandbox.inject(Endpoint::Token, fault);
        assert_eq!(read_all(&sandbox).await, (String::new(), None));
    }
}

#[tokio::test]
async fn a_reset_fault_resets_the_connection() {
    let sandbox = start().await;
    for fault in [Fault::reset(), Fault::reset().after_processing()] {
        sandbox.inject(Endpoint::Token, fault);
        let expected = (String::new(), Some(ErrorKind::ConnectionReset));
        assert_eq!(read_all(&sandbox).await, expected);
    }
}

#[tokio::test]
async fn a_truncated_response_is_half_its_content_length() {
    let sandbox = start().await;
    sandbox.inject(Endpoint::Token, Fault::truncate());
    let (read, error) = read_all(&sandbox).await;
    let (head, body) = read.split_once("\r\n\r\n").expect("a head");
    let announced: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .expect("a length")
        .parse()
        .unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!((body.len(), error), (announced / 2, None));
}

#[tokio::test]
async fn a_truncated_response_is_an_error_in_reqwest() {
    let sandbox = start().await;
    let tokens = connect(&sandbox).await;
    sandbox.inject(Endpoint::Company, Fault::truncate());
    let request = reqwest::Client::new().get(format!("{}/v1/company", sandbox.url()));
    let response = request.bearer_auth(tokens.access).send().await.unwrap();
    assert!(response.bytes().await.is_err());
}

#[tokio::test]
async fn slow_and_huge_responses_are_complete() {
    let sandbox = start().await;
    let tokens = connect(&sandbox).await;
    let http = reqwest::Client::new();
    for (fault, min) in [
        (Fault::slow(Duration::ZERO), 100),
        (Fault::huge(3 << 20), 3 << 20),
    ] {
        sandbox.inject(Endpoint::Company, fault);
        let request = http.get(format!("{}/v1/company", sandbox.url()));
        let response = request.bearer_auth(&tokens.access).send().await.unwrap();
        let body = response.bytes().await.unwrap();
        assert!(body.len() > min);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
}

#[tokio::test]
async fn a_closed_connection_ends_its_request() {
    let sandbox = start().await;
    sandbox.inject(Endpoint::Token, Fault::hang());
    let mut stream = TcpStream::connect(sandbox.address().unwrap())
        .await
        .unwrap();
    stream.write_all(REQUEST).await.unwrap();
    wait_until(|| sandbox.counters().in_flight > 0).await;
    drop(stream);
    wait_until(|| sandbox.counters().in_flight == 0).await;
}

#[tokio::test]
async fn dropping_the_last_handle_ends_every_connection() {
    let sandbox = start().await;
    sandbox.inject(Endpoint::Token, Fault::hang());
    let mut stream = TcpStream::connect(sandbox.address().unwrap())
        .await
        .unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let clone = sandbox.clone();
    drop(sandbox);
    wait_until(|| clone.counters().in_flight > 0).await;
    drop(clone);
    let ended = stream.read(&mut [0; 1]).await;
    assert!(matches!(ended, Ok(0) | Err(_)));
}

#[tokio::test]
async fn two_sandboxes_cannot_share_an_address() {
    let first = start().await;
    let bind = first.address().unwrap();
    let error = Sandbox::builder().bind(bind).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn nonsense_on_the_socket_causes_no_server_error() {
    let sandbox = start().await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"[..],
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(sandbox.address().unwrap())
            .await
            .unwrap();
        stream.write_all(nonsense).await.unwrap();
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        let read = String::from_utf8_lossy(&read).into_owned();
        assert!(!read.starts_with("HTTP/1.1 5"), "{read}");
    }
}

/// The response that a fault sends on a socket.
async fn response_to(fault: Fault) -> String {
    let sandbox = start().await;
    sandbox.inject(Endpoint::Token, fault);
    read_all(&sandbox).await.0
}

#[tokio::test]
async fn a_truncated_empty_response_lacks_one_byte() {
    let sandbox = start().await;
    sandbox.inject(Endpoint::Revoke, Fault::truncate());
    let request = reqwest::Client::new()
        .post(format!("{}/v1/oauth/revoke", sandbox.url()))
        .body("client_id=sandbox-client&client_secret=sandbox-client-secret&token=x")
        .header("content-type", "application/x-www-form-urlencoded");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.content_length(), Some(1));
    assert!(response.bytes().await.is_err());
}

#[tokio::test]
async fn the_content_length_of_a_fault_is_sent_unchanged() {
    let with_length = |length, body| {
        let length = HeaderValue::from_static(length);
        let fault = Fault::status(StatusCode::OK).body(body);
        response_to(fault.header(CONTENT_LENGTH, length))
    };
    for (length, body, sent) in [
        ("99", "abc", "abc"),
        ("3", "abc", "abc"),
        ("2", "abc", "ab"),
        ("0", "abc", ""),
        ("99", "", ""),
    ] {
        let read = with_length(length, body).await;
        assert!(read.starts_with("HTTP/1.1 200 "), "{length}: {read}");
        assert!(
            read.contains(&format!("content-length: {length}\r\n")),
            "{read}"
        );
        let (_, read) = read.split_once("\r\n\r\n").expect("a head");
        assert_eq!(read, sent, "{length}");
    }
    // An invalid length must not crash the sandbox.
    with_length("many", "abc").await;
}

#[tokio::test]
async fn an_informational_status_becomes_a_500_on_a_socket() {
    let read = response_to(Fault::status(StatusCode::CONTINUE).body("abc")).await;
    assert!(read.starts_with("HTTP/1.1 500 "), "{read}");
}

#[tokio::test]
async fn a_dropped_connection_is_closed_after_the_request_is_read() {
    let sandbox = start().await;
    sandbox.inject(Endpoint::Token, Fault::drop_connection());
    let mut stream = TcpStream::connect(sandbox.address().unwrap())
        .await
        .unwrap();
    let body = vec![b'a'; 4 << 20];
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: sandbox\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let ended = stream.read(&mut [0; 1]).await;
    assert!(
        matches!(ended, Ok(0)),
        "ended with {ended:?} instead of FIN"
    );
}
