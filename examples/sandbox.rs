//! Runs the sandbox on its own, for a client that you point at it.
//!
//! `cargo run --example sandbox --features sandbox -- --help` lists the environment variables that set it up.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tower_oauth2_client::sandbox::{
    Consent, ExpiresIn, RefreshWindow, Replay, Rotation, Sandbox, SandboxBuilder,
};

const HELP: &str = "\
A fake Justworks on loopback: authorization server, resources, and a status page.

Environment variables, all optional:
  SANDBOX_LISTEN=127.0.0.1:8080    address and port; default 127.0.0.1:8080, port 0 picks a free one
  SANDBOX_CLIENT_ID=...            default sandbox-client
  SANDBOX_CLIENT_SECRET=...        default sandbox-client-secret
  SANDBOX_CLIENT_NAME=...          name on the consent page; default Example app
  SANDBOX_REDIRECT_URI=...         default http://127.0.0.1:8000/callback
  SANDBOX_CONSENT=page             page (default), allow or deny: who answers authorization requests
  SANDBOX_ACCESS_TTL=86400         access token lifetime: seconds, or with a unit 500ms, 30s, 10m, 24h, 30d
  SANDBOX_REFRESH_TTL=30d          refresh token lifetime
  SANDBOX_CODE_TTL=10m             authorization code lifetime
  SANDBOX_ROTATION=family          none, single-use, family (default), grace, grace-sibling or deferred
  SANDBOX_GRACE=30s                the window of grace and grace-sibling
  SANDBOX_WINDOW=rolling           rolling (default) or fixed: whether using a refresh token gives more time
  SANDBOX_REVOKE_COMPANION=0       1 revokes the old access token when its refresh token rotates
  SANDBOX_EXPIRES_IN=0             1 sends expires_in beside expires_at
  SANDBOX_MEMBERS=25               how many members the company has
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().len() > 1 {
        print!("{HELP}");
        return Ok(());
    }
    let builder = Sandbox::builder().status_page(true);
    let sandbox = configured(builder, |name| std::env::var(name).ok())?
        .start()
        .await?;
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
    std::future::pending().await
}

/// Sets a sandbox up from variables, or says which of them is wrong.
fn configured(
    mut builder: SandboxBuilder,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<SandboxBuilder, String> {
    let listen = variable("SANDBOX_LISTEN").unwrap_or("127.0.0.1:8080".to_owned());
    let address: SocketAddr = listen
        .parse()
        .map_err(|_| format!("SANDBOX_LISTEN={listen} is not an address and port"))?;
    builder = builder.bind(address);
    if let Some(client_id) = variable("SANDBOX_CLIENT_ID") {
        builder = builder.client_id(client_id);
    }
    if let Some(client_secret) = variable("SANDBOX_CLIENT_SECRET") {
        builder = builder.client_secret(client_secret);
    }
    if let Some(client_name) = variable("SANDBOX_CLIENT_NAME") {
        builder = builder.client_name(client_name);
    }
    if let Some(redirect_uri) = variable("SANDBOX_REDIRECT_URI") {
        builder = builder.redirect_uri(redirect_uri);
    }
    if let Some(lifetime) = duration(&variable, "SANDBOX_ACCESS_TTL")? {
        builder = builder.access_token_lifetime(lifetime);
    }
    if let Some(lifetime) = duration(&variable, "SANDBOX_REFRESH_TTL")? {
        builder = builder.refresh_token_lifetime(lifetime);
    }
    if let Some(lifetime) = duration(&variable, "SANDBOX_CODE_TTL")? {
        builder = builder.code_lifetime(lifetime);
    }
    if let Some(members) = variable("SANDBOX_MEMBERS") {
        let members = members.parse();
        builder = builder.members(members.map_err(|_| "SANDBOX_MEMBERS is not a number")?);
    }
    let window = duration(&variable, "SANDBOX_GRACE")?.unwrap_or(Duration::from_secs(30));
    let grace = |replay| Rotation::Grace { window, replay };
    let consent = [
        ("page", Consent::Page),
        ("allow", Consent::Allow),
        ("deny", Consent::Deny),
    ];
    let rotation = [
        ("family", Rotation::FamilyRevocation),
        ("single-use", Rotation::SingleUse),
        ("none", Rotation::None),
        ("grace", grace(Replay::SamePair)),
        ("grace-sibling", grace(Replay::Sibling)),
        ("deferred", Rotation::Deferred),
    ];
    let refresh_window = [
        ("rolling", RefreshWindow::Rolling),
        ("fixed", RefreshWindow::Fixed),
    ];
    let companion = [("0", false), ("1", true)];
    let expires_in = [("0", ExpiresIn::Absent), ("1", ExpiresIn::Number)];
    Ok(builder
        .consent(choice(&variable, "SANDBOX_CONSENT", &consent)?)
        .rotation(choice(&variable, "SANDBOX_ROTATION", &rotation)?)
        .refresh_window(choice(&variable, "SANDBOX_WINDOW", &refresh_window)?)
        .revoke_companion(choice(&variable, "SANDBOX_REVOKE_COMPANION", &companion)?)
        .expires_in(choice(&variable, "SANDBOX_EXPIRES_IN", &expires_in)?))
}

/// The value a variable chooses; the first one if it is not set.
fn choice<T: Copy>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
    choices: &[(&str, T)],
) -> Result<T, String> {
    let chosen = variable(name).unwrap_or(choices[0].0.to_owned());
    let found = choices.iter().find(|(word, _)| *word == chosen);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        format!("{name}={chosen} is none of: {}", words.join(", "))
    })
}

