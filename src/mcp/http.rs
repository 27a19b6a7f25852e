//! The HTTP client under the profile, without its type.

use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    discovery::{Discovery, Metadata, ProtectedResource},
    error::{BoxError, Error},
    oauth::{OAuthClient, OAuthClientBuilder, Transport},
};

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// The requests that the profile makes.
pub(super) trait Http: Send + Sync {
    /// Builds a client over this HTTP client.
    fn client(&self, builder: OAuthClientBuilder) -> Result<OAuthClient, Error>;

    /// Loads the metadata of the resource with this URL, from `location` or a well-known URL.
    fn resource(&self, location: Option<String>, url: String) -> Boxed<ProtectedResource>;

    /// Loads the metadata of an authorization server.
    fn issuer(&self, issuer: &str) -> Boxed<Metadata>;

    /// Sends other requests.
    fn transport(&self) -> &Transport;
}

struct HttpOf<S, B, R> {
    http: S,
    transport: Transport,
    bodies: PhantomData<fn(B) -> R>,
}

/// Removes the type of an HTTP client.
pub(super) fn erased<S, B, R>(http: S) -> Arc<dyn Http>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: From<Bytes> + Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    Arc::new(HttpOf {
        transport: Transport::new(http.clone(), Arc::new(|_| false)),
        http,
        bodies: PhantomData,
    })
}

impl<S, B, R> Http for HttpOf<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: From<Bytes> + Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    fn client(&self, builder: OAuthClientBuilder) -> Result<OAuthClient, Error> {
        builder.build(self.http.clone())
    }

    fn resource(&self, location: Option<String>, url: String) -> Boxed<ProtectedResource> {
        let http = self.http.clone();
        Box::pin(async move {
            match location {
                Some(location) => ProtectedResource::fetch(&location, &url, http).await,
                None => ProtectedResource::discover(&url, http).await,
            }
        })
    }

    fn issuer(&self, issuer: &str) -> Boxed<Metadata> {
        let discovery = Discovery::builder(issuer).build(self.http.clone());
        Box::pin(async move { discovery?.metadata().await })
    }

    fn transport(&self) -> &Transport {
        &self.transport
    }
}
