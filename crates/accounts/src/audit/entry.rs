//! An entry of the audit log, and its hash.
//!
//! The hash, version 1, is the SHA-256 of `datamesh audit entry 1` and a zero byte, the sequence and the time as u64, then
//! actor, action, target, reason and the outcome's name, each after its length as u32, then the digest of the request and
//! the hash of the previous entry. Integers are little-endian.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::AccountsError;

const TAG: &[u8] = b"datamesh audit entry 1\0";

/// 32 bytes that stand for more. As text, 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What stands before the first entry.
    pub const NONE: Self = Self([0; 32]);
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        let read = hex::decode_to_slice(&text, &mut bytes);
        read.map_err(|_| serde::de::Error::custom("expected 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It began; another entry tells the end, unless it was cut off.
    Begun,
    /// It was done.
    Done,
    /// It was only tried out, and nothing has changed.
    Previewed,
    /// It made no sense, or contradicted what was there: nothing has changed.
    Refused,
    /// Whoever asked may not do so.
    Denied,
    /// The gateway failed; some of it may have been done.
    Failed,
}

impl Outcome {
    const ALL: [Self; 6] =
        [Self::Begun, Self::Done, Self::Previewed, Self::Refused, Self::Denied, Self::Failed];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Previewed => "previewed",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for Outcome {
    type Err = AccountsError;

    fn from_str(name: &str) -> Result<Self, AccountsError> {
        let known = Self::ALL.into_iter().find(|outcome| outcome.name() == name);
        known.ok_or_else(|| AccountsError::Damaged { name: "audit_entry".to_owned() })
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Its number, from 1.
    pub sequence: u64,
    /// When it was written, milliseconds since 1970, by the clock of the gateway that did.
    pub at_ms: u64,
    /// Who: the name of an administrator's token; `nobody` for a request without a good one.
    pub actor: String,
    /// What: a noun and a verb, such as `key.revoke`.
    pub action: String,
    /// To what, such as `user:` and an account's id. Empty when it has no object.
    pub target: String,
    /// Why, as the actor says.
    pub reason: String,
    /// What became of it.
    pub outcome: Outcome,
    /// A keyed digest of the request: who has the request and the key ring can tell that it was this one.
    pub request: Digest,
    /// The hash of the entry before.
    pub previous: Digest,
    /// The hash of all of the above.
    pub hash: Digest,
}

impl AuditEntry {
    /// The hash that the entry must have.
    pub fn computed_hash(&self) -> Digest {
        let mut text = Vec::with_capacity(256);
        text.extend_from_slice(TAG);
        text.extend_from_slice(&self.sequence.to_le_bytes());
        text.extend_from_slice(&self.at_ms.to_le_bytes());
        for field in [&self.actor, &self.action, &self.target, &self.reason, self.outcome.name()] {
            text.extend_from_slice(&(field.len() as u32).to_le_bytes());
            text.extend_from_slice(field.as_bytes());
        }
        text.extend_from_slice(&self.request.0);
        text.extend_from_slice(&self.previous.0);
        let hash = digest::digest(&digest::SHA256, &text);
        Digest(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> AuditEntry {
        AuditEntry {
            sequence: 7,
            at_ms: 1_800_000_000_000,
            actor: "operator".into(),
            action: "key.revoke".into(),
            target: "key:AKIA".into(),
            reason: "lost".into(),
            outcome: Outcome::Done,
            request: Digest([1; 32]),
            previous: Digest([2; 32]),
            hash: Digest::NONE,
        }
    }

    #[test]
    fn the_hash_of_version_1_stays_what_it_is() {
        assert_eq!(entry().computed_hash().to_string(), GOLDEN_1);
    }

    #[test]
    fn every_field_counts_and_none_can_pass_bytes_to_its_neighbour() {
        let changes: [fn(&mut AuditEntry); 10] = [
            |entry| entry.sequence += 1,
            |entry| entry.at_ms += 1,
            |entry| entry.actor.push('x'),
            |entry| entry.action.push('x'),
            |entry| entry.target.clear(),
            |entry| entry.reason.push('x'),
            |entry| entry.outcome = Outcome::Denied,
            |entry| entry.request.0[31] ^= 1,
            |entry| entry.previous.0[0] ^= 1,
            |entry| {
                entry.actor = "operatork".into();
                entry.action = "ey.revoke".into();
            },
        ];
        for change in changes {
            let mut altered = entry();
            change(&mut altered);
            assert_ne!(altered.computed_hash(), entry().computed_hash(), "{altered:?}");
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let text = serde_json::to_string(&entry()).unwrap();
        assert_eq!(serde_json::from_str::<AuditEntry>(&text).unwrap(), entry());
        for outcome in Outcome::ALL {
            assert_eq!(outcome.name().parse::<Outcome>().unwrap(), outcome);
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
        "gone".parse::<Outcome>().unwrap_err();
    }

    const GOLDEN_1: &str = "8a9be87ae66315902e16536031855f226a6fc723b76d6d832a6c3ea0c520d1e7";
}
