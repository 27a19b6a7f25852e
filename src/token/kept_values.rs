//! The kept values of a grant, shared by all that read them.

use std::{ops::Deref, sync::Arc};

use super::NamedValues;

/// The values that are kept with a grant, such as an account id or the address of a customer's API.
///
/// The [provider's data](crate::provider::ProviderBuilder::kept_value) name them. The
/// [layer](crate::bearer#kept-values) puts them into the extensions of each request, and
/// [`TokenCache::values`](crate::cache::TokenCache::values) returns them. A clone copies a pointer.
///
/// ```
/// use std::time::SystemTime;
/// use tower_oauth2_client::token::{AccessToken, KeptValues, TokenSet};
///
/// let tokens = TokenSet::new(AccessToken::new("a1")?, None, SystemTime::now());
/// assert!(tokens.values().is_empty());
/// let values: KeptValues = tokens.with_value("realm_id", "42").values().clone();
/// assert_eq!(values.get("realm_id"), Some("42"));
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeptValues(Option<Arc<NamedValues>>);

static NO_VALUES: NamedValues = NamedValues::NONE;

impl KeptValues {
    pub(crate) const NONE: Self = Self(None);

    /// The values, to change them. Other clones keep what they have.
    pub(super) fn to_mut(&mut self) -> &mut NamedValues {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// A copy in memory of its own, so with a reference count that no other thread changes.
    pub(crate) fn detached_copy(&self) -> Self {
        Self(self.0.as_deref().map(|values| Arc::new(values.clone())))
    }
}

impl From<NamedValues> for KeptValues {
    fn from(values: NamedValues) -> Self {
        Self((!values.is_empty()).then(|| Arc::new(values)))
    }
}

impl PartialEq for KeptValues {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for KeptValues {}

impl Deref for KeptValues {
    type Target = NamedValues;

    fn deref(&self) -> &NamedValues {
        self.0.as_deref().unwrap_or(&NO_VALUES)
    }
}
