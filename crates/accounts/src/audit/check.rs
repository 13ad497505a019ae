//! Checking an audit log. Pure: the entries come from a database, or from an export.

use std::fmt;

use serde::Serialize;

use super::expiry::Emptied;
use super::{AuditEntry, AuditHead, AuditPublicKey, Digest, WitnessedHead};

/// What is wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditFault {
    /// The entry is not what was hashed.
    Altered,
    /// The entry is not there, or stands elsewhere.
    Missing,
    /// The entry comes after the signed head.
    Unsigned,
    /// The head is not signed by the log's key.
    Forged,
    /// The log once had another entry in this place, as a head that was kept apart tells.
    Rewritten,
    /// A head that was kept apart was signed by another key.
    KeyReplaced,
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Altered => "was altered",
            Self::Missing => "is missing",
            Self::Unsigned => "is not signed",
            Self::Forged => "has a head that the log's key has not signed",
            Self::Rewritten => "is another than there once was",
            Self::KeyReplaced => "was once signed by another key",
        })
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditVerdict {
    /// How many entries were looked at.
    pub entries: u64,
    /// The number of the last one, as the head has it.
    pub head: u64,
    /// The key that heads are signed with.
    pub public_key: AuditPublicKey,
    /// The number of the first entry that is not as it must be, and what is wrong with it.
    pub first_bad: Option<(u64, AuditFault)>,
}

/// A check under way: entries are pushed in the order in which they are found.
#[derive(Debug)]
pub struct AuditCheck {
    key: AuditPublicKey,
    seen: Vec<AuditHead>,
    entries: u64,
    last: (u64, Digest),
    emptied: Emptied,
    first_bad: Option<(u64, AuditFault)>,
}

impl AuditCheck {
    /// Nothing checked yet.
    pub fn new(key: AuditPublicKey) -> Self {
        Self {
            key,
            seen: Vec::new(),
            entries: 0,
            last: (0, Digest::NONE),
            emptied: Emptied::default(),
            first_bad: None,
        }
    }

    /// All checked up to a head that was found to be good: the first entry to push is the one after it.
    pub fn after(key: AuditPublicKey, verified: &AuditHead) -> Self {
        Self { last: (verified.sequence, verified.hash), ..Self::new(key) }
    }

    /// The log must contain what a head tells that was kept apart. Call this before the first entry is pushed.
    pub fn expect(&mut self, seen: WitnessedHead) {
        if seen.public_key != self.key {
            self.note(seen.head.sequence, AuditFault::KeyReplaced);
        } else if seen.head.is_signed_by(&self.key) {
            self.seen.push(seen.head);
        } else {
            self.note(seen.head.sequence, AuditFault::Forged);
        }
    }

    /// Checks the next entry.
    pub fn push(&mut self, entry: &AuditEntry) {
        self.entries += 1;
        let (last, hash) = self.last;
        if entry.sequence != last + 1 {
            self.note(last + 1, AuditFault::Missing);
        } else if !entry.is_whole() {
            self.note(entry.sequence, AuditFault::Altered);
        } else if entry.previous != hash {
            // The entry itself is whole, so the one before it was replaced.
            self.note(last.max(1), AuditFault::Altered);
        }
        if self.seen.iter().any(|head| head.sequence == entry.sequence && head.hash != entry.hash) {
            self.note(entry.sequence, AuditFault::Rewritten);
        }
        self.emptied.push(entry);
        self.last = (entry.sequence, entry.hash);
    }

    /// There is an entry after the newest head.
    pub fn refuse_unsigned(&mut self, sequence: u64) {
        self.note(sequence, AuditFault::Unsigned);
    }

