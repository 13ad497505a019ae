//! Every operation against every way of not being allowed to: built from the service's own list, so that a new
//! operation cannot be forgotten. Each refusal is paired with the same request from its owner.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datamesh_gateway::s3::OPERATIONS;
use md5::{Digest, Md5};
use time::{Duration, OffsetDateTime};

use crate::client::{Client, Reply, exchange, sha256};
use crate::integrity::{TRAILER, crc32};
use crate::service::{Service, noise};

/// A request for one operation.
struct Route {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A bucket with everything in it that operations may be about.
struct Place {
    bucket: String,
    upload: String,
    part_etag: String,
}

const ACCELERATE: &str = "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>";
const INVENTORY: &str = "<InventoryConfiguration><Destination><S3BucketDestination>\
    <Bucket>arn:aws:s3:::BUCKET</Bucket><Format>CSV</Format></S3BucketDestination></Destination>\
    <IsEnabled>true</IsEnabled><Id>daily</Id><IncludedObjectVersions>Current</IncludedObjectVersions>\
    <Schedule><Frequency>Daily</Frequency></Schedule></InventoryConfiguration>";
const LOCK: &str =
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
const METRICS: &str = "<MetricsConfiguration><Id>daily</Id></MetricsConfiguration>";
const PAYER: &str = "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>";
const VERSIONING: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const ACL: &str = "<AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><AccessControlList/></AccessControlPolicy>";
const RETENTION: &str =
    "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>";
const BLOCK: &str = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>";
const OWNERSHIP: &str =
    "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>";
const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>tmp/</Prefix></Filter>\
    <Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
const TAGGING: &str = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
const CORS: &str = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>\
    <AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>";
const ENCRYPTION: &str = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
    <SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
const WEBSITE: &str =
    "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>";

impl Place {
    /// The request for an operation, by the name of its method. Whoever adds an operation adds a line.
    fn route(&self, operation: &str) -> Option<Route> {
        let uploads = || self.upload_route(operation);
        let objects = || self.object_route(operation);
        let settings = || self.setting_route(operation);
        self.reading_route(operation).or_else(settings).or_else(objects).or_else(uploads)
    }

    fn on_bucket(&self, method: &'static str, query: &str, body: &str) -> Route {
        of(method, format!("/{}?{query}", self.bucket), body)
    }

    fn on_key(&self, method: &'static str, query: &str, body: &str) -> Route {
        of(method, format!("/{}/key?{query}", self.bucket), body)
    }

    /// What reads a bucket or its settings.
    fn reading_route(&self, operation: &str) -> Option<Route> {
        let Self { bucket, .. } = self;
        Some(match operation {
            "get_bucket_abac" => self.on_bucket("GET", "abac", ""),
            "get_bucket_accelerate_configuration" => self.on_bucket("GET", "accelerate", ""),
            "get_bucket_acl" => self.on_bucket("GET", "acl", ""),
            "get_bucket_analytics_configuration" => self.on_bucket("GET", "analytics&id=daily", ""),
            "get_bucket_cors" => self.on_bucket("GET", "cors", ""),
            "get_bucket_encryption" => self.on_bucket("GET", "encryption", ""),
            "get_bucket_intelligent_tiering_configuration" => {
                self.on_bucket("GET", "intelligent-tiering&id=daily", "")
            }
            "get_bucket_metadata_configuration" => self.on_bucket("GET", "metadataConfiguration", ""),
            "get_bucket_metadata_table_configuration" => self.on_bucket("GET", "metadataTable", ""),
            "get_bucket_metrics_configuration" => self.on_bucket("GET", "metrics&id=daily", ""),
            "get_bucket_inventory_configuration" => self.on_bucket("GET", "inventory&id=daily", ""),
            "get_bucket_lifecycle_configuration" => self.on_bucket("GET", "lifecycle", ""),
            "get_bucket_location" => self.on_bucket("GET", "location", ""),
            "get_bucket_logging" => self.on_bucket("GET", "logging", ""),
            "get_bucket_notification_configuration" => self.on_bucket("GET", "notification", ""),
            "get_bucket_ownership_controls" => self.on_bucket("GET", "ownershipControls", ""),
            "get_bucket_policy" => self.on_bucket("GET", "policy", ""),
            "get_bucket_policy_status" => self.on_bucket("GET", "policyStatus", ""),
            "get_bucket_replication" => self.on_bucket("GET", "replication", ""),
            "get_bucket_request_payment" => self.on_bucket("GET", "requestPayment", ""),
            "get_bucket_tagging" => self.on_bucket("GET", "tagging", ""),
            "get_bucket_versioning" => self.on_bucket("GET", "versioning", ""),
            "get_bucket_website" => self.on_bucket("GET", "website", ""),
            "get_object_lock_configuration" => self.on_bucket("GET", "object-lock", ""),
            "get_public_access_block" => self.on_bucket("GET", "publicAccessBlock", ""),
            "head_bucket" => of("HEAD", format!("/{bucket}"), ""),
            "list_bucket_analytics_configurations" => self.on_bucket("GET", "analytics", ""),
            "list_bucket_intelligent_tiering_configurations" => {
                self.on_bucket("GET", "intelligent-tiering", "")
            }
            "list_bucket_metrics_configurations" => self.on_bucket("GET", "metrics", ""),
            "list_bucket_inventory_configurations" => self.on_bucket("GET", "inventory", ""),
            "list_buckets" => of("GET", "/".to_owned(), ""),
            "list_object_versions" => self.on_bucket("GET", "versions", ""),
            "list_objects" => of("GET", format!("/{bucket}"), ""),
            "list_objects_v2" => self.on_bucket("GET", "list-type=2", ""),
            _ => return None,
        })
    }

