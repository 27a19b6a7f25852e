//! A growing buffer for secrets.

use std::io::{self, ErrorKind, Read, Write};

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::secret::wiped;

/// A buffer that is wiped when it is dropped, and when it grows.
///
/// A vector or string that grows by itself frees its old memory with the secrets in it. Each buffer
/// of secrets is therefore one of these, or has its capacity from the start.
#[derive(Default)]
pub(crate) struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// Reads to the end, or `limit` bytes. About `expected` bytes are expected.
    pub(crate) fn read(
        mut source: impl Read,
        expected: usize,
        limit: usize,
    ) -> io::Result<Zeroizing<Vec<u8>>> {
        // One more byte finds the end.
        let mut buffer = Self::with_capacity(expected.saturating_add(1).min(limit));
        let mut length = 0;
        while length < limit {
            if length == buffer.0.capacity() {
                buffer.reserve(1);
            }
            let capacity = buffer.0.capacity().min(limit);
            buffer.0.resize(capacity, 0);
            match source.read(buffer.0.get_mut(length..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.0.truncate(length);
        Ok(buffer.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Makes room for more bytes, at least twice the capacity if it has to grow.
    fn reserve(&mut self, additional: usize) {
        let length = self.0.len().saturating_add(additional);
        if length > self.0.capacity() {
            let capacity = length.max(self.0.capacity().saturating_mul(2));
            let mut larger = Self::with_capacity(capacity);
            larger.0.extend_from_slice(&self.0);
            *self = larger;
        }
    }

    pub(crate) fn into_vec(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        wiped(self.0)
    }
}

impl Write for SecretBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes the name or value of a query (`application/x-www-form-urlencoded`). Invalid UTF-8, which
/// no provider issues, is replaced.
pub(crate) fn form_decoded(text: &str) -> Zeroizing<String> {
    // Decoding does not lengthen the text.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    for (index, part) in text.split('+').enumerate() {
        if index > 0 {
            bytes.push(b' ');
        }
        bytes.extend(percent_decode_str(part));
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => replaced(&Zeroizing::new(error.into_bytes())),
    }
}

/// Replaces invalid UTF-8 as [`String::from_utf8_lossy`] does, in one buffer.
fn replaced(bytes: &[u8]) -> Zeroizing<String> {
    // The replacement has three bytes, and what it replaces at least one.
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().saturating_mul(3)));
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Decodes the escapes of a JSON string, which is given without its quotes. `None` if it is
/// invalid.
pub(crate) fn unescaped(raw: &[u8]) -> Option<Zeroizing<String>> {
    let raw = str::from_utf8(raw).ok()?;
    // No escape is shorter than its character.
    let mut text = Zeroizing::new(String::with_capacity(raw.len()));
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => match code_unit(&mut chars)? {
                    high @ 0xd800..=0xdbff => {
                        let ('\\', 'u') = (chars.next()?, chars.next()?) else {
                            return None;
                        };
                        let low = code_unit(&mut chars)?;
                        let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low)?
                    }
                    unit => char::from_u32(unit)?,
                },
                c @ ('"' | '\\' | '/') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

/// The four hexadecimal digits of an escape.
fn code_unit(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| Some(unit << 4 | chars.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_buffer_grows_and_keeps_its_content() {
        let mut buffer = SecretBuffer::default();
        for _ in 0..100 {
            buffer.push(b"abc");
            buffer.write_all(b"de").unwrap();
        }
        assert_eq!(buffer.len(), 500);
        assert_eq!(*buffer.into_bytes(), *b"abcde".repeat(100));
    }

    #[test]
    fn p21_source_of_any_length_is_read_up_to_the_limit() {
        let source = [b'a'; 100];
        for expected in [0, 1, 50, 99, 100, 101, 1_000] {
            for (limit, length) in [(1, 1), (99, 99), (100, 100), (101, 100), (1_000, 100)] {
                let read = SecretBuffer::read(&source[..], expected, limit).unwrap();
                assert_eq!(read.len(), length, "{expected}, {limit}");
            }
        }
    }

    #[test]
    fn form_is_decoded_as_the_url_standard_says() {
        for text in [
            "",
            "a",
            "4%2F0A+b",
            "%",
            "%4",
            "%zz",
            "%C3%A9",
            "\u{e9}+%2b+",
            "a%ffb%C3",
            "%ff%ff%e2%82",
        ] {
            let (expected, _) = form_urlencoded::parse(text.as_bytes())
                .next()
                .unwrap_or_default();
            assert_eq!(*form_decoded(text), *expected, "{text}");
        }
    }
}
