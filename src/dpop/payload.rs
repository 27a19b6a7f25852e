//! The claims of a proof (RFC 9449 section 4.2), written by hand: a proof is made for each request.

use http::{Method, Uri, uri::Scheme};

/// The claims of one proof.
pub(super) struct Claims<'a> {
    /// Without a character that JSON escapes.
    pub(super) id: &'a [u8],
    pub(super) method: &'a Method,
    /// It has a scheme and an authority.
    pub(super) uri: &'a Uri,
    /// In seconds since 1970.
    pub(super) issued_at: u64,
    pub(super) token_hash: Option<&'a str>,
    /// Without a character that JSON escapes.
    pub(super) nonce: Option<&'a str>,
}

/// Room for the claims of most requests.
const SIZE: usize = 512;

/// The names of all claims, their punctuation, the digits of a time and of a port.
const OVERHEAD: usize = 128;

/// Bytes on the stack, or on the heap if they are many.
struct Buffer {
    small: [u8; SIZE],
    length: usize,
    large: Option<Vec<u8>>,
}

impl Buffer {
    /// A buffer with room for at least this many bytes.
    fn new(size: usize) -> Self {
        Self {
            small: [0; SIZE],
            length: 0,
            large: (size > SIZE).then(|| Vec::with_capacity(size)),
        }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        if let Some(large) = &mut self.large {
            large.extend_from_slice(bytes);
            return;
        }
        let end = self.length.saturating_add(bytes.len());
        if let Some(room) = self.small.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        } else {
            let mut large = self.as_slice().to_vec();
            large.extend_from_slice(bytes);
            self.large = Some(large);
        }
    }

    fn as_slice(&self) -> &[u8] {
        match &self.large {
            Some(large) => large,
            None => self.small.get(..self.length).unwrap_or_default(),
        }
    }

    /// Writes a text, with the escapes of JSON. A URI contains no control character.
    fn push_escaped(&mut self, text: &str) {
        let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\');
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(is_escaped) {
            let (plain, behind) = rest.split_at(at);
            self.push(plain);
            self.push(b"\\");
            let (escaped, behind) = behind.split_at(1);
            self.push(escaped);
            rest = behind;
        }
        self.push(rest);
    }

    fn push_number(&mut self, number: u64) {
        let mut digits = [b'0'; 20];
        let (mut start, mut rest) = (digits.len(), number);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            start = start.saturating_sub(1);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(digits.get(start..).unwrap_or_default());
    }

    /// Writes the target URI without query and fragment, in its usual spelling (RFC 9449 section
    /// 4.3 and RFC 3986 section 6.2.3). The path is that of the request.
    fn push_target(&mut self, uri: &Uri) {
        let is_http = uri.scheme() == Some(&Scheme::HTTP);
        self.push(if is_http { b"http://" } else { b"https://" });
        if let Some(authority) = uri.authority() {
            let host = authority.host();
            if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                self.push(host.to_ascii_lowercase().as_bytes());
            } else {
                self.push(host.as_bytes());
            }
            let default_port = if is_http { 80 } else { 443 };
            if let Some(port) = authority.port_u16()
                && port != default_port
            {
                self.push(b":");
                self.push_number(port.into());
            }
        }
        self.push_escaped(uri.path());
    }
}

