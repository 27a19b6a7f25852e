//! All benches, one after another, and then every goal in one table.
//!
//! ```sh
//! cargo run -p benches
//! ```
//!
//! With names of benches, only those: `cargo run -p benches -- overhead stampede`.

use std::{
    env, fs,
    process::{Command, ExitCode},
};

use benches::report::{folder, heading};

const BENCHES: [&str; 8] = [
    "overhead",
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
    let mut failed = Vec::new();
    for bench in BENCHES {
        if asked.is_empty() || asked.iter().any(|name| name == bench) {
            let status = Command::new("cargo")
                .args(["bench", "--quiet", "-p", "benches", "--bench", bench])
                .status();
            if !status.is_ok_and(|status| status.success()) {
                failed.push(bench);
            }
        }
    }
    print!("\n{}", heading());
    for bench in BENCHES {
        let rows = fs::read_to_string(folder().join(bench).with_extension("rows"));
        print!("{}", rows.unwrap_or_default());
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("these benches failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
