//! Uploads by HTML forms.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datamesh_accounts::{Dimension, Owner};
use datamesh_catalog::Catalog;
use futures::StreamExt;
use md5::{Digest, Md5};
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use crate::client::{Client, REGION, Reply};
use crate::service::{SECRET, Service, noise};

const BOUNDARY: &str = "----form-of-the-tests";

pub type Fields = Vec<(String, String)>;

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn form(fields: &Fields, filename: &str, file: &[u8], after: &str) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, value) in fields {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        form.extend_from_slice(part.as_bytes());
    }
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{filename}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    form.extend_from_slice(head.as_bytes());
    form.extend_from_slice(file);
    form.extend_from_slice(format!("\r\n{after}--{BOUNDARY}--\r\n").as_bytes());
    form
}

async fn post_raw(client: &Client, path: &str, body: &[u8]) -> Reply {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    client.send_unsigned("POST", path, &[("content-type", &content_type)], body).await
}

pub async fn post(client: &Client, fields: &Fields, file: &[u8]) -> Reply {
    post_raw(client, "/bucket", &form(fields, "photo.jpg", file, "")).await
}

/// A policy that expires in `seconds`.
pub fn policy(seconds: i64, conditions: &str) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let expiration = (OffsetDateTime::now_utc() + Duration::seconds(seconds)).format(format).unwrap();
    STANDARD.encode(format!(r#"{{"expiration": "{expiration}", "conditions": [{conditions}]}}"#))
}

const CONDITIONS: &str = r#"{"bucket": "bucket"}, ["starts-with", "$key", "up/"], ["starts-with", "$Content-Type", ""],
    ["content-length-range", 2, 400000], ["starts-with", "$x-amz-meta-note", ""],
    ["starts-with", "$success_action_status", ""], ["starts-with", "$success_action_redirect", ""]"#;

/// The fields of a form signed with version 2.
pub fn signed_2(access_key: &str, secret: &str, policy: &str) -> Fields {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, policy.as_bytes()));
    fields(&[("AWSAccessKeyId", access_key), ("policy", policy), ("signature", &signature)])
}

/// The fields of a form signed with version 4, `age` ago. The policy's conditions are `conditions` and the fields' own.
pub fn signed_4(access_key: &str, secret: &str, age: Duration, conditions: &str) -> Fields {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = (OffsetDateTime::now_utc() - age).format(format).unwrap();
    let credential = format!("{access_key}/{}/{REGION}/s3/aws4_request", &date[..8]);
    let conditions = format!(
        r#"{conditions}, {{"x-amz-algorithm": "AWS4-HMAC-SHA256"}}, {{"x-amz-credential": "{credential}"}},
           {{"x-amz-date": "{date}"}}"#
    );
    let policy = policy(600, &conditions);
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [&date[..8], REGION, "s3", "aws4_request", &policy] {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    fields(&[
        ("policy", &policy),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &date),
        ("X-Amz-Signature", &hex::encode(key)),
    ])
}

