//! The web application of a partner: customers connect in the browser, a page shows how each connection does, and the API is
//! called for whoever is asked for.
//!
//! By itself it runs on a sandbox of its own, until Ctrl-C, and forgets everything then:
//!
//! ```sh
//! cargo run --example partner_app --features axum,sandbox
//! ```
//!
//! | variable | what it sets |
//! | --- | --- |
//! | `JUSTWORKS_CLIENT_ID`, `_CLIENT_SECRET`, `_REDIRECT_URI` | the real service; the redirect URI has the path `/connect/callback` |
//! | `SANDBOX_URL`, `SANDBOX_REDIRECT_URI` | the example `sandbox` in another terminal, with the redirect URI that it was started with, such as `http://127.0.0.1:3000/connect/callback` |
//! | `PARTNER_LISTEN` | a loopback address and port; by default `127.0.0.1:3000` |
//! | `PARTNER_GRANTS` | the folder for the grants; by default one that is removed at the end |
//! | `DATABASE_URL` | PostgreSQL in its place, for several of these at once (feature `postgres`) |
//! | `PARTNER_KEY` | what grants and cookies are encrypted with, as `openssl rand -base64 32` prints it; needed with either of the two above |
//!
//! It has **no login**: whoever opens it may do everything. A program in earnest knows whose browser it is by a session, and
//! asks that in [`ConnectHandler`](tower_oauth2_client::connect::ConnectHandler), which is in `partner_app/mod.rs`.

use std::{env, error::Error};

use tokio::net::TcpListener;
use tower_oauth2_client::{
    sandbox::{Consent, Sandbox},
    store::{EncryptionKey, EncryptionKeys, FileStore},
};

use self::{
    partner::Partner,
    settings::{Settings, variable},
};

#[path = "partner_app/mod.rs"]
mod partner;
mod settings;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    tracing_subscriber::fmt().init();
    let listen = variable("PARTNER_LISTEN")?.unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen)
        .await
        .map_err(|error| format!("PARTNER_LISTEN={listen} cannot be listened on: {error}"))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err("PARTNER_LISTEN is to be a loopback address: this program has no login".into());
    }
    let settings = match Settings::given()? {
        Some(settings) => settings,
        None => Settings::of_sandbox(
            Sandbox::builder()
                .client_name("The partner's application")
                .redirect_uri(format!("http://{address}/connect/callback"))
                .behavior(|behavior| behavior.consent = Consent::Page)
                .start()
                .await?,
        )?,
    };

    let folder = env::var_os("PARTNER_GRANTS");
    let database = variable("DATABASE_URL")?;
    let key = match variable("PARTNER_KEY")? {
        Some(key) => EncryptionKey::from_base64("partner", &key)?,
        None if folder.is_none() && database.is_none() => EncryptionKey::generate("partner")?,
        None => {
            return Err("PARTNER_KEY is to be set: without it no grant could be read again".into());
        }
    };
    let keys = EncryptionKeys::new(key);
    // Held until the end: then it is removed.
    let temporary = tempfile::tempdir()?;
    let partner = if let Some(url) = database {
        in_postgres(&settings, &url, keys).await?
    } else {
        let folder = folder.unwrap_or_else(|| temporary.path().into());
        Partner::new(&settings, FileStore::open(folder)?, keys)?
    };

    println!("Open {}", partner.url());
    Ok(partner.serve(listener, told_to_stop()).await?)
}

#[cfg(feature = "postgres")]
async fn in_postgres(settings: &Settings, url: &str, keys: EncryptionKeys) -> Outcome<Partner> {
    use std::time::Duration;

    use sqlx::postgres::PgPoolOptions;
    use tower_oauth2_client::store::PostgresStore;

    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(5))
        .connect(url)
        .await?;
    let store = PostgresStore::new(pool);
    store.migrate().await?;
    Partner::new(settings, store, keys)
}

#[cfg(not(feature = "postgres"))]
#[expect(
    clippy::unused_async,
    reason = "with the feature it waits for the database"
)]
async fn in_postgres(_: &Settings, _: &str, _: EncryptionKeys) -> Outcome<Partner> {
    Err("DATABASE_URL is set: build with --features axum,sandbox,postgres, or unset it".into())
}

/// Ctrl-C, or what an orchestrator sends.
async fn told_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = interrupted.await;
}
