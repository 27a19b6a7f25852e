//! A hyper-util client over HTTP/2.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http2;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinSet};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    oauth::OAuthClient,
    provider,
    sandbox::Sandbox,
};

use crate::support::{AheadClock, connect};

type Body = Full<Bytes>;

#[tokio::test]
async fn p03_hundred_rejected_requests_over_one_connection_cause_one_refresh() {
    let sandbox = Sandbox::builder().build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = sandbox.service();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    let http: Client<HttpConnector, ReplayBody<Body>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let provider = provider::justworks().on_origin(&url).unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build(http.clone())
        .unwrap();
    let tokens = TokenCache::builder(oauth.clone()).clock(AheadClock);
    let tokens = tokens.build().unwrap();
    connect(&sandbox, &oauth, &tokens).await;
    sandbox.revoke_access_tokens();

    let api = BearerAuthLayer::new(tokens).layer(http);
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let row = format!(
            r#"{{"items":[{{"member_id":"member_00000000000000000000000001","operation_id":"o{number}","amount_type":"fixed",
            "amount":4500,"currency":"USD","deduction_type_code":"401k","frequency":"one_time","start_date":"2026-12-01"}}]}}"#
        );
        let request = Request::post(format!("{url}/v1/deductions"))
            .header("content-type", "application/json")
            .body(Body::from(row))
            .unwrap();
        requests.spawn(api.clone().oneshot(request));
    }
    for response in requests.join_all().await {
        let response = response.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.version()),
            (200, Version::HTTP_2)
        );
        response.into_body().collect().await.unwrap();
    }
    let counters = sandbox.counters();
    assert_eq!((counters.refreshes, counters.deductions_created), (1, 100));
}
