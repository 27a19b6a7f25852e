//! Compressed response bodies.
//!
//! Requests ask for `identity`, and most HTTP clients decompress by themselves. Some proxies
//! compress regardless. A token response that could not be decompressed would lose a rotated
//! refresh token.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, bufread::GzDecoder};
use http::{HeaderMap, header::CONTENT_ENCODING};
use zeroize::Zeroizing;

use crate::token::wiped;

/// A second proxy may compress again.
const MAX_LAYERS: usize = 2;

/// Decompresses gzip and zlib, recognized by their first bytes, because some HTTP clients
/// decompress and keep the header. No JSON text has such first bytes. Of a body that is cut off or
/// damaged, and of one that is longer than `limit`, the first part is returned.
pub(super) fn decoded(mut body: Bytes, limit: usize) -> Bytes {
    for _ in 0..MAX_LAYERS {
        let decoded = match *body {
            // The decoder has read the header, and what follows is left.
            [0x1f, 0x8b, ..] => inflated(GzDecoder::new(&*body).get_ref(), false, limit),
            // RFC 1950: the window, and a checksum of the two bytes.
            [0x78, flags, ..] if (0x7800 | u16::from(flags)).is_multiple_of(31) => {
                inflated(&body, true, limit)
            }
            _ => return body,
        };
        if decoded.is_empty() {
            return body;
        }
        body = decoded;
    }
    body
}

/// Decompresses in one step into one buffer, because a decoder of a stream keeps a window of the
/// text, which it does not wipe.
fn inflated(body: &[u8], is_zlib: bool, limit: usize) -> Bytes {
    // The body may end with its header. A capacity of 0 would not grow.
    let mut capacity = body.len().saturating_mul(4).max(64).min(limit);
    loop {
        let mut text = Zeroizing::new(vec![0; capacity]);
        let mut decoder = Decompress::new(is_zlib);
        let status = decoder.decompress(body, &mut text, FlushDecompress::Finish);
        let length = usize::try_from(decoder.total_out()).unwrap_or_default();
        let is_full = length >= capacity && !matches!(status, Ok(Status::StreamEnd));
        if is_full && capacity < limit {
            capacity = capacity.saturating_mul(2).min(limit);
            continue;
        }
        text.truncate(length);
        return wiped(text);
    }
}

/// The name of the encoding, for an error message. `None` if there is none.
pub(super) fn name(headers: &HeaderMap) -> Option<&'static str> {
    let encoding = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or_default();
    let encoding = encoding.trim().to_ascii_lowercase();
    Some(match &*encoding {
        "" | "identity" => return None,
        "gzip" | "x-gzip" => "gzip",
        "deflate" => "deflate",
        "br" => "br",
        "zstd" => "zstd",
        "compress" | "x-compress" => "compress",
        _ => "unknown encoding",
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    const LIMIT: usize = 1024 * 1024;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn p24_compressed_body_is_decoded() {
        let body = br#"{"access_token":"a2","refresh_token":"r2"}"#;
        for compressed in [
            body.to_vec(),
            gzip(body),
            zlib(body),
            gzip(&gzip(body)),
            [&gzip(body)[..], b"trailing"].concat(),
        ] {
            assert_eq!(&*decoded(compressed.into(), LIMIT), body);
        }
        // The checksum and the length at the end are missing, but the content is complete.
        let cut = gzip(body);
        let cut = cut[..cut.len() - 8].to_vec();
        assert_eq!(&*decoded(cut.into(), LIMIT), body);
    }

    /// P24: what arrived of a refresh token can be read.
    #[test]
    fn p24_first_part_of_a_compressed_body_that_is_cut_is_decoded() {
        let numbers: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
        let body = numbers.join("\",\"");
        for compressed in [gzip(body.as_bytes()), zlib(body.as_bytes())] {
            for length in (30..compressed.len()).step_by(100) {
                let cut = compressed[..length].to_vec();
                let decoded = decoded(cut.into(), LIMIT);
                // What is cut off before the first character is left as it is.
                let is_decoded = body.as_bytes().starts_with(&decoded);
                assert!(is_decoded || decoded == compressed[..length], "{length}");
                assert!(is_decoded || length < 1_000, "{length}");
            }
        }
    }

    #[test]
    fn p22_decoded_body_has_a_limit() {
        let bomb = gzip(&vec![b' '; 64 * LIMIT]);
        assert_eq!(decoded(bomb.into(), LIMIT).len(), LIMIT);
    }

    /// A response that is cut off in its header, or that has no content.
    #[test]
    fn p22_compressed_body_without_content_is_unchanged() {
        for compressed in [gzip(b""), zlib(b""), gzip(&gzip(b"")), gzip(b"{}")] {
            for length in 0..=compressed.len().min(11) {
                let cut = compressed[..length].to_vec();
                assert!(decoded(cut.into(), LIMIT).len() <= length, "{length}");
            }
        }
    }

    #[test]
    fn body_that_is_not_compressed_is_unchanged() {
        for body in [
            &b""[..],
            b"x",
            b"\x1f",
            b"\x1f\x8b",
            b"x\x9c",
            b"xml",
            b"{}",
        ] {
            assert_eq!(&*decoded(Bytes::copy_from_slice(body), LIMIT), body);
        }
    }
}
