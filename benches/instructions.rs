//! What callgrind counted in the bench `overhead`, held against the goals, and against what it was before.

use std::fs;

use benches::report::{Goal, Report, folder};
use serde_json::Value;

/// Net instructions of a warm request, as they were counted last, and may grow by a tenth. With another compiler or libc than
/// that of `docs/performance.md` they may be others.
const PINNED: [(&str, f64); 4] = [
    ("without_retries", 764.0),
    ("with_retries", 1_442.0),
    ("tenant_without_retries", 1_200.0),
    ("tenant_with_retries", 2_400.0),
];

/// As many as are measured at once.
const REQUESTS: f64 = 1_000.0;

/// Of one request, above the same request without the layer.
struct Net {
    nothing: f64,
    nothing_named: f64,
}

impl Net {
    fn of(&self, case: &str) -> f64 {
        let is_named = case.starts_with("named") || case.starts_with("tenant");
        let nothing = if is_named {
            self.nothing_named
        } else {
            self.nothing
        };
        counted(&format!("warm.{case}")) - nothing
    }
}

/// Reports, and tells what has grown by more than a tenth.
pub(crate) fn judge() -> Vec<String> {
    let net = Net {
        nothing: counted("warm.nothing"),
        nothing_named: counted("warm.nothing_named"),
    };
    let fixed = net.of("static_header");
    let clone = counted("request_clone.nothing") - counted("request_drop.nothing");
    let (off, on) = (net.of("without_retries"), net.of("with_retries"));

    let mut report = Report::new("overhead");
    report.goal(
        "warm request, retrying off: instructions against a static header",
        Goal::AtMost(1.25),
        off / fixed,
        &format!("{off:.0} of {fixed:.0}"),
    );
    report.goal(
        "warm request, retrying on: instructions against retrying off and a clone of the request",
        Goal::AtMost(0.8),
        on / (off + clone),
        &format!("{on:.0} of {off:.0} + {clone:.0}"),
    );
    for (what, of_many, single) in [
        ("off", "tenant_without_retries", "named_without_retries"),
        ("on", "tenant_with_retries", "named_with_retries"),
    ] {
        let (of_many, single) = (net.of(of_many), net.of(single));
        report.goal(
            &format!("one of many tenants, retrying {what}: instructions against one grant"),
            Goal::AtMost(1.5),
            of_many / single,
            &format!("{of_many:.0} of {single:.0}"),
        );
    }
    report.end();

    let mut table =
        String::from("| warm request | net instructions | pinned |\n| --- | --: | --: |\n");
    let mut grown = Vec::new();
    for (case, pinned) in PINNED {
        let net = net.of(case);
        let name = case.replace('_', " ");
        table += &format!("| {name} | {net:.0} | {pinned:.0} |\n");
        if net > pinned * 1.1 {
            grown.push(format!(
                "{name}: {net:.0} instructions, where {pinned:.0} were pinned"
            ));
        }
    }
    print!("\n{table}");
    fs::write(folder().join("instructions.md"), table).unwrap();
    grown
}

fn counted(case: &str) -> f64 {
    let path = folder().join(format!(
        "../gungraun/benches/overhead/per_request/{case}/summary.json"
    ));
    let summary: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let counted = &summary["profiles"][0]["data"]["parts"][0]["metrics"]["Ir"]["values"]["new"];
    counted.as_f64().expect("callgrind counts instructions") / REQUESTS
}
