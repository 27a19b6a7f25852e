//! Random texts.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

/// 256 random bits as 43 characters, for a state (RFC 6749 section 10.10), a code verifier (RFC
/// 7636 section 4.1) or the id of an assertion (RFC 7519 section 4.1.7).
pub(super) fn random_text() -> Result<Zeroizing<String>, Error> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| {
        Error::new(
            ErrorKind::Interrupted,
            "operating system returned no random bytes: see the source",
        )
        .with_source(error)
    })?;
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes)))
}
