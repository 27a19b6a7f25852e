//! The structure of `src`: which module may import which, and no import cycle between files. The
//! last test is about the structure of `.ci/run`.
//!
//! Each file is parsed, and each path in it (in `use` declarations, expressions, types and macro
//! arguments) is resolved to the file that defines the item. Re-exports are followed, so a `mod.rs`
//! that only declares and re-exports modules takes part in no cycle. Test modules are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, ImplItem, Item, Meta, UseTree, Visibility};

/// The top-level modules from the bottom up, each with the modules that it may import. They stand
/// above it in this list, so that arrows run one way.
///
/// The list is exact: an import that no file has any more must be deleted here.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("caught", &[]),
    ("clock", &[]),
    ("later", &[]),
    ("rfc3339", &[]),
    ("origin", &["error"]),
    ("rejection", &["error"]),
    ("token", &["error"]),
    ("jose", &["error", "token"]),
    ("dpop", &["clock", "error", "jose", "origin", "token"]),
    ("provider", &["error", "origin", "rejection", "token"]),
    ("telemetry", &["error", "token"]),
    (
        "oauth",
        &[
            "caught",
            "clock",
            "dpop",
            "error",
            "jose",
            "later",
            "origin",
            "provider",
            "telemetry",
            "token",
        ],
    ),
    (
        "discovery",
        &[
            "clock",
            "error",
            "later",
            "oauth",
            "origin",
            "provider",
            "telemetry",
        ],
    ),
    ("store", &["clock", "error", "later", "token"]),
    (
        "cache",
        &[
            "caught",
            "clock",
            "dpop",
            "error",
            "later",
            "oauth",
            "origin",
            "provider",
            "rejection",
            "rfc3339",
            "store",
            "telemetry",
            "token",
        ],
    ),
    (
        "tenants",
        &[
            "cache",
            "caught",
            "error",
            "later",
            "oauth",
            "origin",
            "rejection",
            "rfc3339",
            "store",
            "telemetry",
            "token",
        ],
    ),
    (
        "bearer",
        &[
            "cache",
            "dpop",
            "error",
            "origin",
            "rejection",
            "tenants",
            "token",
        ],
    ),
    (
        "mcp",
        &[
            "bearer",
            "cache",
            "clock",
            "discovery",
            "error",
            "jose",
            "later",
            "oauth",
            "origin",
            "provider",
            "store",
            "token",
        ],
    ),
    ("reqwest", &["bearer", "error", "oauth", "token"]),
    ("axum", &["error"]),
    (
        "connect",
        &[
            "axum",
            "cache",
            "clock",
            "error",
            "later",
            "oauth",
            "origin",
            "provider",
            "store",
            "telemetry",
            "tenants",
            "token",
        ],
    ),
    ("sandbox", &["clock", "error", "oauth", "token"]),
];

