//! Forms and queries, read as OAuth reads them.

use std::collections::{BTreeSet, HashMap};

/// The fields of a form or query.
///
/// RFC 6749, 3.1 and 3.2: a field without a value is as good as missing, and none may be sent twice.
pub(super) struct Form {
    fields: HashMap<String, String>,
    repeated: BTreeSet<String>,
}

impl Form {
    /// Reads `application/x-www-form-urlencoded` bytes. There is no wrong input: what is not UTF-8 is replaced.
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

    /// The field's value, if it has one.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.sent(name).filter(|value| !value.is_empty())
    }

    /// The field's value even if it is empty, which means something outside OAuth.
    pub(super) fn sent(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// A field that was sent more than once.
    pub(super) fn repeated(&self) -> Option<&str> {
        self.repeated.first().map(String::as_str)
    }

    /// Whether this field was sent more than once.
    pub(super) fn repeats(&self, name: &str) -> bool {
        self.repeated.contains(name)
    }
}

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
        assert_eq!((form.sent("a"), form.sent("d")), (Some(""), None));
    }

    #[test]
    fn a_repeated_field_is_found_even_if_empty() {
        assert_eq!(Form::parse(b"a=1&b=2&a=1").repeated(), Some("a"));
        assert_eq!(Form::parse(b"a&a").repeated(), Some("a"));
        assert_eq!(Form::parse(b"a=1&b=1").repeated(), None);
    }

    #[test]
    fn any_bytes_are_read() {
        assert_eq!(Form::parse(b"a=%ff%zz+%").field("a"), Some("\u{fffd}%zz %"));
    }
}
