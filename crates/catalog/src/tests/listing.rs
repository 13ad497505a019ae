//! Listing against a sorted set, and what a page costs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use datamesh_testkit::for_each_engine;
use proptest::collection::{btree_set, vec};
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::{Fixture, query_plan, tick};
use crate::list::{ListCost, list};
use crate::{CatalogError, DeleteCondition, DeleteVersion, ListPage, ListQuery};

type Keys = BTreeSet<Vec<u8>>;

/// What a page must be, by the definition.
fn expected(keys: &Keys, query: &ListQuery) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let common = |key: &[u8]| {
        let rest = key.strip_prefix(query.prefix.as_slice())?;
        let delimiter = query.delimiter.as_slice();
        if delimiter.is_empty() {
            return None;
        }
        let at = (0..rest.len()).find(|at| rest[*at..].starts_with(delimiter))?;
        Some(key[..query.prefix.len() + at + delimiter.len()].to_vec())
    };
    let (mut objects, mut prefixes) = (Vec::new(), BTreeSet::new());
    for key in keys.iter().filter(|key| key.starts_with(&query.prefix) && **key > query.after) {
        match common(key) {
            Some(prefix) if prefix == query.after => {}
            Some(prefix) => drop(prefixes.insert(prefix)),
            None => objects.push(key.clone()),
        }
    }
    (objects, prefixes.into_iter().collect())
}

async fn list_all(fixture: &Fixture, mut query: ListQuery) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = fixture.catalog.list_objects(query.clone()).await.unwrap();
        assert!(page.objects.len() + page.common_prefixes.len() <= query.limit);
        objects.extend(page.objects.into_iter().map(|object| object.key));
        prefixes.extend(page.common_prefixes);
        let Some(next) = page.next else { return (objects, prefixes) };
        assert_ne!(next, query.after, "a page makes progress");
        query.after = next;
    }
}

fn text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(b'a'), 2 => Just(b'/'), 1 => Just(b'b'), 1 => Just(0xff), 1 => Just(0)];
    vec(byte, 0..=max)
}

fn delimiter() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![]),
        Just(b"/".to_vec()),
        Just(b"a/".to_vec()),
        Just(vec![0xff]),
        Just(vec![0xff, 0xff]),
        Just(b"//".to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_listing_join_to_what_a_sorted_set_gives() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let handle = tokio::runtime::Handle::current();
        let query = (text(3), delimiter(), text(4), 1_usize..5);
        let cases = (btree_set(text(6).prop_filter("a key", |key| !key.is_empty()), 0..30), vec(query, 20));
        let test = move || {
            let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
            TestRunner::new(config).run(&cases, |(keys, queries)| {
                handle.block_on(async {
                    let fixture =
                        Fixture { bucket: Fixture::new(&fixture.db).await.bucket, ..fixture.clone() };
                    for key in &keys {
                        fixture.put_inline(key).await.unwrap();
                    }
                    // Neither deleted keys nor other buckets' show.
                    fixture.put_inline(b"a/gone").await.unwrap();
                    fixture.delete(b"a/gone").await;
                    for (prefix, delimiter, after, limit) in queries {
                        let query = ListQuery { bucket: fixture.bucket.id, prefix, delimiter, after, limit };
                        assert_eq!(
                            list_all(&fixture, query.clone()).await,
                            expected(&keys, &query),
                            "{query:?}"
                        );
                    }
                });
                Ok(())
            })
        };
        tokio::task::spawn_blocking(test).await.unwrap().unwrap();
    })
    .await;
}

async fn cost(fixture: &Fixture, delimiter: &[u8], limit: usize) -> (ListPage, ListCost) {
    let query = ListQuery {
        bucket: fixture.bucket.id,
        prefix: vec![],
        delimiter: delimiter.to_vec(),
        after: b"dir-0010".to_vec(),
        limit,
    };
    fixture
        .db
        .read(move |tx| {
            let query = query.clone();
            Box::pin(async move { list(tx, &query).await })
        })
        .await
        .unwrap()
}

async fn fill(fixture: &Fixture, keys_per_directory: usize) {
    const INSERT: &str =
        "INSERT INTO version (bucket, key, null_version, delete_marker, listed, size, modified_ms,
           part_count, etag, storage_class, attributes)
         SELECT CAST($1 AS BIGINT), unhex(j.value ->> 0), 1, 0, 1, 0, 0, 0, 'e', 'STANDARD', '{}'
         FROM json_each(CAST($2 AS TEXT)) AS j";
    for directory in 0..300 {
        let mut rows = String::from("[");
        for key in 0..keys_per_directory {
            let key = hex::encode(format!("dir-{directory:04}/{key:06}").as_bytes());
            write!(rows, "{}[\"{key}\"]", if rows.len() > 1 { "," } else { "" }).unwrap();
        }
        rows.push(']');
        let params: [datamesh_db::Value; 2] = [fixture.bucket.id.0.into(), rows.into()];
        fixture
            .db
            .write(move |tx| {
                let params = params.clone();
                Box::pin(async move { Ok::<_, CatalogError>(tx.execute(INSERT, &params).await?) })
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_page_costs_the_same_in_a_small_and_a_large_bucket() {
    for_each_engine(|db| async move {
        let (small, large) = (Fixture::new(&db).await, Fixture::new(&db).await);
        fill(&small, 3).await;
        fill(&large, 100).await;
        for fixture in [&small, &large] {
            let (page, flat) = cost(fixture, b"", 200).await;
            assert_eq!(page.objects.len(), 200);
            assert_eq!(flat, ListCost { statements: 1, rows: 201 });
        }
        let (page, rolled) = cost(&large, b"/", 200).await;
        assert_eq!(page.common_prefixes.len(), 200);
        assert!(rolled.statements <= 202, "one seek per common prefix: {rolled:?}");
        assert!(rolled.rows <= 64 + 2 * 200, "keys under a common prefix are not read: {rolled:?}");
    })
    .await;
}

#[tokio::test]
async fn a_listing_reads_a_covering_index() {
    let plan = query_plan(crate::list::FROM).await;
    assert_eq!(plan, ["SEARCH version USING COVERING INDEX version_listed (bucket=? AND key>? AND key<?)"]);
}

#[tokio::test]
async fn a_common_prefix_disappears_with_its_last_key() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        for key in ["a/1", "a/2", "b"] {
            fixture.put_inline(key.as_bytes()).await.unwrap();
        }
        let query = ListQuery {
            bucket: fixture.bucket.id,
            prefix: vec![],
            delimiter: b"/".to_vec(),
            after: vec![],
            limit: 10,
        };
        assert_eq!(list_all(&fixture, query.clone()).await, (vec![b"b".to_vec()], vec![b"a/".to_vec()]));
        let deletes = ["a/1", "a/2"].map(|key| DeleteVersion {
            bucket: fixture.bucket.id,
            key: key.into(),
            version: None,
            condition: DeleteCondition::NONE,
            bypass_governance: false,
            now_ms: tick(),
        });
        fixture.catalog.delete_versions(deletes.into(), fixture.hook.clone()).await.unwrap();
        assert_eq!(list_all(&fixture, query).await, (vec![b"b".to_vec()], vec![]));
    })
    .await;
}
