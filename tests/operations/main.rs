//! The dashboard and the alert rules name only metrics, labels and values of labels that the crate
//! has, and every metric is on the dashboard.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use metrics_util::debugging::DebuggingRecorder;
use serde_json::Value;

/// Metrics of one grant, which only programs with few tenants record.
const NOT_ON_THE_DASHBOARD: [&str; 2] = [
    "tower_oauth2_client_access_token_remaining_seconds",
    "tower_oauth2_client_refresh_token_remaining_seconds",
];

/// Labels that Prometheus adds to each series, and that of histograms.
const LABELS_OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

/// The labels of each metric, with all their values.
type Metrics = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Counters and histograms with the labels that they are registered with, and gauges as the page
/// of `telemetry` documents them.
fn metrics_of_the_crate() -> Metrics {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, tower_oauth2_client::telemetry::describe_metrics);
    let mut metrics = Metrics::new();
    for (key, _, description, _) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        assert!(description.is_some(), "{} has no description", key.name());
        let labels = metrics.entry(key.name().to_owned()).or_default();
        for label in key.labels() {
            let values = labels.entry(label.key().to_owned()).or_default();
            values.insert(label.value().to_owned());
        }
    }
    for row in read("src/telemetry/mod.rs").lines() {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        if let [_, name, "gauge", labels, meaning, _] = cells[..] {
            let quoted = |text: &str| -> BTreeSet<String> {
                let parts = text.split('`').skip(1).step_by(2);
                parts.map(str::to_owned).collect()
            };
            let labels = quoted(labels).into_iter();
            let labels = labels.map(|label| (label, quoted(meaning)));
            metrics.insert(name.trim_matches('`').to_owned(), labels.collect());
        }
    }
    assert!(metrics.len() >= 14, "{metrics:?}");
    metrics
}

/// A metric in an expression, with the matchers of its labels: `label="value"`.
#[derive(Debug, PartialEq, Eq)]
struct Selector {
    metric: String,
    matchers: Vec<(String, String)>,
}

/// All selectors of an expression.
fn selectors(expression: &str) -> Vec<Selector> {
    let starts = expression.match_indices("tower_oauth2_client_");
    let selector = |(start, _)| {
        let rest: &str = &expression[start..];
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let matchers = rest
            .strip_prefix('{')
            .map_or("", |rest| rest.split_once('}').expect("a closing brace").0);
        let matchers = matchers.split(',').filter(|matcher| !matcher.is_empty());
        let matcher = |matcher: &str| {
            let (label, value) = matcher.split_once('=').expect("a matcher");
            let label = label.trim().trim_end_matches('!').to_owned();
            let value = value.trim_start_matches('~').trim_matches('"').to_owned();
            (label, value)
        };
        Selector {
            metric: name.to_owned(),
            matchers: matchers.map(matcher).collect(),
        }
    };
    starts.map(selector).collect()
}

/// The labels in `by (…)`.
fn grouped_by(expression: &str) -> BTreeSet<String> {
    let lists = expression.split(" by (").skip(1);
    let lists = lists.map(|rest| rest.split_once(')').expect("a closing parenthesis").0);
    let labels = lists.flat_map(|list| list.split(','));
    labels.map(|label| label.trim().to_owned()).collect()
}

/// Returns what an expression names and the crate does not have.
fn unknown(expression: &str, metrics: &Metrics) -> Vec<String> {
    let of_prometheus = |label: &str| LABELS_OF_PROMETHEUS.contains(&label);
    let mut unknown = Vec::new();
    let mut labels_here = BTreeSet::new();
    let selectors = selectors(expression);
    for Selector { metric, matchers } in &selectors {
        let Some(labels) = metrics.get(metric) else {
            unknown.push(metric.clone());
            continue;
        };
        labels_here.extend(labels.keys().cloned());
        for (label, pattern) in matchers.iter().filter(|(label, _)| !of_prometheus(label)) {
            let values = labels.get(label).cloned().unwrap_or_default();
            let named = pattern.split('|').filter(|value| !values.contains(*value));
            unknown.extend(named.map(|value| format!("{metric}{{{label}=\"{value}\"}}")));
        }
    }
    let groups = grouped_by(expression).into_iter();
    unknown.extend(groups.filter(|label| !of_prometheus(label) && !labels_here.contains(label)));
    if selectors.is_empty() {
        unknown.push(format!("no metric in: {expression}"));
    }
    unknown
}

fn dashboard() -> Value {
    serde_json::from_str(&read("docs/operations/dashboard.json")).unwrap()
}

/// The panels that show data: their titles, and the expressions with the formats of their legends.
fn panels() -> Vec<(String, Vec<(String, String)>)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.filter(|panel| panel["type"] != "row");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let panel = |panel: &Value| {
        let targets = panel["targets"].as_array().unwrap().iter();
        let targets = targets.map(|target| (text(&target["expr"]), text(&target["legendFormat"])));
        (text(&panel["title"]), targets.collect())
    };
    panels.map(panel).collect()
}

