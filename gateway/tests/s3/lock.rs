//! Object lock: defaults, retention, legal holds, and what they keep from being deleted.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::client::{Client, Reply};
use crate::service::Service;
use crate::versioning::set_versioning;

const BYPASS: (&str, &str) = ("x-amz-bypass-governance-retention", "true");

/// A time so many days ahead, in whole seconds.
fn days_ahead(days: i64) -> String {
    let time = OffsetDateTime::now_utc() + Duration::days(days);
    time.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

fn retention(mode: &str, until: &str) -> Vec<u8> {
    format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")
        .into_bytes()
}

fn config(rule: &str) -> Vec<u8> {
    format!(
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
    )
    .into_bytes()
}

fn default_rule(mode: &str, period: &str) -> String {
    format!("<Rule><DefaultRetention><Mode>{mode}</Mode>{period}</DefaultRetention></Rule>")
}

async fn create_locked(client: &Client) {
    let headers = [("x-amz-bucket-object-lock-enabled", "true")];
    client.send("PUT", "/locked", &headers, b"").await.expect(200);
}

async fn put(client: &Client, target: &str) -> String {
    let put = client.put(target, b"body").await.expect(200);
    put.header("x-amz-version-id").expect("the bucket is versioned").to_owned()
}

async fn remove(client: &Client, target: &str, id: &str, headers: &[(&str, &str)]) -> Reply {
    client.send("DELETE", &format!("{target}?versionId={id}"), headers, b"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_has_object_lock_from_its_creation_or_once_it_is_versioned_and_for_good() {
    let service = Service::start().await;
    let client = &service.client;
    create_locked(client).await;
    assert_eq!(client.get("/locked?versioning").await.element("Status").as_deref(), Some("Enabled"));
    let shown = client.get("/locked?object-lock").await.expect(200);
    assert_eq!(
        (shown.element("ObjectLockEnabled").as_deref(), shown.element("Rule")),
        (Some("Enabled"), None)
    );
    let suspend = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    client.put("/locked?versioning", suspend).await.expect_error(409, "InvalidBucketState");

    client.get("/bucket?object-lock").await.expect_error(404, "ObjectLockConfigurationNotFoundError");
    let rule = default_rule("COMPLIANCE", "<Years>1</Years>");
    client.put("/bucket?object-lock", &config(&rule)).await.expect_error(409, "InvalidBucketState");
    set_versioning(client, "bucket", "Suspended").await;
    client.put("/bucket?object-lock", &config(&rule)).await.expect_error(409, "InvalidBucketState");
    set_versioning(client, "bucket", "Enabled").await;
    client.put("/bucket?object-lock", &config(&rule)).await.expect(200);
    let shown = client.get("/bucket?object-lock").await.expect(200);
    assert_eq!(shown.element("Rule").map(|rule| format!("<Rule>{rule}</Rule>")), Some(rule));
    service.other.get("/bucket?object-lock").await.expect_error(403, "AccessDenied");
    service.other.put("/bucket?object-lock", &config("")).await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_defaults_are_refused() {
    let service = Service::start().await;
    let client = &service.client;
    create_locked(client).await;
    let table = [
        (config(&default_rule("GOVERNANCE", "<Days>1</Days><Years>1</Years>")), "MalformedXML"),
        (config(&default_rule("GOVERNANCE", "")), "MalformedXML"),
        (config(&default_rule("governance", "<Days>1</Days>")), "MalformedXML"),
        (config(&default_rule("GOVERNANCE", "<Days>0</Days>")), "InvalidRetentionPeriod"),
        (config(&default_rule("GOVERNANCE", "<Years>-1</Years>")), "InvalidRetentionPeriod"),
        (b"<ObjectLockConfiguration/>".to_vec(), "MalformedXML"),
    ];
    for (document, code) in table {
        client.put("/locked?object-lock", &document).await.expect_error(400, code);
    }
    assert_eq!(client.get("/locked?object-lock").await.expect(200).element("Rule"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_holds_every_new_version_unless_its_writer_says_otherwise() {
    let service = Service::start().await;
    let client = &service.client;
    create_locked(client).await;
    let unheld = put(client, "/locked/before").await;
    let rule = default_rule("GOVERNANCE", "<Days>1</Days>");
    client.put("/locked?object-lock", &config(&rule)).await.expect(200);
    let held = put(client, "/locked/after").await;
    let head = client.head("/locked/after").await.expect(200);
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
    let until = head.header("x-amz-object-lock-retain-until-date").unwrap();
    let until = OffsetDateTime::parse(until, &Rfc3339).unwrap() - OffsetDateTime::now_utc();
    assert!((Duration::hours(23)..=Duration::hours(24)).contains(&until), "{until}");
    let later = days_ahead(9);
    let own = [("x-amz-object-lock-mode", "COMPLIANCE"), ("x-amz-object-lock-retain-until-date", &later)];
    client.send("PUT", "/locked/own", &own, b"").await.expect(200);
    let head = client.head("/locked/own").await.expect(200);
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
    // A copy is a new version: it has nothing of its source's lock.
    client.send("PUT", "/locked/copy", &[("x-amz-copy-source", "/locked/own")], b"").await.expect(200);
    assert_eq!(client.head("/locked/copy").await.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
    remove(client, "/locked/before", &unheld, &[]).await.expect(204);
    remove(client, "/locked/after", &held, &[]).await.expect_error(403, "AccessDenied");
    remove(client, "/locked/after", &held, &[BYPASS]).await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn governance_gives_way_to_a_bypass_and_compliance_to_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    create_locked(client).await;
    let id = put(client, "/locked/k").await;
    client.get("/locked/k?retention").await.expect_error(404, "NoSuchObjectLockConfiguration");
    let (sooner, later) = (days_ahead(1), days_ahead(2));
    client.put("/locked/k?retention", &retention("GOVERNANCE", &later)).await.expect(200);
    let shown = client.get(&format!("/locked/k?retention&versionId={id}")).await.expect(200);
    assert_eq!(shown.element("Mode").as_deref(), Some("GOVERNANCE"));
    let until = OffsetDateTime::parse(&shown.element("RetainUntilDate").unwrap(), &Rfc3339).unwrap();
    assert_eq!(until, OffsetDateTime::parse(&later, &Rfc3339).unwrap());
    let change = |mode: &'static str, until: String, bypass: bool| async move {
        let headers: &[(&str, &str)] = if bypass { &[BYPASS] } else { &[] };
        client.send("PUT", "/locked/k?retention", headers, &retention(mode, &until)).await
    };
    change("GOVERNANCE", sooner.clone(), false).await.expect_error(403, "AccessDenied");
    change("COMPLIANCE", later.clone(), false).await.expect_error(403, "AccessDenied");
    change("GOVERNANCE", sooner, true).await.expect(200);
    change("GOVERNANCE", later.clone(), false).await.expect(200);
    // A plain deletion only adds a marker; that can be removed.
    let marker = client.delete("/locked/k").await.expect(204);
    let marker = marker.header("x-amz-version-id").unwrap();
    remove(client, "/locked/k", &id, &[]).await.expect_error(403, "AccessDenied");
    remove(client, "/locked/k", marker, &[]).await.expect(204);
    change("COMPLIANCE", later.clone(), true).await.expect(200);
    remove(client, "/locked/k", &id, &[BYPASS]).await.expect_error(403, "AccessDenied");
    change("GOVERNANCE", later.clone(), true).await.expect_error(403, "AccessDenied");
    let emptied = client.send("PUT", "/locked/k?retention", &[BYPASS], b"<Retention/>").await;
    emptied.expect_error(403, "AccessDenied");
    change("COMPLIANCE", days_ahead(3), false).await.expect(200);
    assert_eq!(client.get("/locked/k").await.expect(200).body, b"body");
    change("governance", later, true).await.expect_error(400, "MalformedXML");
    change("COMPLIANCE", days_ahead(-1), true).await.expect_error(400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legal_hold_holds_until_it_is_lifted() {
    let service = Service::start().await;
    let client = &service.client;
    create_locked(client).await;
    let headers = [("x-amz-object-lock-legal-hold", "ON")];
    let put = client.send("PUT", "/locked/k", &headers, b"body").await.expect(200);
    let id = put.header("x-amz-version-id").unwrap().to_owned();
    assert_eq!(client.head("/locked/k").await.header("x-amz-object-lock-legal-hold"), Some("ON"));
    assert_eq!(client.get("/locked/k?legal-hold").await.element("Status").as_deref(), Some("ON"));
    remove(client, "/locked/k", &id, &[BYPASS]).await.expect_error(403, "AccessDenied");
    let set = |status: &'static str| async move {
        let document = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        client.put("/locked/k?legal-hold", document.as_bytes()).await
    };
    set("MAYBE").await.expect_error(400, "MalformedXML");
    set("OFF").await.expect(200);
    assert_eq!(client.get("/locked/k?legal-hold").await.element("Status").as_deref(), Some("OFF"));
    remove(client, "/locked/k", &id, &[]).await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_carries_its_lock_and_a_deletion_of_many_spares_what_is_held() {
    let service = Service::start().await;
    let client = &service.client;
    create_locked(client).await;
    let until = days_ahead(1);
    let headers =
        [("x-amz-object-lock-mode", "GOVERNANCE"), ("x-amz-object-lock-retain-until-date", until.as_str())];
    let created = client.send("POST", "/locked/held?uploads", &headers, b"").await.expect(200);
    let upload = created.element("UploadId").unwrap();
    let part = client.put(&format!("/locked/held?partNumber=1&uploadId={upload}"), b"part").await.expect(200);
    let etag = part.header("etag").unwrap();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let target = format!("/locked/held?uploadId={upload}");
    let done = client.send("POST", &target, &[], complete.as_bytes()).await.expect(200);
    let held = done.header("x-amz-version-id").unwrap().to_owned();
    let free = put(client, "/locked/free").await;
    let document = format!(
        "<Delete><Object><Key>held</Key><VersionId>{held}</VersionId></Object>\
         <Object><Key>free</Key><VersionId>{free}</VersionId></Object></Delete>"
    );
    let deleted = client.send("POST", "/locked?delete", &[], document.as_bytes()).await.expect(200);
    assert_eq!(deleted.elements("Deleted").len(), 1);
    let error = deleted.element("Error").unwrap();
    assert!(error.contains("<Code>AccessDenied</Code>") && error.contains(&held), "{error}");
    assert_eq!(client.get("/locked/held").await.expect(200).body, b"part");
    let deleted = client.send("POST", "/locked?delete", &[BYPASS], document.as_bytes()).await.expect(200);
    assert_eq!(deleted.elements("Deleted").len(), 2, "{}", deleted.text());
    client.get("/locked/held").await.expect_error(404, "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_without_object_lock_promises_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/k", b"body").await.expect(200);
    let until = days_ahead(1);
    let headers =
        [("x-amz-object-lock-mode", "GOVERNANCE"), ("x-amz-object-lock-retain-until-date", until.as_str())];
    client.send("PUT", "/bucket/k", &headers, b"x").await.expect_error(400, "InvalidRequest");
    client.send("POST", "/bucket/k?uploads", &headers, b"").await.expect_error(400, "InvalidRequest");
    client.get("/bucket/k?retention").await.expect_error(400, "InvalidRequest");
    client.get("/bucket/k?legal-hold").await.expect_error(400, "InvalidRequest");
    let document = retention("GOVERNANCE", &until);
    client.put("/bucket/k?retention", &document).await.expect_error(400, "InvalidRequest");
    let hold = b"<LegalHold><Status>ON</Status></LegalHold>";
    client.put("/bucket/k?legal-hold", hold).await.expect_error(400, "InvalidRequest");
    create_locked(client).await;
    // Half of a retention, one that is over, and one of an unknown mode.
    let over = days_ahead(-1);
    let halves: [&[(&str, &str)]; 4] = [
        &headers[..1],
        &headers[1..],
        &[headers[0], ("x-amz-object-lock-retain-until-date", &over)],
        &[("x-amz-object-lock-mode", "x"), headers[1]],
    ];
    for headers in halves {
        client.send("PUT", "/locked/k", headers, b"x").await.expect_error(400, "InvalidArgument");
    }
    assert_eq!(client.get("/bucket/k").await.expect(200).body, b"body");
}
