//! A buffer for a response body that may contain tokens.

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::token::wiped;

/// A growing buffer with a size limit. Its memory is wiped, also when it grows.
pub(super) struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
}

impl Buffer {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Zeroizing::default(),
            limit,
        }
    }

    /// Appends bytes up to the limit. Returns whether they all fit.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        let room = self.limit - self.bytes.len();
        let fitting = bytes.get(..room).unwrap_or(bytes);
        let length = self.bytes.len() + fitting.len();
        if length > self.bytes.capacity() {
            let capacity = length.max(2 * self.bytes.capacity());
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(fitting);
        fitting.len() == bytes.len()
    }

    pub(super) fn into_bytes(self) -> Bytes {
        wiped(self.bytes)
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
