//! Exports: the archive as a reader finds it.

use std::collections::BTreeMap;
use std::io::Read;

use datamesh_gateway::privacy::export;
use flate2::read::GzDecoder;
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;

use crate::service::{SECRET, Service, noise};

impl Service {
    /// The files of account A's archive, by their paths.
    async fn export(&self) -> BTreeMap<String, String> {
        let user = self.accounts.user(self.account).await.unwrap().unwrap();
        let packed: Vec<_> = export(&self.accounts, &self.catalog, &user).try_collect().await.unwrap();
        let packed = packed.concat();
        let mut archive = tar::Archive::new(GzDecoder::new(packed.as_slice()));
        let files = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mode().unwrap(), 0o600);
            let path = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (path.strip_prefix("datamesh-export/").unwrap().to_owned(), text)
        });
        files.collect()
    }
}

#[tokio::test]
async fn an_archive_has_the_account_and_everything_it_stores_but_contents_and_secrets() {
    let service = Service::start().await;
    let client = &service.client;
    let tagged = [("x-amz-tagging", "colour=blue")];
    client.send("PUT", "/bucket/tagged", &tagged, b"secret contents").await.expect(200);
    for number in 0..1_001 {
        client.put(&format!("/bucket/many/{number:04}"), b"x").await.expect(200);
    }
    client.send("POST", "/bucket/upload?uploads=", &[], b"").await.expect(200);
    service.other.put("/foreign", b"").await.expect(200);
    service.other.put("/foreign/object", &noise(1, 10)).await.expect(200);

    let files = service.export().await;
    let json = |path: &str| -> Value { serde_json::from_str(&files[path]).unwrap() };
    assert!(files["README.txt"].contains("read through S3"));
    assert_eq!(json("account.json")[0]["user_id"], service.account.to_string());
    assert_eq!(json("account.json")[0]["email"], "AKIATESTA@test.org");
    assert_eq!(json("access-keys.json")[0]["access_key_id"], "AKIATESTA");
    assert_eq!(json("buckets.json")[0]["bucket"], "bucket");
    let pages = [json("buckets/bucket/versions.json"), json("buckets/bucket/versions-2.json")];
    let versions: Vec<_> = pages.iter().flat_map(|page| page.as_array().unwrap()).collect();
    assert_eq!((pages[0].as_array().unwrap().len(), versions.len()), (1_000, 1_002));
    let tagged = versions.iter().find(|version| version["key"] == "tagged").unwrap();
    assert_eq!((&tagged["size"], &tagged["version_id"]), (&15.into(), &"null".into()));
    assert!(tagged["tags"].to_string().contains("blue") && tagged["modified"].is_string(), "{tagged}");
    assert_eq!(json("buckets/bucket/uploads.json")[0]["key"], "upload");
    for (path, text) in &files {
        for absent in ["secret contents", SECRET, "AKIATESTB", "foreign"] {
            assert!(!text.contains(absent), "{absent} in {path}");
        }
        assert!(path == "README.txt" || serde_json::from_str::<Vec<Value>>(text).is_ok(), "{path}");
    }
}

#[tokio::test]
async fn an_archive_that_nobody_reads_to_its_end_is_given_up() {
    let service = Service::start().await;
    let user = service.accounts.user(service.account).await.unwrap().unwrap();
    let mut pieces = Box::pin(export(&service.accounts, &service.catalog, &user));
    let first = pieces.next().await.unwrap().unwrap();
    assert!(!first.is_empty());
    drop(pieces);
    assert!(service.export().await.len() > 10, "the next one is whole");
}
