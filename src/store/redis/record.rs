//! Keys of a tenant, and the fields of a stored grant.

use redis::Value;
use zeroize::Zeroizing;

use super::failure;
use crate::{
    error::Error,
    token::{Grant, TenantId},
};

/// The keys of a tenant.
pub(super) struct Keys {
    /// The tenant's encoded name, which is also sent on the channel.
    pub(super) name: String,
    pub(super) grant: String,
    pub(super) lease: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, tenant: &TenantId) -> Self {
        let name = encoded(tenant);
        Self {
            grant: format!("{prefix}{{{name}}}:grant"),
            lease: format!("{prefix}{{{name}}}:lease"),
            name,
        }
    }
}

/// The percent-encoded name: ASCII without braces and spaces, unique to the tenant.
pub(super) fn encoded(tenant: &TenantId) -> String {
    form_urlencoded::byte_serialize(tenant.as_str().as_bytes()).collect()
}

/// Decodes a name. Returns `None` unless [`encoded`] returns exactly this text.
pub(super) fn decoded(name: &[u8]) -> Option<TenantId> {
    let (text, _) = form_urlencoded::parse(name).next()?;
    let tenant = TenantId::new(text).ok()?;
    (encoded(&tenant).as_bytes() == name).then_some(tenant)
}

/// The bytes of a field, in memory that is wiped. A field of another program may be a token, too.
fn bulk_string(value: Value) -> Option<Zeroizing<Vec<u8>>> {
    match value {
        Value::BulkString(bytes) => Some(Zeroizing::new(bytes)),
        _ => None,
    }
}

/// A stored grant, and what identifies its stored form.
pub(super) struct Record {
    pub(super) grant: Grant,
    pub(super) form: Form,
}

/// The stored form of a grant: the id of the save that wrote it, and a hash of its bytes. Both are
/// empty if there is no grant.
///
/// The id differs between any two saves. The hash detects a change by other means, such as damage.
#[derive(Clone, Default)]
pub(super) struct Form {
    pub(super) save: Zeroizing<Vec<u8>>,
    pub(super) hash: String,
}

impl Form {
    pub(super) fn new(save: Zeroizing<Vec<u8>>, bytes: &[u8]) -> Self {
        let hash = sha1_smol::Sha1::from(bytes).digest().to_string();
        Self { save, hash }
    }
}

impl Record {
    /// Reads the response of a script.
    pub(super) fn read(
        tenant: &TenantId,
        key: &str,
        response: Value,
    ) -> Result<Option<Self>, Error> {
        let fail = |detail: &str| {
            let action = "the key is unchanged: restore it, or move it away (RENAME) and let the \
                          customer consent again";
            Err(failure::damaged(
                tenant,
                key,
                &format!("{detail}; {action}"),
            ))
        };
        // The crate's conversions would turn a missing field into an empty one.
        let fields = match response {
            Value::Nil => return Ok(None),
            Value::Array(fields) => fields.into_iter().map(bulk_string).collect(),
            other => vec![bulk_string(other)],
        };
        let Ok([Some(generation), Some(bytes), Some(save)]) = <[_; 3]>::try_from(fields) else {
            return fail("the hash is not a grant: another program wrote it");
        };
        let grant = match Grant::from_bytes(tenant, &bytes) {
            Ok(grant) => grant,
            Err(error) => return fail(&format!("the grant cannot be read: {error}")),
        };
        if grant.generation.to_string().as_bytes() != &generation[..] {
            return fail("the field `generation` differs from the grant's generation");
        }
        let form = Form::new(save, &bytes);
        Ok(Some(Self { grant, form }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::is_of_one_grant;

    #[test]
    fn p23_encoded_names_round_trip_and_are_unique() {
        for name in [
            "a",
            "é",
            "a b",
            "a+b",
            "a%20b",
            "a=b&c=d",
            "=",
            "{}",
            " ",
            &"%".repeat(255),
        ] {
            let tenant = TenantId::new(name).unwrap();
            let spelled = encoded(&tenant);
            assert_eq!(decoded(spelled.as_bytes()), Some(tenant), "{spelled}");
        }
        for other in ["", "a b", "%61", "a=b", "a&b", "é", "a%2fb", "%00", "%FF"] {
            assert_eq!(decoded(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn grant_that_cannot_be_read_is_an_error_of_its_tenant() {
        let field = |text: &str| Value::BulkString(text.into());
        let damaged = Value::Array(vec![field("1"), field("{"), field("s")]);
        let acme = TenantId::new("acme").unwrap();
        for response in [damaged, Value::Array(vec![Value::Nil; 3]), Value::Int(1)] {
            let error = Record::read(&acme, "tow:{acme}:grant", response)
                .err()
                .unwrap();
            assert!(is_of_one_grant(&error), "{error:?}");
        }
    }
}
