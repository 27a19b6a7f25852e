//! The web application of a partner: customers connect in the browser, a page shows the state of
//! each connection, and another one calls the API for a customer.
//!
//! By itself it runs on a sandbox of its own until Ctrl-C, and removes its grants at the end:
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
//! | `PARTNER_GRANTS` | the directory of the grants; by default a temporary one |
//! | `DATABASE_URL` | a PostgreSQL database for the grants instead, shared by any number of replicas (feature `postgres`) |
//! | `PARTNER_KEY` | the key that encrypts grants and cookies, as `openssl rand -base64 32` prints it; required with either of the two above |
//!
//! It has **no login**: every visitor may do everything. A real application takes the tenant from
//! the session of its login, in its
//! [`ConnectHandler`](tower_oauth2_client::connect::ConnectHandler) (see `partner_app/mod.rs`).

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

mod own_host;
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
        .map_err(|error| format!("cannot listen on PARTNER_LISTEN={listen}: {error}"))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "PARTNER_LISTEN={listen} is not a loopback address; use one, because this program has no \
             login"
        )
        .into());
    }
    let settings = match Settings::from_variables()? {
        Some(settings) => settings,
        None => Settings::for_sandbox(
            Sandbox::builder()
                .client_name("The partner's application")
                .redirect_uri(format!("http://{address}/connect/callback"))
                .behavior(|behavior| behavior.consent = Consent::Page)
                .start()
                .await?,
        )?,
    };

    let directory = env::var_os("PARTNER_GRANTS");
    let database = variable("DATABASE_URL")?;
    let key = match variable("PARTNER_KEY")? {
        Some(key) => EncryptionKey::from_base64("partner", &key)?,
        None if directory.is_none() && database.is_none() => EncryptionKey::generate("partner")?,
        None => {
            return Err(
                "PARTNER_KEY is not set; set it, or stored grants cannot be read again".into(),
            );
        }
    };
    let keys = EncryptionKeys::new(key);
    // Dropping it removes it.
    let temporary = tempfile::tempdir()?;
    let partner = if let Some(url) = database {
        open_postgres(&settings, &url, keys).await?
    } else {
        let directory = directory.unwrap_or_else(|| temporary.path().into());
        Partner::new(&settings, FileStore::open(directory)?, keys)?
    };

    println!("Open {}", partner.url());
    Ok(partner.serve(listener, shutdown_signal()).await?)
}

#[cfg(feature = "postgres")]
async fn open_postgres(settings: &Settings, url: &str, keys: EncryptionKeys) -> Outcome<Partner> {
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
    reason = "with the feature `postgres` it waits for the database"
)]
async fn open_postgres(_: &Settings, _: &str, _: EncryptionKeys) -> Outcome<Partner> {
    Err(
        "DATABASE_URL needs PostgreSQL; build with --features axum,sandbox,postgres, or unset it"
            .into(),
    )
}

/// Waits for Ctrl-C, or for the signal that an orchestrator sends.
async fn shutdown_signal() {
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
