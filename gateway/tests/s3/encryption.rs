//! Encryption with customers' keys, named keys and buckets' defaults.

use datamesh_backend::Backend;
use datamesh_catalog::StoredContent;
use md5::{Digest, Md5};

use crate::client::{Client, Reply};
use crate::service::{Service, noise};

const PART: usize = 5 << 20;
const KEY: &str = "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs=";
const KEY_MD5: &str = "DWygnHRtgiJ77HCm+1rvHw==";
const OTHER: &str = "6b+WOZ1T3cqZMxgThRcXAQBrS5mXKdDUphvpxptl9/4=";
const OTHER_MD5: &str = "arxBvwY2V4SiOne6yppVPQ==";

const ALGORITHM_HEADER: &str = "x-amz-server-side-encryption-customer-algorithm";
const MD5_HEADER: &str = "x-amz-server-side-encryption-customer-key-md5";
const KMS_HEADER: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const SSE: &str = "x-amz-server-side-encryption";

type Headers = Vec<(&'static str, &'static str)>;

fn customer(key: &'static str, md5: &'static str) -> Headers {
    vec![(ALGORITHM_HEADER, "AES256"), ("x-amz-server-side-encryption-customer-key", key), (MD5_HEADER, md5)]
}

fn source(key: &'static str, md5: &'static str) -> Headers {
    vec![
        ("x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-copy-source-server-side-encryption-customer-key", key),
        ("x-amz-copy-source-server-side-encryption-customer-key-md5", md5),
    ]
}

fn ours() -> Headers {
    customer(KEY, KEY_MD5)
}

fn theirs() -> Headers {
    customer(OTHER, OTHER_MD5)
}

async fn copy(client: &Client, to: &str, from: &'static str, headers: &[Headers]) -> Reply {
    let all = [headers.concat(), vec![("x-amz-copy-source", from)]].concat();
    client.send("PUT", to, &all, b"").await
}

