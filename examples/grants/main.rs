//! An operator's tool: lists, shows, revokes, re-encrypts and moves the grants of a store.
//!
//! | command | does |
//! | --- | --- |
//! | `list` | lists grants with their state and the days that are left |
//! | `show`, `diagnose` | shows one grant, and why it does not work |
//! | `revoke` | ends a grant, at the provider and in the store |
//! | `reencrypt` | encrypts all grants with the current key |
//! | `migrate` | copies all grants to another store |
//! | `health` | checks the store |
//!
//! ```sh
//! cargo run --example grants --features encryption,sandbox -- --help
//! cargo run --example grants --features encryption,postgres,redis,sandbox -- \
//!     --store 'postgres://partner@db.example.com/partner?schema=partner' list --expiring-within 7d
//! ```
//!
//! Databases over TLS need two more features: `sqlx/tls-rustls-aws-lc-rs` and
//! `redis/tokio-rustls-comp`.
//!
//! The client is that of the other examples: `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` and
//! `JUSTWORKS_REDIRECT_URI`, or `SANDBOX_URL`. A tool of your own replaces `client.rs` by its own
//! `OAuthClient`. No command starts a refresh. `docs/operations.md` explains how to move grants.
//!
//! The exit code is 0 if the work is done, 1 if it failed, 2 if the command line is wrong, and 3 if
//! something is left: `arguments.rs` says what that is for each command.

use std::{error::Error, io, process::ExitCode};

use clap::Parser;

use self::{
    arguments::{Arguments, Command},
    exit::Exit,
    session::Session,
};

mod arguments;
mod client;
mod diagnose;
mod exit;
mod health;
mod interrupt;
mod keys;
mod list;
mod migrate;
mod pages;
mod progress;
mod reencrypt;
mod revoke;
mod run;
mod session;
#[allow(
    dead_code,
    reason = "this tool starts no sandbox and asks for no consent"
)]
#[path = "../settings/mod.rs"]
mod settings;
mod show;
mod store_url;
#[cfg(test)]
mod tests;
mod text;

#[tokio::main]
async fn main() -> ExitCode {
    ExitCode::from(run(Arguments::parse()).await.code())
}

/// Runs a command, and reports its error on the standard error output.
async fn run(arguments: Arguments) -> Exit {
    match execute(arguments).await {
        Ok(exit) => exit,
        // The reader, such as `head`, has seen enough.
        Err(error) if is_closed_pipe(&*error) => Exit::Done,
        Err(error) => {
            eprintln!("grants: {}", text::with_sources(&*error));
            Exit::Failed
        }
    }
}

async fn execute(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let session = Session::open(&arguments.settings).await?;
    match arguments.command {
        Command::List(options) => list::list(&session, &options).await,
        Command::Show(options) => show::show(&session, &options).await,
        Command::Diagnose(options) => diagnose::diagnose(&session, &options).await,
        Command::Revoke(options) => revoke::revoke(&session, &options).await,
        Command::Reencrypt(options) => reencrypt::reencrypt(&session, &options).await,
        Command::Migrate(options) => migrate::migrate(&session, &options).await,
        Command::Health => health::health(&session).await,
    }
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
