//! F12: random operations, with collection at random times, against a map.
//!
//! After each step every version is readable or cleanly absent, each count is true, and usage is what the map says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_testkit::for_each_engine;
use datamesh_types::SealedId;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::{BACKEND, Fixture, new_chunk, size_of, tick};
use crate::{
    CatalogError, CompleteUpload, Content, CopyVersion, DeleteCondition, DeleteVersion, ManifestAppend,
    ManifestEntry, Precondition, VersionId, Versioning,
};

#[derive(Debug, Clone)]
enum Op {
    Inline {
        key: u8,
    },
    Put {
        key: u8,
        chunks: Vec<u8>,
    },
    /// Looks the chunks up, lets everything unreferenced be deleted, then commits.
    PutAcrossCollection {
        key: u8,
        chunks: Vec<u8>,
    },
    /// Writes chunks anew that may be there already, as two concurrent writers would.
    PutWithoutLooking {
        key: u8,
        chunks: Vec<u8>,
    },
    /// Flushes a segment first; then commits, gives up, or lets it expire.
    PutInSegments {
        key: u8,
        head: Vec<u8>,
        tail: Vec<u8>,
        fate: Fate,
    },
    Delete {
        key: u8,
    },
    DeleteVersion {
        key: u8,
        pick: usize,
    },
    Copy {
        from: u8,
        to: u8,
    },
    Multipart {
        key: u8,
        parts: Vec<Vec<u8>>,
        replaced: Vec<u8>,
        fate: Fate,
    },
    SetVersioning {
        enabled: bool,
    },
    /// Puts a legal hold on a version with an id of its own, or lifts it.
    Hold {
        key: u8,
        pick: usize,
        held: bool,
    },
    Collect {
        grace_ms: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Commit,
    GiveUp,
    Expire,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0_u8..4;
    let chunks = || vec(0_u8..6, 1..5);
    let fate = || prop_oneof![3 => Just(Fate::Commit), 1 => Just(Fate::GiveUp), 1 => Just(Fate::Expire)];
    prop_oneof![
        2 => key().prop_map(|key| Op::Inline { key }),
        6 => (key(), chunks()).prop_map(|(key, chunks)| Op::Put { key, chunks }),
        3 => (key(), chunks()).prop_map(|(key, chunks)| Op::PutAcrossCollection { key, chunks }),
        3 => (key(), chunks()).prop_map(|(key, chunks)| Op::PutWithoutLooking { key, chunks }),
        4 => (key(), chunks(), vec(0_u8..6, 0..3), fate())
            .prop_map(|(key, head, tail, fate)| Op::PutInSegments { key, head, tail, fate }),
        6 => key().prop_map(|key| Op::Delete { key }),
        3 => (key(), any::<usize>()).prop_map(|(key, pick)| Op::DeleteVersion { key, pick }),
        3 => (key(), key()).prop_map(|(from, to)| Op::Copy { from, to }),
        3 => (key(), vec(chunks(), 1..4), chunks(), fate())
            .prop_map(|(key, parts, replaced, fate)| Op::Multipart { key, parts, replaced, fate }),
        1 => any::<bool>().prop_map(|enabled| Op::SetVersioning { enabled }),
        2 => (key(), any::<usize>(), any::<bool>()).prop_map(|(key, pick, held)| Op::Hold { key, pick, held }),
        6 => prop_oneof![Just(0), Just(3), Just(1000)].prop_map(|grace_ms| Op::Collect { grace_ms }),
    ]
}

/// A version's chunks; `None` for inline bytes.
#[derive(Debug, Clone, PartialEq)]
enum Stored {
    Marker,
    Inline,
    Chunks(Vec<u8>),
}

struct Model {
    fixture: Fixture,
    versioning: Versioning,
    /// Oldest first.
    versions: BTreeMap<u8, Vec<(VersionId, Stored)>>,
    /// What the backend holds.
    backend: BTreeSet<SealedId>,
    open_parts: BTreeMap<u8, u64>,
    held: BTreeSet<VersionId>,
}

impl Model {
    /// Written to the backend before the commit.
    fn upload(&mut self, entries: &[ManifestEntry]) {
        for entry in entries {
            if let ManifestEntry::New { location, .. } = entry {
                self.backend.insert(location.sealed);
            }
        }
    }

    fn write(&mut self, key: u8, id: VersionId, stored: Stored) {
        let versions = self.versions.entry(key).or_default();
        if self.versioning != Versioning::Enabled {
            assert_eq!(id, VersionId::Null);
            versions.retain(|(id, _)| *id != VersionId::Null);
        }
        versions.push((id, stored));
    }

