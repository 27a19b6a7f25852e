//! A token endpoint on loopback, for peers that need HTTP. It responds once, so a refresh during
//! the measurement would fail.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

use url::Url;

use crate::{
    peers::peer::Failure,
    work::{LIFETIME, TOKEN},
};

/// Starts to listen, in a thread that ends after one response.
pub(crate) fn listen() -> Result<Url, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || listener.accept().and_then(|(stream, _)| respond(&stream)));
    Ok(Url::parse(&format!("http://127.0.0.1:{port}/token"))?)
}

fn respond(stream: &TcpStream) -> io::Result<()> {
    let mut request = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        request.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    io::copy(&mut request.take(length), &mut io::sink())?;
    let token = serde_json::json!({
        "access_token": TOKEN.as_str(),
        "token_type": "Bearer",
        "expires_in": LIFETIME.as_secs(),
    })
    .to_string();
    write!(
        &mut &*stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{token}",
        token.len(),
    )
}
