//! Clients that authenticate by the certificate of their connection (RFC 8705), over real TLS: the
//! token endpoint requires a certificate, and knows that of the client by its thumbprint.

use std::{
    error::Error as _,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use hmac_sha256::Hash as Sha256;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{self, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};
use tower::ServiceExt;
use tower_oauth2_client::{
    Error, ErrorKind, OAuthErrorCode,
    oauth::{OAuthClient, OAuthClientBuilder},
    provider::{ClientAuthentication, EndpointKind, Provider},
    sandbox::{self, Sandbox},
};

#[path = "support/authority.rs"]
mod authority;

use authority::Authority;

type Body = Full<Bytes>;

/// A certificate and its key.
#[derive(Clone)]
struct Identity([PathBuf; 2]);

impl Identity {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        certificates(&self.0[0])
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.0[1]).unwrap()
    }

    fn pem(&self) -> Vec<u8> {
        self.0
            .each_ref()
            .map(|file| fs::read(file).unwrap())
            .concat()
    }

    fn thumbprint(&self) -> String {
        thumbprint(&self.chain()[0])
    }
}

fn certificates(file: &PathBuf) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(file).unwrap();
    certificates.map(Result::unwrap).collect()
}

/// `x5t#S256` (RFC 8705 section 3.1).
fn thumbprint(certificate: &CertificateDer<'_>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::hash(certificate))
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&authority.root()));
    roots
}

/// A sandbox behind two TLS servers: the usual one, and one that requires a certificate.
struct Servers {
    authority: Authority,
    sandbox: Sandbox,
    provider: Provider,
    /// The certificate of the registered client.
    identity: Identity,
    /// The thumbprints of the certificates of the requests; `None` at the usual server.
    seen: Seen,
}

type Seen = Arc<Mutex<Vec<Option<String>>>>;

impl Servers {
    async fn start() -> Self {
        let authority = Authority::new();
        let identity = Identity(authority.issue("client", "the-client"));
        let sandbox = Sandbox::builder()
            .behavior(|behavior| {
                behavior.client_credentials = true;
                behavior.client_authentication = sandbox::ClientAuthentication::TlsClientAuth;
            })
            .build();
        let server = Identity([authority.certificate(), authority.key()]);
        let usual = ServerConfig::builder().with_no_client_auth();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots(&authority)));
        let verifier = verifier.build().unwrap();
        let mutual = ServerConfig::builder().with_client_cert_verifier(verifier);
        let seen = Seen::default();
        let mut ports = Vec::new();
        for config in [usual, mutual] {
            let config = config.with_single_cert(server.chain(), server.key());
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            tokio::spawn(serve(
                listener,
                TlsAcceptor::from(Arc::new(config.unwrap())),
                sandbox.clone(),
                identity.thumbprint(),
                Arc::clone(&seen),
            ));
        }
        let url = |port: u16| format!("https://localhost:{port}/oauth/token");
        let provider = Provider::builder(url(ports[0]))
            .mtls_endpoint_alias(EndpointKind::Token, url(ports[1]))
            .client_authentication(ClientAuthentication::TlsClientAuth)
            .api_origin("https://api.example.com")
            .build()
            .unwrap();
        Self {
            authority,
            sandbox,
            provider,
            identity,
            seen,
        }
    }

    fn builder(&self) -> OAuthClientBuilder {
        OAuthClient::builder(self.provider.clone(), self.sandbox.client_id())
    }

    /// As the docs of the crate describe it for hyper-util.
    fn with_hyper(&self, identity: Option<&Identity>) -> OAuthClient {
        let config = ClientConfig::builder().with_root_certificates(roots(&self.authority));
        let config = match identity {
            Some(identity) => config.with_client_auth_cert(identity.chain(), identity.key()),
            None => Ok(config.with_no_client_auth()),
        };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(config.unwrap())
            .https_only()
            .enable_http1()
            .build();
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build::<_, Body>(https);
        self.builder().build(http).unwrap()
    }

    /// As the docs of the crate describe it for reqwest.
    fn with_reqwest(&self, identity: Option<&Identity>) -> OAuthClient {
        let root = fs::read(self.authority.root()).unwrap();
        let root = reqwest::Certificate::from_pem(&root).unwrap();
        let mut http = reqwest::Client::builder().tls_certs_only([root]);
        if let Some(identity) = identity {
            http = http.identity(reqwest::Identity::from_pem(&identity.pem()).unwrap());
        }
        self.builder().build_with_reqwest(http).unwrap()
    }

    fn clients(&self, identity: Option<&Identity>) -> [OAuthClient; 2] {
        [self.with_hyper(identity), self.with_reqwest(identity)]
    }

    fn seen(&self) -> Vec<Option<String>> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    sandbox: Sandbox,
    registered: String,
    seen: Seen,
) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let connected = respond(
            connection,
            tls.clone(),
            sandbox.clone(),
            registered.clone(),
            Arc::clone(&seen),
        );
        tokio::spawn(connected);
    }
}

