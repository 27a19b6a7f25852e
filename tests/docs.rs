//! One source per fact: what is said in two places is the same in both.

use std::{collections::BTreeSet, fs, path::Path};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Words alone: no emphasis, links or line ends.
fn plain(text: &str) -> String {
    let bare: String = text.chars().filter(|c| !"*`[]!".contains(*c)).collect();
    bare.replace("//", "")
        .replace("/)", ")")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn readme_and_front_page_draw_the_same_map() {
    let readme = read("README.md");
    let front = read("src/lib.rs");
    let paragraph = |text: &str| {
        let from = text.find("A **layer**").unwrap();
        let to = from + text[from..].find("users' own tests").unwrap();
        plain(&text[from..to])
    };
    assert_eq!(paragraph(&readme), paragraph(&front));
}

#[test]
fn the_map_is_that_of_the_source() {
    let readme = read("README.md");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // These are what the parts speak of with each other, and with those who listen.
        let is_shared = ["token", "error", "telemetry"].contains(&&*name);
        if entry.path().is_dir() && !is_shared {
            assert!(
                readme.contains(&format!("(`{name}/`)")),
                "{name} is not on the map"
            );
        }
    }
}

#[test]
fn readme_has_the_feature_table() {
    let manifest = read("Cargo.toml");
    let features = manifest
        .split("[features]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let readme = read("README.md");
    for line in features.lines() {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        // Two underscores: not for users.
        if !name.starts_with(['#', '_']) && name != "default" {
            assert!(
                readme.contains(&format!("| `{name}` |")),
                "{name} has no row"
            );
        }
    }
}

#[test]
fn readme_states_the_minimum_rust_version() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(read("README.md").contains(&format!("Rust ({version} or later")));
}

#[test]
fn every_guarantee_has_tests_and_every_numbered_test_a_guarantee() {
    let promised: BTreeSet<u32> = read("src/guarantees.rs")
        .lines()
        .filter_map(|line| {
            line.strip_prefix("//! * **P")?
                .split("**")
                .next()?
                .parse()
                .ok()
        })
        .collect();
    let mut tested = BTreeSet::new();
    visit(Path::new(env!("CARGO_MANIFEST_DIR")), &mut |text| {
        for part in text.split("fn p").skip(1) {
            let digits = part.get(..2).filter(|_| part.get(2..3) == Some("_"));
            tested.extend(digits.and_then(|digits| digits.parse::<u32>().ok()));
        }
    });
    assert_eq!(promised, tested);
}

fn visit(folder: &Path, look: &mut impl FnMut(&str)) {
    for name in ["src", "tests"] {
        walk(&folder.join(name), look);
    }
}

fn walk(folder: &Path, look: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&fs::read_to_string(path).unwrap());
        }
    }
}