    /// What changes a bucket or its settings.
    fn setting_route(&self, operation: &str) -> Option<Route> {
        let Self { bucket, .. } = self;
        let policy = format!(
            r#"{{"Statement": {{"Effect": "Allow", "Principal": {{"AWS": "arn:aws:iam::none:root"}},
                "Action": "s3:GetObject", "Resource": "arn:aws:s3:::{bucket}/*"}}}}"#
        );
        let inventory = INVENTORY.replace("BUCKET", bucket);
        Some(match operation {
            "create_bucket" => of("PUT", format!("/{bucket}-new"), ""),
            "delete_bucket" => of("DELETE", format!("/{bucket}"), ""),
            "delete_bucket_analytics_configuration" => self.on_bucket("DELETE", "analytics&id=daily", ""),
            "delete_bucket_cors" => self.on_bucket("DELETE", "cors", ""),
            "delete_bucket_encryption" => self.on_bucket("DELETE", "encryption", ""),
            "delete_bucket_intelligent_tiering_configuration" => {
                self.on_bucket("DELETE", "intelligent-tiering&id=daily", "")
            }
            "delete_bucket_inventory_configuration" => self.on_bucket("DELETE", "inventory&id=daily", ""),
            "delete_bucket_lifecycle" => self.on_bucket("DELETE", "lifecycle", ""),
            "delete_bucket_metrics_configuration" => self.on_bucket("DELETE", "metrics&id=daily", ""),
            "delete_bucket_ownership_controls" => self.on_bucket("DELETE", "ownershipControls", ""),
            "delete_bucket_policy" => self.on_bucket("DELETE", "policy", ""),
            "delete_bucket_replication" => self.on_bucket("DELETE", "replication", ""),
            "delete_bucket_tagging" => self.on_bucket("DELETE", "tagging", ""),
            "delete_bucket_website" => self.on_bucket("DELETE", "website", ""),
            "delete_objects" => {
                self.on_bucket("POST", "delete", "<Delete><Object><Key>key</Key></Object></Delete>")
            }
            "delete_public_access_block" => self.on_bucket("DELETE", "publicAccessBlock", ""),
            "put_bucket_accelerate_configuration" => self.on_bucket("PUT", "accelerate", ACCELERATE),
            "put_bucket_acl" => self.on_bucket("PUT", "acl", ACL),
            "put_bucket_cors" => self.on_bucket("PUT", "cors", CORS),
            "put_bucket_encryption" => self.on_bucket("PUT", "encryption", ENCRYPTION),
            "put_bucket_inventory_configuration" => self.on_bucket("PUT", "inventory&id=daily", &inventory),
            "put_bucket_lifecycle_configuration" => self.on_bucket("PUT", "lifecycle", LIFECYCLE),
            "put_bucket_logging" => self.on_bucket("PUT", "logging", "<BucketLoggingStatus/>"),
            "put_bucket_metrics_configuration" => self.on_bucket("PUT", "metrics&id=daily", METRICS),
            "put_bucket_notification_configuration" => {
                self.on_bucket("PUT", "notification", "<NotificationConfiguration/>")
            }
            "put_bucket_ownership_controls" => self.on_bucket("PUT", "ownershipControls", OWNERSHIP),
            "put_bucket_policy" => self.on_bucket("PUT", "policy", &policy),
            "put_bucket_request_payment" => self.on_bucket("PUT", "requestPayment", PAYER),
            "put_bucket_tagging" => self.on_bucket("PUT", "tagging", TAGGING),
            "put_bucket_versioning" => self.on_bucket("PUT", "versioning", VERSIONING),
            "put_bucket_website" => self.on_bucket("PUT", "website", WEBSITE),
            "put_object_lock_configuration" => self.on_bucket("PUT", "object-lock", LOCK),
            "put_public_access_block" => self.on_bucket("PUT", "publicAccessBlock", BLOCK),
            _ => return None,
        })
    }

    /// What is about objects.
    fn object_route(&self, operation: &str) -> Option<Route> {
        let Self { bucket, .. } = self;
        Some(match operation {
            "copy_object" => {
                of("PUT", format!("/{bucket}/copy"), "").with("x-amz-copy-source", format!("{bucket}/key"))
            }
            "delete_object" => of("DELETE", format!("/{bucket}/key"), ""),
            "delete_object_tagging" => self.on_key("DELETE", "tagging", ""),
            "get_object" => of("GET", format!("/{bucket}/key"), ""),
            "get_object_acl" => self.on_key("GET", "acl", ""),
            "get_object_attributes" => {
                self.on_key("GET", "attributes", "").with("x-amz-object-attributes", "ETag".to_owned())
            }
            "get_object_legal_hold" => self.on_key("GET", "legal-hold", ""),
            "get_object_retention" => self.on_key("GET", "retention", ""),
            "get_object_tagging" => self.on_key("GET", "tagging", ""),
            "get_object_torrent" => self.on_key("GET", "torrent", ""),
            "head_object" => of("HEAD", format!("/{bucket}/key"), ""),
            "put_object" => of("PUT", format!("/{bucket}/key"), "other bytes"),
            "put_object_acl" => self.on_key("PUT", "acl", ACL),
            "put_object_legal_hold" => {
                self.on_key("PUT", "legal-hold", "<LegalHold><Status>OFF</Status></LegalHold>")
            }
            "put_object_retention" => self.on_key("PUT", "retention", RETENTION),
            "put_object_tagging" => self.on_key("PUT", "tagging", TAGGING),
            "restore_object" => {
                self.on_key("POST", "restore", "<RestoreRequest><Days>1</Days></RestoreRequest>")
            }
            _ => return None,
        })
    }

    /// What is about uploads.
    fn upload_route(&self, operation: &str) -> Option<Route> {
        let Self { bucket, upload, part_etag } = self;
        let part = format!("/{bucket}/up?partNumber=2&uploadId={upload}");
        let of_upload = format!("/{bucket}/up?uploadId={upload}");
        let complete = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part_etag}</ETag></Part></CompleteMultipartUpload>"
        );
        Some(match operation {
            "abort_multipart_upload" => of("DELETE", of_upload, ""),
            "complete_multipart_upload" => of("POST", of_upload, &complete),
            "create_multipart_upload" => self.on_key("POST", "uploads", ""),
            "list_multipart_uploads" => self.on_bucket("GET", "uploads", ""),
            "list_parts" => of("GET", of_upload, ""),
            "upload_part" => of("PUT", part, "part"),
            "upload_part_copy" => of("PUT", part, "").with("x-amz-copy-source", format!("{bucket}/key")),
            _ => return None,
        })
    }
}

