//! Customers of the example `partner_app` connect, deny, reconnect and disconnect in a real
//! browser.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use browser_tests::{Browser, Outcome, browse};
use fantoccini::Locator;
use http::StatusCode;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tower_oauth2_client::{
    provider::ResponseMode,
    sandbox::{Consent, Endpoint, Fault, Sandbox},
    store::{EncryptionKey, EncryptionKeys, FileStore},
};

use self::{partner::Partner, settings::Settings};

#[path = "../../../examples/own_host/mod.rs"]
mod own_host;
#[path = "../../../examples/partner_app/mod.rs"]
mod partner;
#[path = "../../../examples/settings/mod.rs"]
mod settings;

#[tokio::test]
async fn a_connected_customer_sees_data_from_the_api() -> Outcome {
    let scene = Scene::start().await?;
    let app = scene.run()?;
    // The page must escape the name.
    let name = "<b>\"Möbel\" & Co</b>";
    browse(async |browser: &Browser| {
        open_consent(browser, &app, name).await?;
        allow(browser).await?;
        expect_status(browser, name, "is connected").await?;
        let row = format!("//tr[td[1]='{name}' and td[3]='29']");
        browser.element(&row).await?;
        expect_company(browser, &app, name).await
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.consents, counters.code_exchanges), (1, 1));
    // The application asks for the company before it accepts the consent.
    assert_eq!((counters.authorized, counters.unauthorized), (2, 0));
    app.stop().await
}

#[tokio::test]
async fn a_customer_can_connect_after_a_denial() -> Outcome {
    let scene = Scene::start().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        open_consent(browser, &app, "Acme").await?;
        browser.log_in().await?;
        browser.press("Deny").await?;
        browser
            .expect_text(
                "p",
                "The customer or the provider denied access. Nothing has changed.",
            )
            .await?;
        assert_eq!(scene.sandbox.counters().tokens_issued, 0);
        browser.press("Connect").await?;
        allow(browser).await?;
        expect_status(browser, "Acme", "is connected").await
    })
    .await?;
    assert_eq!(scene.sandbox.counters().denials, 1);
    app.stop().await
}

#[tokio::test]
async fn a_customer_can_reconnect_after_a_revocation_at_the_provider() -> Outcome {
    let scene = Scene::start().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        connect(browser, &app, "Acme").await?;
        scene.sandbox.revoke_grants();
        // The API may not know a new token yet, so the first request waits and is rejected again.
        // The next one detects the end.
        open_company(browser, &app, "Acme").await?;
        open_company(browser, &app, "Acme").await?;
        browser.expect_text("p", "Acme needs to reconnect.").await?;
        browser.goto(&app.url).await?;
        expect_status(browser, "Acme", "needs to reconnect").await?;
        browser.press("Reconnect").await?;
        allow(browser).await?;
        expect_status(browser, "Acme", "is connected").await?;
        expect_company(browser, &app, "Acme").await
    })
    .await?;
    assert_eq!(scene.sandbox.counters().consents, 2);
    app.stop().await
}

#[tokio::test]
async fn two_tabs_of_one_customer_finish_in_either_order() -> Outcome {
    two_tabs(["Acme", "Acme"]).await
}

#[tokio::test]
async fn two_tabs_of_two_customers_finish_in_either_order() -> Outcome {
    two_tabs(["Acme", "Initech"]).await
}

async fn two_tabs(customers: [&str; 2]) -> Outcome {
    let scene = Scene::start().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        let client = browser.client();
        let tabs = [
            client.window().await?,
            client.new_window(true).await?.handle,
        ];
        for order in [[0, 1], [1, 0]] {
            for (tab, customer) in tabs.iter().zip(customers) {
                client.switch_to_window(tab.clone()).await?;
                open_consent(browser, &app, customer).await?;
                // Both tabs show the provider's page before either continues.
                browser.element("//input[@id='password']").await?;
            }
            for tab in order {
                client.switch_to_window(tabs[tab].clone()).await?;
                allow(browser).await?;
                expect_status(browser, customers[tab], "is connected").await?;
            }
        }
        for customer in customers {
            expect_company(browser, &app, customer).await?;
        }
        // The stored grant can be refreshed.
        scene.sandbox.revoke_access_tokens();
        for customer in customers {
            // The API may not know a new token yet, so the first request waits.
            open_company(browser, &app, customer).await?;
        }
        for customer in customers {
            expect_company(browser, &app, customer).await?;
        }
        Ok(())
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.consents, counters.code_exchanges), (4, 4));
    assert_eq!(
        (counters.token_requests_refused, counters.grants_revoked),
        (0, 0)
    );
    app.stop().await
}

