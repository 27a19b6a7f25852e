//! What depending on the crate brings, and how long its own code takes to build.
//!
//! ```sh
//! cargo bench -p benches --bench tree
//! ```

use std::{collections::BTreeSet, fs, process::Command, time::Instant};

use benches::report::{Goal, Report};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn cargo(arguments: &str) -> String {
    let output = Command::new("cargo")
        .args(arguments.split(' '))
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo {arguments}");
    String::from_utf8(output.stdout).unwrap()
}

/// A build of nothing but the crate itself, with what it depends on built before.
fn seconds() -> f64 {
    let build = "build --quiet --release -p tower-oauth2-client";
    cargo(build);
    let file = fs::File::options()
        .append(true)
        .open(format!("{ROOT}/src/lib.rs"))
        .unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    let begin = Instant::now();
    cargo(build);
    begin.elapsed().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn main() {
    let tree = cargo("tree -p tower-oauth2-client --edges normal --prefix none --no-dedupe");
    let crates: BTreeSet<_> = tree
        .lines()
        .skip(1)
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>())
        .collect();
    let mut report = Report::new("tree");
    let what = "crates that the default features bring";
    report.goal(what, Goal::AtMost(40.0), crates.len() as f64, "");
    let what = "clean release build of the crate's own code, in seconds";
    report.goal(what, Goal::AtMost(10.0), seconds(), "one measurement");
    report.end();
}
