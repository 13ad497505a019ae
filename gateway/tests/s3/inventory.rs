//! Inventories. Time is what the tests say it is.

use std::io::Read as _;

use datamesh_gateway::jobs::JobError;

use crate::client::Client;
use crate::service::Service;

/// A Wednesday.
const NOW_MS: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 24 * 3600 * 1000;

fn configuration(id: &str, included: &str, frequency: &str, extra: &str) -> String {
    format!(
        "<InventoryConfiguration><Id>{id}</Id><IsEnabled>true</IsEnabled>{extra}<Destination>\
         <S3BucketDestination><Bucket>arn:aws:s3:::lists</Bucket><Format>CSV</Format><Prefix>p</Prefix>\
         </S3BucketDestination></Destination><IncludedObjectVersions>{included}</IncludedObjectVersions>\
         <Schedule><Frequency>{frequency}</Frequency></Schedule><OptionalFields><Field>Size</Field>\
         <Field>ETag</Field></OptionalFields></InventoryConfiguration>"
    )
}

async fn configure(client: &Client, id: &str, document: &str) {
    client.put(&format!("/bucket?inventory=&id={id}"), document.as_bytes()).await.expect(200);
}

/// The lines of the inventory whose manifest has this key, sorted.
async fn lines(client: &Client, manifest: &str) -> Vec<String> {
    let manifest = client.get(manifest).await.expect(200);
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.body).unwrap();
    let mut lines = Vec::new();
    for file in manifest["files"].as_array().unwrap() {
        let packed = client.get(&format!("/lists/{}", file["key"].as_str().unwrap())).await.expect(200).body;
        assert_eq!(file["size"], packed.len());
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

#[tokio::test]
async fn an_inventory_lists_what_is_there_once_a_period() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/lists", b"").await.expect(200);
    client.put("/bucket/a%20%22b%22", b"123").await.expect(200);
    client.put("/bucket/c", b"").await.expect(200);
    configure(client, "daily", &configuration("daily", "Current", "Daily", "")).await;
    configure(
        client,
        "some",
        &configuration("some", "Current", "Weekly", "<Filter><Prefix>c</Prefix></Filter>"),
    )
    .await;
    assert_eq!(service.jobs.write_inventories(NOW_MS).await.unwrap(), 2);
    let daily = lines(client, "/lists/p/bucket/daily/2023-11-14T00-00Z/manifest.json").await;
    assert_eq!(
        daily,
        [
            "\"bucket\",\"a+%22b%22\",\"3\",\"202cb962ac59075b964b07152d234b70\"",
            "\"bucket\",\"c\",\"0\",\"d41d8cd98f00b204e9800998ecf8427e\"",
        ]
    );
    let weekly = "/lists/p/bucket/some/2023-11-12T00-00Z/manifest.json";
    assert_eq!(lines(client, weekly).await.len(), 1);
    assert_eq!(service.jobs.write_inventories(NOW_MS + 1).await.unwrap(), 0, "the periods are done");
    client.delete("/bucket/c").await.expect(204);
    assert_eq!(service.jobs.write_inventories(NOW_MS + DAY_MS).await.unwrap(), 1, "a new day, the same week");
    let next = lines(client, "/lists/p/bucket/daily/2023-11-15T00-00Z/manifest.json").await;
    assert_eq!(next.len(), 1);
}

#[tokio::test]
async fn an_inventory_on_demand_waits_for_no_period() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/lists", b"").await.expect(200);
    client.put("/bucket/a", b"1").await.expect(200);
    configure(client, "one", &configuration("one", "Current", "Weekly", "")).await;
    configure(client, "two", &configuration("two", "Current", "Weekly", "")).await;
    assert_eq!(service.jobs.write_inventories(NOW_MS).await.unwrap(), 2);
    assert_eq!(service.jobs.write_inventories_of("bucket", Some("one"), NOW_MS).await.unwrap(), 1);
    assert_eq!(lines(client, "/lists/p/bucket/one/2023-11-14T22-13Z/manifest.json").await.len(), 1);
    client.get("/lists/p/bucket/two/2023-11-14T22-13Z/manifest.json").await.expect(404);
    assert_eq!(service.jobs.write_inventories_of("bucket", None, NOW_MS).await.unwrap(), 2);
    for (bucket, id) in [("bucket", Some("three")), ("lists", None), ("missing", None)] {
        let error = service.jobs.write_inventories_of(bucket, id, NOW_MS).await.unwrap_err();
        assert!(matches!(error, JobError::NoInventory { .. }), "{bucket} {id:?}: {error}");
    }
}