#[tokio::test]
async fn a_disconnected_customer_can_connect_again() -> Outcome {
    let scene = Scene::start().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        connect(browser, &app, "Acme").await?;
        browser.press("Disconnect…").await?;
        // Nothing has happened before the customer confirms.
        browser.expect_text("h1", "Disconnect Acme?").await?;
        assert_eq!(scene.sandbox.counters().revocations, 0);
        browser.press("Disconnect").await?;
        expect_status(browser, "Acme", "is disconnected").await?;
        let revoked = scene.sandbox.counters();
        assert_eq!(
            revoked.revocations, 2,
            "the refresh token and the access token are revoked"
        );
        open_company(browser, &app, "Acme").await?;
        browser.expect_text("p", "Acme is disconnected.").await?;
        assert_eq!(scene.sandbox.counters().requests, revoked.requests);
        browser.goto(&app.url).await?;
        browser.press("Connect").await?;
        allow(browser).await?;
        expect_status(browser, "Acme", "is connected").await
    })
    .await?;
    app.stop().await
}

#[tokio::test]
async fn a_restart_keeps_grants_and_pending_consents() -> Outcome {
    let scene = Scene::start().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        connect(browser, &app, "Acme").await?;
        open_consent(browser, &app, "Initech").await?;
        browser.element("//input[@id='password']").await?;
        app.stop().await?;

        // The consent that was pending at the provider completes in the restarted program.
        let app = scene.run()?;
        allow(browser).await?;
        expect_status(browser, "Initech", "is connected").await?;
        for customer in ["Acme", "Initech"] {
            expect_status(browser, customer, "is connected").await?;
        }
        for customer in ["Acme", "Initech"] {
            expect_company(browser, &app, customer).await?;
        }
        app.stop().await
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.consents, counters.tokens_issued), (2, 2));
    Ok(())
}

#[tokio::test]
async fn another_replica_completes_the_callback() -> Outcome {
    let scene = Scene::start().await?;
    // The redirect URI names the first replica. Browsers share cookies among the ports of a host.
    let first = scene.run()?;
    let second = scene.run_at(TcpListener::bind("127.0.0.1:0")?)?;
    assert_ne!(second.url, second.home);
    browse(async |browser: &Browser| {
        open_consent(browser, &second, "Acme").await?;
        allow(browser).await?;
        expect_status(browser, "Acme", "is connected").await?;
        assert_eq!(browser.client().current_url().await?.as_str(), second.home);
        expect_company(browser, &first, "Acme").await?;
        expect_company(browser, &second, "Acme").await
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.code_exchanges, counters.authorized), (1, 3));
    first.stop().await?;
    second.stop().await
}

/// The browser is logged in at the provider as another company than before.
#[tokio::test]
async fn p23_another_company_does_not_replace_the_first_one() -> Outcome {
    let scene = Scene::start().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        connect(browser, &app, "Acme").await?;
        let other = Fault::status(StatusCode::OK).body(r#"{"id": "another company"}"#);
        scene.sandbox.inject(Endpoint::Company, other);
        open_consent(browser, &app, "Acme").await?;
        allow(browser).await?;
        let text = "//p[contains(., 'We cannot connect the account that you chose')]";
        browser.element(text).await?;
        expect_company(browser, &app, "Acme").await?;
        // The same company can connect again.
        connect(browser, &app, "Acme").await?;
        expect_company(browser, &app, "Acme").await
    })
    .await?;
    assert_eq!(scene.sandbox.counters().code_exchanges, 3);
    app.stop().await
}

/// The provider is `localhost` and the application `127.0.0.1`, which are two sites: the form comes
/// without cookies. The flow is found after the redirect.
#[tokio::test]
async fn p23_callback_by_form_post_connects_the_customer() -> Outcome {
    let mut scene = Scene::start().await?;
    scene.settings.provider = scene
        .settings
        .provider
        .on_origin(&scene.sandbox.url().replace("127.0.0.1", "localhost"))?
        .to_builder()
        .response_mode(ResponseMode::FormPost)
        .build()?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        connect(browser, &app, "Acme").await?;
        assert_eq!(browser.client().current_url().await?.as_str(), app.url);
        expect_company(browser, &app, "Acme").await?;
        open_consent(browser, &app, "Initech").await?;
        browser.log_in().await?;
        browser.press("Deny").await?;
        let text = "The customer or the provider denied access. Nothing has changed.";
        browser.expect_text("p", text).await
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.code_exchanges, counters.denials), (1, 1));
    app.stop().await
}

