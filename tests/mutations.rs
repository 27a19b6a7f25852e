//! Seeded faults: each mutation of the cache's rules makes the exploration of its states fail.
//!
//! A mutation replaces text in a temporary copy of the crate. `cargo test --test mutations --
//! --ignored --nocapture` builds and explores each copy, and prints which property has failed.

use std::{env, fs, path::Path, process::Command};

struct Mutation {
    name: &'static str,
    /// Below `src/cache/state`.
    file: &'static str,
    /// Each text, which occurs once in the file, and its replacement.
    edits: &'static [(&'static str, &'static str)],
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "the grant that was loaded under the lease is ignored",
        file: "attempt.rs",
        edits: &[(
            "        state.adopt(stored, m);
        if let Some(outcome) = state.without_request(job.reason, m) {
            return Next::done(job, outcome);
        }
        if let Err(error) = state.may_send(&job, m) {",
            "        if let Err(error) = state.may_send(&job, m) {",
        )],
    },
    Mutation {
        name: "the token request is sent without a lease check",
        file: "attempt.rs",
        edits: &[(
            "        if let Err(error) = state.may_send(&self.job, m) {
            return self.done(Err(error));
        }
        // Saving the intent",
            "        // Saving the intent",
        )],
    },
    Mutation {
        name: "an extension revives an expired lease",
        file: "lease.rs",
        edits: &[(
            "            Err(_) => LeaseOutcome::HeldByAnother,",
            "            Err(_) => outcome,",
        )],
    },
    Mutation {
        name: "the replay is sent without a lease check",
        file: "attempt.rs",
        edits: &[
            (
                "Some(intent) if state.may_send(&self.job, m).is_ok() => intent.into_replay(),",
                "Some(intent) => intent.into_replay(),",
            ),
            (
                "            && state.held.ended().is_none()
            && state.may_send(&self.job, m).is_ok();",
                "            && state.held.ended().is_none();",
            ),
        ],
    },
    Mutation {
        name: "a lost response counts as a refusal",
        file: "attempt.rs",
        edits: &[(
            "                refresh.response_lost(error, state, m)
            }",
            "                refresh.restore(error, state, m)
            }",
        )],
    },
    Mutation {
        name: "no intent is saved",
        file: "attempt.rs",
        edits: &[(
            "            Some(intent) => refresh.save_intent(intent, INTENT_ATTEMPTS, state),
            None => refresh.send(state, m),",
            "            _ => refresh.send(state, m),",
        )],
    },
    Mutation {
        name: "the replay is not recorded",
        file: "attempt.rs",
        edits: &[(
            "        Save::then(expected, grant, AfterSave::Replay(self, error))",
            "        let _ = (expected, grant);
        self.replay(error, state, m)",
        )],
    },
    Mutation {
        name: "a lost replay is replayed again",
        file: "intent.rs",
        edits: &[(
            "!self.is_replay && pause <= REPLAY && may_replay(self.since, pause, m)",
            "pause <= REPLAY && may_replay(self.since, pause, m)",
        )],
    },
    Mutation {
        name: "background work starts in a process that may be about to end",
        file: "plan.rs",
        edits: &[(
            "        if !m.is_staying {
            return plan;
        }
",
            "",
        )],
    },
    Mutation {
        name: "a lost response does not defer the next refresh",
        file: "intent.rs",
        edits: &[(
            "    held.intent_since().is_some() && m.now < until",
            "    held.intent_since().is_some() && m.now < until && false",
        )],
    },
    Mutation {
        name: "a refusal after a lost response removes the intent",
        file: "intent.rs",
        edits: &[(
            "(!self.is_replay).then_some(Grant::new(",
            "Some(Grant::new(",
        )],
    },
    Mutation {
        name: "the end overwrites a newer grant",
        file: "attempt.rs",
        edits: &[
            (
                "if stored.map(|grant| grant.generation) > self.expected.max(self.held.generation()) {",
                "if stored.is_none() {",
            ),
            (
                "        Save::then(self.expected, grant, AfterSave::End(self, refusal))",
                "        let expected = stored.map(|grant| grant.generation);
        Save::then(expected, grant, AfterSave::End(self, refusal))",
            ),
        ],
    },
    Mutation {
        name: "a lost rotation is stored as a revocation",
        file: "attempt.rs",
        edits: &[(
            "        if self.intent.as_ref().is_some_and(Intent::is_replay) {
            ReauthorizationReason::RotationLost",
            "        if self.intent.as_ref().is_some_and(Intent::is_replay) {
            ReauthorizationReason::InvalidGrant",
        )],
    },
    Mutation {
        name: "an intent that another process replays counts as removed",
        file: "offer.rs",
        edits: &[(
            "current.intent_since().is_none() && !new.is_replayed();",
            "current.intent_since().is_none();",
        )],
    },
    Mutation {
        name: "the minimum interval is ignored",
        file: "attempt.rs",
        edits: &[(
            "        next.checked_duration_since(m.now)",
            "        next.checked_duration_since(m.now).filter(|_| false)",
        )],
    },
    Mutation {
        name: "a newer stored grant is overwritten",
        file: "conflict.rs",
        edits: &[(
            "            | GrantState::ReauthorizationRequired { .. } => Self::Adopt,",
            "            | GrantState::ReauthorizationRequired { .. } => Self::Overwrite,",
        )],
    },
    Mutation {
        name: "a delivered token set gives way to the end of its predecessor",
        file: "conflict.rs",
        edits: &[(
            "            {
                Self::Overwrite
            }
            // A consent",
            "            {
                Self::Adopt
            }
            // A consent",
        )],
    },
    Mutation {
        name: "a failed save of a token set is not retried",
        file: "attempt.rs",
        edits: &[(
            "        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        Next::Persist(self)",
            "        self.refresh.done(Ok(self.token))",
        )],
    },
    Mutation {
        name: "a finished refresh stays in flight",
        file: "finish.rs",
        edits: &[(
            "            self.refresh = None;
            let epoch",
            "            let epoch",
        )],
    },
    Mutation {
        name: "a second request starts another refresh",
        file: "request.rs",
        edits: &[(
            "        if let Some(refresh) = &self.refresh
            && held.ended().is_none()",
            "        if let Some(refresh) = &self.refresh
            && held.ended().is_some()",
        )],
    },
];

