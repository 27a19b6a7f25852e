//! Pages of tenants.

use tower_oauth2_client::{
    store::{PostgresStore, TokenStore},
    token::TenantId,
};

use crate::{grant, pool, replica, store, support::all_tenants as all, tenant};

/// In the order of their bytes, whatever the database's collation.
const NAMES: [&str; 9] = [" ", "A", "B", "a", "a%", "a_", "ab", "e\u{301}", "é"];

async fn nine(store: &PostgresStore) -> Vec<TenantId> {
    let tenants: Vec<_> = NAMES.map(tenant).into();
    for tenant in tenants.iter().rev() {
        store.save(tenant, None, &grant(1, "a")).await.unwrap();
    }
    tenants
}

#[tokio::test]
async fn pages_order_names_by_bytes() {
    let (options, store) = store().await;
    assert_eq!(all(&store, 10).await, []);
    let tenants = nine(&store).await;
    for limit in [1, 2, 3, 8, 9, 10, usize::MAX] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
    assert_eq!(store.tenants(None, 0).await.unwrap(), []);
    let elsewhere = replica(&options).schema("elsewhere").unwrap();
    elsewhere.migrate().await.unwrap();
    assert_eq!(all(&elsewhere, 10).await, []);
}

#[tokio::test]
async fn damaged_grants_are_listed_and_invalid_names_are_not() {
    let (options, store) = store().await;
    let tenants = nine(&store).await;
    let pool = pool(&options, 1);
    sqlx::raw_sql("UPDATE oauth_grants SET contents = '' WHERE tenant = 'ab'")
        .execute(&pool)
        .await
        .unwrap();
    store.load(&tenant("ab")).await.unwrap_err();
    // Runs longer than a page, in the middle and at both ends.
    let insert = "INSERT INTO oauth_grants (tenant, generation, contents) SELECT $1 || i, 1, '' \
                  FROM generate_series(1, 5) i";
    for name in ["\u{1}", "a\n", "z\t", &"x".repeat(255)] {
        sqlx::query(insert).bind(name).execute(&pool).await.unwrap();
    }
    for limit in [1, 2, 3, 100] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
}

/// The cost of a page does not grow with the table.
#[tokio::test]
async fn pages_use_the_primary_key() {
    let (options, _) = store().await;
    let pool = pool(&options, 1);
    let insert = "INSERT INTO oauth_grants (tenant, generation, contents) SELECT 'customer-' || i, \
                  1, '' FROM generate_series(1, 20000) i; ANALYZE oauth_grants";
    sqlx::raw_sql(insert).execute(&pool).await.unwrap();
    let page = "EXPLAIN SELECT tenant FROM oauth_grants WHERE tenant > $1 ORDER BY tenant LIMIT $2";
    let plan: Vec<String> = sqlx::query_scalar(page)
        .bind("customer-19")
        .bind(100_i64)
        .fetch_all(&pool)
        .await
        .unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Cond: (tenant >"), "{plan}");
    assert!(!plan.contains("Sort"), "{plan}");
}
