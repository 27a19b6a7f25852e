//! The docs: facts that are stated in two places agree, and prose keeps to the rules of
//! CONTRIBUTING.md.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use prose::Prose;

/// Files that are not checked: this one lists the words.
const NOT_COVERED: &[&str] = &["tests/docs.rs"];

/// A component is the subject of a sentence.
const A_COMPONENT: &str = "the component: request, task, replica, server, store, caller";

/// Words and phrases that do not occur, what to use instead, and where they are right.
///
/// An exception that contains the phrase permits that occurrence. Any other exception permits the
/// phrase in each sentence that has both.
const WORDS: &[(&[&str], &str, &[&str])] = &[
    (
        &["nobody", "somebody", "anybody", "everybody"],
        A_COMPONENT,
        &[],
    ),
    (
        &["no one", "someone", "anyone", "everyone"],
        A_COMPONENT,
        &["replicaof no one"],
    ),
    (&["whoever", "who", "whom"], A_COMPONENT, &[]),
    (&["person", "people"], "user, customer, tenant", &[]),
    (&["somehow"], "how", &[]),
    (&["anew"], "again", &[]),
    (&["for ever"], "forever, indefinitely", &[]),
    (&["all the same"], "nevertheless", &[]),
    (&["taken for"], "treated as", &[]),
    (&["likewise"], "the statement itself", &[]),
    (&["choke point"], "the only way to", &[]),
    (
        &["is not to be", "are not to be"],
        "cannot be, must not be",
        &[],
    ),
    (&["rests"], "is stored", &[]),
    (&["folder", "folders"], "directory", &[]),
    (&["told", "tells"], "says, reports, is called, event", &[]),
    (
        &["hears of", "hear of"],
        "a listener is called, an event is emitted",
        &[],
    ),
    (
        &["answer", "answers", "answered", "answering"],
        "response, responds, returns",
        &[],
    ),
    (
        &["exchange", "exchanges", "exchanged", "exchanging"],
        "refresh, token request",
        &[
            "code",
            "codes",
            "token exchange",
            "token exchanges",
            "exchange and save",
        ],
    ),
    (
        &[
            "renew", "renews", "renewed", "renewing", "renewal", "renewals",
        ],
        "refresh, or extend a lease",
        &["lease", "leases"],
    ),
    (
        &["flight", "flights"],
        "refresh, single flight",
        &["single flight", "in flight"],
    ),
    (&["pilot", "comer", "comers"], "leader, waiter", &[]),
    (&["keeper", "attendant"], "worker, maintenance", &[]),
    (&["cooldown", "cool down"], "backoff", &[]),
    (
        &["left alone", "leave alone", "leaves alone"],
        "backs off, is unchanged",
        &[],
    ),
    (&["looked after", "looks after"], "kept alive", &[]),
    (&["let go", "lets go"], "evict", &[]),
    (&["forgive", "forgives", "forgiven"], "reuse grace", &[]),
    (&["blame", "blames", "acquit", "acquits"], "challenge", &[]),
    (&["verdict", "verdicts"], "class", &[]),
];

/// Beginnings of a doc comment that do not stand alone in rustdoc's list of items.
const BEGINNINGS: &[&str] = &[
    "the same",
    "likewise",
    "that of",
    "those of",
    "what",
    "who",
    "whoever",
    "one that",
    "one which",
    "so many",
];

