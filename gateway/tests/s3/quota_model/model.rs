//! What is stored and what may be: versions by key, the parts of open uploads, and limits, all of it in plain lists.
//!
//! Versions count with their bytes and as one object each, delete markers not at all. Parts count with their bytes until
//! their upload is completed or aborted, or another part takes their place.

use std::collections::BTreeMap;

pub const BUCKETS: [&str; 3] = ["bucket", "second", "third"];
/// The owner of all buckets, beside them.
pub const ACCOUNT: usize = BUCKETS.len();
/// S3's limit on every part but the last, in bytes.
pub const PART_LEN_MIN: u64 = 5 << 20;

/// Bytes and objects.
pub type Amount = [u64; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub bucket: usize,
    pub key: &'static str,
}

impl Place {
    pub fn path(self) -> String {
        format!("/{}/{}", BUCKETS[self.bucket], self.key)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    Unversioned,
    Enabled,
    Suspended,
}

#[derive(Debug, Clone)]
pub struct Version {
    /// As S3 names it; `None` for a delete marker of which nobody was told.
    pub id: Option<String>,
    /// In bytes; `None` for a delete marker.
    pub size: Option<u64>,
}

#[derive(Debug)]
pub struct Part {
    pub size: u64,
    pub etag: String,
}

#[derive(Debug)]
pub struct Upload {
    pub at: Place,
    pub id: String,
    pub parts: BTreeMap<u16, Part>,
}

pub struct Model {
    pub versioning: [Versioning; BUCKETS.len()],
    /// Of the buckets, and of their account.
    pub limits: [Amount; BUCKETS.len() + 1],
    pub uploads: Vec<Upload>,
    /// Oldest first.
    versions: BTreeMap<Place, Vec<Version>>,
}

impl Model {
    pub fn new(limit: Amount) -> Self {
        Self {
            versioning: [Versioning::Unversioned; BUCKETS.len()],
            limits: [limit; BUCKETS.len() + 1],
            uploads: Vec::new(),
            versions: BTreeMap::new(),
        }
    }

    /// What a bucket or the account stores.
    pub fn stored(&self, owner: usize) -> Amount {
        let is_of = |at: &Place| owner == ACCOUNT || at.bucket == owner;
        let versions = self.versions.iter().filter(|(at, _)| is_of(at)).flat_map(|(_, versions)| versions);
        let sizes: Vec<u64> = versions.filter_map(|version| version.size).collect();
        let uploads = self.uploads.iter().filter(|upload| is_of(&upload.at));
        let parts: u64 = uploads.flat_map(|upload| upload.parts.values()).map(|part| part.size).sum();
        [sizes.iter().sum::<u64>() + parts, sizes.len() as u64]
    }

    /// Whether that much more fits under the limits of a bucket and of the account. What does not grow always does.
    pub fn admits(&self, bucket: usize, more: Amount) -> bool {
        [ACCOUNT, bucket].into_iter().all(|owner| {
            let (stored, limit) = (self.stored(owner), self.limits[owner]);
            (0..2).all(|index| more[index] == 0 || stored[index] + more[index] <= limit[index])
        })
    }

    /// Whether a version of that many bytes is let in: beside what it replaces, or else in its place.
    pub fn takes_version(&self, at: Place, bytes: u64) -> bool {
        let in_place = |old: u64| self.admits(at.bucket, [bytes.saturating_sub(old), 0]);
        self.admits(at.bucket, [bytes, 1]) || self.replaceable(at).is_some_and(in_place)
    }

    /// Whether a part of that many bytes is let in.
    pub fn takes_part(&self, upload: usize, number: u16, bytes: u64) -> bool {
        let Upload { at, parts, .. } = &self.uploads[upload];
        let replaced = parts.get(&number).map_or(0, |part| part.size);
        self.admits(at.bucket, [bytes, 0]) || self.admits(at.bucket, [bytes.saturating_sub(replaced), 0])
    }

    /// The bytes of the version that a write replaces.
    fn replaceable(&self, at: Place) -> Option<u64> {
        if self.versioning[at.bucket] == Versioning::Enabled {
            return None;
        }
        let null = self.versions_of(at).iter().find(|version| version.id.as_deref() == Some("null"));
        null.and_then(|version| version.size)
    }

    pub fn versions_of(&self, at: Place) -> &[Version] {
        self.versions.get(&at).map_or(&[], Vec::as_slice)
    }

    /// All keys that have versions.
    pub fn places(&self) -> Vec<Place> {
        self.versions.keys().copied().collect()
    }

    /// The current object of a key, if it is one.
    pub fn current(&self, at: Place) -> Option<&Version> {
        self.versions_of(at).last().filter(|version| version.size.is_some())
    }

    /// A version is written; `id` is what the answer called it.
    pub fn write(&mut self, at: Place, id: Option<&str>, size: u64) {
        let is_enabled = self.versioning[at.bucket] == Versioning::Enabled;
        assert_eq!(id.is_some(), is_enabled, "a version has a name while its bucket keeps versions");
        self.push(at, id.map(str::to_owned), Some(size));
    }

    /// An object is deleted without a version's name; `marker` is what the answer called its delete marker.
    pub fn delete(&mut self, at: Place, marker: Option<&str>) {
        if self.versioning[at.bucket] == Versioning::Unversioned {
            self.remove(at, "null");
        } else {
            self.push(at, marker.map(str::to_owned), None);
        }
    }

    fn push(&mut self, at: Place, id: Option<String>, size: Option<u64>) {
        let id = if self.versioning[at.bucket] == Versioning::Enabled {
            id
        } else {
            self.remove(at, "null");
            Some("null".to_owned())
        };
        self.versions.entry(at).or_default().push(Version { id, size });
    }

    /// A version is removed for good, if it is there.
    pub fn remove(&mut self, at: Place, id: &str) {
        if let Some(versions) = self.versions.get_mut(&at) {
            versions.retain(|version| version.id.as_deref() != Some(id));
        }
    }

    /// Some of an upload's parts become a version; the others go.
    pub fn complete(&mut self, upload: usize, numbers: &[u16], id: Option<&str>) {
        let Upload { at, parts, .. } = self.uploads.remove(upload);
        self.write(at, id, numbers.iter().map(|number| parts[number].size).sum());
    }

    /// Everything of a bucket under a prefix expires: its objects, and its uploads.
    pub fn expire(&mut self, bucket: usize, prefix: &str) {
        let is_due = |at: &Place| at.bucket == bucket && at.key.starts_with(prefix);
        for at in self.places().into_iter().filter(is_due) {
            if self.current(at).is_some() {
                self.delete(at, None);
            }
        }
        self.uploads.retain(|upload| !is_due(&upload.at));
    }
}
