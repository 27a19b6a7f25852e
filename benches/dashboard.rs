//! Draws the dashboard of `docs/operations` over the simulated day of the example `prometheus`.
//!
//! ```sh
//! cargo run -p benches --bin dashboard   # needs `prometheus` and `promtool` in the PATH
//! ```
//!
//! The example records the metrics of each minute. Prometheus loads them and evaluates the queries
//! of `dashboard.json`, with the variables as Grafana sets them for a day. Layout, titles and
//! thresholds are those of the file. Only the drawing is not Grafana's.

use std::{
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use benches::{plot::PALETTE, report::output_dir};
use plotters::style::RGBColor;
use serde_json::Value;

const LABELS: &str = r#"job="example",instance="127.0.0.1:9464""#;
/// The time between two points, in seconds, and between two samples.
const STEP: u64 = 300;
const SCRAPE: u64 = 60;
const HOUR: u64 = 3_600;

/// A column and a row of Grafana's grid, in pixels, and the space between panels.
const COLUMN: f64 = 50.0;
const ROW: f64 = 34.0;
const GAP: f64 = 8.0;

fn main() {
    let docs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations"));
    let dashboard = fs::read_to_string(docs.join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let (data, day) = record();
    let prometheus = Prometheus::start(&data);
    let svg = draw(&dashboard, &prometheus, &day);
    let file = docs.join("dashboard.svg");
    fs::write(&file, svg).unwrap();
    println!("drawn: {}", file.display());
}

/// The first and the last second of the samples.
struct Day {
    start: u64,
    end: u64,
}

/// Runs the example and loads its samples into the directory of a database.
fn record() -> (PathBuf, Day) {
    let (samples, data) = (output_dir().join("day.om"), output_dir().join("day"));
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    run(Command::new("cargo")
        .args(["run", "--quiet", "--all-features", "--example"])
        .args(["prometheus", "--", "--record"])
        .arg(&samples)
        .current_dir(repository));
    let text = fs::read_to_string(&samples).unwrap();
    let time = |line: &str| -> u64 { line.rsplit(' ').next().unwrap().parse().unwrap() };
    let mut lines = text.lines().rev().skip(1);
    let end = time(lines.next().unwrap());
    let start = time(text.lines().next().unwrap());
    // Prometheus adds these labels to what it scrapes.
    let labelled: String = text
        .lines()
        .map(|line| match line.split_once(['{', ' ']) {
            Some((name, rest)) if line.contains('{') => format!("{name}{{{LABELS},{rest}\n"),
            Some((name, rest)) if !name.starts_with('#') => format!("{name}{{{LABELS}}} {rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&samples, labelled).unwrap();
    let _ = fs::remove_dir_all(&data);
    run(Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&samples, &data]));
    (data, Day { start, end })
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status();
    let is_success = status.is_ok_and(|status| status.success());
    assert!(is_success, "failed: {command:?}");
}

/// A server over recorded samples, which ends when it is dropped.
struct Prometheus {
    server: Child,
    url: String,
}

impl Prometheus {
    fn start(data: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let configuration = output_dir().join("prometheus.yml");
        fs::write(&configuration, "").unwrap();
        let server = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            // The samples have the time of the simulated day.
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is in the PATH");
        let url = format!("http://{address}");
        let prometheus = Self { server, url };
        for _ in 0..300 {
            let mut ready = Command::new("promtool");
            ready.args(["query", "instant", &prometheus.url, "vector(1)"]);
            ready.stdout(Stdio::null()).stderr(Stdio::null());
            if ready.status().is_ok_and(|status| status.success()) {
                return prometheus;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("prometheus did not start");
    }

    /// Evaluates an expression of the dashboard over the day.
    fn query(&self, expression: &str, legend: &str, day: &Day) -> Vec<Series> {
        let interval = (STEP + SCRAPE).max(4 * SCRAPE);
        let expression = expression
            .replace("$__rate_interval", &format!("{interval}s"))
            .replace("$__range", &format!("{}s", day.end - day.start))
            .replace("$job", ".*");
        let output = Command::new("promtool")
            .args(["query", "--format=json", "range", &self.url, &expression])
            .arg(format!("--start={}", day.start))
            .arg(format!("--end={}", day.end))
            .arg(format!("--step={STEP}s"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{expression}: {output:?}");
        let matrix: Value = serde_json::from_slice(&output.stdout).unwrap();
        let results = matrix.as_array().unwrap().iter();
        let mut series: Vec<_> = results.map(|result| Series::new(result, legend)).collect();
        series.sort_by(|one, other| one.name.cmp(&other.name));
        series
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

struct Series {
    name: String,
    /// Times in seconds, and values.
    points: Vec<(f64, f64)>,
}

impl Series {
    fn new(result: &Value, legend: &str) -> Self {
        let mut name = legend.to_owned();
        for (label, value) in result["metric"].as_object().unwrap() {
            let placeholder = format!("{{{{{label}}}}}");
            name = name.replace(&placeholder, value.as_str().unwrap());
        }
        let point = |point: &Value| {
            let value = point[1].as_str()?.parse::<f64>().ok()?;
            value.is_finite().then_some((point[0].as_f64()?, value))
        };
        let points = result["values"].as_array().unwrap();
        let points = points.iter().filter_map(point).collect();
        Self { name, points }
    }

    fn last(&self) -> Option<f64> {
        self.points.last().map(|(_, value)| *value)
    }

    fn most(&self) -> f64 {
        self.points
            .iter()
            .map(|(_, value)| *value)
            .fold(0.0, f64::max)
    }
}

fn draw(dashboard: &Value, prometheus: &Prometheus, day: &Day) -> String {
    let panels = dashboard["panels"].as_array().unwrap();
    let bottom = |panel: &Value| grid(panel, "y") + grid(panel, "h");
    let height = panels.iter().map(bottom).fold(0.0, f64::max) * ROW + GAP;
    let width = 24.0 * COLUMN + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#24292f\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#f4f5f5\"/>\n"
    );
    for panel in panels {
        let area = Area {
            x: grid(panel, "x") * COLUMN + GAP,
            y: grid(panel, "y") * ROW + GAP,
            width: grid(panel, "w") * COLUMN - GAP,
            height: grid(panel, "h") * ROW - GAP,
        };
        let title = panel["title"].as_str().unwrap();
        if panel["type"] == "row" {
            let y = area.y + 18.0;
            text(
                &mut svg,
                (area.x, y),
                "font-weight=\"bold\" font-size=\"15\"",
                title,
            );
            continue;
        }
        let mut series = Vec::new();
        for target in panel["targets"].as_array().unwrap() {
            let text = |name: &str| target[name].as_str().unwrap();
            series.extend(prometheus.query(text("expr"), text("legendFormat"), day));
        }
        if panel["type"] == "stat" {
            draw_stat(&mut svg, &area, panel, &series);
        } else {
            draw_lines(&mut svg, &area, panel, &series, day);
        }
    }
    svg + "</svg>\n"
}

struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

fn grid(panel: &Value, side: &str) -> f64 {
    panel["gridPos"][side].as_f64().unwrap()
}

/// The last value, on the color of its threshold.
fn draw_stat(svg: &mut String, area: &Area, panel: &Value, series: &[Series]) {
    let defaults = &panel["fieldConfig"]["defaults"];
    let value = series.first().and_then(Series::last);
    let steps = defaults["thresholds"]["steps"].as_array().unwrap();
    let is_reached = |step: &&Value| {
        let threshold = step["value"].as_f64();
        threshold.is_none_or(|threshold| value.unwrap_or(0.0) >= threshold)
    };
    let step = steps.iter().rev().find(is_reached).unwrap();
    let color = match step["color"].as_str().unwrap() {
        "green" => "#00784f",
        "yellow" => "#a35f00",
        _ => "#b03a00",
    };
    rectangle(svg, area, color);
    let shown = value.map_or("no data".to_owned(), |value| {
        let mapped = &defaults["mappings"][0]["options"][format!("{value:.0}")]["text"];
        mapped.as_str().map_or(format!("{value:.0}"), str::to_owned)
    });
    let title = panel["title"].as_str().unwrap();
    let style = "fill=\"#fff\" font-size=\"13\"";
    text(svg, (area.x + 10.0, area.y + 22.0), style, title);
    let middle = (area.x + area.width / 2.0, area.y + area.height * 0.68);
    let style = "fill=\"#fff\" font-size=\"38\" text-anchor=\"middle\"";
    text(svg, middle, style, &shown);
}

/// Lines over the time, with a legend of those that are not zero all day.
fn draw_lines(svg: &mut String, area: &Area, panel: &Value, series: &[Series], day: &Day) {
    rectangle(svg, area, "#fff");
    let title = panel["title"].as_str().unwrap();
    let bold = "font-weight=\"bold\" font-size=\"13\"";
    text(svg, (area.x + 10.0, area.y + 21.0), bold, title);
    let unit = match panel["fieldConfig"]["defaults"]["unit"].as_str() {
        Some("s") => " s",
        _ => "",
    };
    let (left, right) = (area.x + 46.0, area.x + area.width - 12.0);
    let (top, bottom) = (area.y + 36.0, area.y + area.height - 64.0);
    let most = series.iter().map(Series::most).fold(0.0, f64::max);
    let tick = tick(most);
    let ticks = (most / tick).ceil().max(1.0);
    let y = |value: f64| bottom - (bottom - top) * value / (tick * ticks);
    let length = (day.end - day.start) as f64;
    let x = |time: f64| left + (right - left) * (time - day.start as f64) / length;
    for number in 0..=ticks as u32 {
        let value = f64::from(number) * tick;
        let at = y(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.1} {at:.1}H{right:.1}\" stroke=\"#e3e6e8\"/>"
        );
        let style = "text-anchor=\"end\" font-size=\"11\" fill=\"#57606a\"";
        let label = format!("{}{unit}", short(value));
        text(svg, (left - 6.0, at + 4.0), style, &label);
    }
    for hour in (0..=24).step_by(6) {
        let at = x((day.start + hour * HOUR) as f64).min(right);
        // The last label ends at the edge.
        let anchor = if hour == 24 { "end" } else { "middle" };
        let style = format!("text-anchor=\"{anchor}\" font-size=\"11\" fill=\"#57606a\"");
        let at = (at, bottom + 16.0);
        text(svg, at, &style, &format!("{hour:02}:00"));
    }
    let is_zero = |series: &Series| series.most() == 0.0 && series.points.len() > 1;
    let zeros = series.iter().filter(|series| is_zero(series)).count();
    let all_zero = zeros == series.len();
    let mut legend = (area.x + 12.0, bottom + 36.0);
    let mut colors = PALETTE.iter().cycle();
    for series in series.iter().filter(|series| all_zero || !is_zero(series)) {
        let RGBColor(red, green, blue) = colors.next().unwrap();
        let color = format!("#{red:02x}{green:02x}{blue:02x}");
        let mut path = String::new();
        let mut last = f64::NEG_INFINITY;
        for (time, value) in &series.points {
            // A gap in the samples is a gap in the line.
            let is_next = time - last <= STEP as f64;
            let command = if is_next { 'L' } else { 'M' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(*time), y(*value));
            last = *time;
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
        );
        if !(all_zero && zeros > 2) {
            entry(svg, &mut legend, area, &color, &series.name);
        }
    }
    if zeros > 0 && (!all_zero || zeros > 2) {
        let name = format!("{zeros} at 0 all day");
        entry(svg, &mut legend, area, "#9aa0a6", &name);
    }
}

/// Adds an entry to a legend of two lines.
fn entry(svg: &mut String, at: &mut (f64, f64), area: &Area, color: &str, name: &str) {
    let width = 26.0 + 6.6 * name.len() as f64;
    if at.0 + width > area.x + area.width && at.0 > area.x + 12.0 {
        *at = (area.x + 12.0, at.1 + 17.0);
    }
    let (x, y) = (at.0, at.1 - 4.0);
    let _ = writeln!(
        svg,
        "<path d=\"M{x:.1} {y:.1}h12\" stroke=\"{color}\" stroke-width=\"3\"/>"
    );
    text(svg, (at.0 + 16.0, at.1), "", name);
    at.0 += width;
}

fn rectangle(svg: &mut String, area: &Area, color: &str) {
    let Area {
        x,
        y,
        width,
        height,
    } = area;
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"3\" fill=\"{color}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>");
}

/// The distance of two labels, of which an axis up to `most` has at most five.
fn tick(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf((most / 4.0).log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    let ticks = factors.map(|factor| factor * magnitude);
    *ticks
        .iter()
        .find(|tick| **tick * 4.0 >= most)
        .unwrap_or(&most)
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
