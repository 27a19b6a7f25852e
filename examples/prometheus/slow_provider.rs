//! The HTTP client of the simulated day: the sandbox, with a response time.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::Service;
use tower_oauth2_client::sandbox::SandboxService;

/// Delays each response by a random time, up to a few times the typical one.
#[derive(Clone)]
pub(crate) struct SlowProvider {
    sandbox: SandboxService,
    settings: Arc<Mutex<Settings>>,
}

struct Settings {
    typical: Duration,
    random: fastrand::Rng,
}

impl SlowProvider {
    pub(crate) fn new(sandbox: SandboxService, typical: Duration) -> Self {
        let random = fastrand::Rng::with_seed(7);
        let settings = Arc::new(Mutex::new(Settings { typical, random }));
        Self { sandbox, settings }
    }

    /// Changes the typical response time.
    pub(crate) fn set_typical(&self, typical: Duration) {
        self.settings.lock().unwrap().typical = typical;
    }

    fn delay(&self) -> Duration {
        let mut settings = self.settings.lock().unwrap();
        let factor = settings.random.f64();
        // Most responses take about the typical time, and few take four times as long.
        settings.typical.mul_f64(0.7 + 3.3 * factor.powi(8))
    }
}

impl Service<Request<Full<Bytes>>> for SlowProvider {
    type Response = <SandboxService as Service<Request<Full<Bytes>>>>::Response;
    type Error = <SandboxService as Service<Request<Full<Bytes>>>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Full<Bytes>>>::poll_ready(&mut self.sandbox, context)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let delay = self.delay();
        let response = self.sandbox.call(request);
        Box::pin(async move {
            // After the request: an injected fault affects the next request in the program's order.
            let response = response.await;
            tokio::time::sleep(delay).await;
            response
        })
    }
}
