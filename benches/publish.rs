//! Copies the last results into `docs/`: the tables between their markers in `performance.md`, and
//! the plots. Goals are not published.

use std::{fs, path::PathBuf};

use benches::report::output_dir;

const TABLES: [&str; 9] = [
    "instructions",
    "end_to_end",
    "refresh",
    "stampede",
    "recovery",
    "contention",
    "tenants",
    "stores",
    "peers",
];
const PLOTS: [&str; 3] = ["cost-per-request", "contention", "latency-across-a-refresh"];

pub(crate) fn publish() {
    let docs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    let page = docs.join("performance.md");
    let mut text = fs::read_to_string(&page).unwrap();
    for table in TABLES {
        match fs::read_to_string(output_dir().join(table).with_extension("md")) {
            Ok(rows) => text = replaced(&text, table, &rows),
            Err(_) => println!("unchanged, because it was not measured here: {table}"),
        }
    }
    fs::write(page, text).unwrap();
    for plot in PLOTS {
        let file = PathBuf::from(plot).with_extension("svg");
        if fs::copy(output_dir().join(&file), docs.join(&file)).is_err() {
            println!("unchanged, because it was not drawn here: {plot}");
        }
    }
}

/// The text with another table between the two markers of a table.
fn replaced(text: &str, table: &str, rows: &str) -> String {
    let (begin, end) = (
        format!("<!-- {table} -->\n"),
        format!("<!-- end of {table} -->"),
    );
    let (before, rest) = text.split_once(&begin).expect("a marker before the table");
    let (_, after) = rest.split_once(&end).expect("a marker after the table");
    format!("{before}{begin}\n{}\n\n{end}{after}", rows.trim())
}
