//! The trait of signers.

use std::{error::Error as StdError, future::Future, pin::Pin, sync::Arc};

use super::Algorithm;

/// A private key that signs.
///
/// One signer is one key: its algorithm and key id do not change. To rotate a key, replace the
/// signer.
pub trait Signer: Send + Sync + 'static {
    /// The algorithm of the signatures.
    fn algorithm(&self) -> Algorithm;

    /// The name under which the provider knows the key (`kid`, RFC 7515 section 4.1.4). `None` by
    /// default.
    fn key_id(&self) -> Option<&str> {
        None
    }

    /// The SHA-256 thumbprint of the certificate of the key, in base64url (`x5t#S256`, RFC 7515
    /// section 4.1.8). `None` by default. Microsoft Entra ID finds keys by it.
    fn certificate_thumbprint(&self) -> Option<&str> {
        None
    }

    /// Signs a message.
    ///
    /// The result is a signature as RFC 7518 section 3 defines it. For ECDSA that is the
    /// concatenation of both numbers with a fixed length, where key management services return an
    /// ASN.1 structure.
    ///
    /// # Cancellation
    ///
    /// The future is dropped if the request that needs the signature is.
    ///
    /// # Errors
    ///
    /// Any error: the request is not sent, and fails with
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and this error as its source. The error must
    /// not show the key.
    fn sign(
        &self,
        message: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, Box<dyn StdError + Send + Sync>>> + Send;
}

impl<T: Signer> Signer for Arc<T> {
    fn algorithm(&self) -> Algorithm {
        (**self).algorithm()
    }

    fn key_id(&self) -> Option<&str> {
        (**self).key_id()
    }

    fn certificate_thumbprint(&self) -> Option<&str> {
        (**self).certificate_thumbprint()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
        (**self).sign(message).await
    }
}

type Signing<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<u8>, Box<dyn StdError + Send + Sync>>> + Send + 'a>>;

/// [`Signer`] with a boxed future, so that a client's type does not name its signer.
trait ErasedSigner: Send + Sync {
    fn algorithm(&self) -> Algorithm;
    fn key_id(&self) -> Option<&str>;
    fn certificate_thumbprint(&self) -> Option<&str>;
    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a>;
}

impl<T: Signer> ErasedSigner for T {
    fn algorithm(&self) -> Algorithm {
        Signer::algorithm(self)
    }

    fn key_id(&self) -> Option<&str> {
        Signer::key_id(self)
    }

    fn certificate_thumbprint(&self) -> Option<&str> {
        Signer::certificate_thumbprint(self)
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> Signing<'a> {
        Box::pin(Signer::sign(self, message))
    }
}

/// A signer of any type.
#[derive(Clone)]
pub(crate) struct AnySigner(Arc<dyn ErasedSigner>);

impl AnySigner {
    pub(crate) fn new(signer: impl Signer) -> Self {
        Self(Arc::new(signer))
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.0.key_id()
    }

    pub(super) fn certificate_thumbprint(&self) -> Option<&str> {
        self.0.certificate_thumbprint()
    }

    pub(super) async fn sign(
        &self,
        message: &[u8],
    ) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
        self.0.sign(message).await
    }
}