impl Claims<'_> {
    /// Passes the claims as JSON to `read`.
    pub(super) fn write<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        let uri = self.uri;
        let lengths = [
            self.id.len(),
            self.method.as_str().len(),
            uri.authority()
                .map_or(0, |authority| authority.as_str().len()),
            uri.path().len(),
            self.token_hash.map_or(0, str::len),
            self.nonce.map_or(0, str::len),
            OVERHEAD,
        ];
        let mut json = Buffer::new(lengths.into_iter().fold(0, usize::saturating_add));
        json.push(b"{\"jti\":\"");
        json.push(self.id);
        json.push(b"\",\"htm\":\"");
        // A method is a token (RFC 9110 section 5.6.2), which has no character to escape.
        json.push(self.method.as_str().as_bytes());
        json.push(b"\",\"htu\":\"");
        json.push_target(uri);
        json.push(b"\",\"iat\":");
        json.push_number(self.issued_at);
        if let Some(token_hash) = self.token_hash {
            json.push(b",\"ath\":\"");
            json.push(token_hash.as_bytes());
            json.push(b"\"");
        }
        if let Some(nonce) = self.nonce {
            json.push(b",\"nonce\":\"");
            json.push(nonce.as_bytes());
            json.push(b"\"");
        }
        json.push(b"}");
        read(json.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claims(uri: &str) -> Value {
        let claims = Claims {
            id: b"j1",
            method: &Method::POST,
            uri: &uri.parse().unwrap(),
            issued_at: 1_764_000_000,
            token_hash: Some("h1"),
            nonce: Some("n1"),
        };
        claims.write(|json| serde_json::from_slice(json).unwrap())
    }

    #[test]
    fn claims_have_the_names_of_the_standard() {
        let expected = json!({
            "jti": "j1",
            "htm": "POST",
            "htu": "https://api.example.com/v1/company",
            "iat": 1_764_000_000,
            "ath": "h1",
            "nonce": "n1",
        });
        assert_eq!(claims("https://api.example.com/v1/company"), expected);
        let few = Claims {
            id: b"j1",
            method: &Method::from_bytes(b"M-SEARCH").unwrap(),
            uri: &"https://id.example.com/token".parse().unwrap(),
            issued_at: 0,
            token_hash: None,
            nonce: None,
        };
        few.write(|json| {
            let expected =
                r#"{"jti":"j1","htm":"M-SEARCH","htu":"https://id.example.com/token","iat":0}"#;
            assert_eq!(str::from_utf8(json).unwrap(), expected);
        });
    }

    #[test]
    fn target_is_in_its_usual_spelling_without_query_and_fragment() {
        for (uri, target) in [
            ("https://api.example.com", "https://api.example.com/"),
            ("https://api.example.com/", "https://api.example.com/"),
            ("https://api.example.com?a=b", "https://api.example.com/"),
            (
                "https://api.example.com/a?b=/c#d",
                "https://api.example.com/a",
            ),
            ("HTTPS://API.Example.COM:443/A", "https://api.example.com/A"),
            ("https://api.example.com:80/", "https://api.example.com:80/"),
            (
                "https://api.example.com:8443/a",
                "https://api.example.com:8443/a",
            ),
            ("http://127.0.0.1:80/a", "http://127.0.0.1/a"),
            ("http://127.0.0.1:443/a", "http://127.0.0.1:443/a"),
            ("http://LOCALHOST:8000/a", "http://localhost:8000/a"),
            ("http://[::1]:81/a", "http://[::1]:81/a"),
            ("https://api.example.com:/a", "https://api.example.com/a"),
            (
                "https://user:secret@api.example.com/a",
                "https://api.example.com/a",
            ),
            // The path is not changed: the server compares the one that it gets.
            (
                "https://api.example.com/a//b/../%7Ec/%2f/",
                "https://api.example.com/a//b/../%7Ec/%2f/",
            ),
            (
                "https://api.example.com/a;b=c/d,e:f@g",
                "https://api.example.com/a;b=c/d,e:f@g",
            ),
            (
                "https://api.example.com/{\"a\"}",
                "https://api.example.com/{\"a\"}",
            ),
            (
                "https://api.example.com/\u{fc}",
                "https://api.example.com/\u{fc}",
            ),
        ] {
            assert_eq!(claims(uri)["htu"], target, "{uri}");
        }
    }

    #[test]
    fn target_of_any_length_is_written() {
        for length in [
            0, 1, 200, 250, 300, 350, 400, 500, 511, 512, 513, 5_000, 30_000,
        ] {
            for text in ["a", "\"", "a\""] {
                let uri = format!("https://api.example.com/{}", text.repeat(length));
                assert_eq!(claims(&uri)["htu"], uri.as_str(), "{length}");
            }
        }
    }
}
