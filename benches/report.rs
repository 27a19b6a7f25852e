//! The results of a bench: the goals, which `main.rs` collects, and the tables of
//! `docs/performance.md`. Both are printed, and written to files.

use std::{fmt::Write as _, fs, path::PathBuf};

/// The directory of results and plots.
pub fn output_dir() -> PathBuf {
    let output_dir = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/performance"
    ));
    fs::create_dir_all(&output_dir).unwrap();
    output_dir
}

/// The goal for a result.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

/// The results of one bench.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    rows: String,
}

impl Report {
    pub fn new(bench: &'static str) -> Self {
        let rows = String::new();
        Self { bench, rows }
    }

    /// Adds a result with a goal. `details` says how it was computed: "812 / 295".
    pub fn goal(&mut self, what: &str, goal: Goal, result: f64, details: &str) {
        let (goal_text, is_met) = match goal {
            Goal::AtMost(most) => (format!("≤ {most}"), result <= most),
            Goal::AtLeast(least) => (format!("≥ {least}"), result >= least),
            Goal::Exactly(count) => (format!("{count}"), (result - count).abs() < f64::EPSILON),
        };
        let met = if is_met { "yes" } else { "**no**" };
        let result = formatted(result);
        let _ = writeln!(
            self.rows,
            "| {what} | {goal_text} | {result} | {met} | {details} |"
        );
    }

    /// Adds a result without a goal.
    pub fn note(&mut self, what: &str, result: f64, details: &str) {
        let result = formatted(result);
        let _ = writeln!(self.rows, "| {what} | | {result} | | {details} |");
    }

    /// Prints the rows, and writes them for the table of all goals.
    pub fn finish(self) {
        print!("\n{}{}", heading(), self.rows);
        fs::write(
            output_dir().join(self.bench).with_extension("rows"),
            self.rows,
        )
        .unwrap();
    }
}

/// A table of `docs/performance.md`. The program `benches` copies it there.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    text: String,
}

impl Table {
    /// The first column is text, the others are numbers.
    pub fn new(name: &'static str, columns: &[&str]) -> Self {
        let mut table = Self {
            name,
            text: String::new(),
        };
        table.row(columns);
        let numbers = " --: |".repeat(columns.len() - 1);
        let _ = writeln!(table.text, "| --- |{numbers}");
        table
    }

    pub fn row<C: AsRef<str>>(&mut self, cells: &[C]) {
        let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    /// Prints the table, and writes it.
    pub fn finish(self) {
        print!("\n{}", self.text);
        fs::write(output_dir().join(self.name).with_extension("md"), self.text).unwrap();
    }
}

fn formatted(result: f64) -> String {
    if result.fract() == 0.0 {
        format!("{result}")
    } else {
        format!("{result:.2}")
    }
}

/// The heading of the table.
pub fn heading() -> &'static str {
    "| measurement | goal | result | met | details |\n| --- | --- | --: | --- | --- |\n"
}

/// The median.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A quantile, such as `quantile(figures, 0.999)`.
pub fn quantile(mut figures: Vec<f64>, part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = (figures.len() as f64 * part) as usize;
    figures[at.min(figures.len() - 1)]
}
