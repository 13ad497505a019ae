//! Steps as requests, and what their answers mean for the model, which knows beforehand which of them are refused.

use datamesh_accounts::Dimension;
use datamesh_gateway::s3::now_ms;

use super::Run;
use super::model::{BUCKETS, PART_LEN_MIN, Part, Place, Upload, Versioning};
use super::step::{AGING, AGING_BUCKETS, FORM_KEY, RACERS, Source, Step};
use crate::client::Reply;
use crate::forms::{ours, post};
use crate::service::{DAY_MS, noise};
use crate::versioning::set_versioning;

/// More than what follows a form's file: quota is taken for the file as if that belonged to it.
const FORM_END_LEN_MAX: u64 = 64;
/// The MD5 of nothing.
const WRONG_MD5: (&str, &str) = ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
const VERSION_ID: &str = "x-amz-version-id";

/// Whether a write got in: it must have if it fits, and must have been refused for the quota if it does not.
fn admitted(reply: &Reply, fits: bool) -> bool {
    if fits {
        assert!((200..300).contains(&reply.status), "{}: {}", reply.status, reply.text());
    } else {
        assert_refused(reply);
    }
    fits
}

fn assert_refused(reply: &Reply) {
    let code = reply.element("Code");
    assert_eq!((reply.status, code.as_deref()), (403, Some("QuotaExceeded")), "{}", reply.text());
}

fn copy_source(from: &Source) -> String {
    let version = from.version.as_ref().map(|id| format!("?versionId={id}")).unwrap_or_default();
    format!("{}{version}", from.at.path())
}

