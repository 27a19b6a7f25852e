//! The number of crates that a dependency on this crate adds, and the build time of its own code.
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

/// The build time of the crate alone, after its dependencies are built.
fn build_seconds() -> f64 {
    let build = "build --quiet --release -p tower-oauth2-client";
    cargo(build);
    let file = fs::File::options()
        .append(true)
        .open(format!("{ROOT}/src/lib.rs"))
        .unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    let started = Instant::now();
    cargo(build);
    started.elapsed().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn main() {
    let tree = cargo("tree -p tower-oauth2-client --edges normal --prefix none --no-dedupe");
    let crates: BTreeSet<_> = tree
        .lines()
        .skip(1)
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>())
        .collect();
    let mut report = Report::new("tree");
    report.note("crates of the default features", crates.len() as f64, "");
    let what = "clean release build of this crate alone, in seconds";
    report.goal(what, Goal::AtMost(10.0), build_seconds(), "one measurement");
    report.finish();
}