#[test]
fn prose_uses_the_words_of_the_glossary() {
    let mut found = Vec::new();
    for prose in covered() {
        for (phrases, instead, exceptions) in WORDS {
            for phrase in *phrases {
                for line in prose.occurrences(phrase, exceptions) {
                    found.push(format!("{}:{line}: {phrase}; use: {instead}", prose.file));
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn prose_is_read_from_comments_strings_and_names() {
    let source = r##"
        /// Nobody
        /// told `nobody`, in flight.
        fn ask_nobody<'a>(c: char) -> &'a str {
            let nobody = '"'; // nobody
            let text = r#"{nobody} "nobody" "#;
            "nobody"; "ask nobody\" {c}"
        }
    "##;
    let prose = prose::read("sample.rs", source);
    let lines = |phrase, exceptions: &[&str]| -> Vec<usize> {
        let occurrences = |prose: &Prose| prose.occurrences(phrase, exceptions);
        prose.iter().flat_map(occurrences).collect()
    };
    assert_eq!(lines("nobody", &[]), [2, 4, 5, 7]);
    assert_eq!(lines("nobody told", &[]), [2]);
    assert_eq!(lines("flight", &["in flight"]), []);
    assert_eq!(lines("told", &["flight"]), []);
    assert!(prose[0].is_doc_comment && prose[0].begins_with("nobody told"));
}

#[test]
fn doc_comments_begin_with_a_sentence_that_stands_alone() {
    let mut found = Vec::new();
    for prose in covered().iter().filter(|prose| prose.is_doc_comment) {
        for beginning in BEGINNINGS {
            if prose.begins_with(beginning) {
                found.push(format!("{}:{}: {beginning} …", prose.file, prose.line()));
            }
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn comments_wrap_at_100_columns() {
    let mut found = Vec::new();
    for file in covered_files() {
        for (number, line) in read(&file).lines().enumerate() {
            let comment = line.trim_start();
            let is_comment = is_rust(&file) && comment.starts_with("//");
            let cannot_wrap = comment.contains("| ") || comment.contains("://");
            if is_comment && !cannot_wrap && line.chars().count() > 100 {
                found.push(format!("{file}:{}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn readme_and_front_page_have_the_same_map() {
    let map = |text: &str| {
        let from = text.find("A **layer**").unwrap();
        let text = &text[from..];
        let ends = ["\n\n", "\n//!\n"]
            .into_iter()
            .filter_map(|end| text.find(end));
        plain(&text[..ends.min().unwrap()])
    };
    assert_eq!(map(&read("README.md")), map(&read("src/lib.rs")));
}

#[test]
fn readme_and_guide_have_the_same_diagram() {
    let readme = read("README.md");
    let diagram = readme.split("```text").nth(1).unwrap();
    let diagram = diagram.split("```").next().unwrap();
    assert!(read("docs/guide/how-it-works.md").contains(diagram));
}

#[test]
fn the_map_names_each_directory_of_the_source() {
    let readme = read("README.md");
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // What the parts share, adapters, and the book.
        let is_off_the_map = ["error", "guide", "reqwest", "telemetry", "token"].contains(&&*name);
        if entry.path().is_dir() && !is_off_the_map {
            assert!(
                readme.contains(&format!("(`{name}/`)")),
                "{name} is not on the map"
            );
        }
    }
}

#[test]
fn links_to_files_lead_somewhere() {
    for file in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/deployment.md",
        "docs/glossary.md",
        "docs/operations.md",
        "docs/performance.md",
        "docs/providers.md",
        "docs/troubleshooting.md",
        "docs/walkthrough.md",
    ] {
        let directory = root().join(file).parent().unwrap().to_owned();
        for link in read(file).split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            let is_file = !target.contains("://") && !target.starts_with('#');
            assert!(
                !is_file || directory.join(target).exists(),
                "{file}: {target}"
            );
            let is_here = target.strip_prefix('#').is_none_or(|anchor| {
                let text = read(file);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                headings.any(|line| {
                    let words = line.trim_start_matches('#').trim().to_lowercase();
                    words.replace(' ', "-") == anchor
                })
            });
            assert!(is_here, "{file}: {target}");
        }
    }
}

/// A chapter of the guide names its references twice: at its end as files, and in `links.md` as
/// links of rustdoc.
#[test]
fn references_of_the_guide_lead_to_files_and_to_items() {
    let definitions = |text: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| {
            let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
            (!target.contains(' ')).then(|| (name.to_owned(), target.to_owned()))
        });
        lines.collect()
    };
    // Not as the text of a link, nor as a definition.
    let refers_to = |text: &str, name: &str| {
        let reference = format!("[{name}]");
        let mut after = text.split(&reference).skip(1);
        let is_definition = |rest: &str| {
            let line = rest.lines().next().unwrap_or_default();
            line.strip_prefix(": ")
                .is_some_and(|target| !target.contains(' '))
        };
        after.any(|rest| !rest.starts_with(['[', '(']) && !is_definition(rest))
    };
    let links = definitions(&read("src/guide/links.md"));
    let mut used = BTreeSet::new();
    for file in files_below("docs/guide")
        .into_iter()
        .chain(["docs/troubleshooting.md".to_owned()])
    {
        let text = read(&file);
        let directory = root().join(&file).parent().unwrap().to_owned();
        let defined = definitions(&text);
        for (name, target) in &defined {
            let path = target.split('#').next().unwrap();
            assert!(directory.join(path).exists(), "{file}: {target}");
            let is_item = links.iter().any(|(link, _)| link == name);
            assert!(is_item, "{file}: links.md lacks [{name}]");
            assert!(refers_to(&text, name), "{file}: [{name}] is not used");
        }
        for (name, _) in &links {
            if refers_to(&text, name) {
                let is_file = defined.iter().any(|(file, _)| file == name);
                assert!(is_file, "{file} lacks the file of [{name}]");
                used.insert(name.clone());
            }
        }
    }
    let unused: Vec<_> = links
        .iter()
        .filter(|(name, _)| !used.contains(name))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn the_directories_of_contributing_exist() {
    let contributing = read("CONTRIBUTING.md");
    let rows = contributing.lines().filter_map(|line| {
        let path = line.strip_prefix("| `")?.split('`').next()?;
        path.ends_with('/').then_some(path)
    });
    let directories: Vec<&str> = rows.collect();
    assert!(directories.contains(&"src/"));
    for directory in directories {
        assert!(root().join(directory).is_dir(), "{directory}");
    }
}

#[test]
fn readme_and_front_page_have_the_same_feature_table() {
    let manifest = read("Cargo.toml");
    let features = manifest.split("[features]").nth(1).unwrap();
    let features: BTreeSet<&str> = features
        .split("\n[")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        // Two underscores: private to this repository.
        .filter(|name| !name.starts_with(['#', '_']) && *name != "default")
        .collect();
    let rows = |text: &str| -> BTreeSet<String> {
        text.lines()
            .map(|line| line.trim_start_matches("//! "))
            .filter(|line| {
                features
                    .iter()
                    .any(|name| line.starts_with(&format!("| `{name}` |")))
            })
            .map(plain)
            .collect()
    };
    let in_readme = rows(&read("README.md"));
    assert_eq!(in_readme, rows(&read("src/lib.rs")));
    for name in &features {
        let has_row = in_readme
            .iter()
            .any(|row| row.starts_with(&format!("| {name} |")));
        assert!(has_row, "{name} has no row");
    }
}

#[test]
fn tests_of_the_table_of_standards_exist() {
    let readme = read("README.md");
    let table = readme.split("## Standards").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| RFC"));
    let mut count = 0;
    for row in rows {
        let tests = row.split('|').nth(3).unwrap();
        for name in tests.split('`').skip(1).step_by(2) {
            let is_test = ["tests/NAME.rs", "tests/NAME/main.rs"]
                .iter()
                .any(|path| root().join(path.replace("NAME", name)).exists());
            assert!(is_test, "{row}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn each_dependency_has_its_reason_in_the_line_above() {
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut above = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && !line.is_empty() && !line.starts_with('#') {
            assert!(above.starts_with("# "), "no reason above: {line}");
        }
        above = line;
    }
}

#[test]
fn readme_states_the_minimum_rust_version() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(read("README.md").contains(&format!("Rust ({version} or later")));
}

#[test]
fn every_guarantee_has_tests_and_every_numbered_test_a_guarantee() {
    let promised: BTreeSet<u32> = read("src/guide/guarantees.rs")
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
    for file in files_below("src").into_iter().chain(files_below("tests")) {
        if !is_rust(&file) {
            continue;
        }
        for part in read(&file).split("fn p").skip(1) {
            let digits = part.get(..2).filter(|_| part.get(2..3) == Some("_"));
            tested.extend(digits.and_then(|digits| digits.parse::<u32>().ok()));
        }
    }
    assert_eq!(promised, tested);
}

/// Words alone: no emphasis, links or line ends.
fn plain(text: &str) -> String {
    // A link that shows other text than its target: `[`text`](target)`.
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        shown += before;
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    shown += rest;
    let bare: String = shown.chars().filter(|c| !"*`[]!".contains(*c)).collect();
    bare.replace("//", "")
        .replace("/)", ")")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn covered() -> Vec<Prose> {
    let read_prose = |file: &String| prose::read(file, &read(file));
    covered_files().iter().flat_map(read_prose).collect()
}

fn covered_files() -> Vec<String> {
    let files: Vec<String> = files_below(".");
    assert!(!files.is_empty());
    files
}

/// Directories of files that others write.
const NOT_WRITTEN_HERE: [&str; 3] = ["target", ".git", "node_modules"];

/// Rust sources and Markdown, by their paths from the root of the repository.
fn files_below(path: &str) -> Vec<String> {
    let absolute = root().join(path);
    if absolute.is_file() {
        let is_text = is_rust(path) || has_extension(path, "md");
        return if is_text && !NOT_COVERED.contains(&path) {
            vec![path.to_owned()]
        } else {
            vec![]
        };
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(absolute)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !NOT_WRITTEN_HERE.iter().any(|name| path.ends_with(name)))
        .collect();
    entries.sort();
    let relative = |path: &PathBuf| {
        let path = path.strip_prefix(root()).unwrap();
        path.to_string_lossy().replace('\\', "/")
    };
    entries
        .iter()
        .flat_map(|path| files_below(&relative(path)))
        .collect()
}

fn is_rust(path: &str) -> bool {
    has_extension(path, "rs")
}

fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == wanted)
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Prose in Rust sources and in Markdown: comments, string literals, and the names of items.
mod prose {
    /// A run of text, such as the lines of one comment.
    #[derive(Debug)]
    pub(super) struct Prose {
        pub(super) file: String,
        pub(super) is_doc_comment: bool,
        /// In lower case, each with its line. A punctuation mark is a word of its own.
        words: Vec<(String, usize)>,
    }

    impl Prose {
        pub(super) fn line(&self) -> usize {
            self.words[0].1
        }

        pub(super) fn begins_with(&self, phrase: &str) -> bool {
            self.is_at(0, phrase)
        }

        /// The lines in which `phrase` occurs and no exception permits it.
        pub(super) fn occurrences(&self, phrase: &str, exceptions: &[&str]) -> Vec<usize> {
            (0..self.words.len())
                .filter(|at| self.is_at(*at, phrase))
                .filter(|at| {
                    !exceptions
                        .iter()
                        .any(|other| self.is_permitted(*at, phrase, other))
                })
                .map(|at| self.words[at].1)
                .collect()
        }

        fn is_permitted(&self, at: usize, phrase: &str, exception: &str) -> bool {
            let exception_words: Vec<&str> = exception.split(' ').collect();
            let inside = exception_words.iter().position(|word| *word == phrase);
            if let Some(inside) = inside {
                return at >= inside && self.is_at(at - inside, exception);
            }
            let is_end = |at: &usize| self.words[*at].0 == ".";
            let from = (0..at).rev().find(is_end).unwrap_or(0);
            let to = (at..self.words.len())
                .find(is_end)
                .unwrap_or(self.words.len());
            (from..to).any(|at| self.is_at(at, exception))
        }

        fn is_at(&self, at: usize, phrase: &str) -> bool {
            phrase
                .split(' ')
                .enumerate()
                .all(|(offset, word)| self.words.get(at + offset).is_some_and(|(w, _)| w == word))
        }
    }

    pub(super) fn read(file: &str, text: &str) -> Vec<Prose> {
        let mut runs = if super::is_rust(file) {
            runs(text)
        } else {
            vec![Run::new(1, text.to_owned(), false)]
        };
        for run in &mut runs {
            run.text = without_code(&run.text);
        }
        runs.iter()
            .map(|run| Prose {
                file: file.to_owned(),
                is_doc_comment: run.is_doc_comment,
                words: words(&run.text, run.line),
            })
            .filter(|prose| !prose.words.is_empty())
            .collect()
    }

    struct Run {
        line: usize,
        text: String,
        is_doc_comment: bool,
    }

    impl Run {
        fn new(line: usize, text: String, is_doc_comment: bool) -> Self {
            Self {
                line,
                text,
                is_doc_comment,
            }
        }
    }

    /// The comments, string literals and names of items of a Rust source.
    fn runs(source: &str) -> Vec<Run> {
        let chars: Vec<char> = source.chars().collect();
        let mut runs: Vec<Run> = Vec::new();
        let (mut at, mut line) = (0, 1);
        // Where the last comment ended, if only white space came after it.
        let mut comment_end = None;
        let mut before = String::new();
        while at < chars.len() {
            let rest = &chars[at..];
            let starts = |text: &str| text.chars().eq(rest.iter().copied().take(text.len()));
            if starts("//") {
                let text: String = rest.iter().take_while(|c| **c != '\n').collect();
                at += text.chars().count();
                let is_doc = text.starts_with("///") || text.starts_with("//!");
                let words = text.trim_start_matches(['/', '!']).to_owned();
                match runs.last_mut() {
                    Some(last)
                        if comment_end == Some(line - 1) && last.is_doc_comment == is_doc =>
                    {
                        last.text += "\n";
                        last.text += &words;
                    }
                    _ => runs.push(Run::new(line, words, is_doc)),
                }
                comment_end = Some(line);
            } else if let Some(hashes) = raw_string(rest) {
                let end: String = std::iter::once('"')
                    .chain((0..hashes).map(|_| '#'))
                    .collect();
                let open = rest.iter().position(|c| *c == '"').unwrap() + 1;
                let body: String = rest[open..].iter().collect();
                let body = body.split(&end).next().unwrap().to_owned();
                at += open + body.chars().count() + end.len();
                let lines = body.matches('\n').count();
                runs.push(Run::new(line, without_arguments(&body), false));
                line += lines;
                comment_end = None;
            } else if rest[0] == '"' {
                let mut end = 1;
                while rest[end] != '"' {
                    end += if rest[end] == '\\' { 2 } else { 1 };
                }
                let body: String = rest[1..end].iter().collect();
                at += end + 1;
                let lines = body.matches('\n').count();
                let body = body
                    .replace("\\n", " ")
                    .replace("\\\"", " ")
                    .replace('\\', " ");
                runs.push(Run::new(line, without_arguments(&body), false));
                line += lines;
                comment_end = None;
            } else if rest[0] == '\'' && rest.get(1) == Some(&'\\') {
                // Past the escaped character, which may be a quotation mark.
                at += 3 + rest[3..].iter().position(|c| *c == '\'').unwrap() + 1;
            } else if rest[0] == '\'' && rest.get(2) == Some(&'\'') {
                at += 3;
            } else if rest[0].is_alphanumeric() || rest[0] == '_' {
                let word: String = rest
                    .iter()
                    .take_while(|c| c.is_alphanumeric() || **c == '_')
                    .collect();
                at += word.chars().count();
                let defines = [
                    "fn", "struct", "enum", "trait", "type", "mod", "const", "static",
                ];
                if defines.contains(&&*before) {
                    runs.push(Run::new(line, spaced(&word), false));
                }
                before = word;
                comment_end = None;
            } else {
                line += usize::from(rest[0] == '\n');
                if !rest[0].is_whitespace() {
                    before.clear();
                    comment_end = None;
                }
                at += 1;
            }
        }
        runs
    }

    /// How many `#` a raw string literal has, if one begins here.
    fn raw_string(rest: &[char]) -> Option<usize> {
        let rest = rest.strip_prefix(&['b']).unwrap_or(rest);
        let rest = rest.strip_prefix(&['r'])?;
        let hashes = rest.iter().take_while(|c| **c == '#').count();
        (rest.get(hashes) == Some(&'"')).then_some(hashes)
    }

    /// A name in words: `two_words` and `TwoWords`.
    fn spaced(name: &str) -> String {
        let mut text = String::new();
        for c in name.chars() {
            if c.is_uppercase() && !text.ends_with(|c: char| c.is_uppercase()) {
                text.push(' ');
            }
            text.push(if c == '_' { ' ' } else { c });
        }
        text
    }

    /// A format string without its arguments. A literal of a single word is data, such as the name
    /// of a user.
    fn without_arguments(text: &str) -> String {
        if !text.trim().contains(char::is_whitespace) {
            return String::new();
        }
        let mut kept = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            kept += before;
            rest = match after.split_once('}') {
                Some((argument, rest)) if !argument.contains(' ') => rest,
                _ => after,
            };
        }
        kept + rest
    }

    /// Markdown without code, but with the comments in it, and without quotations.
    fn without_code(text: &str) -> String {
        let mut is_code = false;
        let mut lines = Vec::new();
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
                lines.push(String::new());
            } else if is_code {
                let comment = line.split_once("// ").map_or("", |(_, comment)| comment);
                lines.push(comment.to_owned());
            } else {
                lines.push(line.to_owned());
            }
        }
        // By paragraph, so that an unpaired quotation mark hides no more than the rest of one.
        lines
            .split_inclusive(|line| line.trim().is_empty())
            .map(|paragraph| outside(&outside(&paragraph.join("\n"), '`'), '"'))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The text that is not between two of the quotation marks.
    fn outside(text: &str, mark: char) -> String {
        let parts = text.split(mark).enumerate();
        let kept = parts.map(|(number, part)| match number % 2 {
            0 => part.to_owned(),
            _ => "\n".repeat(part.matches('\n').count()) + "…",
        });
        kept.collect()
    }

    fn words(text: &str, first_line: usize) -> Vec<(String, usize)> {
        let mut words = Vec::new();
        for (offset, line) in text.lines().enumerate() {
            let mut word = String::new();
            for c in line.chars().chain([' ']) {
                if c.is_alphanumeric() || c == '_' || c == '\'' {
                    word.extend(c.to_lowercase());
                    continue;
                }
                if !word.is_empty() {
                    words.push((std::mem::take(&mut word), first_line + offset));
                }
                // A hyphen joins words, and emphasis is no punctuation.
                if !c.is_whitespace() && !"-*".contains(c) {
                    words.push((c.to_string(), first_line + offset));
                }
            }
        }
        words
    }
}
