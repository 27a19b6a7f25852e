//! Addresses that differ from tenant to tenant: URLs with variables, and the kept values that
//! replace them.

use std::collections::BTreeMap;

use http::Uri;
use zeroize::Zeroizing;

use super::{
    kept_value::{KeptValue, ValueSource},
    pattern::Pattern,
    template::{self, Template},
};
use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
    token::{MAX_KEPT_VALUES, NamedValues, wiped},
};

/// When an address is needed, and so which values are known then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// For the authorization request.
    AtStart,
    /// For the code exchange.
    AfterCallback,
    /// For everything else but a revocation.
    AfterResponse,
    /// For a revocation, which also knows a token and the client.
    ForRevocation,
}

/// The variables of a revocation endpoint that are no kept values.
const OF_REVOCATION: [&str; 2] = ["client_id", "token"];

impl Needed {
    fn knows(self, source: ValueSource) -> bool {
        match source {
            ValueSource::Connect => true,
            ValueSource::Callback => self != Self::AtStart,
            ValueSource::Response => matches!(self, Self::AfterResponse | Self::ForRevocation),
        }
    }
}

/// The patterns of kept values, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(BTreeMap<String, Pattern>);

impl Patterns {
    /// Checks and compiles the patterns of these values.
    pub(super) fn compile(values: &BTreeMap<String, KeptValue>) -> Result<Self, Error> {
        if values.len() > MAX_KEPT_VALUES {
            return Err(Error::configuration(format!(
                "kept_values: {}; a grant keeps at most {MAX_KEPT_VALUES}",
                values.len()
            )));
        }
        let mut patterns = BTreeMap::new();
        for (name, value) in values {
            let fail = |what: &str| Error::configuration(format!("kept_values.{name}{what}"));
            if !template::is_name(name) || OF_REVOCATION.contains(&name.as_str()) {
                return Err(fail(
                    ": not a name of lower-case letters, digits and _, or one of those that mean \
                     something else (client_id, token)",
                ));
            }
            if let Some(source_name) = value.source_name()
                && (source_name.is_empty() || source_name.len() > 128)
            {
                return Err(fail(".name: empty or longer than 128 bytes"));
            }
            if value.source() == ValueSource::Callback
                && matches!(value.source_name().unwrap_or(name), "code" | "state")
            {
                return Err(fail(
                    ".name: the code and the state of a callback are not kept",
                ));
            }
            match value.source_pattern() {
                Some(text) => {
                    let pattern = Pattern::compile(text)
                        .map_err(|problem| fail(&format!(".pattern: {problem}")))?;
                    patterns.insert(name.clone(), pattern);
                }
                None if value.is_any_host() => {
                    return Err(fail(".any_host: it has no pattern; add one"));
                }
                None => {}
            }
            if value.is_any_host() && value.source() != ValueSource::Connect {
                return Err(fail(
                    ".any_host: only the program may choose a whole host; set from to connect, or \
                     let the pattern end with a domain",
                ));
            }
        }
        Ok(Self(patterns))
    }

    /// Checks that each variable of a URL has a value that is known when it is needed, and a
    /// pattern that is safe in its place. `setting` names the URL.
    pub(super) fn check(
        &self,
        setting: &str,
        template: &Template,
        values: &BTreeMap<String, KeptValue>,
        needed: Needed,
    ) -> Result<(), Error> {
        for variable in template.variables() {
            let name = variable.name;
            if needed == Needed::ForRevocation && OF_REVOCATION.contains(&name) {
                if variable.ends_host.is_some() {
                    return Err(Error::configuration(format!(
                        "{setting}: {{{name}}} is in the host; move it behind the host"
                    )));
                }
                continue;
            }
            let Some(value) = values.get(name) else {
                return Err(Error::configuration(format!(
                    "{setting}: no kept value has the name of the variable {{{name}}}; add \
                     kept_values.{name}"
                )));
            };
            let fail = |field: &str, what: &str| {
                Err(Error::configuration(format!(
                    "kept_values.{name}.{field}: {what} (used in {setting})"
                )))
            };
            if !needed.knows(value.source()) {
                return fail("from", "the value is not known when the URL is needed");
            }
            let Some(pattern) = self.0.get(name) else {
                return fail("pattern", "missing; a value in a URL needs one");
            };
            if !pattern.has_unreserved_text() {
                return fail(
                    "pattern",
                    "permits other characters than letters, digits and - . _ ~ in a URL; name the \
                     permitted ones",
                );
            }
            if let Some(end) = variable.ends_host
                && !value.is_any_host()
                && !pattern.ends_with_domain(end)
            {
                return fail(
                    "pattern",
                    "permits any host; let it end with a domain, as in [a-z0-9-]+\\.example\\.com",
                );
            }
        }
        Ok(())
    }

    /// The URL for a tenant with these values.
    pub(super) fn resolve(&self, template: &Template, values: &NamedValues) -> Result<Uri, Error> {
        self.resolve_with(template, values, |_| None)
    }