#[tokio::test]
async fn pages_are_accessible_at_each_width_and_in_each_scheme() -> Outcome {
    let scene = Scene::start().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        let mut problems = Vec::new();
        let mut audit = async |name: &str| {
            if let Err(problem) = browser.audit(name).await {
                problems.push(problem.to_string());
            }
        };
        browser.goto(&app.url).await?;
        audit("partner-empty").await;
        open_consent(browser, &app, "Acme").await?;
        browser.log_in().await?;
        browser.press("Deny").await?;
        browser.element("//button[.='Connect']").await?;
        audit("partner-denied").await;
        connect(browser, &app, "Acme").await?;
        connect(
            browser,
            &app,
            "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk",
        )
        .await?;
        connect(browser, &app, "Initech").await?;
        audit("partner-customers").await;
        expect_company(browser, &app, "Acme").await?;
        audit("partner-company").await;
        let unavailable = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
        scene.sandbox.inject(Endpoint::Company, unavailable);
        open_company(browser, &app, "Initech").await?;
        browser
            .expect_text(
                "div[@role='alert']",
                "The data cannot be shown at the moment. Please try again in a few minutes.",
            )
            .await?;
        audit("partner-company-unavailable").await;
        scene.sandbox.revoke_grants();
        open_company(browser, &app, "Acme").await?;
        open_company(browser, &app, "Acme").await?;
        browser
            .element("//*[contains(., 'needs to reconnect')]")
            .await?;
        audit("partner-company-ended").await;
        // One message, and the button that helps.
        let count = async |xpath| browser.client().find_all(Locator::XPath(xpath)).await;
        assert_eq!(count("//*[@role='alert']").await?.len(), 1);
        assert_eq!(count("//button[.='Reconnect']").await?.len(), 1);
        assert_eq!(count("//details").await?.len(), 1);
        browser.goto(&app.url).await?;
        audit("partner-customers-ended").await;
        browser.press("Disconnect…").await?;
        browser.expect_text("h1", "Disconnect Acme?").await?;
        audit("partner-disconnect").await;
        let failed = format!("{}connect/callback?code=c&state=s", app.url);
        browser.goto(&failed).await?;
        audit("partner-failed").await;
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
        Ok(())
    })
    .await?;
    app.stop().await
}

/// The sandbox and the durable state, which outlive each run of the application.
struct Scene {
    sandbox: Sandbox,
    settings: Settings,
    /// The redirect URI names its port, so it stays open between two runs.
    listener: TcpListener,
    directory: TempDir,
    keys: EncryptionKeys,
}

impl Scene {
    async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sandbox = Sandbox::builder()
            .redirect_uri(format!(
                "http://{}/connect/callback",
                listener.local_addr()?
            ))
            .behavior(|behavior| behavior.consent = Consent::Page)
            .start()
            .await?;
        Ok(Self {
            settings: Settings::for_sandbox(sandbox.clone()).map_err(|error| error.to_string())?,
            sandbox,
            listener,
            directory: tempfile::tempdir()?,
            keys: EncryptionKeys::new(EncryptionKey::generate("test")?),
        })
    }

    /// Runs the application at the address of the redirect URI.
    fn run(&self) -> Outcome<App> {
        self.run_at(self.listener.try_clone()?)
    }

    fn run_at(&self, listener: TcpListener) -> Outcome<App> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address: SocketAddr = listener.local_addr()?;
        let store = FileStore::open(self.directory.path())?;
        let partner = Partner::new(&self.settings, store, self.keys.clone())
            .map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async {
            let _ = stopped.await;
        };
        Ok(App {
            url: format!("http://{address}/"),
            home: partner.url().to_owned(),
            stop,
            served: tokio::spawn(partner.serve(listener, until)),
        })
    }
}

/// A running application.
struct App {
    url: String,
    /// Where the redirect URI leads, possibly to another replica.
    home: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

impl App {
    async fn stop(self) -> Outcome {
        drop(self.stop);
        Ok(self.served.await??)
    }
}

async fn connect(browser: &Browser, app: &App, customer: &str) -> Outcome {
    open_consent(browser, app, customer).await?;
    allow(browser).await?;
    expect_status(browser, customer, "is connected").await
}

async fn open_consent(browser: &Browser, app: &App, customer: &str) -> Outcome {
    browser.goto(&app.url).await?;
    let name = browser.element("//label/input[@name='customer']").await?;
    name.send_keys(customer).await?;
    browser.press("Connect a new customer").await
}

/// Logs in and allows on the provider's pages.
async fn allow(browser: &Browser) -> Outcome {
    browser.log_in().await?;
    browser.press("Allow").await
}

/// Waits until the front page shows this state of the customer.
async fn expect_status(browser: &Browser, customer: &str, state: &str) -> Outcome {
    let row = format!("//tr[td[1]='{customer}' and td[2]/p[1]='{customer} {state}.']");
    browser.element(&row).await.map(drop)
}

async fn open_company(browser: &Browser, app: &App, customer: &str) -> Outcome {
    browser.goto(&app.url).await?;
    let link = browser.element(&format!("//td/a[.='{customer}']")).await?;
    Ok(link.click().await?)
}

async fn expect_company(browser: &Browser, app: &App, customer: &str) -> Outcome {
    open_company(browser, app, customer).await?;
    browser
        .expect_text("h1", &format!("Company data of {customer}"))
        .await?;
    browser
        .element("//pre[contains(., 'Sandbox Bakery')]")
        .await
        .map(drop)
}
