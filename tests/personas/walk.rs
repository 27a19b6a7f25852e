//! The walk of each catalogue entry: connect, call, refresh, 401, restart, revoke, death. Over real
//! HTTP, at the provider's own addresses.

use std::fmt::Write;

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower_oauth2_client::{
    provider::catalog::{self, Entry},
    sandbox::RoutedService,
    token::ReauthorizationReason,
};

use crate::partner::{Body, Partner, sandbox_of, text};
use crate::shared::ManualClock;

type OnSocket = RoutedService<Client<HttpConnector, Body>>;

const STEPS: [&str; 7] = [
    "connect", "call", "refresh", "401", "restart", "revoke", "death",
];

/// The cell of a step that the provider does not have.
const NONE: &str = "-";

/// Steps that a provider does not have: it issues no refresh token, or has no revocation endpoint.
const WITHOUT: &[(&str, &[&str])] = &[
    ("atlassian", &["revoke"]),
    ("exact_online", &["revoke"]),
    ("github_oauth_app", &["refresh", "401"]),
    ("gusto", &["revoke"]),
    ("microsoft", &["revoke"]),
    ("shopify", &["revoke"]),
];

#[tokio::test]
async fn every_entry_walks_from_the_consent_to_the_end() {
    let mut table = format!("| provider | {} |\n", STEPS.join(" | "));
    let mut wrong = Vec::new();
    for entry in catalog::all() {
        let name = entry.name();
        let without = WITHOUT.iter().find(|(other, _)| *other == name);
        let without = without.map_or(&[][..], |(_, steps)| *steps);
        let cells = walk(entry, without).await;
        let _ = write!(table, "| {name} |");
        for (step, cell) in STEPS.into_iter().zip(cells) {
            let shown = match cell {
                Ok(()) if without.contains(&step) => NONE,
                Ok(()) => "ok",
                Err(problem) => {
                    wrong.push(format!("{name}, {step}: {problem}"));
                    "FAILED"
                }
            };
            let _ = write!(table, " {shown} |");
        }
        table.push('\n');
    }
    println!("{table}");
    assert!(wrong.is_empty(), "\n{table}\n{}\n", wrong.join("\n"));
}

/// The result of each step. A step that the provider does not have has none.
async fn walk(entry: Entry, without: &[&str]) -> Vec<Result<(), String>> {
    let clock = ManualClock::new();
    let sandbox = sandbox_of(entry, &clock, 1).start().await.unwrap();
    let http = Client::builder(TokioExecutor::new()).build_http();
    let http = sandbox.routed(http);
    let mut partner = Partner::new(entry, sandbox, clock, http, 1);
    let mut results = Vec::new();
    for step in STEPS {
        let result = if without.contains(&step) {
            Ok(())
        } else {
            take(step, &mut partner).await
        };
        results.push(result);
    }
    results
}

async fn take(step: &str, partner: &mut Partner<OnSocket>) -> Result<(), String> {
    let before = partner.sandbox.counters();
    match step {
        "connect" => {
            partner.connect().await?;
            expect(
                "code exchanges",
                partner.sandbox.counters().code_exchanges,
                1,
            )
        }
        "call" => {
            expect_call(partner).await?;
            expect("API requests", partner.sandbox.counters().authorized, 1)
        }
        "refresh" => {
            to_the_refresh_window(partner);
            partner.tokens.refresh_now().await.map_err(text)?;
            expect_call(partner).await?;
            expect("refreshes", partner.sandbox.counters().refreshes, 1)
        }
        "401" => {
            // The API does not know a token that is only seconds old.
            partner.advance(60);
            to_the_refresh_window(partner);
            partner.sandbox.expire_access_tokens();
            expect_call(partner).await?;
            let counters = partner.sandbox.counters();
            expect("refreshes", counters.refreshes, before.refreshes + 1)?;
            expect(
                "401",
                counters.unauthorized.min(1),
                u64::from(!is_exact(partner)),
            )
        }
        "restart" => {
            partner.restart(2);
            expect_call(partner).await?;
            let counters = partner.sandbox.counters();
            expect(
                "token requests",
                counters.tokens_issued,
                before.tokens_issued,
            )
        }
        "revoke" => {
            partner.tokens.revoke().await.map_err(text)?;
            // One token, or both where the endpoint takes both.
            let revocations = partner.sandbox.counters().revocations;
            expect("revocations", revocations.clamp(1, 2), revocations)?;
            match partner.call().await {
                Ok(status) => Err(format!("called after the revocation: {status}")),
                Err(_) => Ok(()),
            }
        }
        _ => die(partner).await,
    }
}

/// A new consent, which the customer withdraws at the provider.
async fn die(partner: &Partner<OnSocket>) -> Result<(), String> {
    partner.connect().await?;
    partner.advance(60);
    to_the_refresh_window(partner);
    partner.ends.take();
    partner.sandbox.revoke_grants();
    if !partner.persona.has_refresh_tokens() {
        return die_by_rejections(partner).await;
    }
    let refused = partner.sandbox.counters().token_requests_refused;
    match partner.tokens.refresh_now().await {
        Ok(_) => return Err("refreshed a dead grant".to_owned()),
        Err(error) if error.is_consent_required() => {}
        Err(error) => return Err(text(error)),
    }
    let ends = partner.ends.take();
    if ends != [ReauthorizationReason::InvalidGrant] {
        return Err(format!("the listener was called for {ends:?}"));
    }
    let counters = partner.sandbox.counters();
    expect("refused", counters.token_requests_refused, refused + 1)?;
    expect("misdirected", counters.misdirected, 0)
}

/// Without a refresh token, only the API can say that the grant has ended. It has to say so twice,
/// an hour apart.
async fn die_by_rejections(partner: &Partner<OnSocket>) -> Result<(), String> {
    let _ = partner.call().await;
    let early = partner.ends.take();
    partner.advance(3_601);
    let _ = partner.call().await;
    let ends = partner.ends.take();
    if !early.is_empty() || ends != [ReauthorizationReason::NoRefreshToken] {
        return Err(format!(
            "the listener was called for {early:?} and {ends:?}"
        ));
    }
    expect("misdirected", partner.sandbox.counters().misdirected, 0)
}

async fn expect_call(partner: &Partner<OnSocket>) -> Result<(), String> {
    let status = partner.call().await?;
    if status == 200 {
        Ok(())
    } else {
        Err(format!("the API responded {status}"))
    }
}

fn expect(what: &str, found: u64, expected: u64) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{found} {what} instead of {expected}"))
    }
}

fn is_exact(partner: &Partner<OnSocket>) -> bool {
    partner
        .provider
        .token_endpoint()
        .to_string()
        .contains("exactonline")
}

/// Exact Online refuses an earlier refresh.
fn to_the_refresh_window(partner: &Partner<OnSocket>) {
    if is_exact(partner) {
        partner.advance(575);
    }
}
