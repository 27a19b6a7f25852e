//! Checks of the server's persistence settings.

use std::collections::HashMap;

use redis::{FromRedisValue, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};

use super::script::Replicas;

/// Returns a warning for each problem of the server's settings.
pub(super) async fn check(
    connection: &mut impl ConnectionLike,
    replicas: Option<Replicas>,
) -> RedisResult<Vec<String>> {
    let nodes = match info(connection).await {
        Ok(nodes) => nodes,
        Err(error) if is_refusal(&error) => {
            return Ok(vec![
                "persistence settings are unknown: INFO is not permitted; ask the server's operator"
                    .into(),
            ]);
        }
        Err(error) => return Err(error),
    };
    let mut warnings = Vec::new();
    for (node, facts) in &nodes {
        warnings.extend(
            judge(facts, replicas)
                .into_iter()
                .map(|warning| format!("{node}{warning}")),
        );
    }
    // `appendfsync` matters only with an append-only file.
    let is_appending = |facts: &Facts| facts.get("aof_enabled").is_some_and(|on| on == "1");
    if nodes.iter().any(|(_, facts)| is_appending(facts)) {
        warnings.extend(judge_sync(connection).await?);
    }
    Ok(warnings)
}

type Facts = HashMap<String, String>;

/// The fields of `INFO` for each node, with a label that is empty without a cluster.
async fn info(connection: &mut impl ConnectionLike) -> RedisResult<Vec<(String, Facts)>> {
    let read = |value: Value| String::from_redis_value(value).map(|text| facts(&text));
    match redis::cmd("INFO").query_async(connection).await? {
        Value::Map(nodes) => nodes
            .into_iter()
            .map(|(node, text)| {
                Ok((
                    format!("{}: ", String::from_redis_value(node)?),
                    read(text)?,
                ))
            })
            .collect(),
        text => Ok(vec![(String::new(), read(text)?)]),
    }
}

fn facts(text: &str) -> Facts {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
        .collect()
}

fn judge(facts: &Facts, replicas: Option<Replicas>) -> Vec<String> {
    let fact = |name: &str| facts.get(name).map(String::as_str);
    let mut warnings = Vec::new();
    let mut find = |warning: String| warnings.push(warning);
    match fact("aof_enabled") {
        Some("0") => find(
            "appendonly is off: a crash loses all saves since the last snapshot, or everything \
             without snapshots; set it to yes"
                .into(),
        ),
        Some(_) => {}
        None => find("appendonly is unknown: INFO lacks it; ask the server's operator".into()),
    }
    for name in ["aof_last_write_status", "aof_last_bgrewrite_status"] {
        if fact(name).is_some_and(|status| status != "ok") {
            find(format!(
                "{name} is not ok: the append-only file cannot be written; check the server's disk"
            ));
        }
    }
    if let Some(policy) = fact("maxmemory_policy").filter(|policy| policy.starts_with("allkeys")) {
        let known = ["allkeys-lru", "allkeys-lfu", "allkeys-random"];
        let policy = known.into_iter().find(|known| *known == policy);
        find(format!(
            "maxmemory-policy is {}: once memory is full, the server deletes grants or the index \
             of tenants; set it to noeviction",
            policy.unwrap_or("for all keys")
        ));
    }
    if fact("role") == Some("slave") {
        find("the server is a replica: it refuses writes; connect to the primary".into());
        return warnings;
    }
    let connected: u32 = fact("connected_slaves")
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    match replicas {
        Some(Replicas { count, .. }) if connected < count => find(format!(
            "{connected} replicas are connected, and saves wait for {count}: every save fails; \
             connect replicas or change wait_for_replicas"
        )),
        None if connected > 0 => find(
            "replication is asynchronous: a failover may lose the newest saves; see \
             wait_for_replicas"
                .into(),
        ),
        _ => {}
    }
    warnings
}

async fn judge_sync(connection: &mut impl ConnectionLike) -> RedisResult<Option<String>> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("appendfsync");
    let response: RedisResult<HashMap<String, String>> = command.query_async(connection).await;
    let found = match response {
        Ok(found) => found,
        Err(error) if is_refusal(&error) => HashMap::new(),
        Err(error) => return Err(error),
    };
    let warning = match found.get("appendfsync").map(String::as_str) {
        Some("always") => return Ok(None),
        Some("everysec") => {
            "appendfsync is everysec: if the machine fails, the saves of the last second or two \
             are lost; set it to always"
        }
        Some("no") => {
            "appendfsync is no: if the machine fails, the saves of the last half minute or more \
             are lost; set it to always"
        }
        _ => {
            "appendfsync is unknown: CONFIG GET is not permitted; ask the server's operator \
             whether it is always"
        }
    };
    Ok(Some(warning.into()))
}

/// Whether the server refused the command, as managed services do.
fn is_refusal(error: &RedisError) -> bool {
    use redis::ErrorKind::{Extension, Server};
    matches!(
        error.kind(),
        Extension | Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Replicas, facts, judge};

    const GOOD: &str = "# Persistence\r\naof_enabled:1\r\naof_last_write_status:ok\r\n\
        # Memory\r\nmaxmemory_policy:noeviction\r\n\
        # Replication\r\nrole:master\r\nconnected_slaves:0\r\n";

    #[test]
    fn each_problem_has_a_warning() {
        let judge = |text: &str, replicas| judge(&facts(text), replicas);
        assert_eq!(judge(GOOD, None), Vec::<String>::new());
        for (good, bad, word) in [
            ("aof_enabled:1", "aof_enabled:0", "appendonly"),
            ("aof_enabled:1", "", "appendonly"),
            ("status:ok", "status:err", "disk"),
            ("noeviction", "allkeys-lru", "allkeys-lru"),
            ("role:master", "role:slave", "primary"),
            ("slaves:0", "slaves:2", "wait_for_replicas"),
        ] {
            let warnings = judge(&GOOD.replace(good, bad), None);
            assert_eq!(warnings.len(), 1, "{bad}");
            assert!(warnings[0].contains(word), "{warnings:?}");
        }
        let replicas = Some(Replicas {
            count: 1,
            timeout: Duration::from_secs(1),
        });
        assert_eq!(judge(GOOD, replicas).len(), 1);
        assert_eq!(
            judge(&GOOD.replace("slaves:0", "slaves:1"), replicas).len(),
            0
        );
    }
}
