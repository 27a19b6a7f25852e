//! Customers of the example `partner_app` at a real browser: they connect, deny, come back, and leave.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tower_oauth2_client::{
    sandbox::{Consent, Sandbox},
    store::{EncryptionKey, EncryptionKeys, FileStore},
};

use self::{
    browser::{Browser, Outcome, browse},
    partner::Partner,
    settings::Settings,
};

mod browser;
#[path = "../examples/partner_app/mod.rs"]
mod partner;
#[path = "../examples/settings/mod.rs"]
mod settings;

#[tokio::test]
async fn a_customer_connects_and_the_api_is_called_for_them() -> Outcome {
    let scene = Scene::begin().await?;
    let app = scene.run()?;
    // A name is text, whatever it looks like.
    let name = "<b>\"Möbel\" & Co</b>";
    browse(async |browser: &Browser| {
        begin_to_connect(browser, &app, name).await?;
        allow(browser).await?;
        tells(browser, name, "is connected").await?;
        let row = format!("//tr[td[1]='{name}' and td[3]='29']");
        browser.element(&row).await?;
        shows_the_company(browser, &app, name).await
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.consents, counters.exchanges_by_code), (1, 1));
    assert_eq!((counters.authorized, counters.unauthorized), (1, 0));
    app.end().await
}

#[tokio::test]
async fn a_customer_denies_and_then_allows() -> Outcome {
    let scene = Scene::begin().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        begin_to_connect(browser, &app, "Acme").await?;
        browser.log_in().await?;
        browser.press("Deny").await?;
        browser
            .reads(
                "p",
                "The customer, or the provider, said no. Nothing was changed.",
            )
            .await?;
        assert_eq!(scene.sandbox.counters().exchanges, 0);
        browser.press("Connect").await?;
        allow(browser).await?;
        tells(browser, "Acme", "is connected").await
    })
    .await?;
    assert_eq!(scene.sandbox.counters().denials, 1);
    app.end().await
}

#[tokio::test]
async fn a_customer_who_left_at_the_provider_is_asked_to_consent_again() -> Outcome {
    let scene = Scene::begin().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        connect(browser, &app, "Acme").await?;
        scene.sandbox.revoke_grants();
        // Nobody knows before the API is called.
        open_company(browser, &app, "Acme").await?;
        browser.reads("p", "Acme has to consent again.").await?;
        browser.goto(&app.url).await?;
        tells(browser, "Acme", "has to consent again").await?;
        browser.press("Reconnect").await?;
        allow(browser).await?;
        tells(browser, "Acme", "is connected").await?;
        shows_the_company(browser, &app, "Acme").await
    })
    .await?;
    assert_eq!(scene.sandbox.counters().consents, 2);
    app.end().await
}

#[tokio::test]
async fn two_tabs_of_one_customer_come_back_in_either_order() -> Outcome {
    two_tabs(["Acme", "Acme"]).await
}

#[tokio::test]
async fn two_tabs_of_two_customers_come_back_in_either_order() -> Outcome {
    two_tabs(["Acme", "Initech"]).await
}

async fn two_tabs(customers: [&str; 2]) -> Outcome {
    let scene = Scene::begin().await?;
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
                begin_to_connect(browser, &app, customer).await?;
                // Both are at the provider before either comes back.
                browser.element("//input[@id='password']").await?;
            }
            for tab in order {
                client.switch_to_window(tabs[tab].clone()).await?;
                allow(browser).await?;
                tells(browser, customers[tab], "is connected").await?;
            }
        }
        for customer in customers {
            shows_the_company(browser, &app, customer).await?;
        }
        // The grant that is kept is one that can be renewed.
        scene.sandbox.revoke_access_tokens();
        for customer in customers {
            shows_the_company(browser, &app, customer).await?;
        }
        Ok(())
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.consents, counters.exchanges_by_code), (4, 4));
    assert_eq!(
        (counters.exchanges_refused, counters.families_killed),
        (0, 0)
    );
    app.end().await
}

#[tokio::test]
async fn a_customer_disconnects_and_comes_back() -> Outcome {
    let scene = Scene::begin().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        connect(browser, &app, "Acme").await?;
        browser.press("Disconnect").await?;
        tells(browser, "Acme", "is disconnected").await?;
        let revoked = scene.sandbox.counters();
        assert_eq!(
            revoked.revocations, 2,
            "of the refresh token, and of the access token"
        );
        open_company(browser, &app, "Acme").await?;
        browser.reads("p", "Acme is disconnected.").await?;
        assert_eq!(scene.sandbox.counters().requests, revoked.requests);
        browser.goto(&app.url).await?;
        browser.press("Connect").await?;
        allow(browser).await?;
        tells(browser, "Acme", "is connected").await
    })
    .await?;
    app.end().await
}

