//! The `User-Agent` header of an OAuth client's requests (RFC 9110 section 10.1.5).

use http::HeaderValue;

use crate::error::Error;

const OF_THIS_CRATE: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
/// Longer than any useful value, and short enough for the limits of servers.
const MAX_LENGTH: usize = 256;

/// The header with the program's `product`, if it names one, and this crate's.
pub(crate) fn header(product: Option<&str>) -> Result<HeaderValue, Error> {
    let Some(product) = product else {
        return Ok(HeaderValue::from_static(OF_THIS_CRATE));
    };
    if !is_valid(product) {
        return Err(invalid());
    }
    HeaderValue::try_from(format!("{product} {OF_THIS_CRATE}"))
        .map_err(|error| invalid().with_source(error))
}

/// Whether a text is printable ASCII that begins with a product.
fn is_valid(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    let (name, version) = first.split_once('/').unwrap_or((first, "1"));
    is_token(name)
        && is_token(version)
        && text.len() <= MAX_LENGTH
        && !text.ends_with(' ')
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// A token of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn invalid() -> Error {
    Error::configuration(
        "user agent: begin it with a product such as partner-app/2.1, in printable ASCII and at \
         most 256 bytes",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agent_begins_with_the_product_of_the_program() {
        assert_eq!(header(None).unwrap(), OF_THIS_CRATE);
        for product in [
            "partner-app",
            "partner-app/2.1",
            "partner-app/2.1 (ops@partner.example.com; tenant 7) lib/3",
            &"x".repeat(MAX_LENGTH),
        ] {
            let expected = format!("{product} {OF_THIS_CRATE}");
            assert_eq!(header(Some(product)).unwrap(), expected);
        }
    }

    #[test]
    fn user_agent_that_is_no_product_is_refused() {
        for wrong in [
            "",
            " ",
            " partner-app",
            "partner-app ",
            "partner-app/",
            "/2.1",
            "partner-app/2/1",
            "(comment)",
            "partner-app\r\nx-header: y",
            "partner-app\0",
            "partner-app\t2",
            "b\u{fc}ro/1",
            &"x".repeat(MAX_LENGTH + 1),
        ] {
            let error = header(Some(wrong)).unwrap_err();
            assert!(error.to_string().starts_with("user agent: "), "{wrong:?}");
        }
    }
}
