//! The cost of a fresh bearer token per request: this crate and its peers, with equal work.
//!
//! ```sh
//! cd benches/peers
//! cargo run --release
//! ```
//!
//! The first build compiles the dependencies of all peers. The run takes some minutes and needs an
//! otherwise idle machine.
//!
//! The work is one new GET request with four headers, sent to a service that responds at once
//! ([`work`]). The token has 1,024 characters and lives for a day, so it is not refreshed
//! meanwhile. Each peer is used as its documentation says ([`peers`]), without a network. The
//! results are net of the same request without a token ([`measure`]):
//!
//! * *instructions*: counted by callgrind, under which the program runs itself;
//! * *allocations*: counted by the global allocator;
//! * *nanoseconds*: the median of rounds in which the peers alternate;
//! * *x*: the factor by which a request is slower in each of two threads that share the token and
//!   have clones of the service. 1 is no slowdown. A shared reference count is the usual cause.
//!
//! The table is printed, and written to `target/performance/peers.md` of the crate, beside the
//! chart `cost-per-request.svg` ([`report`]).

mod load;
mod measure;
mod peers;
mod report;
mod token_endpoint;
mod work;

use std::{env, fs, path::Path};

use tokio::runtime::{self, Runtime};

use crate::{
    measure::{Results, instructions},
    peers::{Failure, kube_client},
    report::{plot, table::Table},
};

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.split_first() {
        None => write_report(&measure::all(&runtime()?)),
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

fn write_report(results: &Results) -> Result<(), Failure> {
    let table = Table(results).to_string();
    print!("{table}");
    let output_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/performance");
    fs::create_dir_all(&output_dir)?;
    fs::write(output_dir.join("peers.md"), table)?;
    let chart = plot::svg(results).map_err(|failure| failure.to_string())?;
    fs::write(output_dir.join("cost-per-request.svg"), chart)?;
    Ok(())
}