#[test]
fn the_dashboard_names_only_what_the_crate_records() {
    let metrics = metrics_of_the_crate();
    for (title, targets) in panels() {
        for (expression, legend) in targets {
            let unknown = unknown(&expression, &metrics);
            assert!(unknown.is_empty(), "{title}: {unknown:?}");
            for label in legend.split("{{").skip(1) {
                let label = label.split("}}").next().unwrap();
                assert!(grouped_by(&expression).contains(label), "{title}: {label}");
            }
        }
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let panels = panels();
    let expressions = panels.iter().flat_map(|(_, targets)| targets);
    let selectors = expressions.flat_map(|(expression, _)| selectors(expression));
    let mut shown: BTreeSet<String> = selectors.map(|selector| selector.metric).collect();
    for name in NOT_ON_THE_DASHBOARD {
        assert!(shown.insert(name.to_owned()), "{name} is on the dashboard");
    }
    let recorded: BTreeSet<String> = metrics_of_the_crate().into_keys().collect();
    assert_eq!(shown, recorded);
}

#[test]
fn panels_overlap_neither_each_other_nor_the_edge() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{panel}");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(taken.insert((x, y)), "{panel}");
            }
        }
    }
}

#[test]
fn the_picture_shows_the_panels_of_the_dashboard() {
    let picture = read("docs/operations/dashboard.svg");
    for (title, _) in panels() {
        assert!(picture.contains(&format!(">{title}<")), "{title}");
    }
}

/// An alert rule, as far as the tests need it.
#[derive(Debug, Default)]
struct Alert {
    name: String,
    fields: BTreeMap<String, String>,
}

/// Reads the form of YAML in which the rules are written: scalars on one line, or folded ones.
fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    let mut folded = None;
    for line in read("docs/operations/alerts.yaml").lines() {
        let text = line.trim();
        if let Some(name) = text.strip_prefix("- alert: ") {
            let name = name.to_owned();
            alerts.push(Alert {
                name,
                ..Alert::default()
            });
            folded = None;
        } else if let Some(alert) = alerts.last_mut() {
            let indentation = line.len() - line.trim_start().len();
            match (&folded, text.split_once(':')) {
                (Some((key, deeper)), _) if indentation >= *deeper => {
                    let value: &mut String = alert.fields.entry(String::clone(key)).or_default();
                    value.push_str(text);
                    value.push(' ');
                }
                (_, Some((key, value))) if !text.starts_with('#') => {
                    folded = (value.trim() == ">-").then(|| (key.to_owned(), indentation + 2));
                    let value = if folded.is_some() { "" } else { value.trim() };
                    let earlier = alert.fields.insert(key.to_owned(), value.to_owned());
                    assert!(earlier.is_none(), "{key} twice in {}", alert.name);
                }
                _ => folded = None,
            }
        }
    }
    assert!(alerts.len() >= 12, "{alerts:?}");
    alerts
}

#[test]
fn alerts_name_only_what_the_crate_records() {
    let metrics = metrics_of_the_crate();
    for Alert { name, fields } in alerts() {
        let unknown = unknown(&fields["expr"], &metrics);
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}

#[test]
fn alerts_say_what_to_do_and_are_on_the_page() {
    let page = read("docs/operations.md");
    let troubleshooting = fs::read_to_string(root().join("docs/troubleshooting.md")).ok();
    for Alert { name, fields } in alerts() {
        let severity = &*fields["severity"];
        assert!(["page", "ticket"].contains(&severity), "{name}");
        assert!(!fields["summary"].is_empty(), "{name}");
        let sentences = fields["description"].matches(". ").count();
        assert!(sentences >= 2, "{name}: {}", fields["description"]);
        let row = format!("| `{name}` | {severity} |");
        assert!(page.contains(&row), "docs/operations.md has no row {row}");
        let (file, anchor) = fields["runbook_url"].split_once('#').unwrap();
        assert_eq!(file, "docs/troubleshooting.md", "{name}");
        let headings = troubleshooting.iter().flat_map(|page| page.lines());
        let mut headings = headings.filter(|line| line.starts_with('#'));
        let is_of_anchor = |heading: &str| {
            let words = heading.trim_start_matches('#').trim().to_lowercase();
            words.replace(' ', "-") == anchor
        };
        let is_found = headings.any(is_of_anchor);
        assert!(is_found || troubleshooting.is_none(), "{name}: #{anchor}");
    }
}

#[test]
fn selectors_are_read_from_expressions() {
    let expression = r#"sum by (kind, le) (rate(tower_oauth2_client_x_bucket{job=~"$job", kind=~"a|b"}[5m]))
        / tower_oauth2_client_y"#;
    let selector = |metric: &str, matchers: &[(&str, &str)]| Selector {
        metric: metric.to_owned(),
        matchers: matchers
            .iter()
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
            .collect(),
    };
    assert_eq!(
        selectors(expression),
        [
            selector("tower_oauth2_client_x", &[("job", "$job"), ("kind", "a|b")]),
            selector("tower_oauth2_client_y", &[]),
        ]
    );
    let labels = BTreeMap::from([("kind".to_owned(), BTreeSet::from(["a".to_owned()]))]);
    let metrics = Metrics::from([("tower_oauth2_client_x".to_owned(), labels)]);
    assert_eq!(
        unknown(expression, &metrics),
        [
            r#"tower_oauth2_client_x{kind="b"}"#,
            "tower_oauth2_client_y"
        ]
    );
}

/// Skipped without `promtool`, which is part of Prometheus.
#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    for arguments in [
        ["check", "rules", "docs/operations/alerts.yaml"],
        ["test", "rules", "tests/operations/alerts_test.yaml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(root())
            .output();
        let Ok(output) = output else {
            println!("skipped: there is no promtool");
            return;
        };
        assert!(output.status.success(), "{output:?}");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