#[test]
fn modules_import_only_the_layers_below() {
    let mut problems = Vec::new();
    let mut below = BTreeSet::new();
    let mut allowed = BTreeSet::new();
    for (from, imports) in LAYERS {
        for to in *imports {
            if !below.contains(to) {
                problems.push(format!("LAYERS: {to} must stand above {from}"));
            }
            allowed.insert((*from, *to));
        }
        below.insert(*from);
    }
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for import in Source::load("src/lib.rs").imports() {
        let (from, to) = (top(&import.from), top(&import.to));
        if from != to && from != "lib" {
            found
                .entry((from, to))
                .or_default()
                .push(import.to_string());
        }
    }
    for ((from, to), imports) in &found {
        if !allowed.contains(&(from, to)) {
            let imports = imports.join("\n    ");
            problems.push(format!("{from} must not import {to}:\n    {imports}"));
        }
    }
    for (from, to) in allowed {
        if !found.contains_key(&(from.to_owned(), to.to_owned())) {
            problems.push(format!("LAYERS: {from} no longer imports {to}; delete it"));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// A client is tested against it, so it must not repeat the client's mistakes.
#[test]
fn the_provider_of_the_sandbox_knows_only_the_wire() {
    // These connect the program under test with it.
    let may_import = ["src/sandbox/connect.rs", "src/sandbox/movable_clock.rs"];
    let mut found = Vec::new();
    for import in Source::load("src/lib.rs").imports() {
        let is_out = top(&import.from) == "sandbox" && top(&import.to) != "sandbox";
        if is_out && !may_import.contains(&&*import.from) {
            found.push(import.to_string());
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn files_do_not_import_each_other_in_a_cycle() {
    let imports: Vec<Import> = ["src/lib.rs", "benches/lib.rs", "benches/peers/src/main.rs"]
        .iter()
        .flat_map(|crate_root| Source::load(crate_root).imports())
        .collect();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in &imports {
        edges.entry(&import.from).or_default().insert(&import.to);
    }
    // A file is on a cycle if it can be reached from itself.
    let reachable: BTreeMap<&str, BTreeSet<&str>> = edges
        .keys()
        .map(|file| (*file, reachable_from(file, &edges)))
        .collect();
    let is_on_cycle = |import: &&Import| {
        reachable
            .get(&*import.to)
            .is_some_and(|files| files.contains(&*import.from))
    };
    let cyclic: Vec<String> = imports
        .iter()
        .filter(is_on_cycle)
        .map(ToString::to_string)
        .collect();
    assert!(
        cyclic.is_empty(),
        "these imports form cycles; move the shared item to a file of its own, or a constructor such \
         as `builder()` to the file of the type that it returns:\n{}\n",
        cyclic.join("\n")
    );
}

/// The decisions of the cache are values: the time is passed in, and their tests need no runtime.
/// They depend on no feature, so the gate runs their tests once.
#[test]
fn decisions_of_the_cache_do_not_wait_lock_read_clocks_or_emit_telemetry() {
    const FORBIDDEN: &[&str] = &[
        "async",
        "await",
        "Clock",
        "clock",
        "Condvar",
        "Instant::now",
        "Mutex",
        "Notify",
        "RwLock",
        "SystemClock",
        "SystemTime::now",
        "elapsed",
        "feature",
        "lock",
        "metrics",
        "spawn",
        "telemetry",
        "thread",
        "tokio",
        "tracing",
    ];
    let mut problems = Vec::new();
    let files = files_below(&root().join("src/cache/state"));
    assert!(files.len() > 10, "{}", files.len());
    for file in files {
        let name = relative(&file);
        if name.starts_with("src/cache/state/tests/") {
            continue;
        }
        let parsed = syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut items = parsed.items;
        items.retain(|item| !is_for_tests(attributes(item)));
        for item in items {
            let mut found = BTreeSet::new();
            words(item.into_token_stream(), &mut found);
            let is_found = |word: &str| {
                let tail = format!("::{word}");
                found
                    .iter()
                    .any(|found| found == word || found.ends_with(&tail))
            };
            let forbidden = FORBIDDEN.iter().filter(|word| is_found(word));
            problems.extend(forbidden.map(|word| format!("{name}: {word}")));
        }
    }
    assert!(
        problems.is_empty(),
        "pass the result in, or move this to the driver of the decision:\n{}\n",
        problems.join("\n")
    );
}

#[test]
fn nothing_imports_through_the_re_exports_of_the_crate_root() {
    let source = Source::load("src/lib.rs");
    let through_root: Vec<String> = source
        .imports()
        .into_iter()
        .filter(|import| import.through_root)
        .map(|import| import.to_string())
        .collect();
    assert!(
        through_root.is_empty(),
        "name the defining module instead:\n{}\n",
        through_root.join("\n")
    );
}

#[test]
fn each_module_is_one_file_or_one_directory() {
    let mut pairs = Vec::new();
    for file in files_below(&root().join("src")) {
        if file.with_extension("").is_dir() {
            pairs.push(relative(&file));
        }
    }
    assert!(
        pairs.is_empty(),
        "move each of these to mod.rs in the directory of its name:\n{}\n",
        pairs.join("\n")
    );
}

/// The gate runs all tests with the feature `sandbox`, and those that it names with all features.
#[test]
fn the_gate_names_each_test_that_depends_on_a_feature() {
    let gate = fs::read_to_string(root().join(".ci/run")).unwrap();
    let named = |list: &str| -> BTreeSet<String> {
        let (_, rest) = gate.split_once(&format!("\n{list}=(")).unwrap();
        let (names, _) = rest.split_once(')').unwrap();
        let names = names.lines().filter(|line| !line.contains('#'));
        let names = names.flat_map(str::split_whitespace);
        names.map(str::to_owned).collect()
    };
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut depends = BTreeMap::from([("test", BTreeSet::new()), ("example", BTreeSet::new())]);
    for target in manifest.split("\n[[").skip(1) {
        let (kind, settings) = target.split_once("]]").unwrap();
        let (_, name) = settings.split_once("name = \"").unwrap();
        let (name, _) = name.split_once('"').unwrap();
        let has_tests = kind == "test" || settings.contains("\ntest = true");
        if has_tests && (requires_a_feature(settings) || names_a_feature(kind, name)) {
            depends.get_mut(kind).unwrap().insert(name.to_owned());
        }
    }
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_test = path.is_file() || path.join("main.rs").is_file();
        if is_test && names_a_feature("test", name) {
            depends.get_mut("test").unwrap().insert(name.to_owned());
        }
    }
    let mut tests = named("tests");
    tests.extend(named("server_tests"));
    let is_missing = |name: &&String| !tests.contains(*name);
    let missing: Vec<&String> = depends["test"].iter().filter(is_missing).collect();
    assert!(missing.is_empty(), ".ci/run does not name {missing:?}");
    assert_eq!(depends["example"], named("examples"));
}

fn requires_a_feature(target: &str) -> bool {
    let settings = target.lines();
    let required = settings.filter(|line| line.starts_with("required-features"));
    let mut features = required.flat_map(|line| line.split('"').skip(1).step_by(2));
    features.any(|feature| feature != "sandbox")
}

/// Whether a part of a test or example exists only with a feature, also in files that it includes.
fn names_a_feature(kind: &str, name: &str) -> bool {
    let path = root().join(format!("{kind}s/{name}"));
    let mut files = vec![path.with_extension("rs")];
    if path.is_dir() {
        files.extend(files_below(&path));
    }
    let mut sources: Vec<String> = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let source = fs::read_to_string(file).unwrap();
        for included in source.split("#[path = \"").skip(1) {
            let (included, _) = included.split_once('"').unwrap();
            let included = file.parent().unwrap().join(included);
            sources.push(fs::read_to_string(included).unwrap());
        }
        sources.push(source);
    }
    let mut features = sources
        .iter()
        .flat_map(|source| source.split("feature = \"").skip(1));
    features.any(|feature| !feature.starts_with("sandbox\""))
}

/// The segments of a module's path, without `crate`.
type Module = Vec<String>;

/// All modules of the crate, without those that only tests have.
struct Source {
    modules: BTreeMap<Module, Scope>,
}

/// The contents of one module.
#[derive(Default)]
struct Scope {
    file: String,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    uses: BTreeMap<String, Use>,
    /// Every path in the code, `use` declarations of the module itself aside.
    paths: BTreeSet<Vec<String>>,
}

/// A name that a `use` declaration brings into a module.
struct Use {
    target: Vec<String>,
    is_re_export: bool,
}

/// A path in one file that names an item of another.
#[derive(Debug)]
struct Import {
    from: String,
    to: String,
    path: String,
    through_root: bool,
}

impl std::fmt::Display for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} imports {} ({})", self.from, self.to, self.path)
    }
}

impl Source {
    fn load(crate_root: &str) -> Self {
        let mut source = Self {
            modules: BTreeMap::new(),
        };
        let file = root().join(crate_root);
        source.load_file(&file, file.parent().unwrap(), &[]);
        source
    }

    fn load_file(&mut self, file: &Path, dir: &Path, module: &[String]) {
        let text = fs::read_to_string(file).unwrap();
        let parsed = syn::parse_file(&text).unwrap();
        self.load_items(&relative(file), dir, module, parsed.items);
    }

    fn load_items(&mut self, file: &str, dir: &Path, module: &[String], items: Vec<Item>) {
        let mut scope = Scope {
            file: file.to_owned(),
            ..Scope::default()
        };
        for item in items {
            if is_for_tests(attributes(&item)) {
                continue;
            }
            if let Some(name) = name(&item) {
                scope.items.insert(name);
            }
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    let path = [module, std::slice::from_ref(&name)].concat();
                    let inner = dir.join(&name);
                    match child.content {
                        Some((_, items)) => self.load_items(file, &inner, &path, items),
                        None if inner.with_extension("rs").is_file() => {
                            self.load_file(&inner.with_extension("rs"), &inner, &path);
                        }
                        None => self.load_file(&inner.join("mod.rs"), &inner, &path),
                    }
                    scope.children.insert(name);
                }
                Item::Use(item) => {
                    let is_re_export = !matches!(item.vis, Visibility::Inherited);
                    for (name, target) in leaves(&item.tree, &[]) {
                        let import = Use {
                            target,
                            is_re_export,
                        };
                        scope.uses.insert(name, import);
                    }
                }
                Item::Impl(mut item) => {
                    item.items.retain(|item| {
                        !matches!(item, ImplItem::Fn(function) if is_for_tests(&function.attrs))
                    });
                    paths(item.into_token_stream(), &mut scope.paths);
                }
                item => paths(item.into_token_stream(), &mut scope.paths),
            }
        }
        self.modules.insert(module.to_vec(), scope);
    }

    fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        for (module, scope) in &self.modules {
            let used = scope.uses.iter().filter_map(|(name, import)| {
                let is_used = !import.is_re_export
                    || scope.paths.iter().any(|path| path.first() == Some(name));
                is_used.then_some(&import.target)
            });
            let in_code = scope.paths.iter().filter(|path| path.len() > 1);
            for path in used.chain(in_code) {
                let mut through_root = false;
                let target = self.resolve(module, path, &mut through_root, 0);
                let Some(defining) = target else {
                    continue;
                };
                let to = &self.modules[&defining].file;
                // One path is enough to find the place.
                let is_known = imports
                    .iter()
                    .any(|known: &Import| known.from == scope.file && known.to == *to);
                if *to != scope.file && (!is_known || through_root) {
                    imports.push(Import {
                        from: scope.file.clone(),
                        to: to.clone(),
                        path: path.join("::"),
                        through_root,
                    });
                }
            }
        }
        imports
    }

    /// The module that defines the item. `None` for a module, a local variable and other crates.
    fn resolve(
        &self,
        from: &[String],
        path: &[String],
        through_root: &mut bool,
        depth: usize,
    ) -> Option<Module> {
        // `use http;` names itself.
        if depth > 16 {
            return None;
        }
        let mut module = from.to_vec();
        let mut rest = path;
        let mut is_relative = true;
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "crate" => module.clear(),
                "self" => {}
                "super" => drop(module.pop()),
                _ => break,
            }
            is_relative = false;
            rest = others;
        }
        loop {
            let [name, others @ ..] = rest else {
                return None;
            };
            let scope = &self.modules[&module];
            let is_last = others.is_empty();
            if scope.items.contains(name) && (is_last || !scope.children.contains(name)) {
                return Some(module);
            } else if scope.children.contains(name) {
                module.push(name.clone());
                rest = others;
            } else if let Some(import) = scope.uses.get(name) {
                // The root's own files do not import through it.
                *through_root |= module.is_empty() && !from.is_empty();
                let path = [&import.target, others].concat();
                return self.resolve(&module, &path, through_root, depth + 1);
            } else if is_relative || module.is_empty() {
                // Another crate, or a macro that is exported at the root.
                return None;
            } else {
                // Written by a macro in this module.
                return Some(module);
            }
            is_relative = false;
        }
    }
}