#[test]
fn each_mutation_applies() {
    for mutation in MUTATIONS {
        drop(mutated(&root().join("src/cache/state"), mutation));
    }
}

#[test]
#[ignore = "takes minutes: it builds the crate once for each mutation"]
fn each_mutation_is_caught() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutant");
    drop(fs::remove_dir_all(&directory));
    copy(root(), &directory);
    let state = directory.join("src/cache/state");
    let mut missed = Vec::new();
    // Without a mutation, nothing fails.
    assert_eq!(explored(&directory), Ok(()));
    for mutation in MUTATIONS {
        let file = state.join(mutation.file);
        let original = fs::read_to_string(&file).unwrap();
        fs::write(&file, mutated(&state, mutation)).unwrap();
        let outcome = explored(&directory);
        fs::write(&file, original).unwrap();
        let property = outcome.err().unwrap_or_else(|| {
            missed.push(mutation.name);
            "not caught".to_owned()
        });
        println!("| {} | {property} |", mutation.name);
    }
    assert!(missed.is_empty(), "{missed:?}");
}

/// The source with the mutation.
fn mutated(state: &Path, mutation: &Mutation) -> String {
    let mut source = fs::read_to_string(state.join(mutation.file)).unwrap();
    for (text, replacement) in mutation.edits {
        let occurrences = source.matches(text).count();
        assert_eq!(occurrences, 1, "{}: {text}", mutation.name);
        source = source.replace(text, replacement);
    }
    source
}

/// Runs the short form of the exploration. Returns the properties that do not hold.
fn explored(directory: &Path) -> Result<(), String> {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = Command::new(env::var_os("CARGO").unwrap())
        .args(["test", "--lib", "explore"])
        .current_dir(directory)
        // The dependencies are built already.
        .env("CARGO_TARGET_DIR", tmp.parent().unwrap())
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("test result: FAILED"), "{text}{errors}");
    // The line after the place of the panic.
    let mut lines = text.lines();
    let mut failed = Vec::new();
    while let Some(line) = lines.next() {
        if line.contains(" panicked at ") {
            let reason = lines.next().unwrap_or_default();
            failed.push(reason.split(": ").next().unwrap_or_default().to_owned());
        }
    }
    failed.sort();
    failed.dedup();
    Err(failed.join(", "))
}

/// Copies the crate without what was built.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name == "target" || name == ".git" {
            continue;
        }
        let copied = to.join(name);
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
