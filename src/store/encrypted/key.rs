//! Encryption keys.

use std::{fmt, sync::Arc};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::{Error, ErrorKind};

/// The length of a key, in bytes.
const LENGTH: usize = 32;

/// The longest id, in bytes.
const LONGEST_ID: usize = 32;

/// A 256-bit key and its id.
///
/// The id is stored beside each encrypted token, in plain text; a date is a good id. The key must
/// be random, not derived from a password. Create a key with `openssl rand -base64 32`, or with
/// [`generate`](Self::generate) and [`expose_base64`](Self::expose_base64). The memory of a key is
/// wiped when its last copy is dropped.
///
/// ```
/// use tower_oauth2_client::store::EncryptionKey;
///
/// let key = EncryptionKey::generate("2026-03")?;
/// assert_eq!(format!("{key:?}"), "EncryptionKey(2026-03, ***)");
///
/// let same = EncryptionKey::from_base64("2026-03", &key.expose_base64())?;
/// assert_eq!(*same.expose_base64(), *key.expose_base64());
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone)]
pub struct EncryptionKey {
    id: String,
    // Shared, so that clones of a store do not copy the key.
    bytes: Arc<Zeroizing<[u8; LENGTH]>>,
}

impl EncryptionKey {
    /// Creates a key from its bytes.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) unless the id is 1 to 32 ASCII letters, digits,
    /// `-` and `_`.
    pub fn new(id: impl Into<String>, mut key: [u8; 32]) -> Result<Self, Error> {
        let bytes = Arc::new(Zeroizing::new(key));
        key.zeroize();
        let id = id.into();
        if !is_id(&id) {
            return Err(Error::configuration(
                "encryption key: the id is invalid; use 1 to 32 ASCII letters, digits, `-` and `_`",
            ));
        }
        Ok(Self { id, bytes })
    }

    /// Creates a key from base64, as in a file or an environment variable.
    ///
    /// The standard and the URL-safe alphabet are accepted, with or without padding. White space
    /// around the text is ignored.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the text is not 32 bytes in base64, or if the
    /// id is invalid as for [`new`](Self::new).
    pub fn from_base64(id: impl Into<String>, key: &str) -> Result<Self, Error> {
        let digits = key.trim().trim_end_matches('=');
        let engine = if digits.contains(['-', '_']) {
            BASE64_URL_SAFE_NO_PAD
        } else {
            BASE64_STANDARD_NO_PAD
        };
        // Large enough from the start: a vector that grows does not wipe its old buffer.
        let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len()));
        // The decoder's error would quote a part of the key.
        let is_decoded = engine.decode_vec(digits, &mut bytes).is_ok();
        match <[u8; LENGTH]>::try_from(&bytes[..]) {
            Ok(key) if is_decoded => Self::new(id, key),
            _ => Err(Error::configuration(
                "encryption key: the text is not 32 bytes in base64; use the output of `openssl \
                 rand -base64 32`",
            )),
        }
    }

    /// Generates a key from the operating system's randomness.
    ///
    /// Save the key before you use it: grants cannot be decrypted without it.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](ErrorKind::Interrupted) if the operating system provides no randomness, and
    /// [`Configuration`](ErrorKind::Configuration) if the id is invalid as for [`new`](Self::new).
    pub fn generate(id: impl Into<String>) -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; LENGTH]);
        fill(&mut *key)?;
        Self::new(id, *key)
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the key in base64. Keep it out of logs, errors, and the store that it encrypts.
    #[must_use]
    pub fn expose_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(**self.bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; LENGTH] {
        &self.bytes
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({}, ***)", self.id)
    }
}

/// One key to encrypt with, and any number of further keys to decrypt with.
///
/// # Key rotation
///
/// Keys are rotated without downtime. Complete each step on all replicas before you start the next:
///
/// 1. Add the new key for decryption: `EncryptionKeys::new(old).with_decryption_key(new)`.
/// 2. Encrypt with the new key: `EncryptionKeys::new(new).with_decryption_key(old)`. From now on
///    each refresh encrypts its grant with the new key. Call
///    [`reencrypt`](crate::store::EncryptedStore::reencrypt) for every tenant to include grants
///    that are not refreshed.
/// 3. When `reencrypt` has returned `true` for every tenant, remove the old key:
///    `EncryptionKeys::new(new)`.
///
/// Rotate a leaked key in the same way. An attacker may have read the tokens that this key
/// encrypted. [Revoke](crate::cache::TokenCache::revoke) those grants, and let the customers
/// consent again.
///
/// ```
/// use tower_oauth2_client::store::{EncryptionKey, EncryptionKeys};
///
/// let (old, new) = (EncryptionKey::generate("2025")?, EncryptionKey::generate("2026")?);
/// let keys = EncryptionKeys::new(new).with_decryption_key(old)?;
/// assert_eq!(keys.current().id(), "2026");
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EncryptionKeys {
    current: EncryptionKey,
    others: Vec<EncryptionKey>,
}

