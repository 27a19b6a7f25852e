#![doc = include_str!("../docs/providers.md")]
