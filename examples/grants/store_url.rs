//! Stores by their URLs. Errors do not quote a URL, because it may contain a password.

use std::error::Error;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use tower_oauth2_client::store::{AnyStore, FileStore};

/// Characters that end the path of a URL, or begin an escape.
const IN_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// A store's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Location {
    File { directory: String, has_group: bool },
    Postgres { url: String, schema: Option<String> },
    Redis { url: String, prefix: Option<String> },
}

/// The treatment of a store that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Fails,
    IsCreated,
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(
            "the store is not a URL; use file://, postgres:// or redis://, as --help shows",
        )?;
        match scheme {
            "file" => {
                let (path, mut query) = without_parameter(rest, "group");
                let has_group = match query.parameter.take().as_deref() {
                    None | Some("false") => false,
                    Some("true") => true,
                    Some(_) => return Err("file store: group is true or false".into()),
                };
                if !query.others.is_empty() {
                    return Err("file store: the only parameter is group".into());
                }
                if !path.starts_with('/') {
                    return Err("file store: use an absolute path, as in file:///var/lib".into());
                }
                let directory = decoded(&path)?;
                Ok(Self::File {
                    directory,
                    has_group,
                })
            }
            "postgres" | "postgresql" => {
                let (base, query) = without_parameter(rest, "schema");
                let url = with_query(scheme, &base, &query.others);
                Ok(Self::Postgres {
                    url,
                    schema: query.parameter,
                })
            }
            "redis" | "rediss" | "valkey" | "valkeys" => {
                let (base, query) = without_parameter(rest, "prefix");
                let url = with_query(scheme, &base, &query.others);
                Ok(Self::Redis {
                    url,
                    prefix: query.parameter,
                })
            }
            _ => Err(format!(
                "there is no store {scheme}://; use file://, postgres:// or redis://"
            )),
        }
    }

    /// Opens the store.
    pub(crate) async fn open(&self, missing: Missing) -> Result<AnyStore, Box<dyn Error>> {
        match self {
            Self::File {
                directory,
                has_group,
            } => {
                let store = FileStore::builder(directory)
                    .allow_group_access(*has_group)
                    .must_exist(missing == Missing::Fails)
                    .open()?;
                Ok(AnyStore::new(store))
            }
            Self::Postgres { url, schema } => postgres(url, schema.as_deref(), missing).await,
            Self::Redis { url, prefix } => redis(url, prefix.as_deref()).await,
        }
    }
}

#[cfg(feature = "postgres")]
async fn postgres(
    url: &str,
    schema: Option<&str>,
    missing: Missing,
) -> Result<AnyStore, Box<dyn Error>> {
    use std::time::Duration;

    use sqlx::postgres::PgPoolOptions;
    use tower_oauth2_client::store::PostgresStore;

    let pool = PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy(url)
        .map_err(|error| format!("PostgreSQL store: {error}"))?;
    let mut store = PostgresStore::new(pool);
    if let Some(schema) = schema {
        store = store.schema(schema)?;
    }
    if missing == Missing::IsCreated {
        store.migrate().await?;
    }
    Ok(AnyStore::new(store))
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "the other variant connects")]
async fn postgres(_: &str, _: Option<&str>, _: Missing) -> Result<AnyStore, Box<dyn Error>> {
    Err("this build has no PostgreSQL; add the feature `postgres`".into())
}

#[cfg(feature = "redis")]
async fn redis(url: &str, prefix: Option<&str>) -> Result<AnyStore, Box<dyn Error>> {
    use redis::Client;
    use tower_oauth2_client::store::RedisStore;

    let client = Client::open(url).map_err(|error| format!("Redis store: {error}"))?;
    let mut store = RedisStore::connect(client).await?;
    if let Some(prefix) = prefix {
        store = store.prefix(prefix)?;
    }
    Ok(AnyStore::new(store))
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the other variant connects")]
async fn redis(_: &str, _: Option<&str>) -> Result<AnyStore, Box<dyn Error>> {
    Err("this build has no Redis; add the feature `redis`".into())
}

struct Query {
    parameter: Option<String>,
    others: String,
}

/// Splits a URL before its query, and a parameter of the store off from those of its server.
fn without_parameter(url: &str, name: &str) -> (String, Query) {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut parameter, mut others) = (None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match form_urlencoded::parse(pair.as_bytes()).next() {
            Some((key, value)) if key == name => parameter = Some(value.into_owned()),
            _ => others.push(pair),
        }
    }
    let others = others.join("&");
    (base.to_owned(), Query { parameter, others })
}

fn with_query(scheme: &str, base: &str, query: &str) -> String {
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{base}{mark}{query}")
}

/// The path of a file as a part of a URL.
pub(crate) fn encoded(path: &str) -> String {
    utf8_percent_encode(path, IN_PATH).to_string()
}

fn decoded(path: &str) -> Result<String, String> {
    let decoded = percent_decode_str(path).decode_utf8();
    let decoded = decoded.map_err(|_| "file store: the path is not valid UTF-8")?;
    Ok(decoded.into_owned())
}