impl EncryptionKeys {
    /// Encrypts and decrypts with `current`.
    #[must_use]
    pub fn new(current: EncryptionKey) -> Self {
        Self {
            current,
            others: Vec::new(),
        }
    }

    /// Adds a key to decrypt with: an older one, or the next one.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if another key has the same id.
    pub fn with_decryption_key(mut self, key: EncryptionKey) -> Result<Self, Error> {
        if self.find(key.id()).is_some() {
            return Err(Error::configuration(format!(
                "encryption keys: two keys have the id \"{}\"; give each its own id",
                key.id
            )));
        }
        self.others.push(key);
        Ok(self)
    }

    /// Returns the key to encrypt with.
    #[must_use]
    pub fn current(&self) -> &EncryptionKey {
        &self.current
    }

    pub(super) fn find(&self, id: &str) -> Option<&EncryptionKey> {
        std::iter::once(&self.current)
            .chain(&self.others)
            .find(|key| key.id == id)
    }
}

/// Whether the text is a valid id. Strict, because errors quote ids that were read from a store.
pub(super) fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Fills with cryptographic randomness.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "encryption failed: the operating system provides no randomness; see the source",
        )
        .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_validated() {
        for bad in [
            "",
            "with.dot",
            "with space",
            "zwölf",
            "a\n",
            &"x".repeat(33),
        ] {
            let error = EncryptionKey::new(bad, [1; 32]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
        }
        for good in ["k", "2026-03", "A_b", &"x".repeat(32)] {
            assert_eq!(EncryptionKey::new(good, [1; 32]).unwrap().id(), good);
        }
    }

    #[test]
    fn base64_is_decoded_in_all_spellings() {
        let bytes: [u8; 32] = std::array::from_fn(|at| 0xff - u8::try_from(at).unwrap());
        let standard = BASE64_STANDARD.encode(bytes);
        for spelling in [
            standard.clone(),
            format!(" {standard}\n"),
            standard.trim_end_matches('=').to_owned(),
            BASE64_URL_SAFE_NO_PAD.encode(bytes),
            format!("{}=", BASE64_URL_SAFE_NO_PAD.encode(bytes)),
        ] {
            let key = EncryptionKey::from_base64("k", &spelling).unwrap();
            assert_eq!(*key.bytes(), bytes, "{spelling}");
        }
    }

    #[test]
    fn p21_invalid_key_is_not_quoted() {
        let short = BASE64_STANDARD.encode([7; 31]);
        let long = BASE64_STANDARD.encode([7; 33]);
        for bad in ["seeded", "seeded!?", &short, &long, &"A".repeat(1_000)] {
            let error = EncryptionKey::from_base64("k", bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(!format!("{error} {error:?}").contains(bad));
        }
        assert!(EncryptionKey::from_base64("k", "").is_err());
    }

    #[test]
    fn p21_debug_of_keys_is_redacted() {
        let secret = BASE64_STANDARD.encode([7; 32]);
        let keys = EncryptionKeys::new(EncryptionKey::new("new", [7; 32]).unwrap())
            .with_decryption_key(EncryptionKey::new("old", [7; 32]).unwrap())
            .unwrap();
        let shown = format!("{keys:?} {keys:#?}");
        assert!(shown.contains("new") && shown.contains("old"));
        assert!(!shown.contains(&secret) && !shown.contains('7'));
    }

    #[test]
    fn duplicate_key_ids_are_refused() {
        let key = |byte| EncryptionKey::new("same", [byte; 32]).unwrap();
        let error = EncryptionKeys::new(key(1)).with_decryption_key(key(2));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Configuration);
    }

    #[test]
    fn generated_keys_differ() {
        let one = EncryptionKey::generate("k").unwrap();
        let other = EncryptionKey::generate("k").unwrap();
        assert_ne!(one.bytes(), other.bytes());
    }
}
