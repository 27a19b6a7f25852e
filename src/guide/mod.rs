#![doc = include_str!("links.md")]
#![doc = include_str!("../../docs/guide/README.md")]

// A chapter is a Markdown file that can also be read on its own. Where it names an item or another
// chapter, it has a reference, and at its end the file that the reference leads to. `links.md`
// comes first and has the same references as links of rustdoc: the first definition counts.
//
// The examples of a page need features that it names in its text. The page is left out of a test
// without these features.

#[doc = include_str!("links.md")]
#[cfg_attr(
    any(not(doctest), all(feature = "reqwest", feature = "sandbox")),
    doc = include_str!("../../docs/guide/getting-started.md")
)]
///
/// ----
///
/// Next: [Many customers](many_customers)
pub mod getting_started {}

#[doc = include_str!("links.md")]
#[cfg_attr(
    any(not(doctest), all(feature = "axum", feature = "reqwest", feature = "sandbox")),
    doc = include_str!("../../docs/guide/many-customers.md")
)]
///
/// ----
///
/// Previous: [Getting started](getting_started). Next: [In production](production)
pub mod many_customers {}

#[doc = include_str!("links.md")]
#[cfg_attr(
    any(
        not(doctest),
        all(feature = "axum", feature = "metrics", feature = "postgres", feature = "reqwest")
    ),
    doc = include_str!("../../docs/guide/production.md")
)]
///
/// ----
///
/// Previous: [Many customers](many_customers). Next: [TLS, proxies and failovers](deployment)
pub mod production {}

#[doc = include_str!("../../docs/deployment.md")]
///
/// ----
///
/// Previous: [In production](production). Next: [Operations](operations)
pub mod deployment {}

#[doc = include_str!("../../docs/operations.md")]
///
#[doc = include_str!("../../docs/operations/dashboard.svg")]
///
/// ----
///
/// Previous: [TLS, proxies and failovers](deployment). Next: [Testing](crate::sandbox::testing)
pub mod operations {}

#[doc = include_str!("links.md")]
#[cfg_attr(
    any(not(doctest), all(feature = "axum", feature = "reqwest")),
    doc = include_str!("../../docs/troubleshooting.md")
)]
///
/// ----
///
/// Previous: [Testing](crate::sandbox::testing). Next: [Providers](providers)
pub mod troubleshooting {}

#[doc = include_str!("../../docs/providers.md")]
///
/// ----
///
/// Previous: [Troubleshooting](troubleshooting). Next: [How it works](how_it_works)
pub mod providers {}

#[doc = include_str!("links.md")]
#[doc = include_str!("../../docs/guide/how-it-works.md")]
///
/// ----
///
/// Previous: [Providers](providers). Next: [Guarantees](guarantees)
pub mod how_it_works {}

pub mod guarantees;

#[doc = include_str!("../../docs/performance.md")]
///
#[doc = include_str!("../../docs/cost-per-request.svg")]
///
#[doc = include_str!("../../docs/contention.svg")]
///
#[doc = include_str!("../../docs/latency-across-a-refresh.svg")]
///
/// ----
///
/// Previous: [Guarantees](guarantees). Next: [Glossary](glossary)
pub mod performance {}

#[doc = include_str!("../../docs/glossary.md")]
///
/// ----
///
/// Previous: [Performance](performance)
pub mod glossary {}
