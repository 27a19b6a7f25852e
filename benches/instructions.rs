//! Compares the counts of the bench `overhead` with the goals, and with the pinned counts.

use std::fs;

use benches::{
    plot::grouped,
    report::{self, Goal, Report, output_dir},
    shape::Shape,
};
use serde_json::Value;

/// Net instructions of a request with a fresh token: retries off, retries on. More than 10 % above
/// these fails. They depend on the compiler and the libc, which `docs/performance.md` names.
const PINNED: [(Shape, f64, f64); 7] = [
    (Shape::Bare, 790.0, 1_231.0),
    (Shape::FourHeaders, 682.0, 1_564.0),
    (Shape::FourAndHost, 699.0, 1_691.0),
    (Shape::Twenty, 628.0, 3_220.0),
    (Shape::WithBody, 682.0, 1_587.0),
    (Shape::DefaultPort, 683.0, 1_563.0),
    (Shape::OtherPort, 682.0, 1_562.0),
];
const PINNED_STREAMING: (f64, f64) = (706.0, 1_922.0);
/// One of many tenants.
const PINNED_TENANTS: [(Shape, f64, f64); 3] = [
    (Shape::FourHeaders, 1_106.0, 2_021.0),
    (Shape::FourAndHost, 1_097.0, 2_137.0),
    (Shape::Twenty, 1_025.0, 3_682.0),
];

/// Requests per measurement.
const REQUESTS: f64 = 1_000.0;

/// The counts of one shape, above a service that does nothing.
struct Counts {
    static_header: f64,
    never: f64,
    retry: f64,
    /// A clone of the request.
    clone: f64,
}

/// Writes the report, and returns the counts that are more than 10 % above the pinned ones.
pub(crate) fn check() -> Vec<String> {
    let mut report = Report::new("overhead");
    let mut table = Table::new();
    for (index, (shape, never, retry)) in PINNED.into_iter().enumerate() {
        let counts = counts(index);
        goals(&mut report, shape.name(), &counts);
        table.row(shape.name(), &counts, (never, retry));
    }
    let streaming = "four headers, a streaming body";
    let counts = streaming_counts();
    goal_without_retries(&mut report, streaming, &counts);
    table.row(streaming, &counts, PINNED_STREAMING);
    for (index, (shape, never, retry)) in PINNED_TENANTS.into_iter().enumerate() {
        let (single, tenant) = tenant_counts(index);
        let name = format!("one of many tenants, {}", shape.name());
        for (what, of_many, of_one) in [
            ("off", tenant.never, single.never),
            ("on", tenant.retry, single.retry),
        ] {
            report.goal(
                &format!("{name}, retries {what}: instructions relative to one grant"),
                Goal::AtMost(1.4),
                of_many / of_one,
                &format!("{of_many:.0} / {of_one:.0}"),
            );
        }
        table.row(&name, &tenant, (never, retry));
    }
    let dpop = counted("dpop.of") - counted("nothing.of_1");
    let signature = counted("signature.of");
    report.goal(
        "DPoP proof: instructions relative to the bare ECDSA signature of the same length",
        Goal::AtMost(1.05),
        dpop / signature,
        &format!("{dpop:.0} / {signature:.0}"),
    );
    table.dpop(dpop);
    report.finish();
    table.finish()
}

fn goals(report: &mut Report, shape: &str, counts: &Counts) {
    goal_without_retries(report, shape, counts);
    report.goal(
        &format!("{shape}, retries on: instructions"),
        Goal::AtMost(1_100.0),
        counts.retry.round(),
        &format!("a clone of the request takes {:.0}", counts.clone),
    );
}

fn goal_without_retries(report: &mut Report, shape: &str, counts: &Counts) {
    report.goal(
        &format!("{shape}, retries off: instructions relative to a static header"),
        Goal::AtMost(1.6),
        counts.never / counts.static_header,
        &format!("{:.0} / {:.0}", counts.never, counts.static_header),
    );
}

fn counts(index: usize) -> Counts {
    let net = |case: &str| counted(&format!("{case}.of_{index}"));
    let nothing = net("nothing");
    Counts {
        static_header: net("fixed") - nothing,
        never: net("never") - nothing,
        retry: net("retry") - nothing,
        clone: net("request_clone") - net("request_drop"),
    }
}

fn streaming_counts() -> Counts {
    let nothing = counted("streaming_nothing.of_0");
    Counts {
        static_header: counted("streaming_fixed.of_0") - nothing,
        never: counted("streaming_never.of_0") - nothing,
        retry: counted("streaming_retry.of_0") - nothing,
        clone: 0.0,
    }
}

/// The counts of the only grant, and those of one of many tenants, for requests that name one.
fn tenant_counts(index: usize) -> (Counts, Counts) {
    let nothing = counted(&format!("named_nothing.of_{index}"));
    let of = |case: &str| Counts {
        static_header: 0.0,
        never: counted(&format!("{case}_never.of_{index}")) - nothing,
        retry: counted(&format!("{case}_retry.of_{index}")) - nothing,
        clone: 0.0,
    };
    (of("named"), of("tenant"))
}

/// The table of `docs/performance.md`, and the counts that have grown.
struct Table {
    table: report::Table,
    grown: Vec<String>,
}

impl Table {
    fn new() -> Self {
        let columns = ["request", "static header", "retries off", "retries on"];
        Self {
            table: report::Table::new("instructions", &columns),
            grown: Vec::new(),
        }
    }

    fn row(&mut self, shape: &str, counts: &Counts, (never, retry): (f64, f64)) {
        let cell = |count: f64| match count {
            0.0 => String::new(),
            count => grouped(count),
        };
        let [fixed, off, on] = [counts.static_header, counts.never, counts.retry].map(cell);
        self.table.row(&[shape, &fixed, &off, &on]);
        for (what, count, pinned) in [("off", counts.never, never), ("on", counts.retry, retry)] {
            if count > pinned * 1.1 {
                self.grown.push(format!(
                    "{shape}, retries {what}: {count:.0} instructions; {pinned:.0} are pinned"
                ));
            }
        }
    }

    /// The proof that a bound token needs takes most of its time for a signature.
    fn dpop(&mut self, count: f64) {
        let count = grouped(count);
        self.table
            .row(&["four headers, a DPoP proof", "", "", &count]);
    }

    fn finish(self) -> Vec<String> {
        self.table.finish();
        self.grown
    }
}

fn counted(case: &str) -> f64 {
    let path = output_dir().join(format!(
        "../gungraun/benches/overhead/per_request/{case}/summary.json"
    ));
    let summary: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let counted = &summary["profiles"][0]["data"]["parts"][0]["metrics"]["Ir"]["values"]["new"];
    counted.as_f64().expect("callgrind counts instructions") / REQUESTS
}
