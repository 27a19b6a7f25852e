//! The cost of a fresh bearer token per request: this crate and its peers, with equal work.
//!
//! ```sh
//! cargo run -p benches -- peers
//! ```
//!
//! The first build compiles the dependencies of all peers. The run takes some minutes. Times need
//! an otherwise idle machine.
//!
//! The work is one new GET request with four headers, without and with `Host`, sent to a service
//! that responds at once ([`work`]). The token has 1,024 characters and lives for a day, so it is
//! not refreshed meanwhile. Each peer is used as its documentation says ([`peers`]), without a
//! network. The results are net of the same request without a token ([`measure`]):
//!
//! * *instructions*: counted by callgrind, under which the program runs itself;
//! * *allocations*: counted by the global allocator;
//! * *nanoseconds*: the median of rounds in which the peers alternate.

mod load;
mod measure;
mod peers;
mod report;
mod token_endpoint;
mod work;

use std::env;

use tokio::runtime::{self, Runtime};

use crate::{
    measure::instructions,
    peers::{Failure, kube_client},
};

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.split_first() {
        None => {
            report::write(&measure::all(&runtime()?));
            Ok(())
        }
        Some((first, rest)) if first == instructions::CHILD => {
            instructions::send(&runtime()?, rest)
        }
        Some((first, _)) if first == kube_client::PLUGIN => kube_client::print_credential(),
        Some((other, _)) => Err(format!("unknown argument {other}: run without arguments").into()),
    }
}

/// A runtime that runs while a token is fetched and stands still during the measurement, which
/// therefore excludes background tasks of the peers.
fn runtime() -> Result<Runtime, Failure> {
    Ok(runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