impl Run<'_> {
    pub async fn perform(&mut self, step: Step) {
        match step {
            Step::Put { at, size } => self.put(at, size).await,
            Step::PutWrong { at, size } => self.put_wrong(at, size).await,
            Step::Form { size } => self.post_form(size).await,
            Step::Copy { from, to } => self.copy(&from, to).await,
            Step::Begin { at } => self.begin(at).await,
            Step::Part { upload, number, size } => self.put_part(upload, number, size).await,
            Step::PartCopy { upload, number, from, len } => {
                self.copy_part((upload, number), &from, len).await;
            }
            Step::Complete { upload, numbers } => self.complete(upload, &numbers).await,
            Step::Abort { upload } => self.abort(upload).await,
            Step::Delete { at } => self.delete(at).await,
            Step::DeleteVersion { at, id } => self.delete_version(at, &id).await,
            Step::DeleteMany { bucket, objects } => self.delete_many(bucket, &objects).await,
            Step::Tag { at } => self.tag(at).await,
            Step::Version { bucket, versioning } => self.set_versioning(bucket, versioning).await,
            Step::Limit { owner, dimension, room } => self.limit(owner, dimension, room).await,
            Step::Age => self.age().await,
            Step::Race { bucket, sizes } => self.race(bucket, sizes).await,
        }
    }

    fn body(&self, size: u64) -> &[u8] {
        &self.noise[..size as usize]
    }

    async fn put(&mut self, at: Place, size: u64) {
        let fits = self.model.takes_version(at, size);
        let reply = self.client.put(&at.path(), self.body(size)).await;
        if admitted(&reply, fits) {
            self.model.write(at, reply.header(VERSION_ID), size);
        }
    }

    async fn put_wrong(&mut self, at: Place, size: u64) {
        let fits = self.model.takes_version(at, size);
        let reply = self.client.send("PUT", &at.path(), &[WRONG_MD5], self.body(size)).await;
        if fits {
            reply.expect_error(400, "BadDigest");
        } else {
            assert_refused(&reply);
        }
    }

    async fn post_form(&mut self, size: u64) {
        let fields = ours(&[("key", FORM_KEY.key), ("content-type", "image/jpeg"), ("x-amz-meta-note", "n")]);
        let fits = self.model.takes_version(FORM_KEY, size);
        let fits_with_its_end = self.model.takes_version(FORM_KEY, size + FORM_END_LEN_MAX);
        let reply = post(&self.client, &fields, self.body(size)).await;
        if reply.status == 204 {
            assert!(fits, "a form got in that does not fit");
            self.model.write(FORM_KEY, None, size);
        } else {
            assert_refused(&reply);
            assert!(!fits_with_its_end, "a form was refused that fits");
        }
    }

    async fn copy(&mut self, from: &Source, to: Place) {
        let fits = self.model.takes_version(to, from.size);
        let source = copy_source(from);
        let mut headers = vec![("x-amz-copy-source", source.as_str())];
        if from.at == to {
            headers.push(("x-amz-metadata-directive", "REPLACE"));
        }
        let reply = self.client.send("PUT", &to.path(), &headers, b"").await;
        if admitted(&reply, fits) {
            self.model.write(to, reply.header(VERSION_ID), from.size);
        }
    }

    async fn begin(&mut self, at: Place) {
        let fits = self.model.takes_version(at, 0);
        let reply = self.client.send("POST", &format!("{}?uploads", at.path()), &[], b"").await;
        if admitted(&reply, fits) {
            let id = reply.element("UploadId").unwrap();
            self.model.uploads.push(Upload { at, id, parts: std::collections::BTreeMap::new() });
        }
    }

    fn part_target(&self, upload: usize, number: u16) -> String {
        let Upload { at, id, .. } = &self.model.uploads[upload];
        format!("{}?partNumber={number}&uploadId={id}", at.path())
    }

    async fn put_part(&mut self, upload: usize, number: u16, size: u64) {
        let fits = self.model.takes_part(upload, number, size);
        let reply = self.client.put(&self.part_target(upload, number), self.body(size)).await;
        if admitted(&reply, fits) {
            let etag = reply.header("etag").unwrap().to_owned();
            self.model.uploads[upload].parts.insert(number, Part { size, etag });
        }
    }

    async fn copy_part(&mut self, (upload, number): (usize, u16), from: &Source, len: u64) {
        let fits = self.model.takes_part(upload, number, len);
        let (source, range) = (copy_source(from), format!("bytes=0-{}", len - 1));
        let headers = [("x-amz-copy-source", source.as_str()), ("x-amz-copy-source-range", range.as_str())];
        let reply = self.client.send("PUT", &self.part_target(upload, number), &headers, b"").await;
        if admitted(&reply, fits) {
            let etag = reply.element("ETag").unwrap();
            self.model.uploads[upload].parts.insert(number, Part { size: len, etag });
        }
    }

    async fn complete(&mut self, upload: usize, numbers: &[u16]) {
        let Upload { at, id, parts } = &self.model.uploads[upload];
        let (at, target) = (*at, format!("{}?uploadId={id}", at.path()));
        let named = |number: &u16| {
            let etag = &parts[number].etag;
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        };
        let named: String = numbers.iter().map(named).collect();
        let document = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
        let (_, all_but_last) = numbers.split_last().unwrap();
        let is_whole = all_but_last.iter().all(|number| parts[number].size >= PART_LEN_MIN);
        let fits = self.model.takes_version(at, 0);
        let reply = self.client.send("POST", &target, &[], document.as_bytes()).await;
        if fits && !is_whole {
            reply.expect_error(400, "EntityTooSmall");
        } else if admitted(&reply, fits) {
            self.model.complete(upload, numbers, reply.header(VERSION_ID));
            // Whoever did not get the answer asks again, however full the account has become.
            let again = self.client.send("POST", &target, &[], document.as_bytes()).await.expect(200);
            assert_eq!(again.element("ETag"), reply.element("ETag"));
        }
    }

    pub async fn abort(&mut self, upload: usize) {
        let Upload { at, id, .. } = self.model.uploads.remove(upload);
        let target = format!("{}?uploadId={id}", at.path());
        self.client.delete(&target).await.expect(204);
        self.client.delete(&target).await.expect_error(404, "NoSuchUpload");
    }

    async fn delete(&mut self, at: Place) {
        let reply = self.client.delete(&at.path()).await.expect(204);
        self.model.delete(at, reply.header(VERSION_ID));
    }

    pub async fn delete_version(&mut self, at: Place, id: &str) {
        self.client.delete(&format!("{}?versionId={id}", at.path())).await.expect(204);
        self.model.remove(at, id);
    }

    async fn delete_many(&mut self, bucket: usize, objects: &[(Place, Option<String>)]) {
        let object = |(at, version): &(Place, Option<String>)| {
            let version = version.as_ref().map(|id| format!("<VersionId>{id}</VersionId>"));
            format!("<Object><Key>{}</Key>{}</Object>", at.key, version.unwrap_or_default())
        };
        let document = format!("<Delete>{}</Delete>", objects.iter().map(object).collect::<String>());
        let target = format!("/{}?delete", BUCKETS[bucket]);
        let reply = self.client.send("POST", &target, &[], document.as_bytes()).await.expect(200);
        let deleted = reply.elements("Deleted");
        assert_eq!(deleted.len(), objects.len(), "{}", reply.text());
        for ((at, version), deleted) in objects.iter().zip(&deleted) {
            if let Some(id) = version {
                self.model.remove(*at, id);
            } else {
                let marker = deleted.split_once("<DeleteMarkerVersionId>");
                let marker = marker.and_then(|(_, rest)| rest.split_once('<')).map(|(id, _)| id);
                self.model.delete(*at, marker);
            }
        }
    }

    async fn tag(&mut self, at: Place) {
        let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
        self.client.put(&format!("{}?tagging", at.path()), tags.as_bytes()).await.expect(200);
    }

    async fn set_versioning(&mut self, bucket: usize, versioning: Versioning) {
        let status = match versioning {
            Versioning::Enabled => "Enabled",
            Versioning::Suspended => "Suspended",
            Versioning::Unversioned => panic!("a bucket never goes back to that"),
        };
        set_versioning(&self.client, BUCKETS[bucket], status).await;
        self.model.versioning[bucket] = versioning;
    }

    async fn limit(&mut self, owner: usize, dimension: usize, room: Option<u64>) {
        let stored = self.model.stored(owner)[dimension];
        let limit = room.map_or(super::WIDE[dimension].max(stored), |room| stored + room);
        let counted = [Dimension::Bytes, Dimension::Objects][dimension];
        self.service.limit(&self.owners[owner], counted, limit).await;
        self.model.limits[owner][dimension] = limit;
    }

    /// Lets the lifecycle rules see everything as old.
    async fn age(&mut self) {
        let report = self.service.jobs.age(now_ms() + 3 * DAY_MS).await.unwrap();
        assert_eq!(report.failed, 0, "{report:?}");
        for bucket in AGING_BUCKETS {
            self.model.expire(bucket, AGING);
        }
    }

    /// Of what does not all fit, any of it may get in.
    async fn race(&mut self, bucket: usize, sizes: [u64; RACERS.len()]) {
        let all_fit = self.model.admits(bucket, [sizes.iter().sum(), RACERS.len() as u64]);
        let places = RACERS.map(|key| Place { bucket, key });
        let puts = places.iter().zip(sizes).map(|(at, size)| {
            let (client, path, body) = (self.client.clone(), at.path(), noise(size + 1, size as usize));
            async move { client.put(&path, &body).await }
        });
        let replies = futures::future::join_all(puts).await;
        for ((at, size), reply) in places.into_iter().zip(sizes).zip(replies) {
            if reply.status == 200 {
                self.model.write(at, reply.header(VERSION_ID), size);
            } else {
                assert_refused(&reply);
                assert!(!all_fit, "{at:?} was refused while there was room for all");
            }
        }
    }
}
