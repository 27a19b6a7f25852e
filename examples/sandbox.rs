//! Runs the sandbox on its own, for a client that you point at it.
//!
//! `cargo run --example sandbox --features sandbox -- --help` lists the environment variables that set it up.

#[path = "sandbox/values.rs"]
mod values;
#[path = "sandbox/variables.rs"]
mod variables;

use std::ffi::OsString;
use std::process::ExitCode;

use tower_oauth2_client::sandbox::Sandbox;

use self::variables::{HELP, configured, listen};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match wanted(&arguments) {
        Ok(Wanted::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Wanted::Sandbox) => match started(|name| std::env::var_os(name)).await {
            Ok(sandbox) => {
                introduce(&sandbox);
                std::future::pending().await
            }
            Err(wrong) => {
                eprintln!("{wrong}");
                ExitCode::FAILURE
            }
        },
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Wanted {
    Sandbox,
    Help,
}

fn wanted(arguments: &[OsString]) -> Result<Wanted, String> {
    let mut unknown = arguments.iter().filter(|it| *it != "-h" && *it != "--help");
    match unknown.next() {
        Some(unknown) => Err(format!("unknown argument: {}", unknown.display())),
        None if arguments.is_empty() => Ok(Wanted::Sandbox),
        None => Ok(Wanted::Help),
    }
}

/// A sandbox that listens as the variables say, or why there is none.
async fn started(variable: impl Fn(&str) -> Option<OsString>) -> Result<Sandbox, String> {
    let address = listen(&variable)?;
    configured(
        Sandbox::builder().status_page(true).bind(address),
        &variable,
    )?
    .start()
    .await
    .map_err(|error| format!("SANDBOX_LISTEN={address} cannot be listened on: {error}"))
}

fn introduce(sandbox: &Sandbox) {
    let url = sandbox.url();
    println!("The sandbox listens on {url}");
    println!();
    println!("  authorize      {url}/oauth/authorize");
    println!("  token          {url}/oauth/token");
    println!("  revoke         {url}/v1/oauth/revoke");
    println!("  resources      {url}/v1/company  {url}/v1/members  {url}/v1/deductions");
    println!("  client id      {}", sandbox.client_id());
    println!("  client secret  {}", sandbox.client_secret());
    println!("  redirect URI   {}", sandbox.redirect_uri());
    println!("  status page    {url}/sandbox");
    println!();
    println!(
        "Point your client at these in place of Justworks', and open this to connect a company:"
    );
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", sandbox.client_id())
        .append_pair("redirect_uri", sandbox.redirect_uri())
        .append_pair("state", "example")
        .finish();
    println!("  {url}/oauth/authorize?{query}");
    println!("Stop with Ctrl-C.");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(arguments: &[&str]) -> Result<Wanted, String> {
        wanted(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn only_help_may_be_asked_for() {
        assert_eq!(arguments(&[]), Ok(Wanted::Sandbox));
        assert_eq!(arguments(&["-h"]), Ok(Wanted::Help));
        assert_eq!(arguments(&["--help"]), Ok(Wanted::Help));
        for wrong in [&["--port"][..], &["-h", "--port"], &["--port", "-h"]] {
            let wrong = arguments(wrong).unwrap_err();
            assert!(wrong.contains("--port"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Sandbox::start().await.unwrap();
        let address = first.address().unwrap().to_string();
        let variable = |name: &str| (name == "SANDBOX_LISTEN").then(|| address.clone().into());
        let wrong = started(variable).await.unwrap_err();
        assert!(wrong.contains(&address), "{wrong}");
    }
}
