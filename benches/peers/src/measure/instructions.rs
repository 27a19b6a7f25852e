//! How many instructions a request takes: this program, run by callgrind for N requests of one peer and for 2N. What it does
//! before and after them is the same in both runs, and falls out of the difference.

use std::{
    env,
    process::{Command, Stdio},
};

use tokio::runtime::Runtime;

use crate::{
    load,
    peers::{Failure, PEERS, Peer},
};

/// Makes this program send the requests of one load, and do nothing else.
pub(crate) const CHILD: &str = "send";

const REQUESTS: u32 = 2_000;

/// What is sent where no peer is named.
const ALONE: &str = "alone";
const WITH_TOKEN: &str = "with-token";
const BARE: &str = "bare";

/// Instructions of the request alone. `None` where there is no valgrind.
pub(crate) fn of_request_alone() -> Option<f64> {
    let found = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    found.ok()?;
    told(ALONE, per_request(ALONE, BARE))
}

/// Instructions of a request with `peer`, above what it is without a token.
pub(crate) fn above_bare(peer: &Peer, alone: Option<f64>) -> Option<f64> {
    let alone = alone?;
    let title = peer.title();
    let bare = if peer.has_bare_of_its_own() {
        told(&title, per_request(&title, BARE))?
    } else {
        alone
    };
    Some(told(&title, per_request(&title, WITH_TOKEN))? - bare)
}

fn told(title: &str, counted: Result<f64, Failure>) -> Option<f64> {
    counted
        .inspect_err(|failure| eprintln!("{title}: callgrind counted nothing: {failure}"))
        .ok()
}

fn per_request(title: &str, which: &str) -> Result<f64, Failure> {
    let once = collected(title, which, REQUESTS)?;
    let twice = collected(title, which, 2 * REQUESTS)?;
    Ok((twice - once) / f64::from(REQUESTS))
}

/// All instructions of one run.
fn collected(title: &str, which: &str, requests: u32) -> Result<f64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([CHILD, title, which, &requests.to_string()])
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: {told}", output.status).into());
    }
    let line = told.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = line.ok_or("callgrind says of no instructions that it collected them")?;
    Ok(count.trim().parse()?)
}

/// What the child does.
pub(crate) fn send(runtime: &Runtime, arguments: &[String]) -> Result<(), Failure> {
    let [title, which, requests] = arguments else {
        return Err("which load, and how many requests?".into());
    };
    let peer = PEERS.iter().find(|peer| peer.title() == *title);
    let mut load = match peer {
        Some(peer) if which == WITH_TOKEN => peer.warm(runtime)?,
        Some(peer) => peer.bare(),
        None => load::no_layer(),
    };
    load.send(requests.parse()?);
    Ok(())
}
