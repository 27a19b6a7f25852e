//! The description, unit, type and labels of each metric, for the recorder of the program.
//!
//! The table on the page of `telemetry` has the same facts for readers. A test compares them.

use metrics::{
    Label, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    histogram,
};

use super::metric::{
    ACCESS_TOKEN_REMAINING, CIRCUIT_OPEN, CLOCK_SKEW, GRANTS, GRANTS_EXPIRING, REAUTHORIZATIONS,
    RECOVERIES, REFRESH_DURATION, REFRESH_FAILURES, REFRESH_TOKEN_REMAINING, REFRESHES,
    SAVE_FAILURES, STUCK, UNAUTHORIZED,
};

/// Registers the description, the unit and the type of each [metric](crate::telemetry#metrics),
/// and starts each counter and histogram at zero.
///
/// Call it once, after the recorder of the `metrics` facade is installed. Exporters show the
/// description with the metric, for example in the `HELP` lines of Prometheus.
///
/// A counter that is created by its first event appears at 1 and has not increased since. An alert
/// on its increase misses that event. A counter that starts at zero has the event as its first
/// increase. No series that starts here has the label `tenant`.
pub fn describe_metrics() {
    for metric in &METRICS {
        let description = SharedString::const_str(metric.description);
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, description),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, description),
            Kind::Histogram => describe_histogram!(metric.name, metric.unit, description),
        }
        for labels in metric.series() {
            match metric.kind {
                Kind::Counter => counter!(metric.name, labels).increment(0),
                Kind::Histogram => drop(histogram!(metric.name, labels)),
                // Its value is unknown until it is measured.
                Kind::Gauge => {}
            }
        }
    }
}

struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    /// Each label with all its values, except `tenant`.
    labels: &'static [(&'static str, &'static [&'static str])],
    description: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric {
    /// The labels of each series: all combinations of values.
    fn series(&self) -> Vec<Vec<Label>> {
        let mut series = vec![Vec::new()];
        for (label, values) in self.labels {
            series = series
                .iter()
                .flat_map(|labels: &Vec<Label>| {
                    values.iter().map(|value| {
                        let mut labels = labels.clone();
                        labels.push(Label::from_static_parts(label, value));
                        labels
                    })
                })
                .collect();
        }
        series
    }
}

const REFRESH_REASON: (&str, &[&str]) = (
    "reason",
    &[
        "advisory",
        "mandatory",
        "expired",
        "rejected",
        "manual",
        "keep_alive",
        "lost_response",
    ],
);
const REFRESH_OUTCOME: (&str, &[&str]) = (
    "outcome",
    &[
        "refreshed",
        "adopted",
        "failed",
        "response_lost",
        "deferred",
        "ended",
    ],
);
const FAILURE_KIND: (&str, &[&str]) = (
    "kind",
    &[
        "unavailable",
        "client_rejected",
        "refused",
        "invalid_response",
        "store",
        "reauthorization_required",
        "foreign_grant",
        "no_grant",
        "revoked",
        "kept_value",
        "configuration",
        "interrupted",
    ],
);

