//! A digest of JSON for comparing a requested start with the workflow.

use goconductor_saga::Json;

/// The FNV-1a hash of a value, independent of the order of members. It is not safe against deliberate collisions.
#[must_use]
pub fn digest(value: &Json) -> String {
    let mut hash = OFFSET;
    take(value, &mut hash);
    format!("{hash:016x}")
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

fn take(value: &Json, hash: &mut u64) {
    match value {
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            bytes(b"{", hash);
            for (name, member) in members {
                bytes(Json::from(name.as_str()).to_string().as_bytes(), hash);
                take(member, hash);
            }
            bytes(b"}", hash);
        }
        Json::Array(items) => {
            bytes(b"[", hash);
            for item in items {
                take(item, hash);
                bytes(b",", hash);
            }
            bytes(b"]", hash);
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            bytes(value.to_string().as_bytes(), hash);
        }
    }
}

fn bytes(bytes: &[u8], hash: &mut u64) {
    for byte in bytes {
        *hash = (*hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
}
