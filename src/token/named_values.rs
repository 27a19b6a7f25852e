//! Names and values that a provider sends beside those that this crate knows.

use std::fmt;

use zeroize::Zeroizing;

/// How many values of a response or callback are read, and how many bytes of names and values.
const MAX_VALUES: usize = 64;
const MAX_BYTES: usize = 64 * 1024;

/// The limits for the values that are kept with a grant.
pub(crate) const MAX_KEPT_VALUES: usize = 16;
pub(crate) const MAX_KEPT_BYTES: usize = 8 * 1024;

/// Names with values: the other members of a token response, the other parameters of a callback, or
/// what is kept of them with a grant.
///
/// A program makes them of pairs, when a customer starts to
/// [connect](crate::provider::ValueSource::Connect):
///
/// ```
/// use tower_oauth2_client::token::NamedValues;
///
/// let values = NamedValues::from([("shop", "acme")]);
/// assert_eq!(values.get("shop"), Some("acme"));
/// ```
///
/// Providers use them to say which account a consent is of, such as `realmId`, `hub_id` or
/// `instance_url`. The parameters of a callback come through the browser, which may have changed
/// them: compare them with what the API says.
///
/// Up to 64 values of 64 KiB in total are read from a provider, and what exceeds that is left out.
/// `Debug` shows the names only, because a value may be a secret, such as an `id_token`. Values are
/// wiped from memory when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NamedValues(Vec<(Box<str>, Zeroizing<String>)>);

impl NamedValues {
    pub(crate) const NONE: Self = Self(Vec::new());

    /// The value of a name. `None` if there is none, or more than one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.iter().filter(|(other, _)| *other == name);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// All names with their values, in the order of the provider.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a value, beside the values of the same name.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let bytes = self.iter().map(|(name, value)| name.len() + value.len());
        let left = MAX_BYTES.saturating_sub(bytes.sum());
        if self.0.len() < MAX_VALUES && name.len() + value.len() <= left {
            self.0.push((name.into(), Zeroizing::new(value.to_owned())));
        }
    }

    /// Replaces the value of a name among those that are kept with a grant. Returns false, and
    /// changes nothing, if there is no room for it.
    pub(crate) fn set_kept(&mut self, name: &str, value: &str) -> bool {
        let others = self.iter().filter(|(other, _)| *other != name);
        let (count, bytes) = others.fold((0, 0), |(count, bytes), (name, value)| {
            (count + 1, bytes + name.len() + value.len())
        });
        let fits = count < MAX_KEPT_VALUES && bytes + name.len() + value.len() <= MAX_KEPT_BYTES;
        if fits {
            self.set_stored(name, value);
        }
        fits
    }

    /// Replaces the value of a name, in the order of names, so that a store returns an equal list.
    /// Without a limit, as a store may encrypt values.
    pub(crate) fn set_stored(&mut self, name: &str, value: &str) {
        self.0.retain(|(other, _)| **other != *name);
        let at = self.0.partition_point(|(other, _)| **other < *name);
        let value = Zeroizing::new(value.to_owned());
        self.0.insert(at, (name.into(), value));
    }

    /// Replaces the value of a name.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(other, _)| **other != *name);
        self.add(name, value);
    }
}

/// Without a limit: a function that takes the values has its own.
impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for NamedValues {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| {
            let value = Zeroizing::new(value.as_ref().to_owned());
            (name.as_ref().into(), value)
        });
        Self(pairs.collect())
    }
}

impl<N: AsRef<str>, V: AsRef<str>, const LENGTH: usize> From<[(N, V); LENGTH]> for NamedValues {
    fn from(pairs: [(N, V); LENGTH]) -> Self {
        pairs.into_iter().collect()
    }
}

impl fmt::Debug for NamedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stars = format_args!("***");
        f.debug_map()
            .entries(self.iter().map(|(name, _)| (name, stars)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_values_are_starred_and_bounded() {
        let mut values = NamedValues::default();
        values.add("id_token", "seeded");
        values.add("realmId", "42");
        assert_eq!(
            format!("{values:?}"),
            r#"{"id_token": ***, "realmId": ***}"#
        );
        assert_eq!(values.get("realmId"), Some("42"));
        // Of two values, neither can be trusted.
        values.add("realmId", "43");
        assert_eq!(values.get("realmId"), None);
        values.set("realmId", "44");
        assert_eq!(values.get("realmId"), Some("44"));
        values.add("long", &"x".repeat(MAX_BYTES));
        assert_eq!(values.get("long"), None);
        for number in 0..1_000 {
            values.add(&number.to_string(), "");
        }
        assert_eq!(values.iter().count(), MAX_VALUES);
    }
}