/// All metrics, in the order of the table.
const METRICS: [Metric; 14] = [
    Metric {
        name: REFRESHES,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[REFRESH_REASON, REFRESH_OUTCOME],
        description: "refreshes, including those that found a newer token set in the store and \
                      sent nothing",
    },
    Metric {
        name: REFRESH_DURATION,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        labels: &[REFRESH_OUTCOME],
        description: "how long each of these refreshes took, including the store",
    },
    Metric {
        name: REFRESH_FAILURES,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[FAILURE_KIND],
        description: "refreshes that brought no new token, by the kind of the error",
    },
    Metric {
        name: UNAUTHORIZED,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[(
            "outcome",
            &["newer_token", "refreshed", "same_token", "no_token"],
        )],
        description: "401 responses that reject the token, by what the retry could use: a \
                      newer_token of the cache, a refreshed one, the same_token after a pause, or \
                      no_token",
    },
    Metric {
        name: SAVE_FAILURES,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[],
        description: "saves that failed and are retried",
    },
    Metric {
        name: REAUTHORIZATIONS,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[(
            "reason",
            &[
                "invalid_grant",
                "refresh_token_expired",
                "rotation_lost",
                "no_refresh_token",
            ],
        )],
        description: "grants that the provider has ended, counted by the replica that received the \
                      refusal",
    },
    Metric {
        name: STUCK,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[("kind", &["refused", "invalid_response"])],
        description: "grants that became stuck; the kind is refused or invalid_response",
    },
    Metric {
        name: RECOVERIES,
        kind: Kind::Counter,
        unit: Unit::Count,
        labels: &[],
        description: "grants that were stuck and have recovered",
    },
    Metric {
        name: ACCESS_TOKEN_REMAINING,
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        labels: &[],
        description: "remaining lifetime of the access token, if known, updated at least every 30 \
                      seconds until it expires",
    },
    Metric {
        name: REFRESH_TOKEN_REMAINING,
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        labels: &[],
        description: "remaining lifetime of the refresh token, if known",
    },
    Metric {
        name: CIRCUIT_OPEN,
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[],
        description: "1 while the circuit breaker of the token endpoint is open or half-open, \
                      else 0",
    },
    Metric {
        name: CLOCK_SKEW,
        kind: Kind::Gauge,
        unit: Unit::Seconds,
        labels: &[],
        description: "by how much the Date of the last token response was off",
    },
    Metric {
        name: GRANTS,
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[("state", &["active", "ended", "unreadable", "foreign"])],
        description: "tenants whose grant is active, ended, unreadable or foreign (of another \
                      client), as of the last sweep of this process",
    },
    Metric {
        name: GRANTS_EXPIRING,
        kind: Kind::Gauge,
        unit: Unit::Count,
        labels: &[],
        description: "tenants whose refresh token expires within 7 days, as of the last sweep of this \
                      process",
    },
];

#[cfg(test)]
mod tests {
    use super::{Kind, METRICS};

    /// The section of the page, without the marks of doc comments.
    fn section() -> String {
        let page = include_str!("mod.rs");
        let lines = page.lines().filter_map(|line| line.strip_prefix("//!"));
        let lines: Vec<_> = lines.map(str::trim).collect();
        let from = lines.iter().position(|line| *line == "# Metrics").unwrap();
        lines[from..].join("\n")
    }

    /// The cells of the rows of all tables with this many columns, without their headings.
    fn rows(columns: usize) -> Vec<Vec<String>> {
        let section = section();
        let rows = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.trim_matches('|').split('|'))
            .map(|cells| cells.map(|cell| cell.trim().to_owned()).collect())
            .filter(|cells: &Vec<_>| cells.len() == columns);
        rows.collect()
    }

    #[test]
    fn descriptions_types_and_labels_are_those_of_the_table() {
        let rows = rows(4);
        assert_eq!(rows.len(), METRICS.len());
        for (metric, row) in METRICS.iter().zip(rows) {
            assert_eq!(row[0], format!("`{}`", metric.name));
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            assert_eq!(row[1], kind, "{}", metric.name);
            let labels = metric.labels.iter().map(|(label, _)| format!("`{label}`"));
            let mut labels: Vec<_> = labels.collect();
            if metric.name.ends_with("_remaining_seconds") {
                labels.push("`tenant`".to_owned());
            }
            assert_eq!(row[2], labels.join(", "), "{}", metric.name);
            assert_eq!(row[3].replace('`', ""), metric.description);
        }
    }

    #[test]
    fn every_value_of_a_label_is_on_the_page_and_the_reverse() {
        let section = section();
        let labels = METRICS.iter().flat_map(|metric| metric.labels);
        let values: Vec<_> = labels.flat_map(|(_, values)| *values).collect();
        for value in &values {
            assert!(section.contains(&format!("`{value}`")), "{value}");
        }
        for row in rows(2) {
            let value = row[0].trim_matches('`');
            assert!(values.iter().any(|known| **known == value), "{value}");
        }
    }

    #[test]
    fn each_metric_counts_in_the_unit_of_its_name() {
        for metric in &METRICS {
            let is_in_seconds = metric.unit == metrics::Unit::Seconds;
            assert_eq!(metric.name.ends_with("_seconds"), is_in_seconds);
            let is_counter = metric.kind == Kind::Counter;
            assert_eq!(metric.name.ends_with("_total"), is_counter);
        }
    }
}