    /// The URL for a tenant with these values. `encoded` returns the text of a variable that is no
    /// kept value.
    pub(super) fn resolve_with<'a>(
        &'a self,
        template: &'a Template,
        values: &'a NamedValues,
        encoded: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Uri, Error> {
        let url = template.with(|name| {
            if let Some(text) = encoded(name) {
                return Some(text)
                    .filter(|text| !matches!(*text, "" | "." | ".."))
                    .ok_or_else(|| wrong_value(name, "cannot be a part of a URL"));
            }
            let value = values
                .get(name)
                .ok_or_else(|| wrong_value(name, "is missing"))?;
            let text = self
                .0
                .get(name)
                .and_then(|pattern| pattern.text_in_url(value));
            text.filter(|text| !matches!(*text, "" | "." | ".."))
                .ok_or_else(|| wrong_value(name, "does not match its pattern"))
        })?;
        let unusable = || {
            Error::new(
                ErrorKind::KeptValue,
                "kept values of the grant do not make a usable address; let the customer connect \
                 again",
            )
        };
        let url = wiped(Zeroizing::new(url.into_bytes()));
        let uri = Uri::from_maybe_shared(url).map_err(|error| unusable().with_source(error))?;
        let host = uri.host().unwrap_or_default();
        if !template.has_fixed_host() && !is_host_name(host) {
            return Err(unusable());
        }
        Origin::from_uri("address of a tenant", &uri)
            .map(|_| uri)
            .map_err(|error| unusable().with_source(error))
    }

    /// Checks a value from its source against its pattern, if it has one.
    pub(super) fn check_value(&self, name: &str, value: &str) -> Result<(), Error> {
        match self.0.get(name) {
            Some(pattern) if !pattern.matches(value) => {
                Err(wrong_value(name, "does not match its pattern"))
            }
            _ => Ok(()),
        }
    }
}

/// The value is not quoted: it may come from an attacker, and end in a log.
fn wrong_value(name: &str, problem: &str) -> Error {
    Error::new(
        ErrorKind::KeptValue,
        format!(
            "kept value {name} {problem}; correct Provider's data, or let the customer connect again"
        ),
    )
}

/// Whether a host that was put together is a name, and not an address, with labels of the usual
/// lengths.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= 253
        && host.contains('.')
        && host.split('.').all(is_label)
        // The last label of an IPv4 address in any notation begins with a digit.
        && host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// An origin of the API: fixed, or with variables.
#[derive(Clone, Debug)]
pub(super) enum ApiOrigin {
    Fixed(Origin),
    OfTenant(Template),
}

impl ApiOrigin {
    pub(super) fn parse(setting: &str, url: &str) -> Result<Self, Error> {
        let template = Template::parse(setting, url)?;
        if template.has_variables() {
            Ok(Self::OfTenant(template))
        } else {
            Origin::parse(setting, url).map(Self::Fixed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{KeptValue, Provider, ValueSource};

    fn origin_of(provider: &Provider, value: &str) -> Result<String, ErrorKind> {
        let origins = provider.tenant_origins(&NamedValues::from([("host", value)]));
        origins
            .map(|origins| origins[0].to_string())
            .map_err(|error| {
                assert!(!error.to_string().contains("evil"), "{error}");
                error.kind()
            })
    }

    fn provider(origin: &str, pattern: &str) -> Provider {
        let value = KeptValue::new(ValueSource::Response).pattern(pattern);
        let builder = Provider::builder("https://id.example.com/token").kept_value("host", value);
        builder.api_origin(origin).build().unwrap()
    }

    #[test]
    fn p20_forged_value_makes_no_address() {
        let salesforce = provider(
            "https://{host}",
            r"https://([a-zA-Z0-9.-]+\.my\.salesforce\.com)",
        );
        assert_eq!(
            origin_of(&salesforce, "https://Acme.my.salesforce.com").unwrap(),
            "https://acme.my.salesforce.com"
        );
        for forged in [
            "",
            "acme.my.salesforce.com",
            "http://acme.my.salesforce.com",
            "https://evil.example",
            "https://evil.example/.my.salesforce.com",
            "https://evil.example#.my.salesforce.com",
            "https://evil.example?.my.salesforce.com",
            "https://evil.example\\.my.salesforce.com",
            "https://evil.example:443.my.salesforce.com",
            "https://user@acme.my.salesforce.com",
            "https://acme.my.salesforce.com.evil.example",
            "https://acme.my.salesforce.com/",
            "https://acme.my.salesforce.com\n",
            "https://acme.my.salesforce.com:8443",
            "https://a..my.salesforce.com",
            "https://-a.my.salesforce.com",
            "https://.my.salesforce.com",
            "https://evil.example%2f.my.salesforce.com",
            "https://\u{ff0e}evil.my.salesforce.com",
            &format!("https://{}.my.salesforce.com", "a".repeat(64)),
            &format!("https://{}my.salesforce.com", "a.".repeat(150)),
        ] {
            assert_eq!(
                origin_of(&salesforce, forged),
                Err(ErrorKind::KeptValue),
                "{forged}"
            );
        }
        let zoho = provider(
            "https://{host}",
            r"https://(www\.zohoapis\.(?:com|eu|in|com\.au))",
        );
        assert_eq!(
            origin_of(&zoho, "https://www.zohoapis.com.au").unwrap(),
            "https://www.zohoapis.com.au"
        );
        for forged in ["https://www.zohoapis.evil", "https://www.zohoapis.com.aux"] {
            assert_eq!(
                origin_of(&zoho, forged),
                Err(ErrorKind::KeptValue),
                "{forged}"
            );
        }
        let none = zoho.tenant_origins(&NamedValues::NONE).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::KeptValue);
    }

    #[test]
    fn text_of_a_path_does_not_leave_its_place() {
        let value = KeptValue::new(ValueSource::Callback).pattern("[a-z.]*");
        let builder = Provider::builder("https://id.example.com/{realm}/token");
        let provider = builder.kept_value("realm", value).build().unwrap();
        let url = |value: &str| {
            let values = NamedValues::from([("realm", value)]);
            provider.resolve(provider.token_endpoint(), &values)
        };
        assert_eq!(url("a.b").unwrap(), "https://id.example.com/a.b/token");
        for wrong in ["", ".", ".."] {
            assert_eq!(url(wrong).unwrap_err().kind(), ErrorKind::KeptValue);
        }
    }
}