fn assert_shows_customer(reply: &Reply, md5: &str) {
    assert_eq!(reply.header(ALGORITHM_HEADER), Some("AES256"));
    assert_eq!(reply.header(MD5_HEADER), Some(md5));
    assert_eq!(reply.header(SSE), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_under_a_customers_key_is_read_with_that_key_only() {
    let service = Service::start().await;
    let client = &service.client;
    // Kept in the catalog, and kept in chunks.
    for body in [noise(1, 100), noise(2, 300_000)] {
        let put = client.send("PUT", "/bucket/key", &ours(), &body).await.expect(200);
        assert_shows_customer(&put, KEY_MD5);
        let md5 = hex::encode(Md5::digest(&body));
        assert_ne!(put.header("etag").unwrap().trim_matches('"'), md5, "the ETag tells the content");
        let get = client.send("GET", "/bucket/key", &ours(), b"").await.expect(200);
        assert_eq!(get.body, body);
        assert_shows_customer(&get, KEY_MD5);
        assert_eq!(get.header("etag"), put.header("etag"));
        let range = [ours(), vec![("range", "bytes=10-79")]].concat();
        assert_eq!(client.send("GET", "/bucket/key", &range, b"").await.expect(206).body, body[10..80]);
        client.send("HEAD", "/bucket/key", &ours(), b"").await.expect(200);
        let asked = vec![("x-amz-object-attributes", "ETag")];
        let attributes = [ours(), asked.clone()].concat();
        client.send("GET", "/bucket/key?attributes", &attributes, b"").await.expect(200);

        for headers in [Vec::new(), theirs(), customer(KEY, OTHER_MD5), customer("AAAA", KEY_MD5)] {
            let refused = client.send("GET", "/bucket/key", &headers, b"").await;
            assert_eq!((refused.status, refused.text().contains("<Error>")), (400, true), "{headers:?}");
            client.send("HEAD", "/bucket/key", &headers, b"").await.expect(400);
        }
        client.send("GET", "/bucket/key?attributes", &asked, b"").await.expect_error(400, "InvalidRequest");
        client.put("/bucket/plain", &body).await.expect(200);
        client.send("GET", "/bucket/plain", &ours(), b"").await.expect_error(400, "InvalidRequest");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_under_a_customers_key_are_shared_with_no_other_object() {
    let service = Service::start().await;
    let client = &service.client;
    let body = noise(3, 200_000);
    let chunks = || async { service.backend.list(None, 1000).await.unwrap().len() };
    client.put("/bucket/one", &body).await.expect(200);
    let once = chunks().await;
    client.put("/bucket/two", &body).await.expect(200);
    assert_eq!(chunks().await, once, "an account's objects share chunks");
    for key in ["/bucket/three", "/bucket/four"] {
        let before = chunks().await;
        client.send("PUT", key, &ours(), &body).await.expect(200);
        assert!(chunks().await > before, "{key} shares chunks");
        let copied = chunks().await;
        let from = if key == "/bucket/three" { "bucket/three" } else { "bucket/four" };
        copy(client, "/bucket/copy", from, &[source(KEY, KEY_MD5), ours()]).await.expect(200);
        assert!(chunks().await > copied, "the copy of {key} shares chunks");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_holds_nothing_of_a_customers_key() {
    let service = Service::start().await;
    let client = &service.client;
    let body = b"plaintext that must not be found".repeat(4);
    client.send("PUT", "/bucket/key", &ours(), &body).await.expect(200);
    let bucket = service.catalog.bucket("bucket").await.unwrap().unwrap();
    let version = service.catalog.version(bucket.id, b"key", None).await.unwrap().unwrap();
    let StoredContent::Inline { sealed, .. } = &version.content else { panic!("{:?}", version.content) };
    assert!(!sealed.windows(9).any(|window| window == b"plaintext"));
    for secret in [KEY, KEY_MD5, &hex::encode(Md5::digest(&body))] {
        assert!(!format!("{} {}", version.attributes, version.etag).contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contradicting_encryption_headers_are_refused_without_effect() {
    let service = Service::start().await;
    let client = &service.client;
    for (headers, code) in [
        (vec![(ALGORITHM_HEADER, "AES256")], "InvalidArgument"),
        (customer(KEY, OTHER_MD5), "InvalidArgument"),
        (ours()[1..].to_vec(), "InvalidArgument"),
        (ours()[..2].to_vec(), "InvalidArgument"),
        ([ours(), vec![(SSE, "AES256")]].concat(), "InvalidArgument"),
        ([ours(), vec![(SSE, "aws:kms"), (KMS_HEADER, "k")]].concat(), "InvalidArgument"),
        (vec![(SSE, "AES256"), (KMS_HEADER, "k")], "InvalidArgument"),
        (vec![(KMS_HEADER, "k")], "InvalidArgument"),
        (vec![(SSE, "aes:kms")], "InvalidArgument"),
        (vec![(SSE, "aws:kms")], "KMS.NotFoundException"),
        (vec![(SSE, "aws:kms"), (KMS_HEADER, "unknown")], "KMS.NotFoundException"),
    ] {
        client.send("PUT", "/bucket/key", &headers, b"x").await.expect_error(400, code);
        client.send("POST", "/bucket/key?uploads", &headers, b"").await.expect_error(400, code);
    }
    client.get("/bucket/key").await.expect_error(404, "NoSuchKey");
    let put = client.send("PUT", "/bucket/key", &[(SSE, "AES256")], b"x").await.expect(200);
    assert_eq!(put.header(SSE), Some("AES256"));
    client.send("GET", "/bucket/key", &[(SSE, "AES256")], b"").await.expect_error(400, "InvalidArgument");
    assert_eq!(client.get("/bucket/key").await.expect(200).header(SSE), Some("AES256"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_go_between_all_kinds_of_encryption() {
    let service = Service::start().await;
    let client = &service.client;
    for name in ["one", "two"] {
        service.keyring.create_named_key(service.account, name).await.unwrap();
    }
    let body = noise(4, 100_000);
    let named = |key| vec![(SSE, "aws:kms"), (KMS_HEADER, key)];
    let sources = [Vec::new(), vec![(SSE, "AES256")], ours(), named("one")];
    let targets = [Vec::new(), vec![(SSE, "AES256")], theirs(), named("two"), named("one")];
    for from in &sources {
        client.send("PUT", "/bucket/from", from, &body).await.expect(200);
        let opens = if *from == ours() { source(KEY, KEY_MD5) } else { Vec::new() };
        for to in &targets {
            let copied =
                copy(client, "/bucket/to", "bucket/from", &[opens.clone(), to.clone()]).await.expect(200);
            let is_customers = *to == theirs();
            let read = if is_customers { theirs() } else { Vec::new() };
            let get = client.send("GET", "/bucket/to", &read, b"").await.expect(200);
            assert_eq!(get.body, body, "{from:?} -> {to:?}");
            for reply in [&copied, &get] {
                if is_customers {
                    assert_shows_customer(reply, OTHER_MD5);
                    continue;
                }
                let kms = to.iter().find(|(name, _)| *name == KMS_HEADER).map(|(_, key)| *key);
                assert_eq!(reply.header(SSE), Some(if kms.is_some() { "aws:kms" } else { "AES256" }));
                assert_eq!(reply.header(KMS_HEADER), kms);
            }
        }
        if !opens.is_empty() {
            copy(client, "/bucket/no", "bucket/from", &[]).await.expect_error(400, "InvalidRequest");
            let wrong = source(OTHER, OTHER_MD5);
            copy(client, "/bucket/no", "bucket/from", &[wrong]).await.expect_error(400, "InvalidRequest");
        }
    }
    // Only the key changes: that is a change, too.
    client.send("PUT", "/bucket/from", &ours(), &body).await.expect(200);
    copy(client, "/bucket/from", "bucket/from", &[source(KEY, KEY_MD5), theirs()]).await.expect(200);
    client.send("GET", "/bucket/from", &ours(), b"").await.expect_error(400, "InvalidRequest");
    assert_eq!(client.send("GET", "/bucket/from", &theirs(), b"").await.expect(200).body, body);
}

async fn complete(client: &Client, upload: &str, headers: &Headers, etags: &[String]) -> Reply {
    let parts: String = (1..)
        .zip(etags)
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    client.send("POST", &format!("/bucket/key?uploadId={upload}"), headers, document.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_parts_of_an_upload_are_sealed_with_its_customers_key() {
    let service = Service::start().await;
    let client = &service.client;
    let (first, second) = (noise(5, PART), noise(6, 100_000));
    client.put("/bucket/source", &second).await.expect(200);
    let begin = |headers: Headers| async move {
        let begun = client.send("POST", "/bucket/key?uploads", &headers, b"").await.expect(200);
        assert_shows_customer(&begun, KEY_MD5);
        begun.element("UploadId").unwrap()
    };
    let upload = begin([ours(), vec![("x-amz-checksum-algorithm", "CRC32")]].concat()).await;
    let part = |number| format!("/bucket/key?partNumber={number}&uploadId={upload}");
    for headers in [Vec::new(), theirs()] {
        client.send("PUT", &part(1), &headers, &first).await.expect_error(400, "InvalidRequest");
        let copied = copy(client, &part(2), "bucket/source", &[headers]).await;
        copied.expect_error(400, "InvalidRequest");
    }
    let one = client.send("PUT", &part(1), &ours(), &first).await.expect(200);
    assert_shows_customer(&one, KEY_MD5);
    let two = copy(client, &part(2), "bucket/source", &[ours()]).await.expect(200);
    assert_shows_customer(&two, KEY_MD5);
    let etags = [one.header("etag").unwrap().to_owned(), two.element("ETag").unwrap()];
    for headers in [Vec::new(), theirs()] {
        complete(client, &upload, &headers, &etags).await.expect_error(400, "InvalidRequest");
    }
    let done = complete(client, &upload, &ours(), &etags).await.expect(200);
    assert_shows_customer(&done, KEY_MD5);
    let again = complete(client, &upload, &ours(), &etags).await.expect(200);
    assert_eq!(again.element("ChecksumCRC32"), done.element("ChecksumCRC32"));
    assert!(again.element("ChecksumCRC32").is_some());
    let whole = [first.as_slice(), &second].concat();
    let get = client.send("GET", "/bucket/key", &ours(), b"").await.expect(200);
    assert!(get.body == whole, "the object differs");
    let across = [ours(), vec![("range", "bytes=5242800-5242999")]].concat();
    assert_eq!(client.send("GET", "/bucket/key", &across, b"").await.body, whole[5_242_800..5_243_000]);
    let part = client.send("GET", "/bucket/key?partNumber=2", &ours(), b"").await.expect(206);
    assert!(part.body == second, "the part differs");
    client.get("/bucket/key?partNumber=3").await.expect_error(400, "InvalidPart");

    // Whether or not it has a checksum.
    let upload = begin(ours()).await;
    let target = format!("/bucket/key?partNumber=1&uploadId={upload}");
    let one = client.send("PUT", &target, &ours(), &second).await.expect(200);
    let etags = [one.header("etag").unwrap().to_owned()];
    complete(client, &upload, &Vec::new(), &etags).await.expect_error(400, "InvalidRequest");
    complete(client, &upload, &ours(), &etags).await.expect(200);
    assert_eq!(client.send("GET", "/bucket/key", &ours(), b"").await.expect(200).body, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_encrypts_by_its_default_until_that_is_deleted() {
    let service = Service::start().await;
    let client = &service.client;
    service.keyring.create_named_key(service.account, "mine").await.unwrap();
    let missing = "ServerSideEncryptionConfigurationNotFoundError";
    client.get("/bucket?encryption").await.expect_error(404, missing);
    let rule = |inner: &str| {
        format!("<ServerSideEncryptionConfiguration><Rule>{inner}</Rule></ServerSideEncryptionConfiguration>")
    };
    let by_default = |algorithm: &str, key: &str| {
        format!(
            "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>{algorithm}</SSEAlgorithm>{key}</ApplyServerSideEncryptionByDefault>"
        )
    };
    let named = rule(&by_default("aws:kms", "<KMSMasterKeyID>mine</KMSMasterKeyID>"));
    let set = |document: String| async move {
        client.send("PUT", "/bucket?encryption", &[], document.as_bytes()).await
    };
    set(named).await.expect(200);
    let shown = client.get("/bucket?encryption").await.expect(200);
    assert_eq!(shown.element("KMSMasterKeyID").as_deref(), Some("mine"));
    service.other.get("/bucket?encryption").await.expect_error(403, "AccessDenied");

    let put = client.put("/bucket/key", b"x").await.expect(200);
    let begun = client.send("POST", "/bucket/up?uploads", &[], b"").await.expect(200);
    client.put("/bucket/source", b"y").await.expect(200);
    let copied = copy(client, "/bucket/copy", "bucket/source", &[]).await.expect(200);
    for reply in [&put, &begun, &copied, &client.get("/bucket/key").await.expect(200)] {
        assert_eq!(reply.header(SSE), Some("aws:kms"));
        assert_eq!(reply.header(KMS_HEADER), Some("mine"));
    }
    let explicit = client.send("PUT", "/bucket/other", &[(SSE, "AES256")], b"x").await.expect(200);
    assert_eq!(explicit.header(SSE), Some("AES256"));

    let blocked = "<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>";
    set(rule(&format!("{}{blocked}", by_default("AES256", "")))).await.expect(200);
    client.send("PUT", "/bucket/key", &ours(), b"x").await.expect_error(403, "AccessDenied");
    assert_eq!(client.put("/bucket/new", b"x").await.expect(200).header(SSE), Some("AES256"));
    for broken in
        [rule(""), rule(&by_default("rot13", "")), String::from("<ServerSideEncryptionConfiguration/>")]
    {
        let reply = set(broken.clone()).await;
        assert!(broken == rule("") || reply.status == 400, "{broken}: {}", reply.text());
    }
    client.delete("/bucket?encryption").await.expect(204);
    client.get("/bucket?encryption").await.expect_error(404, missing);
    client.send("PUT", "/bucket/key", &ours(), b"x").await.expect(200);
    // What was written under the named key stays so.
    assert_eq!(client.get("/bucket/copy").await.expect(200).header(KMS_HEADER), Some("mine"));
}