/// A whole number with a unit, or without one for seconds.
fn duration(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<Duration>, String> {
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milliseconds: Option<u64> = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(milliseconds)
        .and_then(|(number, unit)| number.checked_mul(unit))
        .map(|milliseconds| Some(Duration::from_millis(milliseconds)))
        .ok_or_else(|| format!("{name}={text} is not a duration such as 30s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<Sandbox, String> {
        let variable = |asked: &str| (asked == name).then(|| value.to_owned());
        configured(Sandbox::builder(), variable).map(SandboxBuilder::build)
    }

    #[tokio::test]
    async fn variables_set_the_modes() {
        let default = with("", "").unwrap().behavior();
        assert_eq!(default.consent, Consent::Page);
        assert_eq!(default.rotation, Rotation::FamilyRevocation);
        for (text, milliseconds) in [("500ms", 500), ("2", 2_000), ("2s", 2_000), ("3m", 180_000)] {
            let behavior = with("SANDBOX_ACCESS_TTL", text).unwrap().behavior();
            let lifetime = Duration::from_millis(milliseconds);
            assert_eq!(behavior.access_token_lifetime, lifetime);
        }
        let behavior = with("SANDBOX_REFRESH_TTL", "1d").unwrap().behavior();
        assert_eq!(behavior.refresh_token_lifetime, Duration::from_secs(86_400));
        let behavior = with("SANDBOX_CODE_TTL", "1h").unwrap().behavior();
        assert_eq!(behavior.code_lifetime, Duration::from_secs(3_600));
        let behavior = with("SANDBOX_ROTATION", "deferred").unwrap().behavior();
        assert_eq!(behavior.rotation, Rotation::Deferred);
        let behavior = with("SANDBOX_CONSENT", "allow").unwrap().behavior();
        assert_eq!(behavior.consent, Consent::Allow);
        let behavior = with("SANDBOX_WINDOW", "fixed").unwrap().behavior();
        assert_eq!(behavior.refresh_window, RefreshWindow::Fixed);
        assert!(
            with("SANDBOX_REVOKE_COMPANION", "1")
                .unwrap()
                .behavior()
                .revoke_companion
        );
        let behavior = with("SANDBOX_EXPIRES_IN", "1").unwrap().behavior();
        assert_eq!(behavior.expires_in, ExpiresIn::Number);
    }

    #[tokio::test]
    async fn variables_set_the_app() {
        assert_eq!(with("SANDBOX_CLIENT_ID", "a").unwrap().client_id(), "a");
        assert_eq!(
            with("SANDBOX_CLIENT_SECRET", "a").unwrap().client_secret(),
            "a"
        );
        assert_eq!(
            with("SANDBOX_REDIRECT_URI", "a").unwrap().redirect_uri(),
            "a"
        );
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (name, value) in [
            ("SANDBOX_LISTEN", "8080"),
            ("SANDBOX_ACCESS_TTL", "1y"),
            ("SANDBOX_ACCESS_TTL", "99999999999999999999"),
            ("SANDBOX_ACCESS_TTL", "18446744073709551615d"),
            ("SANDBOX_ROTATION", "sometimes"),
            ("SANDBOX_MEMBERS", "many"),
        ] {
            let wrong = with(name, value).unwrap_err();
            assert!(wrong.contains(name), "{wrong}");
        }
    }

    #[test]
    fn help_lists_every_variable() {
        let asked = std::cell::RefCell::new(Vec::new());
        let variable = |name: &str| {
            asked.borrow_mut().push(name.to_owned());
            None
        };
        assert!(configured(Sandbox::builder(), variable).is_ok());
        for name in asked.into_inner() {
            assert!(HELP.contains(&format!("{name}=")), "{name}");
        }
    }
}