/// A request without headers of its own.
fn of(method: &'static str, target: String, body: &str) -> Route {
    Route { method, target, headers: Vec::new(), body: body.into() }
}

impl Route {
    fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Makes a bucket with a stored object of several chunks and an open upload of one part.
async fn place(service: &Service, bucket: &str, operation: &str) -> Place {
    let client = &service.client;
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    let locks = ["lock", "retention", "legal_hold"].iter().any(|word| operation.contains(word));
    let headers = if locks { &lock[..] } else { &[] };
    client.send("PUT", &format!("/{bucket}"), headers, b"").await.expect(200);
    let mut place = Place { bucket: bucket.into(), upload: String::new(), part_etag: String::new() };
    if operation == "delete_bucket" {
        return place;
    }
    client.put(&format!("/{bucket}/key"), &noise(1, 40_000)).await.expect(200);
    let begun = client.send("POST", &format!("/{bucket}/up?uploads"), &[], b"").await.expect(200);
    place.upload = begun.element("UploadId").unwrap();
    let part = format!("/{bucket}/up?partNumber=1&uploadId={}", place.upload);
    let part = client.put(&part, b"part").await.expect(200);
    part.header("etag").unwrap().clone_into(&mut place.part_etag);
    place
}

/// What is there, as its owner sees it, and how often the storage was asked for bytes.
async fn state(service: &Service, place: &Place) -> String {
    let mut state = format!("{:?}", service.catalog.bucket(&place.bucket).await.unwrap());
    for query in ["versions", "uploads", "acl", "policy", "tagging", "lifecycle"] {
        let reply = service.client.get(&format!("/{}?{query}", place.bucket)).await;
        let request = reply.header("x-amz-request-id").unwrap_or_default().to_owned();
        let _ = write!(state, "\n{}", reply.text().replace(&request, ""));
    }
    let new = service.catalog.bucket(&format!("{}-new", place.bucket)).await.unwrap();
    let _ = write!(state, "\n{new:?} {}", service.backend.calls.load(Ordering::Relaxed));
    state
}

impl Route {
    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn send(&self, client: &Client) -> Reply {
        client.send(self.method, &self.target, &self.headers(), self.body.as_bytes()).await
    }

