//! A request for every operation, built from the service's own list, so that a new operation cannot be forgotten.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use datamesh_gateway::s3::OPERATIONS;
use time::{Duration, OffsetDateTime};

use crate::client::{Client, Reply, exchange, sha256};
use crate::service::{Service, noise};

/// A request for one operation.
pub struct Route {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// A bucket with everything in it that operations may be about.
pub struct Place {
    pub bucket: String,
    pub upload: String,
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
pub const VERSIONING: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
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
    pub fn route(&self, operation: &str) -> Option<Route> {
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
pub async fn place(service: &Service, bucket: &str, operation: &str) -> Place {
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
pub async fn state(service: &Service, place: &Place) -> String {
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
    pub fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    pub async fn send(&self, client: &Client) -> Reply {
        client.send(self.method, &self.target, &self.headers(), self.body.as_bytes()).await
    }

    /// Signed at another time than now.
    pub async fn send_skewed(&self, client: &Client, skew: Duration) -> Reply {
        let (now, body) = (OffsetDateTime::now_utc() + skew, self.body.as_bytes());
        let head =
            client.signed_at(now, self.method, &self.target, &self.headers(), &sha256(body), body.len());
        exchange(client.address, &[head.as_bytes(), body].concat()).await
    }

    /// With one digit of the signature changed.
    pub async fn send_with_another_signature(&self, client: &Client) -> Reply {
        let body = self.body.as_bytes();
        let head = client.signed(self.method, &self.target, &self.headers(), &sha256(body), body.len());
        let at = head.find("Signature=").unwrap() + "Signature=".len();
        let digit = if head.as_bytes()[at] == b'0' { "1" } else { "0" };
        let changed = format!("{}{digit}{}", &head[..at], &head[at + 1..]);
        exchange(client.address, &[changed.as_bytes(), body].concat()).await
    }

    /// Rightly signed by its headers, and with a signature in its query besides.
    pub async fn send_signed_twice(&self, client: &Client) -> Reply {
        let by_query = client.presigned(self.method, self.target.split('?').next().unwrap(), 0, 60);
        let joint = if self.target.contains('?') { '&' } else { '?' };
        let target = format!("{}{joint}{}", self.target, by_query.split_once('?').unwrap().1);
        client.send(self.method, &target, &self.headers(), self.body.as_bytes()).await
    }

    /// By a link of that age which is good for a minute.
    pub async fn send_by_link(&self, client: &Client, age_seconds: i64) -> Reply {
        let headers = self.headers();
        let link = client.presigned_with(self.method, &self.target, &headers, age_seconds, 60);
        client.send_unsigned(self.method, &link, &headers, self.body.as_bytes()).await
    }

    /// With another body of the same length than the one that was signed.
    pub async fn send_tampered(&self, client: &Client) -> Reply {
        let body = self.body.as_bytes();
        let head = client.signed(self.method, &self.target, &self.headers(), &sha256(body), body.len());
        let mut changed = body.to_vec();
        changed[body.len() / 2] ^= 1;
        exchange(client.address, &[head.as_bytes(), &changed].concat()).await
    }

    pub async fn send_unsigned(&self, client: &Client) -> Reply {
        client.send_unsigned(self.method, &self.target, &self.headers(), self.body.as_bytes()).await
    }
}

#[test]
fn every_operation_has_a_request_here() {
    let place = Place { bucket: "b".into(), upload: "u".into(), part_etag: "e".into() };
    let missing: Vec<_> = OPERATIONS.iter().filter(|name| place.route(name).is_none()).collect();
    assert!(missing.is_empty(), "add a line to Place::route for {missing:?}");
}
