//! The text of a provider about an error.

/// A code and a description from an error response: short, and without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderText {
    pub(crate) code: Option<Box<str>>,
    pub(crate) message: Option<Box<str>>,
}
