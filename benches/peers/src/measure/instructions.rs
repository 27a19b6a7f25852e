//! Counts the instructions of a request. callgrind runs this program with N and with 2N requests;
//! the difference excludes the work before and after the requests.

use std::{
    env,
    process::{Command, Stdio},
};

use tokio::runtime::Runtime;

use crate::{
    load,
    peers::{Failure, PEERS, Peer},
    work::{SHAPES, Shape},
};

/// The argument with which this program only sends requests.
pub(crate) const CHILD: &str = "send";

const REQUESTS: u32 = 2_000;

/// The title that stands for no peer.
const ALONE: &str = "alone";
const WITH_TOKEN: &str = "with-token";
const BARE: &str = "bare";

/// Instructions of the request without a token. `None` without valgrind.
pub(crate) fn of_request_alone(shape: Shape) -> Option<f64> {
    let found = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    found.ok()?;
    or_print(ALONE, per_request(ALONE, BARE, shape))
}

/// Net instructions of a request with `peer`.
pub(crate) fn above_bare(peer: &Peer, shape: Shape, alone: Option<f64>) -> Option<f64> {
    let alone = alone?;
    let title = peer.title();
    let bare = if peer.has_own_bare_load() {
        or_print(&title, per_request(&title, BARE, shape))?
    } else {
        alone
    };
    Some(or_print(&title, per_request(&title, WITH_TOKEN, shape))? - bare)
}

fn or_print(title: &str, counted: Result<f64, Failure>) -> Option<f64> {
    counted
        .inspect_err(|failure| eprintln!("{title}: callgrind counted nothing: {failure}"))
        .ok()
}

fn per_request(title: &str, which: &str, shape: Shape) -> Result<f64, Failure> {
    let once = collected(title, which, shape, REQUESTS)?;
    let twice = collected(title, which, shape, 2 * REQUESTS)?;
    Ok((twice - once) / f64::from(REQUESTS))
}

/// The instructions of one run.
fn collected(title: &str, which: &str, shape: Shape, requests: u32) -> Result<f64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([CHILD, title, which, shape.name(), &requests.to_string()])
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: {stderr}", output.status).into());
    }
    let line = stderr
        .lines()
        .find_map(|line| line.split_once("Collected :"));
    let (_, count) = line.ok_or("callgrind printed no count of instructions")?;
    Ok(count.trim().parse()?)
}

/// The work of the child process.
pub(crate) fn send(runtime: &Runtime, arguments: &[String]) -> Result<(), Failure> {
    let [title, which, shape, requests] = arguments else {
        return Err("expected four arguments: peer, load, shape, number of requests".into());
    };
    let shape = SHAPES.into_iter().find(|known| known.name() == shape);
    let shape = shape.ok_or("no such shape")?;
    let peer = PEERS.iter().find(|peer| peer.title() == *title);
    let mut load = match peer {
        Some(peer) if which == WITH_TOKEN => peer.warm(runtime)?,
        Some(peer) => peer.bare(),
        None => load::no_layer(),
    };
    load.send(shape, requests.parse()?);
    Ok(())
}
