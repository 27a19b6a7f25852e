//! Forms and queries, with the rules of OAuth.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::{HeaderMap, StatusCode};

use super::request_body::{ReadError, RequestBody, is_content_type, read_body};

/// The fields of a form or query.
///
/// By RFC 6749, sections 3.1 and 3.2, a field without a value counts as missing, and no field may
/// occur twice.
pub(super) struct Form {
    fields: HashMap<String, String>,
    repeated: BTreeSet<String>,
}

/// Why a request body is not a form.
pub(super) struct FormError {
    pub(super) status: StatusCode,
    pub(super) description: &'static str,
}

impl Form {
    /// Reads the form in a request body.
    pub(super) async fn read(headers: &HeaderMap, body: RequestBody) -> Result<Self, FormError> {
        let error = |status, description| {
            Err(FormError {
                status,
                description,
            })
        };
        if !is_content_type(headers, "application/x-www-form-urlencoded") {
            return error(
                StatusCode::BAD_REQUEST,
                "the content type is not application/x-www-form-urlencoded",
            );
        }
        match read_body(body, MAX_LENGTH).await {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(ReadError::TooLarge) => error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the form is larger than 64 KiB",
            ),
            Err(ReadError::Interrupted) => error(StatusCode::BAD_REQUEST, "the form is incomplete"),
        }
    }

    /// Reads the members of the JSON object in a request body, as fields.
    pub(super) async fn read_json(
        headers: &HeaderMap,
        body: RequestBody,
    ) -> Result<Self, FormError> {
        let error = |description| FormError {
            status: StatusCode::BAD_REQUEST,
            description,
        };
        if !is_content_type(headers, "application/json") {
            return Err(error("the content type is not application/json"));
        }
        let bytes = read_body(body, MAX_LENGTH)
            .await
            .map_err(|_| error("the body is too large or incomplete"))?;
        let members: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(|_| error("the body is not a JSON object"))?;
        let mut fields = HashMap::new();
        for (name, value) in members {
            let serde_json::Value::String(text) = value else {
                return Err(error("a member is not a text"));
            };
            fields.insert(name, text);
        }
        Ok(Self {
            fields,
            repeated: BTreeSet::new(),
        })
    }

    /// The form with its fields under the names of RFC 6749. A field that a provider has under
    /// another name does not count under the name of RFC 6749.
    pub(super) fn with_standard_names(mut self, names: &BTreeMap<String, String>) -> Self {
        for standard in names.keys() {
            self.fields.remove(standard);
        }
        for (standard, other) in names {
            if let Some(value) = self.fields.remove(other) {
                self.fields.insert(standard.clone(), value);
            }
        }
        self
    }

    /// Parses `application/x-www-form-urlencoded` bytes. Any input is valid: invalid UTF-8 is
    /// replaced.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut fields = HashMap::new();
        let mut repeated = BTreeSet::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if fields
                .insert(name.clone().into_owned(), value.into_owned())
                .is_some()
            {
                repeated.insert(name.into_owned());
            }
        }
        Self { fields, repeated }
    }

    /// The field's value, if the field is present and not empty.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.raw_field(name).filter(|value| !value.is_empty())
    }

    /// The field's value, if the field is present. Outside OAuth an empty value is a value.
    pub(super) fn raw_field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Whether each field has one of these names.
    pub(super) fn has_only(&self, names: &[&str]) -> bool {
        self.fields
            .keys()
            .all(|name| names.contains(&name.as_str()))
    }

    /// Whether any field occurs more than once.
    pub(super) fn has_repeated(&self) -> bool {
        !self.repeated.is_empty()
    }

    /// Whether this field occurs more than once.
    pub(super) fn repeats(&self, name: &str) -> bool {
        self.repeated.contains(name)
    }
}

const MAX_LENGTH: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_without_a_value_is_missing() {
        let form = Form::parse(b"a=&b&c=1");
        assert_eq!(form.field("a"), None);
        assert_eq!(form.field("b"), None);
        assert_eq!(form.field("c"), Some("1"));
        assert_eq!(form.field("d"), None);
        assert_eq!((form.raw_field("a"), form.raw_field("d")), (Some(""), None));
    }

    #[test]
    fn a_repeated_field_is_found_even_if_empty() {
        let form = Form::parse(b"a=1&b=2&a=1");
        assert!(form.has_repeated() && form.repeats("a") && !form.repeats("b"));
        let form = Form::parse(b"a&a");
        assert!(form.has_repeated() && form.repeats("a"));
        assert!(!Form::parse(b"a=1&b=1").has_repeated());
    }

    #[test]
    fn any_bytes_can_be_parsed() {
        assert_eq!(Form::parse(b"a=%ff%zz+%").field("a"), Some("\u{fffd}%zz %"));
    }
}
