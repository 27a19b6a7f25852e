//! Finds the tenant of an encoded grant without decoding the rest, for listing tenants.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::token::TenantId;

/// The value of `format` in the bytes of each grant.
pub(super) const FORMAT: &str = "tower-oauth2-client/grant";

/// The tenant that an encoded grant names, even if its version is unknown or the rest is damaged.
///
/// Parsing stops at the name, and copies only the format and the name, so that no copy of a secret
/// is left in memory.
pub(crate) fn tenant_of(bytes: &[u8]) -> Option<TenantId> {
    let mut head = Head::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    // An error concerns the rest: either both members were found before it, or the result is
    // `None`.
    let _ = json.deserialize_map(&mut head);
    head.format.filter(|format| format == FORMAT)?;
    TenantId::new(head.tenant?).ok()
}

#[derive(Default)]
struct Head {
    format: Option<String>,
    tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Format,
    Tenant,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for &mut Head {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a grant")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while self.format.is_none() || self.tenant.is_none() {
            match map.next_key()? {
                Some(Key::Format) => self.format = Some(map.next_value()?),
                Some(Key::Tenant) => self.tenant = Some(map.next_value()?),
                Some(Key::Other) => drop(map.next_value::<IgnoredAny>()?),
                None => break,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::token::{Generation, Grant, GrantState};

    fn stored(tenant: &str) -> (TenantId, String) {
        let tenant = TenantId::new(tenant).unwrap();
        let grant = Grant::new(
            Generation::FIRST,
            GrantState::Revoked {
                since: SystemTime::UNIX_EPOCH,
            },
        );
        let bytes = grant.to_bytes(&tenant).to_vec();
        (tenant, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn tenant_of_finds_every_name() {
        for name in ["acme", "é\"\\/", "\u{1f600}", " ", &"x".repeat(255)] {
            let (tenant, text) = stored(name);
            assert_eq!(tenant_of(text.as_bytes()), Some(tenant));
        }
    }

    #[test]
    fn tenant_of_ignores_what_follows_the_name() {
        let (tenant, text) = stored("acme");
        let end = text.find("acme\"").unwrap() + "acme\"".len();
        for cut in 0..text.len() {
            let found = tenant_of(&text.as_bytes()[..cut]);
            assert_eq!(found, (cut >= end).then(|| tenant.clone()), "{cut}");
        }
        let later = text.replace("\"version\": 2", "\"version\": [3, {\"a\": \"b\"}]");
        assert_eq!(tenant_of(later.as_bytes()), Some(tenant.clone()));
        let sorted = r#"{"a":{"tenant":"b"},"tenant":"acme","version":2,"format":"tower-oauth2-client/grant"}"#;
        assert_eq!(tenant_of(sorted.as_bytes()), Some(tenant));
    }

    #[test]
    fn tenant_of_other_bytes_is_none() {
        let (_, text) = stored("acme");
        for other in [
            String::new(),
            "[]".into(),
            "\"acme\"".into(),
            r#"{"tenant":"acme"}"#.into(),
            text.replace("tower-oauth2-client/grant", "something else"),
            text.replace("\"acme\"", "7"),
            text.replace("\"acme\"", "\"\""),
            text.replace("\"acme\"", "\"a\\nb\""),
        ] {
            assert_eq!(tenant_of(other.as_bytes()), None, "{other}");
        }
    }
}
