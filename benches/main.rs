//! All benches, one after another, and then every goal in one table.
//!
//! ```sh
//! cargo install gungraun-runner   # and Debian's `valgrind`
//! cargo run -p benches
//! ```
//!
//! With names of benches, only those: `cargo run -p benches -- overhead stampede`. Fails if a bench does, or if a warm request
//! takes more instructions than are pinned in `instructions.rs`.

use std::{
    env, fs,
    process::{Command, ExitCode},
};

use benches::report::{folder, heading};

mod instructions;

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
    print!("\n# All goals\n\n{}", heading());
    for bench in BENCHES {
        let rows = fs::read_to_string(folder().join(bench).with_extension("rows"));
        print!("{}", rows.unwrap_or_default());
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

fn run(bench: &str) -> bool {
    let mut command = Command::new("cargo");
    command.args(["bench", "--quiet", "-p", "benches", "--bench", bench]);
    if bench == "overhead" {
        command.args(["--", "--save-summary=json"]);
    }
    command.status().is_ok_and(|status| status.success())
}
