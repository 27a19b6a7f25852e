//! What a warm bearer token costs per request: this crate beside its peers, all doing the same work.
//!
//! ```sh
//! cd benches/peers
//! cargo run --release
//! ```
//!
//! (The first build brings all that the peers bring; the run takes some minutes, and wants a machine that does nothing else.)
//!
//! The work is one GET request with four headers, fresh each time, into a service that answers at once ([`work`]). The token has
//! 1,024 characters and lives for a day, so nobody renews it meanwhile. Each peer is used as its documentation says
//! ([`peers`]), without a network. Of each is measured, above the same request without a token ([`measure`]):
//!
//! * *instructions*: by callgrind, under which the program runs itself; without valgrind the column says so,
//! * *allocations*: by an allocator that counts,
//! * *nanoseconds*: the median of rounds in which all are timed one after another,
//! * *x*: how many times as long a request takes, all in all, in each of two threads that share the token and have a clone of
//!   the service each. 1 is no slowdown; what costs the most there is a count that both have to change.
//!
//! The table is printed, and written to `target/performance/peers.md` of the crate, with a picture beside it,
//! `cost-per-request.svg` ([`report`]).

mod load;
mod measure;
mod peers;
mod report;
mod token_endpoint;
mod work;

use std::{env, fs, path::Path};

use tokio::runtime::{self, Runtime};

use crate::{
    measure::{Findings, instructions},
    peers::{Failure, kube_client},
    report::{plot, table::Table},
};

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.split_first() {
        None => tell(&measure::all(&runtime()?)),
        Some((first, rest)) if first == instructions::CHILD => {
            instructions::send(&runtime()?, rest)
        }
        Some((first, _)) if first == kube_client::PLUGIN => kube_client::print_credential(),
        Some((other, _)) => {
            Err(format!("there is nothing to say by {other}: run it without").into())
        }
    }
}

/// Runs while a token is fetched, and stands still while requests are sent: what the peers do in the background is not measured.
fn runtime() -> Result<Runtime, Failure> {
    Ok(runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

fn tell(findings: &Findings) -> Result<(), Failure> {
    let table = Table(findings).to_string();
    print!("{table}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/performance");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("peers.md"), table)?;
    let picture = plot::svg(findings).map_err(|failure| failure.to_string())?;
    fs::write(folder.join("cost-per-request.svg"), picture)?;
    Ok(())
}