    async fn collect(&mut self, grace_ms: u64) {
        for sealed in self.fixture.collect(grace_ms).await {
            self.backend.remove(&sealed);
        }
    }

    async fn apply(&mut self, op: Op) {
        let fixture = self.fixture.clone();
        match op {
            Op::Inline { key } => {
                let committed = fixture.put_inline(&[key]).await.unwrap();
                self.write(key, committed.version, Stored::Inline);
            }
            Op::Put { key, chunks } => {
                let entries = fixture.entries(&chunks).await;
                self.put(key, chunks, entries).await.unwrap();
            }
            Op::PutAcrossCollection { key, chunks } => {
                let entries = fixture.entries(&chunks).await;
                self.collect(0).await;
                match self.put(key, chunks, entries).await {
                    Ok(()) | Err(CatalogError::ChunkGone { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Op::PutWithoutLooking { key, chunks } => {
                let entries = chunks.iter().map(|chunk| new_chunk(*chunk)).collect();
                self.put(key, chunks, entries).await.unwrap();
            }
            Op::PutInSegments { key, head, tail, fate } => self.put_in_segments(key, head, tail, fate).await,
            Op::Delete { key } => self.delete(key).await,
            Op::DeleteVersion { key, pick } => self.delete_version(key, pick).await,
            Op::Copy { from, to } => self.copy(from, to).await,
            Op::Multipart { key, parts, replaced, fate } => self.multipart(key, parts, replaced, fate).await,
            Op::SetVersioning { enabled } => {
                self.versioning = match (enabled, self.versioning) {
                    (true, _) => Versioning::Enabled,
                    (false, Versioning::Unversioned) => Versioning::Unversioned,
                    (false, _) => Versioning::Suspended,
                };
                fixture.catalog.set_versioning(fixture.bucket.id, self.versioning).await.unwrap();
            }
            Op::Hold { key, pick, held } => self.hold(key, pick, held).await,
            Op::Collect { grace_ms } => self.collect(grace_ms).await,
        }
    }

    async fn put(
        &mut self,
        key: u8,
        chunks: Vec<u8>,
        entries: Vec<ManifestEntry>,
    ) -> Result<(), CatalogError> {
        self.upload(&entries);
        let committed = self.fixture.put_entries(&[key], &chunks, entries).await?;
        self.write(key, committed.version, Stored::Chunks(chunks));
        Ok(())
    }

    async fn put_in_segments(&mut self, key: u8, head: Vec<u8>, tail: Vec<u8>, fate: Fate) {
        let fixture = self.fixture.clone();
        let entries = fixture.entries(&head).await;
        self.upload(&entries);
        let now = tick();
        let append = ManifestAppend {
            manifest: None,
            domain: fixture.bucket.domain,
            backend: BACKEND.to_owned(),
            start_offset: 0,
            entries,
            expires_at_ms: if fate == Fate::Expire { now } else { now + 1_000_000 },
        };
        let manifest = fixture.catalog.append_manifest(append).await.unwrap();
        self.collect(0).await;
        let entries = fixture.entries(&tail).await;
        self.upload(&entries);
        if fate == Fate::GiveUp {
            return fixture.catalog.release_manifest(manifest, tick()).await.unwrap();
        }
        let mut content = fixture.content(entries);
        content.pending = Some(manifest);
        let chunks = [head, tail].concat();
        let put = fixture.put_request(&[key], Content::Manifest(content), size_of(&chunks));
        match fixture.catalog.put_version(put, Arc::clone(&fixture.hook)).await {
            Ok(committed) if fate == Fate::Commit => {
                self.write(key, committed.version, Stored::Chunks(chunks));
            }
            Err(CatalogError::ManifestGone) if fate == Fate::Expire => {}
            other => panic!("{other:?}"),
        }
    }

    async fn hold(&mut self, key: u8, pick: usize, held: bool) {
        let fixture = &self.fixture;
        let holdable =
            |(id, stored): &&(VersionId, Stored)| *id != VersionId::Null && *stored != Stored::Marker;
        let versions: Vec<_> = self.versions.entry(key).or_default().iter().filter(holdable).collect();
        if versions.is_empty() {
            return;
        }
        let (id, _) = versions[pick % versions.len()];
        let version = fixture.catalog.version(fixture.bucket.id, &[key], Some(*id)).await.unwrap().unwrap();
        fixture.catalog.set_version_legal_hold(&version, held).await.unwrap();
        if held {
            self.held.insert(*id)
        } else {
            self.held.remove(id)
        };
    }

    async fn delete(&mut self, key: u8) {
        let fixture = &self.fixture;
        let delete = DeleteVersion {
            bucket: fixture.bucket.id,
            key: vec![key],
            version: None,
            condition: DeleteCondition::NONE,
            bypass_governance: false,
            now_ms: tick(),
        };
        let deleted = fixture.catalog.delete_version(delete, Arc::clone(&fixture.hook)).await.unwrap();
        assert_eq!(deleted.delete_marker, self.versioning != Versioning::Unversioned);
        if deleted.delete_marker {
            self.write(key, deleted.version.unwrap(), Stored::Marker);
        } else {
            self.versions.remove(&key);
        }
    }

    async fn delete_version(&mut self, key: u8, pick: usize) {
        let fixture = self.fixture.clone();
        let versions = self.versions.entry(key).or_default();
        let picked = (!versions.is_empty()).then(|| pick % versions.len());
        let id = picked.map_or(VersionId::Numbered(1 << 40), |picked| versions[picked].0);
        let delete = DeleteVersion {
            bucket: fixture.bucket.id,
            key: vec![key],
            version: Some(id),
            condition: DeleteCondition::NONE,
            bypass_governance: false,
            now_ms: tick(),
        };
        let deleted = fixture.catalog.delete_version(delete, Arc::clone(&fixture.hook)).await;
        if self.held.contains(&id) {
            assert!(matches!(deleted, Err(CatalogError::Locked)));
            return;
        }
        assert_eq!(deleted.unwrap().version, picked.map(|picked| versions.remove(picked).0));
    }

    async fn copy(&mut self, from: u8, to: u8) {
        let fixture = self.fixture.clone();
        let Some(source) = fixture.newest(&[from]).await.filter(|version| !version.delete_marker) else {
            return;
        };
        let copy = CopyVersion {
            bucket: fixture.bucket.id,
            key: vec![to],
            precondition: Precondition::NONE,
            etag: source.etag.clone(),
            storage_class: source.storage_class.clone(),
            attributes: "{}".to_owned(),
            meta: crate::VersionMeta::NONE,
            now_ms: tick(),
            source,
        };
        let committed = fixture.catalog.copy_version(copy, Arc::clone(&fixture.hook)).await.unwrap();
        let stored = self.versions[&from].last().unwrap().1.clone();
        self.write(to, committed.version, stored);
    }

    async fn multipart(&mut self, key: u8, parts: Vec<Vec<u8>>, replaced: Vec<u8>, fate: Fate) {
        let fixture = self.fixture.clone();
        let upload = fixture.begin(&[key]).await;
        // A part that is overwritten, and one that Complete does not name.
        for (number, chunks) in [(1, &replaced), (9, &replaced)] {
            self.part(&[key], upload, number, chunks).await;
        }
        let mut named = Vec::new();
        for (number, chunks) in (1..).zip(&parts) {
            named.push(self.part(&[key], upload, number, chunks).await);
        }
        self.collect(0).await;
        if fate != Fate::Commit {
            if fate == Fate::GiveUp {
                let hook = Arc::clone(&fixture.hook);
                fixture.catalog.abort_upload(fixture.bucket.id, &[key], upload, tick(), hook).await.unwrap();
            } else {
                let stored = parts.iter().map(|part| size_of(part)).sum::<u64>() + size_of(&replaced);
                *self.open_parts.entry(0).or_default() += stored;
            }
            return;
        }
        let complete = CompleteUpload {
            bucket: fixture.bucket.id,
            key: vec![key],
            upload,
            parts: named,
            minimum_part_size: 1,
            expected_size: None,
            precondition: Precondition::NONE,
            etag: "multi".to_owned(),
            attributes: "{}".to_owned(),
            now_ms: tick(),
        };
        let hook = || Arc::clone(&fixture.hook);
        let committed = fixture.catalog.complete_upload(complete.clone(), hook()).await.unwrap();
        assert_eq!(fixture.catalog.complete_upload(complete, hook()).await.unwrap(), committed);
        self.write(key, committed.version, Stored::Chunks(parts.concat()));
    }

    async fn part(
        &mut self,
        key: &[u8],
        upload: crate::UploadId,
        number: u16,
        chunks: &[u8],
    ) -> crate::CompletedPart {
        let fixture = self.fixture.clone();
        let content = fixture.content(fixture.entries(chunks).await);
        self.upload(&content.tail);
        let part = crate::PutPart {
            bucket: fixture.bucket.id,
            key: key.to_vec(),
            upload,
            number,
            content,
            size: size_of(chunks),
            etag: format!("{chunks:?}"),
            checksums: "{}".to_owned(),
            now_ms: tick(),
        };
        let part = fixture.catalog.put_part(part, Arc::clone(&fixture.hook)).await.unwrap();
        crate::CompletedPart { number, etag: part.etag }
    }

    async fn verify(&self) {
        let fixture = &self.fixture;
        let (mut bytes, mut objects) = (self.open_parts.values().sum::<u64>(), 0);
        for key in 0..4 {
            let versions = self.versions.get(&key).map_or(&[][..], Vec::as_slice);
            let newest = fixture.newest(&[key]).await.map(|version| (version.id, version.delete_marker));
            let expected = versions.last().map(|(id, stored)| (*id, *stored == Stored::Marker));
            assert_eq!(newest, expected);
            for (id, stored) in versions {
                let version = fixture.catalog.version(fixture.bucket.id, &[key], Some(*id)).await.unwrap();
                let version = version.expect("the version is there");
                assert_eq!(version.meta.legal_hold, self.held.contains(id));
                let size = match stored {
                    Stored::Marker => continue,
                    Stored::Inline => 9,
                    Stored::Chunks(chunks) => {
                        let plan = fixture.plan(&version).await;
                        let read: Vec<u8> = plan.iter().map(|(chunk, _)| chunk.0[0]).collect();
                        assert_eq!(read, *chunks);
                        assert!(plan.iter().all(|(_, sealed)| self.backend.contains(sealed)), "all readable");
                        size_of(chunks)
                    }
                };
                assert_eq!(version.size, size);
                bytes += size;
                objects += 1;
            }
        }
        assert_eq!(fixture.assert_consistent().await, (bytes, objects));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_readable_or_cleanly_absent_at_every_step() {
    for_each_engine(|db| async move {
        let handle = tokio::runtime::Handle::current();
        let cases = if db.engine() == datamesh_db::Engine::Sqlite { 48 } else { 12 };
        let test = move || {
            let config = Config { cases, failure_persistence: None, ..Config::default() };
            TestRunner::new(config).run(&vec(op(), 1..40), |ops| {
                handle.block_on(async {
                    let fixture = Fixture::new(&db).await;
                    let mut model = Model {
                        fixture,
                        versioning: Versioning::Unversioned,
                        versions: BTreeMap::new(),
                        backend: BTreeSet::new(),
                        open_parts: BTreeMap::new(),
                        held: BTreeSet::new(),
                    };
                    for op in ops {
                        model.apply(op).await;
                        model.verify().await;
                    }
                    model.empty().await;
                });
                Ok(())
            })
        };
        tokio::task::spawn_blocking(test).await.unwrap().unwrap();
    })
    .await;
}

impl Model {
    /// Deletes everything; nothing may be left in the backend.
    async fn empty(mut self) {
        let fixture = self.fixture.clone();
        let hook = || Arc::clone(&fixture.hook);
        fixture.catalog.expire_uploads(u64::MAX >> 1, u64::MAX >> 1, 10, tick(), hook()).await.unwrap();
        let versions = std::mem::take(&mut self.versions);
        for (key, versions) in &versions {
            for (id, _) in versions.iter().filter(|(id, _)| self.held.contains(id)) {
                let version = fixture.catalog.version(fixture.bucket.id, &[*key], Some(*id)).await.unwrap();
                fixture.catalog.set_version_legal_hold(&version.unwrap(), false).await.unwrap();
            }
        }
        for (key, versions) in versions {
            for (id, _) in versions {
                let delete = DeleteVersion {
                    bucket: fixture.bucket.id,
                    key: vec![key],
                    version: Some(id),
                    condition: DeleteCondition::NONE,
                    bypass_governance: false,
                    now_ms: tick(),
                };
                fixture.catalog.delete_version(delete, hook()).await.unwrap();
            }
        }
        fixture.catalog.collect_garbage(u64::MAX >> 1, 0, 1000).await.unwrap();
        self.collect(0).await;
        assert_eq!(fixture.assert_consistent().await, (0, 0));
        // What a failed commit had uploaded is known to nobody: the sweep of orphans finds it.
        let orphans: Vec<_> = self
            .backend
            .iter()
            .map(|sealed| datamesh_types::Location { sealed: *sealed, ..super::location() })
            .collect();
        let unknown = fixture.catalog.unknown_locations(&orphans).await.unwrap();
        assert_eq!(unknown, orphans);
    }
}