    /// Compares what was pushed with the head.
    pub fn finish(mut self, head: &AuditHead) -> AuditVerdict {
        let (last, hash) = self.last;
        if let Some(sequence) = self.emptied.first_unannounced() {
            self.note(sequence, AuditFault::Altered);
        }
        if last < head.sequence {
            self.note(last + 1, AuditFault::Missing);
        } else if last > head.sequence {
            self.note(head.sequence + 1, AuditFault::Unsigned);
        } else if hash != head.hash {
            self.note(last.max(1), AuditFault::Altered);
        }
        if !head.is_signed_by(&self.key) {
            self.note(head.sequence.max(1), AuditFault::Forged);
        }
        // A log and a head that were both set back look whole but for what was kept apart.
        if self.seen.iter().any(|seen| seen.sequence > last) {
            self.note(last + 1, AuditFault::Missing);
        }
        AuditVerdict {
            entries: self.entries,
            head: head.sequence,
            public_key: self.key,
            first_bad: self.first_bad,
        }
    }

    fn note(&mut self, sequence: u64, fault: AuditFault) {
        if self.first_bad.is_none_or(|(first, _)| sequence < first) {
            self.first_bad = Some((sequence, fault));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuditKey, Outcome};
    use super::*;

    fn log(len: u64) -> (AuditKey, Vec<AuditEntry>, AuditHead) {
        let key = AuditKey::new(&[7; 32]);
        let mut entries = Vec::new();
        let mut previous = Digest::NONE;
        for sequence in 1..=len {
            let mut entry = AuditEntry {
                sequence,
                at_ms: 1_000 + sequence,
                actor: "operator".into(),
                action: "user.create".into(),
                target: format!("user:{sequence}"),
                reason: String::new(),
                outcome: Outcome::Done,
                request: Digest([sequence as u8; 32]),
                payload: None,
                emptied: false,
                previous,
                hash: Digest::NONE,
            };
            // A log that began in version 1.
            if sequence > 4 {
                entry.seal();
            } else {
                entry.rehash();
            }
            previous = entry.hash;
            entries.push(entry);
        }
        let head = key.sign(len, 1_000 + len, previous);
        (key, entries, head)
    }

    fn first_bad(key: &AuditKey, entries: &[AuditEntry], head: &AuditHead) -> Option<(u64, AuditFault)> {
        let mut check = AuditCheck::new(key.public());
        for entry in entries {
            check.push(entry);
        }
        check.finish(head).first_bad
    }

    /// Hashes an entry anew in its version.
    fn reseal(entry: &mut AuditEntry) {
        if entry.payload.is_some() {
            entry.seal();
        } else {
            entry.rehash();
        }
    }

    /// Hashes everything anew, as who has no key could.
    fn rehash(entries: &mut [AuditEntry]) {
        let mut previous = Digest::NONE;
        for entry in entries {
            entry.previous = previous;
            reseal(entry);
            previous = entry.hash;
        }
    }

    #[test]
    fn a_whole_log_passes_and_so_does_an_empty_one() {
        for len in [0, 1, 2, 9] {
            let (key, entries, mut head) = log(len);
            if len == 0 {
                head = AuditHead { sequence: 0, at_ms: 0, hash: Digest::NONE, signature: String::new() };
            }
            assert_eq!(first_bad(&key, &entries, &head), None, "{len}");
        }
    }

    #[test]
    fn an_edit_is_found_where_it_is() {
        for at in 0..9 {
            let (key, mut entries, head) = log(9);
            entries[at].target = "user:other".into();
            assert_eq!(first_bad(&key, &entries, &head), Some((at as u64 + 1, AuditFault::Altered)));
            // Its own hash does not help, nor does hashing everything after it: the head tells.
            reseal(&mut entries[at]);
            assert_eq!(first_bad(&key, &entries, &head), Some((at as u64 + 1, AuditFault::Altered)));
            rehash(&mut entries);
            assert_eq!(first_bad(&key, &entries, &head), Some((9, AuditFault::Altered)));
        }
    }

    #[test]
    fn a_removal_is_found_in_the_middle_at_the_start_and_at_the_end() {
        for at in 0..9 {
            let (key, mut entries, head) = log(9);
            entries.remove(at);
            assert_eq!(first_bad(&key, &entries, &head), Some((at as u64 + 1, AuditFault::Missing)));
        }
        let (key, entries, head) = log(9);
        assert_eq!(first_bad(&key, &[], &head), Some((1, AuditFault::Missing)));
        assert_eq!(first_bad(&key, &entries[..4], &head), Some((5, AuditFault::Missing)));
    }

    #[test]
    fn what_comes_after_a_verified_head_is_checked_alone() {
        let (key, mut entries, head) = log(9);
        let verified = key.sign(6, 1_006, entries[5].hash);
        let judge = |entries: &[AuditEntry]| {
            let mut check = AuditCheck::after(key.public(), &verified);
            for entry in entries {
                check.push(entry);
            }
            let verdict = check.finish(&head);
            (verdict.entries, verdict.first_bad)
        };
        assert_eq!(judge(&entries[6..]), (3, None));
        assert_eq!(judge(&entries[7..]), (2, Some((7, AuditFault::Missing))));
        entries[5].target = "user:other".into();
        rehash(&mut entries);
        let (_, found) = judge(&entries[6..]);
        assert_eq!(
            found,
            Some((6, AuditFault::Altered)),
            "the chain no longer begins with the verified head"
        );
    }

    #[test]
    fn a_swap_is_found() {
        let (key, mut entries, head) = log(9);
        entries.swap(3, 4);
        assert_eq!(first_bad(&key, &entries, &head), Some((4, AuditFault::Missing)));
        let (three, four) = (entries[3].sequence, entries[4].sequence);
        entries[3].sequence = four;
        entries[4].sequence = three;
        assert_eq!(first_bad(&key, &entries, &head), Some((4, AuditFault::Altered)));
    }

    #[test]
    fn a_head_that_somebody_else_signed_or_that_was_set_back_is_found() {
        let (key, mut entries, _) = log(9);
        let (_, earlier, earlier_head) = log(5);
        let forged = AuditKey::new(&[8; 32]).sign(9, 1_009, entries[8].hash);
        assert_eq!(first_bad(&key, &entries, &forged), Some((9, AuditFault::Forged)));
        assert_eq!(first_bad(&key, &entries, &earlier_head), Some((6, AuditFault::Unsigned)));
        // Both set back to a state that was whole once: only a head kept apart tells.
        assert_eq!(first_bad(&key, &earlier, &earlier_head), None);
        let seen = |entries: &[AuditEntry], key: &AuditKey| WitnessedHead {
            public_key: key.public(),
            head: key.sign(7, 1_007, entries[6].hash),
        };
        let judge = |entries: &[AuditEntry], head: &AuditHead, seen: WitnessedHead| {
            let mut check = AuditCheck::new(key.public());
            check.expect(seen);
            for entry in entries {
                check.push(entry);
            }
            check.finish(head).first_bad
        };
        assert_eq!(
            judge(&earlier, &earlier_head, seen(&entries, &key)),
            Some((6, AuditFault::Missing)),
            "the log was cut"
        );
        let kept = seen(&entries, &key);
        let head = key.sign(9, 1_009, entries[8].hash);
        assert_eq!(judge(&entries, &head, kept.clone()), None);
        entries[2].target = "user:other".into();
        rehash(&mut entries);
        let head = key.sign(9, 1_009, entries[8].hash);
        assert_eq!(judge(&entries, &head, kept.clone()), Some((7, AuditFault::Rewritten)));
        let other = AuditKey::new(&[8; 32]);
        assert_eq!(judge(&entries, &head, seen(&entries, &other)), Some((7, AuditFault::KeyReplaced)));
        let mut unsigned = kept;
        unsigned.head.sequence = 8;
        assert_eq!(judge(&entries, &head, unsigned), Some((8, AuditFault::Forged)));
    }
}
