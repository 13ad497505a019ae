//! Listing versions against a sorted list.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_testkit::for_each_engine;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::{Fixture, query_plan};
use crate::{ListedVersion, VersionId, VersionListQuery, Versioning};

/// A version as a listing shows it: key, id, whether it is a delete marker, whether it is the latest.
type Shown = (Vec<u8>, VersionId, bool, bool);
/// Oldest first: id, whether it is a delete marker.
type Versions = BTreeMap<Vec<u8>, Vec<(VersionId, bool)>>;

fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(b'a'), 2 => Just(b'/'), 1 => Just(b'b'), 1 => Just(0xff)];
    vec(byte, 1..4)
}

/// What is written to which key under which versioning.
async fn write(fixture: &Fixture, versions: &mut Versions, key: &[u8], versioning: Versioning, marker: bool) {
    fixture.catalog.set_versioning(fixture.bucket.id, versioning).await.unwrap();
    if marker {
        fixture.delete(key).await;
    } else {
        fixture.put_inline(key).await.unwrap();
    }
    let id = fixture.newest(key).await.unwrap().id;
    let written = versions.entry(key.to_vec()).or_default();
    written.retain(|(older, _)| *older != id);
    written.push((id, marker));
}

/// What a listing must be, by the definition.
fn expected(versions: &Versions, query: &VersionListQuery) -> (Vec<Shown>, Vec<Vec<u8>>) {
    let delimiter = query.delimiter.as_slice();
    let common = |key: &[u8]| {
        let rest = key.strip_prefix(query.prefix.as_slice())?;
        let at = (0..rest.len()).find(|at| !delimiter.is_empty() && rest[*at..].starts_with(delimiter))?;
        Some(key[..query.prefix.len() + at + delimiter.len()].to_vec())
    };
    let (mut listed, mut prefixes) = (Vec::new(), BTreeSet::new());
    for (key, versions) in versions.iter().filter(|(key, _)| key.starts_with(&query.prefix)) {
        let from = match key.cmp(&query.after) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Greater => versions.len(),
            // The older ones than the marker, none without a marker.
            std::cmp::Ordering::Equal => {
                versions.iter().position(|(id, _)| Some(*id) == query.after_version).unwrap_or(0)
            }
        };
        match common(key) {
            Some(prefix) if prefix == query.after || *key == query.after => {}
            Some(prefix) => drop(prefixes.insert(prefix)),
            None => listed.extend(
                versions[..from]
                    .iter()
                    .enumerate()
                    .rev()
                    .map(|(at, (id, marker))| (key.clone(), *id, *marker, at + 1 == versions.len())),
            ),
        }
    }
    (listed, prefixes.into_iter().collect())
}

async fn list_all(fixture: &Fixture, mut query: VersionListQuery) -> (Vec<ListedVersion>, Vec<Vec<u8>>) {
    let (mut versions, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = fixture.catalog.list_versions(query.clone()).await.unwrap();
        assert!(page.versions.len() + page.common_prefixes.len() <= query.limit);
        versions.extend(page.versions);
        prefixes.extend(page.common_prefixes);
        let Some((after, after_version)) = page.next else { return (versions, prefixes) };
        assert_ne!((&after, after_version), (&query.after, query.after_version), "a page makes progress");
        (query.after, query.after_version) = (after, after_version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_versions_join_to_what_a_sorted_list_gives() {
    for_each_engine(|db| async move {
        let handle = tokio::runtime::Handle::current();
        let versioning = prop_oneof![3 => Just(Versioning::Enabled), 1 => Just(Versioning::Suspended)];
        let delimiter = prop_oneof![2 => Just(vec![]), 2 => Just(b"/".to_vec()), 1 => Just(vec![0xff])];
        let prefix = prop_oneof![2 => Just(vec![]), 1 => Just(b"a".to_vec()), 1 => Just(b"a/".to_vec())];
        // The marker: a key, and one of its versions.
        let query = (prefix, delimiter, prop_oneof![Just(vec![]), key()], any::<usize>(), 1_usize..5);
        let cases = (vec((key(), versioning, any::<bool>()), 0..30), vec(query, 20));
        let test = move || {
            let config = Config { cases: 16, failure_persistence: None, ..Config::default() };
            TestRunner::new(config).run(&cases, |(writes, queries)| {
                handle.block_on(async {
                    let fixture = Fixture::new(&db).await;
                    let mut versions = Versions::new();
                    for (key, versioning, marker) in writes {
                        write(&fixture, &mut versions, &key, versioning, marker).await;
                    }
                    for (prefix, delimiter, after, pick, limit) in queries {
                        let of_key = versions.get(&after).map_or(&[][..], Vec::as_slice);
                        let after_version = of_key.get(pick % (of_key.len() + 1)).map(|(id, _)| *id);
                        let bucket = fixture.bucket.id;
                        let query =
                            VersionListQuery { bucket, prefix, delimiter, after, after_version, limit };
                        let (listed, prefixes) = list_all(&fixture, query.clone()).await;
                        assert!(listed.is_sorted_by(|a, b| (&a.key, b.sequence) < (&b.key, a.sequence)));
                        let listed: Vec<_> = listed
                            .into_iter()
                            .map(|listed| (listed.key, listed.id, listed.delete_marker, listed.latest))
                            .collect();
                        assert_eq!((listed, prefixes), expected(&versions, &query), "{query:?}");
                    }
                });
                Ok(())
            })
        };
        tokio::task::spawn_blocking(test).await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_page_of_versions_is_one_range_of_the_index() {
    let plan = query_plan(crate::list_versions::FROM).await;
    assert_eq!(plan, ["SEARCH version USING INDEX version_of_key (bucket=? AND key>? AND key<?)"]);
}
