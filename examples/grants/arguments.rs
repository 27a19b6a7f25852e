//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};

use crate::{list::STATES, text::parse_duration};

const AFTER_HELP: &str = "\
Stores:
  file:///var/lib/partner/grants             a directory; ?group=true if a group has access to it
  postgres://USER@HOST/DATABASE?schema=NAME  without schema: the first of the search path
  redis://HOST/?prefix=PREFIX                without prefix: tower-oauth2:
  Put a URL with a password into GRANTS_STORE or GRANTS_TO: other users see the command line.

Environment variables:
  GRANTS_STORE           the store, without --store; without both, the directory JUSTWORKS_GRANTS
  GRANTS_TO              the target of migrate, without --to
  GRANT_KEY              the encryption key in base64, without --key-file
  GRANT_KEY_ID           the id of that key, without --key-id
  JUSTWORKS_CLIENT_ID, JUSTWORKS_CLIENT_SECRET, JUSTWORKS_REDIRECT_URI
                         the client
  SANDBOX_URL            instead of these: a provider that the example `sandbox` serves

Exit codes:
  0  done
  1  failed, or not confirmed
  2  the command line is wrong
  3  something is left: a grant that show or diagnose finds not to work, a revocation that the
     provider has not confirmed, grants that reencrypt or migrate has left, a store that is not
     healthy";

/// Lists, shows, revokes, re-encrypts and moves the grants of a store
#[derive(Debug, Parser)]
#[command(name = "grants", after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The store and its keys.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// The store, by its URL. It must exist
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// The id of the current encryption key
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) key_id: Option<String>,
    /// The file of the current encryption key, in base64. Without a key, tokens stay as stored
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// A further key to decrypt with, as its id and its file. May be repeated
    #[arg(long, global = true, value_name = "ID=FILE")]
    pub(crate) decryption_key: Vec<String>,
    /// The name that the program passes to `EncryptedStore::new`. Defaults to the client id
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) encrypted_for: Option<String>,
    /// Read grants in plain text too, although there is a key
    #[arg(long, global = true)]
    pub(crate) accept_plaintext: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List grants with their state, and the days until the refresh token expires
    List(List),
    /// Show a grant: state, times, client, scopes and history, without tokens
    Show(Show),
    /// Find out why a grant does not work, and what to do
    Diagnose(Show),
    /// End a grant: revoke it at the provider, and delete its tokens from the store
    Revoke(Revoke),
    /// Encrypt all grants with the current key. The program may run. Repeat it if grants are left
    Reencrypt(Reencrypt),
    /// Copy all grants to another store, where none is overwritten. Stop the program first
    ///
    /// Stop all processes that use the source, copy, compare with --check, and start the program
    /// with the target. Do not use the source again: each refresh token works once. The command
    /// can be repeated: grants that are equal in both stores are skipped.
    Migrate(Migrate),
    /// Check whether grants can be read from the store, as JSON
    Health,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only these states, separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = PossibleValuesParser::new(STATES))]
    pub(crate) state: Vec<String>,
    /// Only grants whose refresh token expires within this time, such as 12h, 7d or 2w
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) expiring_within: Option<Duration>,
    /// Sort the whole list, which is then held in memory. Otherwise the order is the store's
    #[arg(long, value_enum, conflicts_with = "after")]
    pub(crate) sort: Option<Sort>,
    /// Start after this tenant, to continue a list that --limit has ended
    #[arg(long, value_name = "TENANT")]
    pub(crate) after: Option<String>,
    /// List at most this many grants
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// The fewest days first, and grants without a known end last
    DaysLeft,
}

#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The name of the tenant
    pub(crate) tenant: String,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The name of the tenant
    pub(crate) tenant: String,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Reencrypt {
    /// Change nothing: count the grants that are not encrypted with the current key
    #[arg(long)]
    pub(crate) check: bool,
    /// How long to retry grants that are being refreshed
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = parse_duration)]
    pub(crate) wait: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct Migrate {
    /// The target, by its URL. Missing directories and tables are created
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// Change nothing: compare the grants of both stores
    #[arg(long)]
    pub(crate) check: bool,
    /// How long to retry grants that another process uses
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = parse_duration)]
    pub(crate) wait: Duration,
}
