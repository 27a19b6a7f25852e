#![doc = include_str!("../docs/deployment.md")]
