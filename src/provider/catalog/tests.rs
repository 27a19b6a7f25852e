//! Each value has a source, and the page lists each entry.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::{Map, Value};

use super::*;

const PAGE: &str = include_str!("../../../docs/providers.md");

/// The paths that have a source of their own.
fn fields(provider: &Map<String, Value>) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for (name, value) in provider {
        match (name.as_str(), value) {
            (_, Value::Array(values)) => {
                fields.extend((0..values.len()).map(|index| format!("{name}[{index}]")));
            }
            ("kept_values" | "response_members" | "parameter_names", Value::Object(values)) => {
                fields.extend(values.keys().map(|key| format!("{name}.{key}")));
            }
            ("request_parameters", Value::Object(kinds)) => {
                for (kind, parameters) in kinds {
                    let parameters = parameters.as_object().unwrap().keys();
                    fields.extend(parameters.map(|key| format!("{name}.{kind}.{key}")));
                }
            }
            _ => {
                fields.insert(name.clone());
            }
        }
    }
    fields
}

#[test]
fn every_value_has_a_source_and_every_source_a_value() {
    for entry in all() {
        let name = entry.name();
        let file: Value = serde_json::from_str(entry.file()).unwrap();
        let provider = file["provider"].as_object().unwrap();
        let sources: BTreeSet<String> = entry.sources().map(|(field, _)| field).collect();
        assert_eq!(fields(provider), sources, "{name}");
        for (field, source) in entry.sources() {
            let is_named = source.contains("https://") || source.contains("directory, 2026-");
            assert!(is_named, "{name}: {field}: {source}");
        }
        assert!(!entry.is_checked(), "{name}");
    }
}

#[test]
fn every_setting_of_a_file_reaches_the_provider() {
    for entry in all() {
        let file: Value = serde_json::from_str(entry.file()).unwrap();
        let written = serde_json::to_value(entry.provider()).unwrap();
        for (field, value) in written.as_object().unwrap() {
            assert_eq!(value, &file["provider"][field], "{}: {field}", entry.name());
        }
    }
}

#[test]
fn names_are_sorted_and_unique() {
    assert!(all().count() >= 15);
    assert!(all().is_sorted_by_key(|entry| entry.name()));
    let names: BTreeSet<_> = all().map(|entry| entry.name()).collect();
    assert_eq!(names.len(), all().count());
}

/// The table of the page, made of the entries.
fn table() -> String {
    let mut table = String::from(
        "| function | provider | client authentication | access token | refresh token | differs in |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for entry in all() {
        let file: Value = serde_json::from_str(entry.file()).unwrap();
        let provider = &file["provider"];
        let days = |seconds: u64| match seconds {
            0..7_200 => format!("{} min", seconds / 60),
            7_200..172_800 => format!("{} h", seconds / 3_600),
            _ => format!("{} d", seconds / 86_400),
        };
        let lifetime = |field: &str| match &provider[field] {
            Value::String(never) => never.clone(),
            Value::Number(seconds) => days(seconds.as_u64().unwrap()),
            _ => "unknown".to_owned(),
        };
        let authentication = provider["client_authentication"].as_str();
        let authentication = authentication.unwrap_or("basic").replace('_', " ");
        let _ = writeln!(
            table,
            "| `{}` | {} | {authentication} | {} | {} | {} |",
            entry.name(),
            entry.title(),
            lifetime("access_token_lifetime"),
            lifetime("refresh_token_lifetime"),
            differences(provider.as_object().unwrap()),
        );
    }
    table
}

/// The settings that few providers need.
fn differences(provider: &Map<String, Value>) -> String {
    let common = [
        "access_token_lifetime",
        "authorization_endpoint",
        "api_origins",
        "client_authentication",
        "pkce",
        "refresh_token_lifetime",
        "revocation_endpoint",
        "token_endpoint",
    ];
    let fields = provider
        .keys()
        .filter(|field| !common.contains(&field.as_str()));
    let fields: Vec<String> = fields.map(|field| format!("`{field}`")).collect();
    fields.join(", ")
}

#[test]
fn page_lists_the_catalogue() {
    assert!(
        PAGE.contains(&table()),
        "replace the table of docs/providers.md by this one:\n{}",
        table()
    );
}

/// The complete example of the page is a provider file, and as long as the page says.
#[test]
fn example_of_the_page_is_a_provider_file() {
    let (_, example) = PAGE.split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let file: CatalogFile = serde_json::from_str(example).unwrap();
    let value: Value = serde_json::from_str(example).unwrap();
    let provider = value["provider"].as_object().unwrap();
    let sources: BTreeSet<String> = file.sources.into_keys().collect();
    assert_eq!(fields(provider), sources);
    let lines = example.lines().count();
    assert!(
        PAGE.contains(&format!("The file has {lines} lines")),
        "{lines}"
    );
}
