//! `GetObjectTorrent`: there are no torrents, which is told of an object that is there as S3 does.

use datamesh_policy::Action;
use s3s::dto::{GetObjectTorrentInput, GetObjectTorrentOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::S3Gateway;
use super::caller::Caller;

impl S3Gateway {
    pub(super) async fn get_object_torrent(
        &self,
        req: S3Request<GetObjectTorrentInput>,
    ) -> S3Result<S3Response<GetObjectTorrentOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let expected_owner = input.expected_bucket_owner.as_deref();
        self.version(&caller, name, None, Action::GetObject, expected_owner).await?;
        Err(s3_error!(NoSuchKey, "The object has no torrent."))
    }
}