#[tokio::test]
async fn a_restart_keeps_all() -> Outcome {
    let scene = Scene::begin().await?;
    let app = scene.run()?;
    browse(async |browser: &Browser| {
        connect(browser, &app, "Acme").await?;
        begin_to_connect(browser, &app, "Initech").await?;
        browser.element("//input[@id='password']").await?;
        app.end().await?;

        // Whoever is at the provider at that time comes back to the program that is there then.
        let app = scene.run()?;
        allow(browser).await?;
        tells(browser, "Initech", "is connected").await?;
        for customer in ["Acme", "Initech"] {
            tells(browser, customer, "is connected").await?;
        }
        for customer in ["Acme", "Initech"] {
            shows_the_company(browser, &app, customer).await?;
        }
        app.end().await
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.consents, counters.exchanges), (2, 2));
    Ok(())
}

#[tokio::test]
async fn a_customer_comes_back_to_another_replica() -> Outcome {
    let scene = Scene::begin().await?;
    // The redirect URI is the first one's; browsers have the same cookies for all ports of a host.
    let first = scene.run()?;
    let second = scene.run_at(TcpListener::bind("127.0.0.1:0")?)?;
    assert_ne!(second.url, second.home);
    browse(async |browser: &Browser| {
        begin_to_connect(browser, &second, "Acme").await?;
        allow(browser).await?;
        tells(browser, "Acme", "is connected").await?;
        assert_eq!(browser.client().current_url().await?.as_str(), second.home);
        shows_the_company(browser, &first, "Acme").await?;
        shows_the_company(browser, &second, "Acme").await
    })
    .await?;
    let counters = scene.sandbox.counters();
    assert_eq!((counters.exchanges_by_code, counters.authorized), (1, 2));
    first.end().await?;
    second.end().await
}

/// What is there before the application, and after it.
struct Scene {
    sandbox: Sandbox,
    settings: Settings,
    /// Open all the time, as the redirect URI names it.
    listener: TcpListener,
    folder: TempDir,
    keys: EncryptionKeys,
}

impl Scene {
    async fn begin() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sandbox = Sandbox::builder()
            .redirect_uri(format!(
                "http://{}/connect/callback",
                listener.local_addr()?
            ))
            .consent(Consent::Page)
            .start()
            .await?;
        Ok(Self {
            settings: Settings::of_sandbox(sandbox.clone()).map_err(|error| error.to_string())?,
            sandbox,
            listener,
            folder: tempfile::tempdir()?,
            keys: EncryptionKeys::new(EncryptionKey::generate("test")?),
        })
    }

    /// The application, where the redirect URI says.
    fn run(&self) -> Outcome<App> {
        self.run_at(self.listener.try_clone()?)
    }

    fn run_at(&self, listener: TcpListener) -> Outcome<App> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address: SocketAddr = listener.local_addr()?;
        let store = FileStore::open(self.folder.path())?;
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

/// The application as it runs.
struct App {
    url: String,
    /// Where browsers come back to, which may be another replica.
    home: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

impl App {
    async fn end(self) -> Outcome {
        drop(self.stop);
        Ok(self.served.await??)
    }
}

async fn connect(browser: &Browser, app: &App, customer: &str) -> Outcome {
    begin_to_connect(browser, app, customer).await?;
    allow(browser).await?;
    tells(browser, customer, "is connected").await
}

async fn begin_to_connect(browser: &Browser, app: &App, customer: &str) -> Outcome {
    browser.goto(&app.url).await?;
    let name = browser.element("//label/input[@name='customer']").await?;
    name.send_keys(customer).await?;
    browser.press("Connect a new customer").await
}

/// At the provider's pages.
async fn allow(browser: &Browser) -> Outcome {
    browser.log_in().await?;
    browser.press("Allow").await
}

/// Waits for the front page to say so.
async fn tells(browser: &Browser, customer: &str, state: &str) -> Outcome {
    let row = format!("//tr[td[1]='{customer}' and td[2]/p[1]='{customer} {state}.']");
    browser.element(&row).await.map(drop)
}

async fn open_company(browser: &Browser, app: &App, customer: &str) -> Outcome {
    browser.goto(&app.url).await?;
    let link = browser.element(&format!("//td/a[.='{customer}']")).await?;
    Ok(link.click().await?)
}

async fn shows_the_company(browser: &Browser, app: &App, customer: &str) -> Outcome {
    open_company(browser, app, customer).await?;
    browser
        .reads("h1", &format!("The company of {customer}"))
        .await?;
    browser
        .element("//pre[contains(., 'Sandbox Bakery')]")
        .await
        .map(drop)
}
