//! Scripts, which the server runs atomically.
//!
//! A grant is a hash of three fields: `generation` (decimal), `grant` (the bytes of
//! [`Grant::to_bytes`](crate::token::Grant::to_bytes)) and `save` (the id of the save that wrote
//! it). All are compared as strings, since Lua's numbers are exact up to 2^53 only.
//!
//! Loads are scripts too, although a command would do: a cluster's connection may send read-only
//! commands to a replica, which may lag behind.

use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};

/// Returns nil if the key does not exist, and otherwise the three fields. Some are missing in
/// another program's hash.
///
/// A replica may lack the newest grant, so the script fails there: it tries to write. The write
/// changes nothing, and any other failure of it does not matter.
pub(super) const LOAD: Script = Script(
    "local written = redis.pcall('PERSIST', KEYS[1])
if type(written) == 'table' and written.err and string.find(written.err, 'READONLY', 1, true) then
  return redis.error_reply('READONLY replica')
end
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
return redis.call('HMGET', KEYS[1], 'generation', 'grant', 'save')",
);

/// Arguments: the expected generation, the id of the save that wrote it, and the SHA-1 of its bytes
/// (all empty: no grant); generation, bytes and id to write; the channel and the message. Returns 1
/// if committed, and otherwise the same as [`LOAD`].
///
/// A connection may resend a command after a lost response. The script then finds its own save,
/// which is a success. A failed notification is not an error. An expiry, which can only have been
/// set by hand, is removed.
pub(super) const SAVE: Script = Script(
    "local is_there = redis.call('EXISTS', KEYS[1]) == 1
local stored = redis.call('HMGET', KEYS[1], 'generation', 'grant', 'save')
if stored[3] == ARGV[6] then return 1 end
local is_expected = not is_there and ARGV[1] == ''
if is_there then
  is_expected = stored[1] == ARGV[1] and stored[3] == ARGV[2]
    and stored[2] and redis.sha1hex(stored[2]) == ARGV[3]
end
if is_expected then
  redis.call('HSET', KEYS[1], 'generation', ARGV[4], 'grant', ARGV[5], 'save', ARGV[6])
  redis.call('PERSIST', KEYS[1])
  redis.pcall('PUBLISH', ARGV[7], ARGV[8])
  return 1
end
if is_there then return stored end
return false",
);

/// Arguments: the owner, and the duration in milliseconds. Returns 1, or 0 if another owner has the
/// lease.
pub(super) const ACQUIRE: Script = Script(
    "local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1",
);

/// Arguments: the owner, the channel and the message. Returns 1, or 0 if the owner does not have
/// the lease.
pub(super) const RELEASE: Script = Script(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1",
);

/// Keys: the index, and where a value of another type is moved to. Arguments: names to add to the
/// index. Returns 1. Scores and expiries that were set by hand are reset.
///
/// A value that another program has written in place of the index is moved, so that it is neither
/// lost nor in the way. A second such value is an error.
pub(super) const ADD_TENANTS: Script = Script(
    "local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'zset' and kind ~= 'none' then redis.call('RENAMENX', KEYS[1], KEYS[2]) end
for _, name in ipairs(ARGV) do redis.call('ZADD', KEYS[1], 0, name) end
redis.call('PERSIST', KEYS[1])
return 1",
);

/// Arguments: the start of the range, as for `ZRANGEBYLEX`, the limit, and both ends of the range
/// of marks. Returns the server's time in seconds, all marks, and names in the order of their
/// bytes. An index of another type is empty.
pub(super) const LIST_TENANTS: Script = Script(
    "local now = redis.call('TIME')[1]
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return {now, {}, {}} end
local marks = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[3], ARGV[4])
return {now, marks, redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2])}",
);

/// Arguments: both ends of the range of marks, and the new mark. Returns 1 if the index had a mark,
/// which is replaced, and otherwise 0.
pub(super) const MARK: Script = Script(
    "local marks = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2])
if #marks == 0 then return 0 end
for _, mark in ipairs(marks) do redis.call('ZREM', KEYS[1], mark) end
redis.call('ZADD', KEYS[1], 0, ARGV[3])
return 1",
);

/// The key only selects the node. Arguments: the cursor and the pattern. Returns the next cursor,
/// and keys of the node.
///
/// Commands without a key reach a random node of a cluster, and scripts reach the node of their
/// key.
pub(super) const SCAN: Script =
    Script("return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 1000)");

/// Returns the slots of a cluster, or nil without a cluster.
pub(super) const SLOTS: Script = Script(
    "local slots = redis.pcall('CLUSTER', 'SLOTS')
if slots.err and string.find(slots.err, 'cluster support disabled', 1, true) then return false end
return slots",
);

/// A script's code, which the server caches under its hash.
pub(super) struct Script(&'static str);

/// More than 30,000 years, which does not overflow the server's clock.
const LONGEST: u128 = 1_000_000_000_000_000;

/// How many replicas must acknowledge a save, and how long to wait for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replicas {
    pub(super) count: u32,
    pub(super) timeout: Duration,
}

/// Whole milliseconds, at least 1: the server refuses an expiry of 0, and a `WAIT` of 0 has no
/// limit.
pub(super) fn milliseconds(duration: Duration) -> String {
    let rounded_up = duration.as_nanos().div_ceil(1_000_000);
    rounded_up.clamp(1, LONGEST).to_string()
}

impl Script {
    /// Runs the script on keys of one slot. With `replicas`, also returns how many have
    /// acknowledged all writes of this connection.
    pub(super) async fn run(
        &self,
        connection: &mut impl ConnectionLike,
        keys: &[&str],
        arguments: &[&[u8]],
        replicas: Option<Replicas>,
    ) -> RedisResult<(Value, u32)> {
        // Hashing takes a microsecond.
        let script = redis::Script::new(self.0);
        let by_hash = call("EVALSHA", script.get_hash(), keys, arguments);
        match send(connection, by_hash, replicas).await {
            // `SCRIPT LOAD` and a retry would not be enough: the server may evict the script in
            // between.
            Err(error) if is_unknown(&error) => {
                send(connection, call("EVAL", self.0, keys, arguments), replicas).await
            }
            response => response,
        }
    }
}

async fn send(
    connection: &mut impl ConnectionLike,
    command: Cmd,
    replicas: Option<Replicas>,
) -> RedisResult<(Value, u32)> {
    let Some(replicas) = replicas else {
        return Ok((command.query_async(connection).await?, 0));
    };
    // In one pipeline, since WAIT counts the writes of its own connection.
    redis::pipe()
        .add_command(command)
        .cmd("WAIT")
        .arg(replicas.count)
        .arg(milliseconds(replicas.timeout))
        .query_async(connection)
        .await
}

fn call(command: &str, script: &str, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(command);
    command.arg(script).arg(keys.len()).arg(keys);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
