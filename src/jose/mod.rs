//! JSON Web Signatures (RFC 7515): the keys that sign client assertions.
//!
//! A [`Signer`] signs with one private key, wherever that is: in memory, in a file, or in a key
//! management service. With the feature `signing`, `SigningKey` is a ready signer for RSA, ECDSA
//! and Ed25519 keys.
//!
//! ```
//! use std::error::Error;
//!
//! use tower_oauth2_client::jose::{Algorithm, Signer};
//!
//! /// A key that never leaves a key management service.
//! struct RemoteKey {
//!     name: String,
//! }
//!
//! impl Signer for RemoteKey {
//!     fn algorithm(&self) -> Algorithm {
//!         Algorithm::Es256
//!     }
//!
//!     fn key_id(&self) -> Option<&str> {
//!         Some(&self.name)
//!     }
//!
//!     async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
//!         // … call the service, and convert an ASN.1 signature into 64 bytes …
//! #       let _ = message;
//!         Ok(vec![0; 64])
//!     }
//! }
//!
//! let key = RemoteKey { name: "2026-11".to_owned() };
//! assert_eq!(key.algorithm().as_str(), "ES256");
//! ```

mod algorithm;
mod compact;
#[cfg(feature = "signing")]
mod key;
mod signer;

#[cfg(feature = "signing")]
pub use self::key::SigningKey;
pub use self::{algorithm::Algorithm, signer::Signer};
pub(crate) use self::{
    compact::{Header, signed, signing_input, with_signature},
    signer::AnySigner,
};