    /// Signed at another time than now.
    async fn send_skewed(&self, client: &Client, skew: Duration) -> Reply {
        let (now, body) = (OffsetDateTime::now_utc() + skew, self.body.as_bytes());
        let head =
            client.signed_at(now, self.method, &self.target, &self.headers(), &sha256(body), body.len());
        exchange(client.address, &[head.as_bytes(), body].concat()).await
    }

    /// With one digit of the signature changed.
    async fn send_with_another_signature(&self, client: &Client) -> Reply {
        let body = self.body.as_bytes();
        let head = client.signed(self.method, &self.target, &self.headers(), &sha256(body), body.len());
        let at = head.find("Signature=").unwrap() + "Signature=".len();
        let digit = if head.as_bytes()[at] == b'0' { "1" } else { "0" };
        let changed = format!("{}{digit}{}", &head[..at], &head[at + 1..]);
        exchange(client.address, &[changed.as_bytes(), body].concat()).await
    }

    /// Rightly signed by its headers, and with a signature in its query besides.
    async fn send_signed_twice(&self, client: &Client) -> Reply {
        let by_query = client.presigned(self.method, self.target.split('?').next().unwrap(), 0, 60);
        let joint = if self.target.contains('?') { '&' } else { '?' };
        let target = format!("{}{joint}{}", self.target, by_query.split_once('?').unwrap().1);
        client.send(self.method, &target, &self.headers(), self.body.as_bytes()).await
    }

    /// By a link of that age which is good for a minute.
    async fn send_by_link(&self, client: &Client, age_seconds: i64) -> Reply {
        let headers = self.headers();
        let link = client.presigned_with(self.method, &self.target, &headers, age_seconds, 60);
        client.send_unsigned(self.method, &link, &headers, self.body.as_bytes()).await
    }

    /// With another body of the same length than the one that was signed.
    async fn send_tampered(&self, client: &Client) -> Reply {
        let body = self.body.as_bytes();
        let head = client.signed(self.method, &self.target, &self.headers(), &sha256(body), body.len());
        let mut changed = body.to_vec();
        changed[body.len() / 2] ^= 1;
        exchange(client.address, &[head.as_bytes(), &changed].concat()).await
    }

