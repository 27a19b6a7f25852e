//! What runs in the server, each at once or not at all.
//!
//! A grant is a hash of three fields: `generation` (decimal), `grant` (the bytes of
//! [`Grant::to_bytes`](crate::token::Grant::to_bytes)) and `save` (which save wrote it). All are compared as strings: Lua's
//! numbers are exact up to 2^53 only.
//!
//! Reading is a script as well, though it could be a command: a cluster's connection may send commands that only read to a
//! replica, which may be behind.

use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};

/// Answers nothing if there is no key, else the three fields: some of them missing if it is a hash of somebody else's.
pub(super) const LOAD: Script = Script(
    "if redis.call('EXISTS', KEYS[1]) == 0 then return false end
return redis.call('HMGET', KEYS[1], 'generation', 'grant', 'save')",
);

/// Arguments: the generation that is expected and the save that is expected to have written it (both empty: no grant); the
/// generation, bytes and save to be written; the channel and what to say there. Answers 1, or as [`LOAD`].
///
/// A connection that repeats what it has sent, after a lost answer, finds its own save there: that is a success. The message
/// comes last, and is not worth failing for. A time to live, which somebody must have set by hand, is taken off.
pub(super) const SAVE: Script = Script(
    "local is_there = redis.call('EXISTS', KEYS[1]) == 1
local held = redis.call('HMGET', KEYS[1], 'generation', 'grant', 'save')
if held[3] == ARGV[5] then return 1 end
local is_expected = not is_there and ARGV[1] == ''
if is_there then is_expected = held[1] == ARGV[1] and held[3] == ARGV[2] end
if is_expected then
  redis.call('HSET', KEYS[1], 'generation', ARGV[3], 'grant', ARGV[4], 'save', ARGV[5])
  redis.call('PERSIST', KEYS[1])
  redis.pcall('PUBLISH', ARGV[6], ARGV[7])
  return 1
end
if is_there then return held end
return false",
);

/// Arguments: the owner, and for how many milliseconds. Answers 1, or 0 if another has it.
pub(super) const ACQUIRE: Script = Script(
    "local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1",
);

/// Arguments: the owner, the channel and what to say there. Answers 1, or 0 if another has it or nobody.
pub(super) const RELEASE: Script = Script(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1",
);

/// The index has one argument: the name to be in it. Answers 1. Some other score, or a time to live, somebody must have set by
/// hand.
pub(super) const ENTER: Script = Script(
    "redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('PERSIST', KEYS[1])
return 1",
);

/// Arguments: where names begin, as `ZRANGEBYLEX` has it, and how many of them. Answers the names, in the order of their bytes.
pub(super) const LIST: Script =
    Script("return redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2])");

/// A script's code. The server knows it by its hash, once it has seen it.
pub(super) struct Script(&'static str);

/// More than 30,000 years, which the server can add to its time.
const LONGEST: u128 = 1_000_000_000_000_000;

/// How many replicas have to have a save, and for how long they are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replicas {
    pub(super) count: u32,
    pub(super) timeout: Duration,
}

/// As the server takes it: whole, and never 0, which is refused for a key's life, and for ever for a WAIT.
pub(super) fn milliseconds(duration: Duration) -> String {
    let rounded_up = duration.as_nanos().div_ceil(1_000_000);
    rounded_up.clamp(1, LONGEST).to_string()
}

impl Script {
    /// Runs it on one key. With `replicas`, and how many of them have acknowledged all that this connection has written.
    pub(super) async fn run(
        &self,
        connection: &mut impl ConnectionLike,
        key: &str,
        arguments: &[&[u8]],
        replicas: Option<Replicas>,
    ) -> RedisResult<(Value, u32)> {
        // A microsecond's work, against that of a network.
        let script = redis::Script::new(self.0);
        let by_hash = call("EVALSHA", script.get_hash(), key, arguments);
        match send(connection, by_hash, replicas).await {
            // Not loaded and then tried again: the server could forget it in between.
            Err(error) if is_unknown(&error) => {
                send(connection, call("EVAL", self.0, key, arguments), replicas).await
            }
            answer => answer,
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
    // One after the other on one connection, since WAIT speaks of its own connection's writes.
    redis::pipe()
        .add_command(command)
        .cmd("WAIT")
        .arg(replicas.count)
        .arg(milliseconds(replicas.timeout))
        .query_async(connection)
        .await
}

fn call(how: &str, script: &str, key: &str, arguments: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(how);
    command.arg(script).arg(1).arg(key);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