/// Each name that a `use` declaration brings, with the path that it stands for.
fn leaves(tree: &UseTree, prefix: &[String]) -> Vec<(String, Vec<String>)> {
    let with = |ident: &dyn ToString| [prefix, &[ident.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(&path.ident)),
        UseTree::Name(name) if name.ident == "self" => {
            vec![(prefix.last().unwrap().clone(), prefix.to_vec())]
        }
        UseTree::Name(name) => vec![(name.ident.to_string(), with(&name.ident))],
        UseTree::Rename(rename) if rename.ident == "self" => {
            vec![(rename.rename.to_string(), prefix.to_vec())]
        }
        UseTree::Rename(rename) => vec![(rename.rename.to_string(), with(&rename.ident))],
        UseTree::Group(group) => {
            let leaves = |tree| leaves(tree, prefix);
            group.items.iter().flat_map(leaves).collect()
        }
        UseTree::Glob(_) => panic!("{}::*: name the items", prefix.join("::")),
    }
}

/// Collects every path in `tokens`: `a::b::c`, and each of `a::{b, c}`. A field or method is none.
fn paths(tokens: TokenStream, found: &mut BTreeSet<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_punct = |at: usize, c: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == c);
    let is_separator = |at: usize| is_punct(at, ':') && is_punct(at + 1, ':');
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(ident) => {
                let is_field =
                    at > 0 && is_punct(at - 1, '.') && !(at > 1 && is_punct(at - 2, '.'));
                // The end of `<T as Trait>::name`, or of `::external`.
                let is_tail = at > 1 && is_separator(at - 2);
                let mut path = vec![ident.to_string()];
                at += 1;
                while is_separator(at) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            let mut inner = BTreeSet::new();
                            paths(group.stream(), &mut inner);
                            found.extend(inner.into_iter().map(|tail| [&*path, &*tail].concat()));
                        }
                        _ => break,
                    }
                    at += 3;
                }
                if !is_field && !is_tail {
                    found.insert(path);
                }
            }
            TokenTree::Group(group) => {
                paths(group.stream(), found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Collects every identifier and every path in `tokens`, macro arguments included.
fn words(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let mut in_paths = BTreeSet::new();
    paths(tokens.clone(), &mut in_paths);
    found.extend(in_paths.into_iter().map(|path| path.join("::")));
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => drop(found.insert(ident.to_string())),
            TokenTree::Group(group) => words(group.stream(), found),
            _ => {}
        }
    }
}

/// The name that an item defines in its module. `macro_rules!` counts; a `use` and a `mod` do not.
fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether there is a `#[cfg(test)]`, alone or with other conditions.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test" || condition.starts_with("all (test")
        }
        _ => false,
    })
}

fn reachable_from<'a>(
    file: &str,
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = vec![file];
    while let Some(file) = open.pop() {
        for next in edges.get(file).into_iter().flatten() {
            if reached.insert(*next) {
                open.push(next);
            }
        }
    }
    reached
}

/// The top-level module that a file belongs to: `cache` for `src/cache/lease.rs`.
fn top(file: &str) -> String {
    let name = file.strip_prefix("src/").unwrap_or(file);
    let name = name.split('/').next().unwrap();
    name.trim_end_matches(".rs").to_owned()
}

/// A path from the root of the repository, with `/` on every system.
fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap();
    path.to_string_lossy().replace('\\', "/")
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
