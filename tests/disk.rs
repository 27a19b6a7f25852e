//! A disk that is full, and files that are not what they were: found out before the refresh token is spent.

use std::{fs, path::PathBuf, time::Duration};

use tower_oauth2_client::{
    Error, ErrorKind, cache::TokenCache, sandbox::Sandbox, store::FileStore,
};

#[path = "support/mod.rs"]
mod support;
#[path = "support/worker.rs"]
mod worker;

use worker::{Partner, Replica, setting};

struct Scene {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    tokens: TokenCache,
}

impl Scene {
    async fn new() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let oauth = worker::client_of(&sandbox);
        let store = FileStore::open(folder.path()).unwrap();
        let tokens = TokenCache::builder(oauth.clone())
            .store(store)
            .min_refresh_interval(Duration::from_millis(1));
        let tokens = tokens.build().unwrap();
        support::connect(&sandbox, &oauth, &tokens).await;
        Self {
            sandbox,
            folder,
            tokens,
        }
    }

    /// The file with this ending.
    fn file(&self, ending: &str) -> PathBuf {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths
            .find(|path| path.extension().is_some_and(|found| found == ending))
            .unwrap()
    }

    /// Renewing fails, and the provider has heard nothing of it.
    async fn is_found_out(&self) -> Error {
        let before = self.sandbox.counters().tokens_issued;
        let error = self.tokens.refresh_now().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "{error:?}");
        assert_eq!(self.sandbox.counters().tokens_issued, before);
        assert!(self.tokens.token().await.is_ok(), "what is held serves");
        error
    }

    async fn goes_on(&self) {
        self.tokens.refresh_now().await.unwrap();
        assert_eq!(self.sandbox.counters().refresh_tokens_reused, 0);
    }
}

#[tokio::test]
async fn p14_a_file_that_cannot_be_replaced_is_found_out_in_time() {
    let scene = Scene::new().await;
    let in_the_way = scene.file("json").with_extension("tmp");
    fs::create_dir(&in_the_way).unwrap();
    let error = scene.is_found_out().await;
    assert!(error.to_string().contains("cannot be written"), "{error}");
    fs::remove_dir(&in_the_way).unwrap();
    scene.goes_on().await;
}

#[tokio::test]
async fn p14_a_folder_that_is_gone_is_found_out_in_time() {
    let scene = Scene::new().await;
    let away = scene.folder.path().with_extension("away");
    fs::rename(scene.folder.path(), &away).unwrap();
    scene.is_found_out().await;
    fs::rename(&away, scene.folder.path()).unwrap();
    scene.goes_on().await;
}

#[tokio::test]
async fn p14_a_file_that_is_another_s_is_found_out_and_left_alone() {
    let scene = Scene::new().await;
    let path = scene.file("json");
    let own = fs::read(&path).unwrap();
    for foreign in ["", "{}", "not a grant", "{\"format\":\"something else\"}"] {
        fs::write(&path, foreign).unwrap();
        scene.is_found_out().await;
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
    fs::write(&path, own).unwrap();
    scene.goes_on().await;
}

#[cfg(unix)]
#[tokio::test]
async fn p14_a_folder_that_must_not_be_written_is_found_out_in_time() {
    use std::os::unix::fs::PermissionsExt;

    let scene = Scene::new().await;
    let allow = |mode| fs::set_permissions(scene.folder.path(), fs::Permissions::from_mode(mode));
    allow(0o500).unwrap();
    // To the superuser everything is allowed.
    if fs::write(scene.folder.path().join("probe"), "").is_err() {
        scene.is_found_out().await;
    }
    allow(0o700).unwrap();
    scene.goes_on().await;
}

/// A process that may not write a byte to any file.
#[tokio::test]
#[ignore = "run as a process of its own by the other tests"]
async fn full() {
    let partner = Partner::of_this_process(|builder| {
        builder.store(FileStore::open(setting("FOLDER").unwrap()).unwrap())
    });
    println!("\nheld {}", partner.tokens.token().await.is_ok());
    let error = partner.tokens.refresh_now().await.unwrap_err();
    println!("\nfailed {:?}", error.kind());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_a_full_disk_is_found_out_in_time() {
    let scene = Scene::new().await;
    let before = scene.sandbox.counters().tokens_issued;
    let settings = [("FOLDER", scene.folder.path().display().to_string())];
    let mut full = Replica::spawn_without_room("full", &scene.sandbox, &settings);
    assert_eq!(full.hear("held").as_deref(), Some("true"));
    assert_eq!(full.hear("failed").as_deref(), Some("Store"));
    assert!(full.end());
    assert_eq!(scene.sandbox.counters().tokens_issued, before);
    scene.goes_on().await;
}
