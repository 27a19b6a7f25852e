//! All benches, one after another, and then every goal in one table.
//!
//! ```sh
//! cargo install gungraun-runner   # and Debian's `valgrind`
//! cargo run -p benches
//! ```
//!
//! With names of benches, only those: `cargo run -p benches -- overhead stampede`; with `publish`, none, but what was measured
//! last goes into `docs/performance.md`. Fails if a bench does, or if a warm request
//! takes more instructions than are pinned in `instructions.rs`.

use std::{
    env, fs,
    process::{Command, ExitCode},
};

use benches::report::{folder, heading};

mod instructions;
mod publish;

const BENCHES: [&str; 9] = [
    "overhead",
    "allocations",
    "contention",
    "tenants",
    "stampede",
    "steady_refresh",
    "end_to_end",
    "stores",
    "tree",
];

fn main() -> ExitCode {
    let asked: Vec<String> = env::args().skip(1).collect();
    let is_asked_for = |bench: &&str| asked.is_empty() || asked.iter().any(|name| name == bench);
    let mut failures = Vec::new();
    for bench in BENCHES.into_iter().filter(is_asked_for) {
        println!("\n# {bench}");
        if !run(bench) {
            failures.push(format!("{bench}: see above"));
        } else if bench == "overhead" {
            failures.extend(instructions::judge());
        }
    }
    let goals = goals();
    println!("\n# All goals\n\n{goals}");
    if asked == ["publish"] {
        publish::publish(&goals);
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

/// What all benches have left.
fn goals() -> String {
    let rows = |bench| fs::read_to_string(folder().join(bench).with_extension("rows"));
    let mut table = heading().to_owned();
    table.extend(BENCHES.into_iter().filter_map(|bench| rows(bench).ok()));
    table
}

fn run(bench: &str) -> bool {
    let mut command = Command::new("cargo");
    command.args(["bench", "--quiet", "-p", "benches", "--bench", bench]);
    if bench == "overhead" {
        command.args(["--", "--save-summary=json"]);
    }
    command.status().is_ok_and(|status| status.success())
}
