//! The keys that grants rest under.

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

/// A key of 256 bits, and the id that tells which one a secret was encrypted with.
///
/// The id stands beside each secret, in the clear; a date is a good one. The key is wiped when its last copy is dropped.
/// It has to be random, so do not make one of a password: `openssl rand -base64 32` prints one, and so does
/// [`generate`](Self::generate) with [`expose_base64`](Self::expose_base64).
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
    // Shared, so that copies of a store are not copies of the key.
    bytes: Arc<Zeroizing<[u8; LENGTH]>>,
}

impl EncryptionKey {
    /// Takes the key.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the id is empty, longer than 32 bytes, or holds anything but ASCII
    /// letters, digits, `-` and `_`.
    pub fn new(id: impl Into<String>, mut key: [u8; 32]) -> Result<Self, Error> {
        let bytes = Arc::new(Zeroizing::new(key));
        key.zeroize();
        let id = id.into();
        if !is_id(&id) {
            return Err(Error::configuration(
                "encryption key: the id must be 1 to 32 ASCII letters, digits, `-` and `_`",
            ));
        }
        Ok(Self { id, bytes })
    }

    /// Takes the key as base64, of either alphabet, with or without padding and white space around it, as a file or an
    /// environment variable has it.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if it is not 32 bytes in base64, or for the id, as with
    /// [`new`](Self::new).
    pub fn from_base64(id: impl Into<String>, key: &str) -> Result<Self, Error> {
        let digits = key.trim().trim_end_matches('=');
        let engine = if digits.contains(['-', '_']) {
            BASE64_URL_SAFE_NO_PAD
        } else {
            BASE64_STANDARD_NO_PAD
        };
        // Room for all of it, so that nothing is left behind in a smaller buffer.
        let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len()));
        // Why it fails is not told: that would quote a part of the key.
        let is_read = engine.decode_vec(digits, &mut bytes).is_ok();
        match <[u8; LENGTH]>::try_from(&bytes[..]) {
            Ok(key) if is_read => Self::new(id, key),
            _ => Err(Error::configuration(
                "encryption key: it must be 32 bytes in base64, as `openssl rand -base64 32` prints them",
            )),
        }
    }

    /// A new key, from the operating system's randomness. What is encrypted with it is lost with it: keep it first.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](ErrorKind::Interrupted) if there is no randomness, and
    /// [`Configuration`](ErrorKind::Configuration) for the id, as with [`new`](Self::new).
    pub fn generate(id: impl Into<String>) -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; LENGTH]);
        fill(&mut *key)?;
        Self::new(id, *key)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key itself, in base64. Keep it out of logs, errors, and the store that it is for.
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

/// The key that is written with, and any number of others that are read with.
///
/// # Changing the key
///
/// No program has to stop for it. Each step is done everywhere before the next one begins:
///
/// 1. The new key can be read: `EncryptionKeys::new(old).with_decryption_key(new)`.
/// 2. The new key is written: `EncryptionKeys::new(new).with_decryption_key(old)`. From here on each renewal of a grant puts it
///    under the new key. [`reencrypt`](super::EncryptedStore::reencrypt) does so at once, and for grants that are not
///    renewed any more.
/// 3. When `reencrypt` has said `true` for every tenant, the old key is left out: `EncryptionKeys::new(new)`.
///
/// A key that got into the wrong hands is changed in the same way, but what was encrypted with it may have been read:
/// let those customers consent again.
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
    /// Keys of which `current` is the one to write with, and as yet the only one to read with.
    #[must_use]
    pub fn new(current: EncryptionKey) -> Self {
        Self {
            current,
            others: Vec::new(),
        }
    }

    /// Adds a key to read with: an older one, or one that is soon to be written with.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if there is a key with the same id already.
    pub fn with_decryption_key(mut self, key: EncryptionKey) -> Result<Self, Error> {
        if self.find(key.id()).is_some() {
            return Err(Error::configuration(format!(
                "encryption keys: two have the id \"{}\": give each its own",
                key.id
            )));
        }
        self.others.push(key);
        Ok(self)
    }

    /// The key that is written with.
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

/// Whether it may be a key's id. Strict, because an id that was read from a store is quoted in errors.
pub(super) fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Randomness that nobody can guess.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "the operating system gave no randomness: see the cause",
        )
        .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
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
    fn base64_is_read_in_all_its_spellings() {
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
    fn p21_key_that_cannot_be_read_is_not_quoted() {
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
    fn p21_debug_of_keys_is_starred() {
        let secret = BASE64_STANDARD.encode([7; 32]);
        let keys = EncryptionKeys::new(EncryptionKey::new("new", [7; 32]).unwrap())
            .with_decryption_key(EncryptionKey::new("old", [7; 32]).unwrap())
            .unwrap();
        let shown = format!("{keys:?} {keys:#?}");
        assert!(shown.contains("new") && shown.contains("old"));
        assert!(!shown.contains(&secret) && !shown.contains('7'));
    }

    #[test]
    fn two_keys_with_one_id_are_refused() {
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
