//! An entry of the audit log, and its hash.
//!
//! The hash, version 2, is the SHA-256 of `datamesh audit entry 2` and a zero byte, the sequence and the time as u64, action
//! and the outcome's name, each after its length as u32, then the hash of the payload and the hash of the previous entry.
//! The payload is what is forgotten after its time; its hash is the SHA-256 of `datamesh audit payload 1` and a zero byte,
//! actor, target and reason, each after its length, then the digest of the request. That is keyed, so that nobody finds
//! out by guessing what a payload was. Integers are little-endian.
//!
//! Version 1, whose entries stay whole, is the SHA-256 of `datamesh audit entry 1` and a zero byte, the sequence and the
//! time, then actor, action, target, reason and the outcome's name, then the digest of the request and the hash of the
//! previous entry.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::AccountsError;

const TAG_1: &[u8] = b"datamesh audit entry 1\0";
const TAG_2: &[u8] = b"datamesh audit entry 2\0";
const PAYLOAD_TAG: &[u8] = b"datamesh audit payload 1\0";

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
    /// The hash of actor, target, reason and request; `None` in an entry of version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Digest>,
    /// Whether actor, target, reason and request have been forgotten; they are empty then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emptied: bool,
    /// The hash of the entry before.
    pub previous: Digest,
    /// The hash of all of the above.
    pub hash: Digest,
}

impl AuditEntry {
    /// Gives a new entry its hashes.
    pub(super) fn seal(&mut self) {
        self.payload = Some(self.computed_payload());
        self.hash = self.computed_hash();
    }

    /// Hashes an entry anew in the version that it has.
    #[cfg(test)]
    pub(super) fn rehash(&mut self) {
        self.hash = self.computed_hash();
    }

    /// Whether it is what was hashed, as far as it has not been forgotten. Whether it may have been is for who knows the
    /// entries after it.
    pub fn is_whole(&self) -> bool {
        let payload_holds = match self.payload {
            None => !self.emptied,
            Some(_) if self.emptied => {
                let is_empty = [&self.actor, &self.target, &self.reason].iter().all(|text| text.is_empty());
                is_empty && self.request == Digest::NONE
            }
            Some(payload) => payload == self.computed_payload(),
        };
        payload_holds && self.hash == self.computed_hash()
    }

    fn computed_payload(&self) -> Digest {
        digest_of(PAYLOAD_TAG, &[], &[&self.actor, &self.target, &self.reason], [Some(self.request), None])
    }

    fn computed_hash(&self) -> Digest {
        let Self { actor, action, target, reason, .. } = self;
        let (place, outcome) = ([self.sequence, self.at_ms], self.outcome.name());
        match self.payload {
            None => digest_of(
                TAG_1,
                &place,
                &[actor, action, target, reason, outcome],
                [Some(self.request), Some(self.previous)],
            ),
            Some(payload) => {
                digest_of(TAG_2, &place, &[action, outcome], [Some(payload), Some(self.previous)])
            }
        }
    }
}

fn digest_of(tag: &[u8], numbers: &[u64], texts: &[&str], digests: [Option<Digest>; 2]) -> Digest {
    let mut hashed = Vec::with_capacity(256);
    hashed.extend_from_slice(tag);
    for number in numbers {
        hashed.extend_from_slice(&number.to_le_bytes());
    }
    for text in texts {
        hashed.extend_from_slice(&(text.len() as u32).to_le_bytes());
        hashed.extend_from_slice(text.as_bytes());
    }
    for digest in digests.into_iter().flatten() {
        hashed.extend_from_slice(&digest.0);
    }
    let hash = digest::digest(&digest::SHA256, &hashed);
    Digest(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
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
            payload: None,
            emptied: false,
            previous: Digest([2; 32]),
            hash: Digest::NONE,
        }
    }

    #[test]
    fn the_hash_of_version_1_stays_what_it_is() {
        assert_eq!(entry().computed_hash().to_string(), GOLDEN_1);
    }

    #[test]
    fn the_hashes_of_version_2_stay_what_they_are() {
        let mut entry = entry();
        entry.seal();
        assert_eq!(entry.payload.unwrap().to_string(), GOLDEN_PAYLOAD);
        assert_eq!(entry.hash.to_string(), GOLDEN_2);
    }

    #[test]
    fn what_is_forgotten_leaves_the_hash_and_has_to_be_forgotten_whole() {
        let mut sealed = entry();
        sealed.seal();
        assert!(sealed.is_whole());
        let mut emptied = AuditEntry { emptied: true, request: Digest::NONE, ..sealed.clone() };
        for text in [&mut emptied.actor, &mut emptied.target, &mut emptied.reason] {
            text.clear();
        }
        assert!(emptied.is_whole());
        let changes: [fn(&mut AuditEntry); 7] = [
            |entry| entry.actor.push('x'),
            |entry| entry.target.push('x'),
            |entry| entry.reason.push('x'),
            |entry| entry.request.0[0] = 1,
            |entry| entry.emptied = false,
            |entry| entry.action.push('x'),
            |entry| entry.payload = None,
        ];
        for change in changes {
            let mut altered = emptied.clone();
            change(&mut altered);
            assert!(!altered.is_whole(), "{altered:?}");
        }
        let mut old = AuditEntry { emptied: true, ..entry() };
        old.hash = old.computed_hash();
        assert!(!old.is_whole(), "entries of version 1 stay whole");
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
        let mut sealed = entry();
        sealed.seal();
        let old = AuditEntry { hash: entry().computed_hash(), ..entry() };
        for whole in [old, sealed] {
            assert!(whole.is_whole());
            for change in changes {
                let mut altered = whole.clone();
                change(&mut altered);
                assert!(!altered.is_whole(), "{altered:?}");
            }
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let text = serde_json::to_string(&entry()).unwrap();
        assert_eq!(serde_json::from_str::<AuditEntry>(&text).unwrap(), entry());
        assert!(!text.contains("payload") && !text.contains("emptied"), "version 1 is written as it was");
        let mut emptied = AuditEntry { emptied: true, ..entry() };
        emptied.seal();
        let text = serde_json::to_string(&emptied).unwrap();
        assert_eq!(serde_json::from_str::<AuditEntry>(&text).unwrap(), emptied);
        for outcome in Outcome::ALL {
            assert_eq!(outcome.name().parse::<Outcome>().unwrap(), outcome);
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
        "gone".parse::<Outcome>().unwrap_err();
    }

    const GOLDEN_PAYLOAD: &str = "f497a5d46e2787bbf61049e683f5fe8e7b0916d162e627adc0a801916db4d29a";
    const GOLDEN_2: &str = "1bde5e4321ce81246bafacf77f2b6f496968daf0213b62b500f3eede66303da5";
    const GOLDEN_1: &str = "8a9be87ae66315902e16536031855f226a6fc723b76d6d832a6c3ea0c520d1e7";
}
