//! A cluster of three servers.

use std::{collections::HashSet, time::Duration};

use redis::{cluster::ClusterClient, cluster_async::ClusterConnection};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_oauth2_client::store::{LeaseOutcome, LeaseOwner, RedisStore, SaveOutcome, TokenStore};

use crate::{LIMIT, Server, commit, generation, grant, keys::slot, support::all_tenants, tenant};

struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    async fn launch() -> Self {
        let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let mut nodes = Vec::new();
        for slots in ["0 5460", "5461 10922", "10923 16383"] {
            let node = Server::launch_with(&arguments).await;
            let share = format!("CLUSTER ADDSLOTSRANGE {slots}");
            node.command::<()>(&share).await;
            nodes.push(node);
        }
        for node in &nodes[1..] {
            let meet = format!("CLUSTER MEET 127.0.0.1 {}", node.port());
            nodes[0].command::<()>(&meet).await;
        }
        let complete = async {
            for node in &nodes {
                while !node
                    .command::<String>("CLUSTER INFO")
                    .await
                    .contains("cluster_state:ok")
                {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        timeout(LIMIT, complete).await.unwrap();
        Self { nodes }
    }

    async fn store(&self) -> RedisStore<ClusterConnection> {
        let client = ClusterClient::new(self.nodes.iter().map(Server::url).collect::<Vec<_>>());
        let connection = client.unwrap().get_async_connection().await.unwrap();
        RedisStore::new(connection).watch(self.nodes[2].client())
    }
}

#[tokio::test]
async fn store_works_over_a_cluster() {
    let cluster = Cluster::launch().await;
    let (one, two) = (cluster.store().await, cluster.store().await);
    let owner = LeaseOwner::random();
    for number in 0..30 {
        let tenant = tenant(&format!("customer {number} {{é}}"));
        commit(&one, &tenant, None, &grant(1, "a")).await;
        commit(&two, &tenant, Some(1), &grant(2, "b")).await;
        let late = one
            .save(&tenant, Some(generation(1)), &grant(2, "c"))
            .await
            .unwrap();
        assert_eq!(late, SaveOutcome::Superseded(Some(grant(2, "b"))));
        assert_eq!(one.load(&tenant).await.unwrap(), Some(grant(2, "b")));
        one.acquire(&tenant, &owner, LIMIT).await.unwrap();
        let other = two.acquire(&tenant, &LeaseOwner::random(), LIMIT).await;
        assert_eq!(other.unwrap(), LeaseOutcome::HeldByAnother);
    }
    let mut listed = Vec::new();
    for store in [&one, &two].into_iter().cycle().take(31) {
        listed.extend(store.tenants(listed.last(), 1).await.unwrap());
    }
    let distinct: HashSet<_> = listed.iter().collect();
    assert_eq!((listed.len(), distinct.len()), (30, 30));
    for node in &cluster.nodes {
        let keys: Vec<String> = node.command("KEYS *").await;
        assert!(!keys.is_empty(), "tenants are distributed over the nodes");
        for key in keys {
            let found: u16 = node.command(&format!("CLUSTER KEYSLOT {key}")).await;
            assert_eq!(found, slot(&key));
        }
    }
    assert_eq!(one.check_persistence().await.unwrap(), [] as [&str; 0]);
    for node in &cluster.nodes {
        node.command::<()>("SCRIPT FLUSH").await;
    }
    let acme = tenant("acme");
    crate::watch::is_notified_of(&one, &acme, commit(&two, &acme, None, &grant(1, "a"))).await;
}

#[tokio::test]
async fn p19_lost_index_of_a_cluster_is_restored_from_all_nodes() {
    let cluster = Cluster::launch().await;
    let store = cluster.store().await;
    let tenants: Vec<_> = (0..30)
        .map(|number| tenant(&format!("customer-{number:02}")))
        .collect();
    for tenant in &tenants {
        commit(&store, tenant, None, &grant(1, "a")).await;
    }
    for loss in ["DEL", "UNLINK"] {
        for node in &cluster.nodes {
            // Two nodes do not have the key.
            let command = format!("{loss} tower-oauth2:tenants");
            let _ = node.try_command::<i64>(&command).await;
        }
        assert_eq!(all_tenants(&store, 7).await, tenants, "{loss}");
    }
}

#[tokio::test]
async fn p12_one_of_concurrent_saves_over_a_cluster_commits() {
    let cluster = Cluster::launch().await;
    let stores = [cluster.store().await, cluster.store().await];
    let race = tenant("race");
    for round in 0..10 {
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let (store, race) = (stores[writer % 2].clone(), race.clone());
            writers.spawn(async move {
                let expected = (round > 0).then_some(round).map(generation);
                let mine = grant(round + 1, &format!("{round}-{writer}"));
                store.save(&race, expected, &mine).await.unwrap()
            });
        }
        let outcomes = writers.join_all().await;
        let committed = outcomes
            .iter()
            .filter(|outcome| **outcome == SaveOutcome::Committed);
        assert_eq!(committed.count(), 1);
    }
}
