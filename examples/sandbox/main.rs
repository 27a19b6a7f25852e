//! Runs the sandbox as a program of its own, for any client.
//!
//! `cargo run --example sandbox --features sandbox -- --help` lists the environment variables that
//! configure it.

mod environment;
mod parse;

use std::{ffi::OsString, process::ExitCode};

use tower_oauth2_client::sandbox::Sandbox;

use self::environment::{HELP, configure, listen_address};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match parse_arguments(&arguments) {
        Ok(Command::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Command::Run) => match start(|name| std::env::var_os(name)).await {
            Ok(sandbox) => {
                print_introduction(&sandbox);
                std::future::pending().await
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

#[derive(Debug, PartialEq)]
enum Command {
    Run,
    Help,
}

fn parse_arguments(arguments: &[OsString]) -> Result<Command, String> {
    let mut unknown = arguments.iter().filter(|it| *it != "-h" && *it != "--help");
    match unknown.next() {
        Some(unknown) => Err(format!("unknown argument: {}", unknown.display())),
        None if arguments.is_empty() => Ok(Command::Run),
        None => Ok(Command::Help),
    }
}

/// Starts a sandbox with the settings in the environment variables.
async fn start(variable: impl Fn(&str) -> Option<OsString>) -> Result<Sandbox, String> {
    let address = listen_address(&variable)?;
    let builder = Sandbox::builder().status_page(true).bind(address);
    configure(builder, &variable)?
        .start()
        .await
        .map_err(|error| format!("cannot listen on SANDBOX_LISTEN={address}: {error}"))
}

fn print_introduction(sandbox: &Sandbox) {
    let url = sandbox.url();
    println!("The sandbox listens on {url}");
    println!();
    println!("  authorization  {url}/oauth/authorize");
    println!("  token          {url}/oauth/token");
    println!("  revocation     {url}/v1/oauth/revoke");
    println!("  API            {url}/v1/company  {url}/v1/members  {url}/v1/deductions");
    println!("  client id      {}", sandbox.client_id());
    println!("  client secret  {}", sandbox.client_secret());
    println!("  redirect URI   {}", sandbox.redirect_uri());
    println!("  status page    {url}/sandbox");
    println!();
    println!("Configure your client with these endpoints and credentials.");
    println!("Open this URL in a browser to connect a company:");
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", sandbox.client_id())
        .append_pair("redirect_uri", sandbox.redirect_uri())
        .append_pair("state", "example")
        .finish();
    println!("  {url}/oauth/authorize?{query}");
    println!("Press Ctrl-C to stop.");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, String> {
        parse_arguments(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn help_is_the_only_argument() {
        assert_eq!(parse(&[]), Ok(Command::Run));
        assert_eq!(parse(&["-h"]), Ok(Command::Help));
        assert_eq!(parse(&["--help"]), Ok(Command::Help));
        for arguments in [&["--port"][..], &["-h", "--port"], &["--port", "-h"]] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains("--port"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_names_the_address() {
        let first = Sandbox::start().await.unwrap();
        let address = first.address().unwrap().to_string();
        let variable = |name: &str| (name == "SANDBOX_LISTEN").then(|| address.clone().into());
        let error = start(variable).await.unwrap_err();
        assert!(error.contains(&address), "{error}");
    }
}
