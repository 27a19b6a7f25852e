//! Where a tenant's grant and lease are, and what a grant looks like there.

use redis::Value;
use zeroize::Zeroizing;

use super::failure;
use crate::{
    error::Error,
    token::{Grant, TenantId},
};

/// The keys of a tenant.
pub(super) struct Keys {
    /// The tenant's name as it stands in its keys: what it is called on the channel too.
    pub(super) name: String,
    pub(super) grant: String,
    pub(super) lease: String,
}

impl Keys {
    pub(super) fn of(prefix: &str, tenant: &TenantId) -> Self {
        let name = encoded(tenant);
        Self {
            grant: format!("{prefix}{{{name}}}:grant"),
            lease: format!("{prefix}{{{name}}}:lease"),
            name,
        }
    }
}

/// ASCII without braces or blanks, which no two names share.
pub(super) fn encoded(tenant: &TenantId) -> String {
    form_urlencoded::byte_serialize(tenant.as_str().as_bytes()).collect()
}

/// Whose name it is; nobody's if no tenant's name is spelled so.
pub(super) fn decoded(name: &[u8]) -> Option<TenantId> {
    let (text, _) = form_urlencoded::parse(name).next()?;
    let tenant = TenantId::new(text).ok()?;
    (encoded(&tenant).as_bytes() == name).then_some(tenant)
}

/// A grant, and the save that wrote it.
pub(super) struct Row {
    pub(super) grant: Grant,
    pub(super) save: Vec<u8>,
}

impl Row {
    /// Reads what the scripts answer.
    pub(super) fn read(tenant: &TenantId, key: &str, answer: Value) -> Result<Option<Self>, Error> {
        let fail = |what: &str| {
            let how = "it is left as it is, move it away (RENAME) to start anew";
            Err(failure::at(key, format_args!("{what}; {how}")))
        };
        // By hand: the conversions take what is missing for empty.
        let fields = match answer {
            Value::Nil => return Ok(None),
            Value::Array(fields) => <[Value; 3]>::try_from(fields).ok(),
            _ => None,
        };
        let Some(
            [
                Value::BulkString(generation),
                Value::BulkString(bytes),
                Value::BulkString(save),
            ],
        ) = fields
        else {
            return fail("a hash, but not a grant: something else wrote this");
        };
        let bytes = Zeroizing::new(bytes);
        let grant = match Grant::from_bytes(tenant, &bytes) {
            Ok(grant) => grant,
            Err(error) => return fail(&format!("cannot be used: {error}")),
        };
        if grant.generation.to_string().as_bytes() != generation {
            return fail("its field says another generation than its grant");
        }
        Ok(Some(Self { grant, save }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p23_names_come_back_and_no_two_spellings_are_one_name() {
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
}
