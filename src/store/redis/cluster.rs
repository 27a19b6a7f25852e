//! Keys that reach each primary of a cluster.

use std::collections::HashMap;

use redis::Value;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// Reads the response of `CLUSTER SLOTS`. Returns for each primary a key in one of its slots.
pub(super) fn keys_of_primaries(response: Value, prefix: &str) -> Option<Vec<String>> {
    let Value::Array(ranges) = response else {
        return None;
    };
    let mut slots = HashMap::new();
    for range in ranges {
        let Value::Array(range) = range else {
            return None;
        };
        // The first slot, the last slot, the primary, and its replicas.
        let mut range = range.into_iter();
        let (Some(Value::Int(first)), Some(primary)) = (range.next(), range.nth(1)) else {
            return None;
        };
        // The primary's address and id, compared as a whole.
        slots.insert(format!("{primary:?}"), u16::try_from(first).ok()?);
    }
    let keys = slots.into_values().map(|slot| key_in_slot(prefix, slot));
    keys.collect()
}

fn key_in_slot(prefix: &str, slot: u16) -> Option<String> {
    // About 16,384 keys have to be tried.
    (0..10_000_000)
        .map(|number| format!("{prefix}{number}"))
        .find(|key| slot_of(key) == slot)
}

/// The slot of a key without braces: CRC16 (XMODEM) modulo 16384.
fn slot_of(key: &str) -> u16 {
    let crc = key.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_the_specification() {
        assert_eq!(slot_of("123456789"), 0x31c3);
        for slot in [0, 5_461, SLOTS - 1] {
            let key = key_in_slot("tower-oauth2:", slot).unwrap();
            assert_eq!(slot_of(&key), slot);
        }
    }

    #[test]
    fn each_primary_has_one_key() {
        let node = |port| {
            let address = Value::BulkString(b"127.0.0.1".to_vec());
            Value::Array(vec![address, Value::Int(port)])
        };
        let range = |first, last, port, replica| {
            let slots = [Value::Int(first), Value::Int(last)];
            let nodes = [node(port), node(replica)];
            Value::Array(slots.into_iter().chain(nodes).collect())
        };
        // The primary on port 1 has two ranges.
        let response = Value::Array(vec![
            range(0, 99, 1, 4),
            range(100, 9_999, 2, 5),
            range(10_000, 16_383, 1, 4),
        ]);
        let keys = keys_of_primaries(response, "p:").unwrap();
        let mut slots: Vec<_> = keys.iter().map(|key| slot_of(key)).collect();
        slots.sort_unstable();
        assert_eq!(slots, [100, 10_000]);
        assert_eq!(keys_of_primaries(Value::Nil, "p:"), None);
        assert_eq!(
            keys_of_primaries(Value::Array(vec![Value::Int(1)]), "p:"),
            None
        );
    }
}
