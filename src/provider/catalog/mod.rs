//! Providers as data, known from their public documentation.
//!
//! Each entry is a [provider file](crate::provider#provider-files) with a source for each of its
//! values. **None of them was checked against the live service**: compare an entry with the
//! provider's own pages before you rely on it. A copy with other settings comes from
//! [`to_builder`](Provider::to_builder).
//!
//! ```
//! use tower_oauth2_client::provider::catalog;
//!
//! let quickbooks = catalog::quickbooks();
//! assert_eq!(quickbooks.api_origins(), ["https://quickbooks.api.intuit.com".parse()?]);
//!
//! for entry in catalog::all() {
//!     println!("{}: {}", entry.title(), entry.provider().token_endpoint());
//!     for (field, source) in entry.sources() {
//!         println!("    {field}: {source}");
//!     }
//! }
//! # Ok::<(), tower_oauth2_client::Error>(())
//! ```
//!
//! The page [Providers](crate::guide::providers) lists the entries, and says how to add one.
//! [`justworks()`](super::justworks()) is not one of them: it has a function of its own.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::definition::Provider;

/// One line per entry: the function's and file's name, and the title.
macro_rules! catalog {
    ($($name:ident: $title:literal,)*) => {
        $(
            #[doc = concat!($title, ". Not checked against the live service: see the [module](self).")]
            #[must_use]
            pub fn $name() -> Provider {
                read(include_str!(concat!(stringify!($name), ".json"))).provider
            }
        )*

        const ENTRIES: &[Entry] = &[
            $(Entry {
                name: stringify!($name),
                title: $title,
                file: include_str!(concat!(stringify!($name), ".json")),
            },)*
        ];
    };
}

catalog! {
    atlassian: "Atlassian Cloud (3LO)",
    exact_online: "Exact Online, the Netherlands",
    github_app: "User tokens of a GitHub App",
    github_oauth_app: "A GitHub OAuth app",
    google: "Google",
    gusto: "Gusto",
    hubspot: "HubSpot",
    microsoft: "Microsoft Entra ID and Graph",
    notion: "Notion",
    quickbooks: "QuickBooks Online",
    salesforce: "Salesforce",
    shopify: "Shopify, with expiring offline tokens",
    slack: "Slack",
    xero: "Xero",
    zoho: "Zoho",
    zoom: "Zoom",
}

/// All entries, in the order of their names.
pub fn all() -> impl Iterator<Item = Entry> {
    ENTRIES.iter().copied()
}

/// An entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    name: &'static str,
    title: &'static str,
    file: &'static str,
}

impl Entry {
    /// The name of the function that returns the provider.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name for readers.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The provider.
    #[must_use]
    pub fn provider(&self) -> Provider {
        read(self.file).provider
    }

    /// The fields of the provider file and the source of each one's value.
    ///
    /// A source is the URL of a page, or says what is known about the value. A field is named by
    /// its path, such as `kept_values.shop` or `refusals[0]`.
    pub fn sources(&self) -> impl Iterator<Item = (String, String)> {
        read(self.file).sources.into_iter()
    }

    /// Whether the entry was checked against the live service.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        read(self.file).checked
    }

    /// The file: an object with `provider`, `sources` and `checked`.
    #[must_use]
    pub fn file(&self) -> &'static str {
        self.file
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    provider: Provider,
    sources: BTreeMap<String, String>,
    checked: bool,
}

#[expect(clippy::expect_used, reason = "a test reads each of the files")]
fn read(file: &str) -> CatalogFile {
    serde_json::from_str(file).expect("the files of this directory are valid")
}

#[cfg(test)]
mod tests;
