//! A full disk and damaged files are detected before the refresh token is sent.

use std::{fs, path::PathBuf, time::Duration};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::TokenCache,
    sandbox::{Endpoint, Fault, Sandbox},
    store::FileStore,
};

#[path = "support/mod.rs"]
mod support;
#[path = "support/worker.rs"]
mod worker;

use worker::{Partner, Replica, setting};

struct Scene {
    sandbox: Sandbox,
    directory: tempfile::TempDir,
    tokens: TokenCache,
}

impl Scene {
    async fn new() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let oauth = worker::client_of(&sandbox);
        let store = FileStore::open(directory.path()).unwrap();
        let tokens = TokenCache::builder(oauth.clone())
            .store(store)
            .min_refresh_interval(Duration::from_millis(1));
        let tokens = tokens.build().unwrap();
        support::connect(&sandbox, &oauth, &tokens).await;
        Self {
            sandbox,
            directory,
            tokens,
        }
    }

    /// The file with this extension.
    fn file(&self, extension: &str) -> PathBuf {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths
            .find(|path| path.extension().is_some_and(|found| found == extension))
            .unwrap()
    }

    /// A refresh fails before a token request is sent.
    async fn refresh_fails_early(&self) -> Error {
        let before = self.sandbox.counters().tokens_issued;
        let error = self.tokens.refresh_now().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "{error:?}");
        assert_eq!(self.sandbox.counters().tokens_issued, before);
        assert!(self.tokens.token().await.is_ok(), "the held token serves");
        error
    }

    async fn refresh_succeeds(&self) {
        self.tokens.refresh_now().await.unwrap();
        assert_eq!(self.sandbox.counters().refresh_tokens_reused, 0);
    }
}

#[tokio::test]
async fn p14_unwritable_file_is_detected_before_the_token_request() {
    let scene = Scene::new().await;
    let obstacle = scene.file("json").with_extension("tmp");
    fs::create_dir(&obstacle).unwrap();
    let error = scene.refresh_fails_early().await;
    assert!(error.to_string().contains("cannot be written"), "{error}");
    fs::remove_dir(&obstacle).unwrap();
    scene.refresh_succeeds().await;
}

#[tokio::test]
async fn p14_missing_directory_is_detected_before_the_token_request() {
    let scene = Scene::new().await;
    let away = scene.directory.path().with_extension("away");
    fs::rename(scene.directory.path(), &away).unwrap();
    scene.refresh_fails_early().await;
    fs::rename(&away, scene.directory.path()).unwrap();
    scene.refresh_succeeds().await;
}

/// Whatever a response contains, the saved grant can be read, and is refreshed by another process.
#[tokio::test]
async fn p24_grant_of_the_largest_response_can_be_read() {
    let scene = Scene::new().await;
    // Each escape of JSON has six bytes.
    for scope in [
        "x".repeat(1_040_000),
        "\u{1}".repeat(300_000),
        "\"".repeat(500_000),
    ] {
        let scope = scope.replace('"', "\\\"");
        let member = format!(",\"scope\":\"{scope}\"}}");
        let edit = Fault::edit(move |body| {
            let rest = body.strip_suffix(b"}").unwrap();
            [rest, member.as_bytes()].concat()
        });
        scene.sandbox.inject(Endpoint::Token, edit);
        scene.refresh_succeeds().await;
        let oauth = worker::client_of(&scene.sandbox);
        let store = FileStore::open(scene.directory.path()).unwrap();
        let tokens = TokenCache::builder(oauth).store(store).build().unwrap();
        tokens.token().await.unwrap();
    }
    scene.refresh_succeeds().await;
}

/// The mount point of a disk that is not mounted, or another disk.
#[tokio::test]
async fn p14_replaced_directory_is_detected_before_the_token_request() {
    let scene = Scene::new().await;
    let directory = scene.directory.path();
    let away = directory.with_extension("away");
    fs::rename(directory, &away).unwrap();
    fs::create_dir(directory).unwrap();
    for has_store in [false, true] {
        if has_store {
            FileStore::open(directory).unwrap();
        }
        scene.refresh_fails_early().await;
        let grants = fs::read_dir(directory).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            !name.to_string_lossy().starts_with(".store")
        });
        assert_eq!(grants.count(), 0, "nothing is saved to the wrong disk");
    }
    fs::remove_dir_all(directory).unwrap();
    fs::rename(&away, directory).unwrap();
    scene.refresh_succeeds().await;
}

