//! A grant in a store of its own, and the processes that use it.

use tower_oauth2_client::{
    cache::TokenCache,
    sandbox::{EventKind, Rotation, Sandbox, TokenHash},
    store::TokenStore,
    token::{Grant, GrantState, TenantId},
};

use crate::{
    shared_store::{Backend, Location, SharedStore},
    support,
    worker::{self, Replica},
};

/// A grant in a store of its own, whose customer has just consented.
pub(crate) struct Scene {
    pub(crate) sandbox: Sandbox,
    location: Location,
}

impl Scene {
    pub(crate) async fn new(backend: &Backend, rotation: Rotation) -> Self {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.rotation = rotation)
            .start()
            .await
            .unwrap();
        let location = backend.new_store().await;
        let scene = Self { sandbox, location };
        scene.connect().await;
        scene
    }

    pub(crate) async fn connect(&self) {
        let oauth = worker::client_of(&self.sandbox);
        let store = SharedStore::open(&self.location.url).await;
        let tokens = TokenCache::builder(oauth.clone()).store(store);
        support::connect(&self.sandbox, &oauth, &tokens.build().unwrap()).await;
    }

    pub(crate) fn spawn(&self, name: &str, step: &str) -> Replica {
        let settings = [
            ("STORE", self.location.url.clone()),
            ("STEP", step.to_owned()),
        ];
        Replica::spawn(name, &self.sandbox, &settings)
    }

    pub(crate) async fn stored(&self) -> Grant {
        let store = SharedStore::open(&self.location.url).await;
        let tenant = TenantId::new("default").unwrap();
        store.load(&tenant).await.unwrap().unwrap()
    }

    /// The state that the next start finds, and how it ends.
    pub(crate) async fn restart(&self) -> (&'static str, String) {
        let found = match self.stored().await.state {
            GrantState::Active(_) => "active",
            GrantState::Refreshing { .. } => "uncertain",
            _ => "something else",
        };
        let mut successor = self.spawn("process::successor", "none");
        let ended = successor.wait_for("ended").expect("the process ends");
        assert!(successor.end());
        (found, ended)
    }

    /// Whether the provider has replaced the stored refresh token.
    pub(crate) async fn is_behind(&self) -> bool {
        let grant = self.stored().await;
        let stored = grant.tokens().unwrap().refresh_token().unwrap().expose();
        let stored = TokenHash::of(stored);
        self.sandbox.events().iter().any(|event| {
            matches!(&event.kind, EventKind::TokensIssued { presented, refresh_token, .. }
                if *presented == stored && *refresh_token != Some(stored))
        })
    }
}
