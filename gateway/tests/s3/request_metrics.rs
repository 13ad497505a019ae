//! Request metrics of single buckets.

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::service::Service;

fn configuration(id: &str, filter: &str) -> String {
    format!("<MetricsConfiguration><Id>{id}</Id>{filter}</MetricsConfiguration>")
}

#[tokio::test]
async fn requests_are_counted_under_each_filter_that_takes_their_key() {
    let recorder = PrometheusBuilder::new().build_recorder();
    // The service runs on this thread.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/a/before", b"1").await.expect(200);
    client.put("/bucket?metrics&id=all", configuration("all", "").as_bytes()).await.expect(200);
    let under = configuration("under", "<Filter><Prefix>a/</Prefix></Filter>");
    client.put("/bucket?metrics&id=under", under.as_bytes()).await.expect(200);
    client.put("/bucket/a/1", b"123").await.expect(200);
    client.put("/bucket/b", b"12345").await.expect(200);
    client.get("/bucket/a/1").await.expect(200);
    client.get("/bucket/a/missing").await.expect(404);
    client.get("/bucket?list-type=2").await.expect(200);
    client.delete("/bucket?metrics&id=all").await.expect(204);
    client.put("/bucket/a/2", b"").await.expect(200);

    let text = recorder.handle().render();
    let of =
        |name: &str, filter: &str| format!("datamesh_bucket_{name}{{bucket=\"bucket\",filter=\"{filter}\"");
    let requests = |filter: &str, operation: &str, status: &str, count: u32| {
        let labels = of("requests_total", filter);
        format!("{labels},operation=\"{operation}\",status=\"{status}\"}} {count}\n")
    };
    for line in [
        requests("all", "PutObject", "2xx", 2),
        requests("all", "GetObject", "2xx", 1),
        requests("all", "GetObject", "4xx", 1),
        requests("all", "ListObjectsV2", "2xx", 1),
        requests("under", "PutObject", "2xx", 2),
        requests("under", "GetObject", "2xx", 1),
        requests("under", "GetObject", "4xx", 1),
        format!("{}}} 3\n", of("received_bytes_total", "under")),
        format!("{}}} 4\n", of("request_seconds_count", "under")),
    ] {
        assert!(text.contains(&line), "{line}{text}");
    }
    let listed = format!("{},operation=\"ListObjectsV2\"", of("requests_total", "under"));
    assert!(!text.contains(&listed), "a request without a key is under no prefix");
}

#[tokio::test]
async fn metrics_configurations_are_kept_by_id_and_bad_ones_refused() {
    let service = Service::start().await;
    let client = &service.client;
    client.get("/bucket?metrics&id=one").await.expect_error(404, "NoSuchConfiguration");
    client.delete("/bucket?metrics&id=one").await.expect_error(404, "NoSuchConfiguration");
    let one = configuration("one", "<Filter><Prefix>a/</Prefix></Filter>");
    client.put("/bucket?metrics&id=one", one.as_bytes()).await.expect(200);
    client.put("/bucket?metrics&id=two", configuration("two", "").as_bytes()).await.expect(200);
    let shown = client.get("/bucket?metrics&id=one").await.expect(200).text();
    assert!(shown.contains("<Prefix>a/</Prefix>") && shown.contains("<Id>one</Id>"), "{shown}");
    let listed = client.get("/bucket?metrics").await.expect(200).text();
    assert_eq!(listed.matches("<MetricsConfiguration>").count(), 2, "{listed}");
    for (id, document, status, code) in [
        ("one", configuration("two", ""), 400, "InvalidArgument"),
        ("a%20b", configuration("a b", ""), 400, "InvalidArgument"),
        (
            "one",
            configuration("one", "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>"),
            501,
            "NotImplemented",
        ),
        ("one", "<MetricsConfiguration>".to_owned(), 400, "MalformedXML"),
    ] {
        let target = format!("/bucket?metrics&id={id}");
        client.put(&target, document.as_bytes()).await.expect_error(status, code);
    }
    assert_eq!(client.get("/bucket?metrics").await.expect(200).text(), listed);
}