#[tokio::test]
async fn versions_and_markers_are_told_apart() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/lists", b"").await.expect(200);
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/bucket?versioning=", enabled).await.expect(200);
    client.put("/bucket/a", b"1").await.expect(200);
    client.put("/bucket/a", b"22").await.expect(200);
    client.delete("/bucket/a").await.expect(204);
    configure(client, "all", &configuration("all", "All", "Daily", "")).await;
    service.jobs.write_inventories(NOW_MS).await.unwrap();
    let all = lines(client, "/lists/p/bucket/all/2023-11-14T00-00Z/manifest.json").await;
    let without_ids: Vec<String> = all
        .iter()
        .map(|line| {
            line.split(',')
                .enumerate()
                .filter(|(at, _)| *at != 2 && *at != 6)
                .map(|(_, it)| it)
                .collect::<Vec<_>>()
                .join(",")
        })
        .collect();
    let mut expected = vec![
        "\"bucket\",\"a\",\"true\",\"true\",\"\"",
        "\"bucket\",\"a\",\"false\",\"false\",\"2\"",
        "\"bucket\",\"a\",\"false\",\"false\",\"1\"",
    ];
    let mut found = without_ids.clone();
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn configurations_are_kept_shown_and_removed() {
    let service = Service::start().await;
    let client = &service.client;
    client.get("/bucket?inventory=&id=one").await.expect_error(404, "NoSuchConfiguration");
    let document = configuration("one", "All", "Daily", "");
    client
        .put("/bucket?inventory=&id=one", document.as_bytes())
        .await
        .expect_error(400, "InvalidS3DestinationBucket");
    client.put("/lists", b"").await.expect(200);
    configure(client, "one", &document).await;
    configure(client, "two", &configuration("two", "Current", "Weekly", "")).await;
    let shown = client.get("/bucket?inventory=&id=one").await.expect(200).text();
    assert!(shown.contains("<Bucket>arn:aws:s3:::lists</Bucket>") && shown.contains(">ETag<"), "{shown}");
    let listed = client.get("/bucket?inventory=").await.expect(200).text();
    assert!(listed.contains("<Id>one</Id>") && listed.contains("<Id>two</Id>"), "{listed}");
    client.delete("/bucket?inventory=&id=one").await.expect(204);
    client.get("/bucket?inventory=&id=one").await.expect_error(404, "NoSuchConfiguration");
    for (id, document) in [
        ("other", document.clone()),
        ("one", document.replace(">CSV<", ">Parquet<")),
        ("one", document.replace("Daily", "Hourly")),
        ("one", document.replace(">ETag<", ">Smell<")),
    ] {
        let reply = client.put(&format!("/bucket?inventory=&id={id}"), document.as_bytes()).await;
        assert!((400..=501).contains(&reply.status), "{}", reply.text());
    }
    client.get("/bucket?inventory=&id=one").await.expect_error(404, "NoSuchConfiguration");
}

#[tokio::test]
async fn nothing_is_written_into_a_bucket_that_has_become_somebody_elses() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/lists", b"").await.expect(200);
    configure(client, "one", &configuration("one", "All", "Daily", "")).await;
    client.delete("/lists").await.expect(204);
    service.other.put("/lists", b"").await.expect(200);
    assert_eq!(service.jobs.write_inventories(NOW_MS).await.unwrap(), 0);
    let listed = service.other.get("/lists?list-type=2").await.expect(200).text();
    assert!(!listed.contains("<Key>"), "{listed}");
}
