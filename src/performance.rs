#![doc = include_str!("../docs/performance.md")]
//!
#![doc = include_str!("../docs/cost-per-request.svg")]
//!
#![doc = include_str!("../docs/contention.svg")]
//!
#![doc = include_str!("../docs/latency-across-a-refresh.svg")]
