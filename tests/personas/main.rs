//! Each provider of the catalogue, against the persona of the sandbox that behaves like it.
//!
//! `raw` checks the personas by plain HTTP.

mod raw;
