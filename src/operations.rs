#![doc = include_str!("../docs/operations.md")]
//!
#![doc = include_str!("../docs/operations/dashboard.svg")]