pub fn ours(pairs: &[(&str, &str)]) -> Fields {
    [fields(pairs), signed_4("AKIATESTA", SECRET, Duration::ZERO, CONDITIONS)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_form_stores_its_file() {
    let service = Service::start().await;
    let client = &service.client;
    let two = signed_2("AKIATESTA", SECRET, &policy(600, CONDITIONS));
    let four = signed_4("AKIATESTA", SECRET, Duration::ZERO, CONDITIONS);
    // Kept in the catalog, and in chunks: with delimiters that are none in them.
    let tricky = format!("\r\n--{BOUNDARY}").as_bytes()[..10].repeat(2000);
    for (signed, file) in [(&two, noise(1, 3000)), (&four, noise(2, 300_000)), (&four, tricky)] {
        let form = [
            fields(&[("KEY", "up/${filename}"), ("content-type", "image/jpeg"), ("x-amz-meta-note", "n")]),
            signed.clone(),
        ]
        .concat();
        let stored = post(client, &form, &file).await.expect(204);
        let etag = format!("\"{}\"", hex::encode(Md5::digest(&file)));
        assert_eq!(stored.header("etag"), Some(etag.as_str()));
        assert_eq!(stored.header("x-amz-server-side-encryption"), Some("AES256"));
        let location = format!("http://{}/bucket/up/photo.jpg", client.address);
        assert_eq!(stored.header("location"), Some(location.as_str()));
        let get = client.get("/bucket/up/photo.jpg").await.expect(200);
        assert!(get.body == file, "the file differs");
        assert_eq!(get.header("content-type"), Some("image/jpeg"));
        assert_eq!(get.header("x-amz-meta-note"), Some("n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_chooses_its_answer() {
    let service = Service::start().await;
    let client = &service.client;
    let key = ("key", "up/a&b c");
    let created = post(client, &ours(&[key, ("success_action_status", "201")]), b"file").await.expect(201);
    assert_eq!(created.element("Key").as_deref(), Some("up/a&amp;b c"));
    assert_eq!(created.element("Bucket").as_deref(), Some("bucket"));
    let location = format!("http://{}/bucket/up/a%26b%20c", client.address);
    assert_eq!(created.element("Location"), Some(location));
    let ok = post(client, &ours(&[key, ("success_action_status", "200")]), b"file").await.expect(200);
    assert!(ok.body.is_empty());
    post(client, &ours(&[key, ("success_action_status", "404")]), b"file").await.expect(204);
    let redirect = ("success_action_redirect", "http://example.com/done?x=1");
    let sent = post(client, &ours(&[key, redirect]), b"file").await.expect(303);
    let etag = hex::encode(Md5::digest(b"file"));
    let expected = format!("http://example.com/done?x=1&bucket=bucket&key=up%2Fa%26b+c&etag=%22{etag}%22");
    assert_eq!(sent.header("location"), Some(expected.as_str()));
    for bad in ["javascript:alert(1)", "not a url"] {
        post(client, &ours(&[key, ("success_action_redirect", bad)]), b"file").await.expect(204);
    }
    // Fields behind the file are none of ours.
    let after = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n");
    let body = form(&ours(&[key]), "x", b"file behind which a button follows", &after);
    post_raw(client, "/bucket/", &body).await.expect(204);
    assert_eq!(client.get("/bucket/up/a%26b%20c").await.body, b"file behind which a button follows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_its_policy_or_signature_does_not_cover_stores_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    let key = fields(&[("key", "up/x")]);
    let with = |signed: Fields| [key.clone(), signed].concat();
    let now = Duration::ZERO;
    let valid = policy(600, CONDITIONS);
    let mut flipped = signed_4("AKIATESTA", SECRET, now, CONDITIONS);
    let last = flipped.last_mut().unwrap();
    last.1 = last.1.chars().rev().collect();
    let other_key = [fields(&[("key", "down/x")]), signed_2("AKIATESTA", SECRET, &valid)].concat();
    let extra = with([fields(&[("x-amz-meta-more", "1")]), signed_2("AKIATESTA", SECRET, &valid)].concat());
    let unsigned_policy = with(fields(&[("policy", &valid)]));
    let no_key = signed_2("AKIATESTA", SECRET, &valid);
    let elsewhere = CONDITIONS.replace(r#""bucket": "bucket""#, r#""bucket": "other""#);
    for (form, status, code) in [
        (with(signed_4("AKIATESTA", "another-secret", now, CONDITIONS)), 403, "SignatureDoesNotMatch"),
        (with(signed_2("AKIATESTA", "another-secret", &valid)), 403, "SignatureDoesNotMatch"),
        (with(flipped), 403, "SignatureDoesNotMatch"),
        (with(signed_2("AKIAUNKNOWN", SECRET, &valid)), 403, "InvalidAccessKeyId"),
        (with(signed_4("AKIATESTA", SECRET, Duration::days(8), CONDITIONS)), 403, "AccessDenied"),
        (with(signed_4("AKIATESTA", SECRET, Duration::minutes(-20), CONDITIONS)), 403, "AccessDenied"),
        (with(signed_2("AKIATESTA", SECRET, &policy(-1, CONDITIONS))), 403, "AccessDenied"),
        (with(signed_2("AKIATESTA", SECRET, &policy(600, &elsewhere))), 403, "AccessDenied"),
        (
            with(signed_2("AKIATESTA", SECRET, &policy(600, r#"["starts-with", "$key", ""]"#))),
            403,
            "AccessDenied",
        ),
        // Somebody else's signature opens somebody else's buckets only.
        (with(signed_4("AKIATESTB", SECRET, now, CONDITIONS)), 403, "AccessDenied"),
        (other_key, 403, "AccessDenied"),
        (extra, 403, "AccessDenied"),
        (key.clone(), 403, "AccessDenied"),
        (unsigned_policy, 400, "InvalidArgument"),
        (no_key, 400, "InvalidArgument"),
        (with(signed_2("AKIATESTA", SECRET, &policy(600, "{}"))), 400, "InvalidPolicyDocument"),
        (with(signed_2("AKIATESTA", SECRET, "?")), 400, "InvalidPolicyDocument"),
    ] {
        let reply = post(client, &form, b"file").await;
        assert_eq!((reply.status, reply.element("Code").as_deref()), (status, Some(code)), "{form:?}");
    }
    post(client, &ours(&[("key", "up/x")]), b"1").await.expect_error(400, "EntityTooSmall");
    post(client, &ours(&[("key", "up/x")]), &noise(1, 400_001)).await.expect_error(400, "EntityTooLarge");
    let whole = form(&ours(&[("key", "up/x")]), "x", &noise(2, 100_000), "");
    post_raw(client, "/bucket", &whole[..whole.len() - 50]).await.expect_error(400, "MalformedPOSTRequest");
    post_raw(client, "/bucket/key", &whole).await.expect_error(405, "MethodNotAllowed");
    post_raw(client, "/missing", &whole).await.expect_error(403, "AccessDenied");
    assert!(!client.get("/bucket?list-type=2").await.expect(200).text().contains("<Contents>"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_comes_twice_does_not_get_past_the_policy() {
    let service = Service::start().await;
    let client = &service.client;
    let conditions = r#"{"bucket": "bucket"}, ["starts-with", "$key", "up/"], {"acl": "private"},
        ["starts-with", "$x-amz-acl", ""]"#;
    let signed = |pairs: &[(&str, &str)]| {
        [fields(pairs), signed_2("AKIATESTA", SECRET, &policy(60, conditions))].concat()
    };
    for pairs in [
        [("key", "up/k"), ("acl", "private"), ("acl", "public-read")],
        [("key", "up/k"), ("acl", "private"), ("Acl", "public-read")],
        // Two names of one header.
        [("key", "up/k"), ("acl", "private"), ("x-amz-acl", "public-read")],
        [("key", "up/k"), ("acl", "private"), ("KEY", "elsewhere")],
    ] {
        post(client, &signed(&pairs), b"file").await.expect_error(400, "InvalidArgument");
    }
    assert!(client.get("/bucket?list-type=2").await.expect(200).elements("Key").is_empty());
    post(client, &signed(&[("key", "up/k"), ("acl", "private")]), b"file").await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_become_headers_but_none_that_changes_the_operation() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/source", b"source").await.expect(200);
    let conditions = r#"{"bucket": "bucket"}, ["starts-with", "$key", ""], ["starts-with", "$x-amz-copy-source", ""],
        ["starts-with", "$x-amz-server-side-encryption-customer-algorithm", ""],
        ["starts-with", "$x-amz-server-side-encryption-customer-key", ""],
        ["starts-with", "$x-amz-server-side-encryption-customer-key-md5", ""], ["starts-with", "$tagging", ""]"#;
    let signed = |pairs: &[(&str, &str)]| {
        [fields(pairs), signed_2("AKIATESTA", SECRET, &policy(60, conditions))].concat()
    };
    post(client, &signed(&[("key", "k"), ("x-amz-copy-source", "bucket/source")]), b"file").await.expect(204);
    assert_eq!(client.get("/bucket/k").await.expect(200).body, b"file");

    let customer = [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs="),
        ("x-amz-server-side-encryption-customer-key-md5", "DWygnHRtgiJ77HCm+1rvHw=="),
    ];
    post(client, &signed(&[&[("key", "k")][..], &customer].concat()), b"file").await.expect(204);
    client.get("/bucket/k").await.expect_error(400, "InvalidRequest");
    assert_eq!(client.send("GET", "/bucket/k", &customer, b"").await.expect(200).body, b"file");

    let tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag></TagSet></Tagging>";
    post(client, &signed(&[("key", "k"), ("tagging", tagging)]), b"file").await.expect(204);
    let tags = client.get("/bucket/k?tagging").await.expect(200);
    assert_eq!(
        (tags.element("Key").as_deref(), tags.element("Value").as_deref()),
        (Some("a b"), Some("1&amp;2"))
    );
    post(client, &signed(&[("key", "k"), ("tagging", "<Tag")]), b"file")
        .await
        .expect_error(400, "MalformedXML");
    let digest = [("key", "k"), ("x-amz-checksum-crc32", "AAAAAA==")];
    post(client, &signed(&digest), b"file").await.expect_error(400, "BadDigest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_without_a_signature_writes_where_a_list_lets_everybody_write() {
    let service = Service::start().await;
    let client = &service.client;
    let form = form(&fields(&[("key", "by-form"), ("acl", "public-read")]), "photo.jpg", b"file", "");
    let open = [("x-amz-acl", "public-read-write")];
    client.send("PUT", "/open", &open, b"").await.expect(200);
    post_raw(client, "/open", &form).await.expect(204);
    assert_eq!(client.get("/open/by-form").await.expect(200).body, b"file");
    assert_eq!(client.send_unsigned("GET", "/open/by-form", &[], b"").await.expect(200).body, b"file");
    post_raw(client, "/bucket", &form).await.expect_error(403, "AccessDenied");
    client.get("/bucket/by-form").await.expect_error(404, "NoSuchKey");
    // A policy that lets everybody write does not let them say who may read.
    client.put("/policed", b"").await.expect(200);
    let policy = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::policed/*"}}"#;
    client.put("/policed?policy", policy.as_bytes()).await.expect(204);
    post_raw(client, "/policed", &form).await.expect_error(403, "AccessDenied");
}

/// Waits until no upload holds any of the account's quota: what is left over is given back beside the answer.
async fn nothing_is_reserved(service: &Service) {
    let mut tries = 0;
    while service.accounts.usage(service.account).await.unwrap().bytes.reserved != 0 {
        tries += 1;
        assert!(tries < 10_000, "{:?}", service.accounts.usage(service.account).await);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forms_file_needs_room_for_itself_not_for_what_it_could_have_been() {
    let service = Service::start().await;
    let client = &service.client;
    let account = Owner::Account(service.account);
    service.limit(&account, Dimension::Bytes, 10_000).await;
    service.limit(&account, Dimension::ObjectSize, 10_000).await;
    // What follows the file could be more of it, for all that is known before it has come.
    let after = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\n{}\r\n",
        "x".repeat(200_000)
    );
    let file = noise(1, 10_000);
    let body = form(&ours(&[("key", "up/whole")]), "x", &file, &after);
    post_raw(client, "/bucket", &body).await.expect(204);
    assert!(client.get("/bucket/up/whole").await.expect(200).body == file, "the file differs");
    post(client, &ours(&[("key", "up/more")]), b"12").await.expect_error(403, "QuotaExceeded");
    // What it replaces makes room for it.
    let file = noise(2, 10_000);
    post(client, &ours(&[("key", "up/whole")]), &file).await.expect(204);
    assert!(client.get("/bucket/up/whole").await.expect(200).body == file, "the file differs");
    service.limit(&account, Dimension::Bytes, 1_000_000).await;
    let refused = post(client, &ours(&[("key", "up/large")]), &noise(3, 10_001)).await;
    let refused = refused.expect_error(403, "QuotaExceeded");
    assert!(refused.element("Message").unwrap().contains("10000 object_size"), "{}", refused.text());
    assert_eq!(service.used(&account, Dimension::Bytes).await, Some(10_000));
    nothing_is_reserved(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forms_file_that_outgrows_the_room_is_refused_and_leaves_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    let account = Owner::Account(service.account);
    let bucket = service.bucket("bucket").await;
    client.put("/bucket/kept", &noise(1, 50_000)).await.expect(200);
    for (limited, name) in [(&bucket, "bucket"), (&account, "account")] {
        service.limit(limited, Dimension::Bytes, 300_000).await;
        let refused = post(client, &ours(&[("key", "up/large")]), &noise(2, 399_000)).await;
        let refused = refused.expect_error(403, "QuotaExceeded");
        let message = refused.element("Message").unwrap();
        assert!(message.contains(&format!("300000 bytes of the {name}")), "{message}");
        client.get("/bucket/up/large").await.expect_error(404, "NoSuchKey");
        assert_eq!(service.used(limited, Dimension::Bytes).await, Some(50_000));
        nothing_is_reserved(&service).await;
        // All of the room is there as before.
        client.put("/bucket/rest", &noise(3, 250_000)).await.expect(200);
        client.put("/bucket/more", b"1").await.expect_error(403, "QuotaExceeded");
        client.delete("/bucket/rest").await.expect(204);
        service.limit(limited, Dimension::Bytes, 1 << 40).await;
    }
    let books = service.accounts.reconcile(Catalog::stored_count()).await.unwrap();
    assert_eq!(books.drifts, [], "{books:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_that_race_for_the_last_room_do_not_pass_the_limit() {
    const LIMIT: u64 = 1_000_000;
    const FILE_LEN: u64 = 300_000;
    let service = Service::start().await;
    let client = &service.client;
    service.limit(&Owner::Account(service.account), Dimension::Bytes, LIMIT).await;
    let stored_and_reserved = async || {
        let bytes = service.accounts.usage(service.account).await.unwrap().bytes;
        assert!(bytes.used + bytes.reserved <= LIMIT, "{bytes:?}");
        bytes.used
    };
    let races = (0..8).map(|number| async move {
        let form = ours(&[("key", &format!("up/{number}"))]);
        post(client, &form, &noise(number, FILE_LEN as usize)).await
    });
    let mut races: futures::stream::FuturesUnordered<_> = races.collect();
    let mut stored = 0;
    while let Some(reply) = races.next().await {
        if reply.status == 204 {
            stored += 1;
        } else {
            reply.expect_error(403, "QuotaExceeded");
        }
        stored_and_reserved().await;
    }
    assert_eq!(stored_and_reserved().await, stored * FILE_LEN);
    // Those that were refused took the room of nobody who comes later.
    nothing_is_reserved(&service).await;
    for number in stored..3 {
        let form = ours(&[("key", &format!("up/later-{number}"))]);
        post(client, &form, &noise(number, FILE_LEN as usize)).await.expect(204);
    }
    assert_eq!(stored_and_reserved().await, 3 * FILE_LEN);
    post(client, &ours(&[("key", "up/last")]), &noise(9, 100_001)).await.expect_error(403, "QuotaExceeded");
    nothing_is_reserved(&service).await;
    post(client, &ours(&[("key", "up/last")]), &noise(9, 100_000)).await.expect(204);
}