    async fn send_unsigned(&self, client: &Client) -> Reply {
        client.send_unsigned(self.method, &self.target, &self.headers(), self.body.as_bytes()).await
    }
}

#[test]
fn every_operation_has_a_request_here() {
    let place = Place { bucket: "b".into(), upload: "u".into(), part_etag: "e".into() };
    let missing: Vec<_> = OPERATIONS.iter().filter(|name| place.route(name).is_none()).collect();
    assert!(missing.is_empty(), "add a line to Place::route for {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_for_a_request_that_is_not_rightly_signed() {
    let service = Service::start().await;
    let wrong = Client { secret: "another-secret".into(), ..service.client.clone() };
    let unknown = Client { access_key: "AKIANOBODY".into(), ..service.client.clone() };
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let route = place.route(operation).unwrap();
        let before = state(&service, &place).await;
        let mut replies = vec![
            ("wrong secret", route.send(&wrong).await),
            ("unknown key", route.send(&unknown).await),
            ("signature", route.send_with_another_signature(&service.client).await),
            ("early", route.send_skewed(&service.client, Duration::minutes(-16)).await),
            ("late", route.send_skewed(&service.client, Duration::minutes(16)).await),
            ("unsigned", route.send_unsigned(&service.client).await),
            ("twice", route.send_signed_twice(&service.client).await),
            ("link of wrong secret", route.send_by_link(&wrong, 0).await),
            ("link of unknown key", route.send_by_link(&unknown, 0).await),
            ("old link", route.send_by_link(&service.client, 120).await),
        ];
        if !route.body.is_empty() {
            replies.push(("tampered", route.send_tampered(&service.client).await));
        }
        for (how, reply) in replies {
            let expected = match (*operation, how) {
                (_, "tampered") => 400,
                // Each key has an answer of its own.
                ("delete_objects", "unsigned") => {
                    assert_eq!(reply.element("Code").as_deref(), Some("AccessDenied"));
                    200
                }
                _ => 403,
            };
            assert_eq!(reply.status, expected, "{operation}, {how}: {}", reply.text());
        }
        assert_eq!(state(&service, &place).await, before, "{operation} changed or read something");
        let accepted = route.send(&service.client).await;
        // Nothing in this place is out of reach, so that it could be restored.
        let restored = accepted.element("Code").as_deref() == Some("InvalidObjectState");
        let done = accepted.status < 300 || accepted.status == 404 || restored;
        assert!(done, "{operation} as its owner: {} {}", accepted.status, accepted.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_done_by_a_link_of_its_own() {
    let service = Service::start().await;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let reply = place.route(operation).unwrap().send_by_link(&service.client, 0).await;
        let done = reply.status < 300
            || reply.status == 404
            || reply.element("Code").as_deref() == Some("InvalidObjectState");
        assert!(done, "{operation}: {} {}", reply.status, reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_account_gets_nothing_out_of_any_operation() {
    let service = Service::start().await;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let route = place.route(operation).unwrap();
        let before = state(&service, &place).await;
        let reply = route.send(&service.other).await;
        match *operation {
            // Its own account is what these are about.
            "list_buckets" => {
                let mine = format!("<Name>{}</Name>", place.bucket);
                assert!(!reply.expect(200).text().contains(&mine));
            }
            "create_bucket" => {
                reply.expect(200);
                continue;
            }
            // Each key has an answer of its own.
            "delete_objects" => {
                let code = reply.expect(200).element("Code");
                assert_eq!(code.as_deref(), Some("AccessDenied"));
            }
            _ => {
                assert_eq!(reply.status, 403, "{operation}: {}", reply.text());
                let code = reply.element("Code");
                assert!(route.method == "HEAD" || code.as_deref() == Some("AccessDenied"), "{operation}");
            }
        }
        assert_eq!(state(&service, &place).await, before, "{operation} changed or read something");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_another_account_are_no_way_in() {
    let service = Service::start().await;
    let place = place(&service, "mine", "").await;
    let client = &service.client;
    client.put("/mine?versioning", VERSIONING.as_bytes()).await.expect(200);
    let put = client.put("/mine/key", b"newer").await.expect(200);
    let id = put.header("x-amz-version-id").unwrap().to_owned();
    service.other.put("/theirs", b"").await.expect(200);
    let other = &service.other;
    for target in [format!("/mine/key?versionId={id}"), "/mine/key?versionId=null".to_owned()] {
        other.get(&target).await.expect_error(403, "AccessDenied");
        other.delete(&target).await.expect_error(403, "AccessDenied");
    }
    other.get("/mine?versions&key-marker=key").await.expect_error(403, "AccessDenied");
    other.get("/mine?list-type=2&start-after=a").await.expect_error(403, "AccessDenied");
    // An upload's id is good in its own bucket and for its own key alone.
    let part = format!("/theirs/up?partNumber=1&uploadId={}", place.upload);
    other.put(&part, b"x").await.expect_error(404, "NoSuchUpload");
    other.delete(&format!("/theirs/up?uploadId={}", place.upload)).await.expect_error(404, "NoSuchUpload");
    for source in ["mine/key".to_owned(), format!("mine/key?versionId={id}"), "/mine/key".to_owned()] {
        let header = [("x-amz-copy-source", source.as_str())];
        other.send("PUT", "/theirs/copy", &header, b"").await.expect_error(403, "AccessDenied");
    }
    client.get(&format!("/mine/key?versionId={id}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_cannot_be_read_change_nothing() {
    let service = Service::start().await;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let route = place.route(operation).unwrap();
        if !route.body.starts_with('<') {
            continue;
        }
        let before = state(&service, &place).await;
        let root = route.body.trim_start_matches('<').split(['>', ' ', '/']).next().unwrap().to_owned();
        let mut documents = vec![
            ("cut off", route.body[..route.body.len() - 2].to_owned()),
            ("another", "<Unheard><Of/></Unheard>".to_owned()),
            ("deep", format!("<{root}>{}", "<a>".repeat(100_000))),
            ("long", format!("<{root}>{}</{root}>", " ".repeat(2 << 20))),
        ];
        documents.extend(with_entity(&root, &route.body).map(|body| ("entity", body)));
        for (how, body) in documents {
            let broken =
                Route { method: route.method, target: route.target.clone(), headers: Vec::new(), body };
            let reply = broken.send(&service.client).await;
            let code = if how == "long" { "MaxMessageLengthExceeded" } else { "MalformedXML" };
            let answered = (reply.status, reply.element("Code"));
            assert_eq!(answered, (400, Some(code.to_owned())), "{operation}, {how}: {}", reply.text());
        }
        assert_eq!(state(&service, &place).await, before, "{operation} changed something");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_not_the_declared_ones_change_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    let other = noise(7, 40);
    let (md5, crc) = (STANDARD.encode(Md5::digest(&other)), crc32(&other));
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let place = place(&service, &format!("op-{number}"), operation).await;
        let route = place.route(operation).unwrap();
        // What is no document has digests, too, and tests of its own.
        if route.body.is_empty() || ["put_object", "upload_part"].contains(operation) {
            continue;
        }
        let (method, target, body) = (route.method, route.target.as_str(), route.body.as_bytes());
        let before = state(&service, &place).await;
        let mut wrong =
            vec![("content-md5", md5.as_str(), "BadDigest"), ("content-md5", "abc", "InvalidDigest")];
        if *operation != "complete_multipart_upload" {
            wrong.push(("x-amz-checksum-crc32", crc.as_str(), "BadDigest"));
        }
        for (header, value, code) in wrong {
            client.send(method, target, &[(header, value)], body).await.expect_error(400, code);
        }
        let framed = format!("{:x}\r\n{}\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n", body.len(), route.body);
        let len = body.len().to_string();
        let headers =
            [("x-amz-decoded-content-length", len.as_str()), ("x-amz-trailer", "x-amz-checksum-crc32")];
        let reply = client.send_hashed(method, target, &headers, framed.as_bytes(), TRAILER).await;
        reply.expect_error(400, "InvalidRequest");
        assert_eq!(state(&service, &place).await, before, "{operation} changed something");
        let right = STANDARD.encode(Md5::digest(body));
        let mut headers = route.headers();
        headers.push(("content-md5", &right));
        let done = client.send(method, target, &headers, body).await;
        assert!(
            done.status < 300 || done.element("Code").as_deref() == Some("InvalidObjectState"),
            "{operation}"
        );
    }
}

/// The document with an entity of its own instead of its first text, if it has any text.
fn with_entity(root: &str, body: &str) -> Option<String> {
    let start = body.match_indices('>').map(|(at, _)| at + 1).find(|at| {
        let rest = &body[*at..];
        !rest.is_empty() && !rest.trim_start().starts_with('<')
    })?;
    let end = start + body[start..].find('<')?;
    Some(format!("<!DOCTYPE {root} [<!ENTITY a \"b\">]>{}&a;{}", &body[..start], &body[end..]))
}
