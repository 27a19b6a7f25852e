//! A buffer for a response body that may contain tokens.

use bytes::Bytes;

use crate::token::SecretBuffer;

/// A growing buffer with a size limit.
pub(super) struct Buffer {
    bytes: SecretBuffer,
    limit: usize,
}

impl Buffer {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: SecretBuffer::default(),
            limit,
        }
    }

    /// Appends bytes up to the limit. Returns whether they all fit.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        let room = self.limit - self.bytes.len();
        let fitting = bytes.get(..room).unwrap_or(bytes);
        self.bytes.push(fitting);
        fitting.len() == bytes.len()
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p22_buffer_keeps_the_first_part_up_to_its_limit() {
        let mut buffer = Buffer::new(5);
        assert!(buffer.push(b"abc"));
        assert!(buffer.push(b"de"));
        assert!(buffer.push(b""));
        assert!(!buffer.push(b"f"));
        assert_eq!(&*buffer.into_bytes(), b"abcde");
    }
}
