//! Values that are kept with a grant beside its tokens.

use serde::{Deserialize, Serialize};

/// Where a kept value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ValueSource {
    /// From the program, when a customer starts to connect.
    Connect,
    /// From a parameter of the callback.
    Callback,
    /// From a member of a token response. A later response replaces it.
    Response,
}

/// A value that is kept with a grant: an account id that requests need, or the part of an address
/// that differs from customer to customer.
///
/// ```
/// use tower_oauth2_client::provider::{KeptValue, Provider, ValueSource};
///
/// let provider = Provider::builder("https://id.example.com/token")
///     // `realmId` in the callback.
///     .kept_value("realm_id", KeptValue::new(ValueSource::Callback).name("realmId"))
///     .build()?;
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptValue {
    from: ValueSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    any_host: bool,
}

impl KeptValue {
    /// A value from this source, with the same name there.
    #[must_use]
    pub fn new(from: ValueSource) -> Self {
        Self {
            from,
            name: None,
            pattern: None,
            any_host: false,
        }
    }

    /// Sets its name at the source: of the callback's parameter, or of the response's member.
    /// Defaults to the name under which it is kept.
    ///
    /// The names of nested members are separated by dots.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the pattern that the whole value has to match, a regular expression. A value in a URL
    /// needs one.
    ///
    /// If the pattern has a group, as in `https://([a-z0-9-]+)\.example\.com`, a URL gets the text
    /// of the group.
    #[must_use]
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
        self
    }

    /// Permits that the value is the whole host of a URL, for software that customers host
    /// themselves. Only for [`Connect`](ValueSource::Connect).
    ///
    /// The program then has to check the host before it connects a customer: the client's secret,
    /// the codes and the tokens are sent there.
    #[must_use]
    pub fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// Where the value comes from.
    #[must_use]
    pub fn source(&self) -> ValueSource {
        self.from
    }

    /// Its name at the source, if that is another one than the name under which it is kept.
    pub(crate) fn source_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn is_any_host(&self) -> bool {
        self.any_host
    }

    pub(super) fn source_pattern(&self) -> Option<&str> {
        self.pattern.as_deref()
    }
}
