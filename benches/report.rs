//! What a bench has to say of the goals: printed, and left for [`main`](../main.rs) to gather in one table.

use std::{fmt::Write as _, fs, path::PathBuf};

/// Where figures and plots go.
pub fn folder() -> PathBuf {
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/performance"
    ));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

/// The figures of one bench.
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

    /// A figure that a goal is set for. `how` says what it comes of: "812 of 295 instructions".
    pub fn goal(&mut self, what: &str, goal: Goal, figure: f64, how: &str) {
        let (wanted, is_met) = match goal {
            Goal::AtMost(most) => (format!("≤ {most}"), figure <= most),
            Goal::AtLeast(least) => (format!("≥ {least}"), figure >= least),
            Goal::Exactly(count) => (format!("{count}"), (figure - count).abs() < f64::EPSILON),
        };
        let met = if is_met { "yes" } else { "**no**" };
        let figure = if figure.fract() == 0.0 {
            format!("{figure}")
        } else {
            format!("{figure:.2}")
        };
        let _ = writeln!(
            self.rows,
            "| {what} | {wanted} | {figure} | {met} | {how} |"
        );
    }

    /// A figure that no goal is set for, but that belongs beside the others.
    pub fn note(&mut self, what: &str, figure: f64, how: &str) {
        let _ = writeln!(self.rows, "| {what} | | {figure:.2} | | {how} |");
    }

    /// Prints the rows and leaves them for the table.
    pub fn end(self) {
        print!("\n{}{}", heading(), self.rows);
        fs::write(folder().join(self.bench).with_extension("rows"), self.rows).unwrap();
    }
}

/// What stands above the rows.
pub fn heading() -> &'static str {
    "| what | goal | ours | met | of |\n| --- | --- | --: | --- | --- |\n"
}

/// In the middle of all.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Below which so much of all is: `quantile(figures, 0.999)`.
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
