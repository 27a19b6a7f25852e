//! The error as data, for status pages and health checks.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::Error;

/// A map of the [`kind`](Error::kind), the `message`, and the
/// [`provider_code`](Error::provider_code), or `null` if there is none. Its sources and the
/// [`provider_message`](Error::provider_message) are left out, so it is as safe as `Display`.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Error", 3)?;
        map.serialize_field("kind", self.kind().as_str())?;
        map.serialize_field("message", &self.inner.message)?;
        map.serialize_field("provider_code", &self.provider_code())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_error_is_a_map_without_its_sources() {
        let error = Error::new(ErrorKind::Store, "token store failed").with_source("/path/of/acme");
        assert_eq!(
            serde_json::to_value(&error).unwrap(),
            serde_json::json!({
                "kind": "store", "message": "token store failed", "provider_code": null
            })
        );
        assert_eq!(
            serde_json::to_value(Error::invalid_grant()).unwrap()["provider_code"],
            "invalid_grant"
        );
    }
}
