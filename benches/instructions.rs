//! Compares the counts of the bench `overhead` with the goals, and with the pinned counts.

use std::fs;

use benches::report::{Goal, Report, output_dir};
use serde_json::Value;

/// Net instructions of a request with a fresh token. More than 10 % above these fails. They depend
/// on the compiler and the libc, which `docs/performance.md` names.
const PINNED: [(&str, f64); 4] = [
    ("without_retries", 764.0),
    ("with_retries", 1_442.0),
    ("tenant_without_retries", 1_200.0),
    ("tenant_with_retries", 2_400.0),
];

/// Requests per measurement.
const REQUESTS: f64 = 1_000.0;

/// The counts of a request without the layer, which are subtracted.
struct Baseline {
    anonymous: f64,
    /// With the name of a tenant.
    named: f64,
}

impl Baseline {
    /// Net instructions of one request.
    fn net(&self, case: &str) -> f64 {
        let is_named = case.starts_with("named") || case.starts_with("tenant");
        let baseline = if is_named { self.named } else { self.anonymous };
        counted(&format!("warm.{case}")) - baseline
    }
}

/// Writes the report, and returns the counts that are more than 10 % above the pinned ones.
pub(crate) fn check() -> Vec<String> {
    let baseline = Baseline {
        anonymous: counted("warm.nothing"),
        named: counted("warm.nothing_named"),
    };
    let fixed = baseline.net("static_header");
    let clone = counted("request_clone.nothing") - counted("request_drop.nothing");
    let (off, on) = (
        baseline.net("without_retries"),
        baseline.net("with_retries"),
    );

    let mut report = Report::new("overhead");
    report.goal(
        "fresh token, retries off: instructions relative to a static header",
        Goal::AtMost(1.25),
        off / fixed,
        &format!("{off:.0} / {fixed:.0}"),
    );
    report.goal(
        "fresh token, retries on: instructions relative to retries off plus a clone of the request",
        Goal::AtMost(0.8),
        on / (off + clone),
        &format!("{on:.0} / ({off:.0} + {clone:.0})"),
    );
    for (what, of_many, single) in [
        ("off", "tenant_without_retries", "named_without_retries"),
        ("on", "tenant_with_retries", "named_with_retries"),
    ] {
        let (of_many, single) = (baseline.net(of_many), baseline.net(single));
        report.goal(
            &format!("one of many tenants, retries {what}: instructions relative to one grant"),
            Goal::AtMost(1.5),
            of_many / single,
            &format!("{of_many:.0} / {single:.0}"),
        );
    }
    let (dpop, signature) = (baseline.net("dpop"), counted("signature.bare"));
    report.goal(
        "DPoP proof: instructions relative to the bare ECDSA signature of the same length",
        Goal::AtMost(1.05),
        dpop / signature,
        &format!("{dpop:.0} / {signature:.0}"),
    );
    report.finish();

    let mut table = String::from(
        "| request with a fresh token | net instructions | pinned |\n| --- | --: | --: |\n",
    );
    let mut grown = Vec::new();
    for (case, pinned) in PINNED {
        let net = baseline.net(case);
        let name = case.replace('_', " ");
        table += &format!("| {name} | {net:.0} | {pinned:.0} |\n");
        if net > pinned * 1.1 {
            grown.push(format!(
                "{name}: {net:.0} instructions; {pinned:.0} are pinned"
            ));
        }
    }
    print!("\n{table}");
    fs::write(output_dir().join("instructions.md"), table).unwrap();
    grown
}

fn counted(case: &str) -> f64 {
    let path = output_dir().join(format!(
        "../gungraun/benches/overhead/per_request/{case}/summary.json"
    ));
    let summary: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let counted = &summary["profiles"][0]["data"]["parts"][0]["metrics"]["Ir"]["values"]["new"];
    counted.as_f64().expect("callgrind counts instructions") / REQUESTS
}
