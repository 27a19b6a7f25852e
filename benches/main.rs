//! Runs all benches one after another, and prints all goals in one table.
//!
//! ```sh
//! cargo install gungraun-runner   # and Debian's `valgrind`, `postgresql` and `redis-server`
//! cargo run -p benches
//! ```
//!
//! With the names of benches, it runs only those: `cargo run -p benches -- overhead stampede`. With
//! `publish`, it runs none and copies the tables and plots of the last runs into `docs/`. It fails
//! if a bench fails, or if a request takes more instructions than `instructions.rs` permits.

use std::{
    env, fs,
    process::{Command, ExitCode},
};

use benches::report::{heading, output_dir};

mod instructions;
mod publish;

const BENCHES: [&str; 11] = [
    "overhead",
    "allocations",
    "contention",
    "tenants",
    "fleet",
    "stampede",
    "steady_refresh",
    "end_to_end",
    "stores",
    "tree",
    "peers",
];

fn main() -> ExitCode {
    let selected: Vec<String> = env::args().skip(1).collect();
    let is_selected =
        |bench: &&str| selected.is_empty() || selected.iter().any(|name| name == bench);
    let mut failures = Vec::new();
    for bench in BENCHES.into_iter().filter(is_selected) {
        println!("\n# {bench}");
        if !run(bench) {
            failures.push(format!("{bench}: see above"));
        } else if bench == "overhead" {
            failures.extend(instructions::check());
        }
    }
    let goals = goals();
    println!("\n# All goals\n\n{goals}");
    if selected == ["publish"] {
        publish::publish();
    }
    for failure in &failures {
        eprintln!("failed: {failure}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The rows that all benches wrote last.
fn goals() -> String {
    let rows = |bench| fs::read_to_string(output_dir().join(bench).with_extension("rows"));
    let mut table = heading().to_owned();
    table.extend(BENCHES.into_iter().filter_map(|bench| rows(bench).ok()));
    table
}

fn run(bench: &str) -> bool {
    let mut command = Command::new("cargo");
    if bench == "peers" {
        // A package with its own lock file.
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/Cargo.toml");
        command.args(["run", "--quiet", "--release", "--manifest-path", manifest]);
        return command.status().is_ok_and(|status| status.success());
    }
    command.args(["bench", "--quiet", "-p", "benches", "--bench", bench]);
    if bench == "overhead" {
        command.args(["--", "--save-summary=json"]);
    }
    if bench == "stores" {
        command.args(["--features", "servers"]);
    }
    command.status().is_ok_and(|status| status.success())
}