/// Handles the requests of one connection, unless the handshake fails.
async fn respond(
    connection: TcpStream,
    tls: TlsAcceptor,
    sandbox: Sandbox,
    registered: String,
    seen: Seen,
) {
    let connection = match tls.accept(connection).into_fallible().await {
        Ok(connection) => connection,
        Err((_, mut connection)) => {
            // A connection with unread data would be reset, and the client not see the alert.
            let _ = connection.shutdown().await;
            let _ = io::copy(&mut connection, &mut io::sink()).await;
            return;
        }
    };
    let chain = connection.get_ref().1.peer_certificates();
    let presented = chain.and_then(<[_]>::first).map(thumbprint);
    let service = service_fn(move |request: Request<Incoming>| {
        let (sandbox, presented) = (sandbox.clone(), presented.clone());
        seen.lock().unwrap().push(presented.clone());
        let is_registered = presented.as_ref() == Some(&registered);
        async move {
            let (head, body) = request.into_parts();
            let body = Body::from(body.collect().await?.to_bytes());
            if !is_registered {
                let refused = Body::from(r#"{"error":"invalid_client"}"#);
                let mut response = Response::new(refused);
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                return Ok(response);
            }
            let request = Request::from_parts(head, body);
            let (head, body) = sandbox
                .service()
                .oneshot(request)
                .await
                .unwrap()
                .into_parts();
            let body = Body::from(body.collect().await.unwrap().to_bytes());
            Ok::<_, hyper::Error>(Response::from_parts(head, body))
        }
    });
    // A client may end the connection at any time.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(connection), service)
        .await;
}

fn with_sources(error: &Error) -> String {
    let first = error.source();
    let sources = std::iter::successors(first, |&error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}

#[tokio::test]
async fn token_request_carries_the_certificate_to_the_alias() {
    let servers = Servers::start().await;
    for oauth in servers.clients(Some(&servers.identity)) {
        let tokens = oauth.client_credentials().await;
        tokens.unwrap_or_else(|error| panic!("{}", with_sources(&error)));
        // The usual server, which sees no certificate, gets no request.
        assert_eq!(servers.seen(), [Some(servers.identity.thumbprint())]);
    }
    assert_eq!(servers.sandbox.counters().client_credentials, 2);
}

#[tokio::test]
async fn certificate_of_another_client_is_refused() {
    let servers = Servers::start().await;
    let other = Identity(servers.authority.issue("other", "other"));
    for oauth in servers.clients(Some(&other)) {
        let error = oauth.client_credentials().await.unwrap_err();
        assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
        assert_eq!(servers.seen(), [Some(other.thumbprint())]);
    }
}

/// The server ends the handshake. The error names its alert.
#[tokio::test]
async fn certificate_that_is_missing_or_of_another_authority_is_the_cause_of_the_error() {
    let servers = Servers::start().await;
    // Of the same name, so that only its signature is wrong.
    let other = Authority::new();
    let foreign = Identity(other.issue("client", "the-client"));
    for (identity, alert) in [
        (None, "CertificateRequired"),
        (Some(&foreign), "DecryptError"),
    ] {
        for oauth in servers.clients(identity) {
            let error = oauth.client_credentials().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            let text = with_sources(&error);
            assert!(text.contains(alert), "{text}");
        }
    }
    assert!(servers.seen().is_empty());
}