/// The customer need not consent again.
#[tokio::test]
async fn p14_vanished_directory_is_not_a_missing_grant() {
    let scene = Scene::new().await;
    let directory = scene.directory.path();
    let away = directory.with_extension("away");
    let oauth = worker::client_of(&scene.sandbox);
    let store = FileStore::open(directory).unwrap();
    let tokens = TokenCache::builder(oauth).store(store).build().unwrap();
    fs::rename(directory, &away).unwrap();
    for is_mount_point in [false, true] {
        if is_mount_point {
            fs::create_dir(directory).unwrap();
        }
        let error = tokens.refresh_now().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "{error:?}");
    }
    fs::remove_dir(directory).unwrap();
    fs::rename(&away, directory).unwrap();
    scene.refresh_succeeds().await;
}

#[tokio::test]
async fn p14_foreign_file_is_detected_and_not_overwritten() {
    let scene = Scene::new().await;
    let path = scene.file("json");
    let own = fs::read(&path).unwrap();
    for foreign in ["", "{}", "not a grant", "{\"format\":\"something else\"}"] {
        fs::write(&path, foreign).unwrap();
        scene.refresh_fails_early().await;
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
    fs::write(&path, own).unwrap();
    scene.refresh_succeeds().await;
}

#[cfg(unix)]
#[tokio::test]
async fn p14_read_only_directory_is_detected_before_the_token_request() {
    use std::os::unix::fs::PermissionsExt;

    let scene = Scene::new().await;
    let allow =
        |mode| fs::set_permissions(scene.directory.path(), fs::Permissions::from_mode(mode));
    allow(0o500).unwrap();
    // Permissions do not stop a superuser.
    if fs::write(scene.directory.path().join("probe"), "").is_err() {
        scene.refresh_fails_early().await;
    }
    allow(0o700).unwrap();
    scene.refresh_succeeds().await;
}

/// Links and pipes in the directory are neither followed nor used, and block nothing.
#[cfg(unix)]
#[tokio::test]
async fn p23_planted_files_are_detected_before_the_token_request() {
    use std::os::unix::fs::symlink;

    let scene = Scene::new().await;
    for extension in ["json", "lock"] {
        let path = scene.file(extension);
        let (away, target) = (path.with_extension("away"), path.with_extension("target"));
        fs::rename(&path, &away).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(pipe.unwrap().success());
        let error = scene.refresh_fails_early().await;
        assert!(error.to_string().contains("is not a file"), "{error}");
        for target in [&target, &away] {
            fs::remove_file(&path).unwrap();
            symlink(target, &path).unwrap();
            let error = scene.refresh_fails_early().await;
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
        assert!(!target.exists());
        fs::rename(&away, &path).unwrap();
        scene.refresh_succeeds().await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn p23_directory_that_others_can_write_to_is_detected_before_the_token_request() {
    use std::os::unix::fs::PermissionsExt as _;

    let scene = Scene::new().await;
    let set_mode = |mode| {
        let path = scene.directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o777, 0o770, 0o702] {
        set_mode(mode);
        let error = scene.refresh_fails_early().await;
        assert!(error.to_string().contains("can write"), "{error}");
    }
    set_mode(0o700);
    scene.refresh_succeeds().await;
}

/// A process in which every write to a file fails.
#[tokio::test]
#[ignore = "another test runs it in a process of its own"]
async fn full() {
    let partner = Partner::of_this_process(|builder| {
        builder.store(FileStore::open(setting("DIRECTORY").unwrap()).unwrap())
    });
    println!("\nheld {}", partner.tokens.token().await.is_ok());
    let error = partner.tokens.refresh_now().await.unwrap_err();
    println!("\nfailed {:?}", error.kind());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_full_disk_is_detected_before_the_token_request() {
    let scene = Scene::new().await;
    let before = scene.sandbox.counters().tokens_issued;
    let settings = [("DIRECTORY", scene.directory.path().display().to_string())];
    let mut full = Replica::spawn_without_room("full", &scene.sandbox, &settings);
    assert_eq!(full.wait_for("held").as_deref(), Some("true"));
    assert_eq!(full.wait_for("failed").as_deref(), Some("Store"));
    assert!(full.end());
    assert_eq!(scene.sandbox.counters().tokens_issued, before);
    scene.refresh_succeeds().await;
}
