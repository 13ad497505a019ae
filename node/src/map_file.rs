//! The network map on disk: the file that an operator distributes, and the newest map seen, kept for the next start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use datamesh_mesh::{
    MapError, MeshError, MeshHandle, NetworkMap, OperatorId, SIGNED_MAP_BYTES_MAX, SignedMap,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::NodeError;
use crate::durable_file::{self, Readers};

/// Where maps come from, and who must have signed them.
#[derive(Debug, Clone)]
pub struct MapFiles {
    /// The file that an operator distributes.
    pub distributed: PathBuf,
    /// Where the newest map that peers passed on is kept.
    pub kept: PathBuf,
    /// Operators whose signatures count.
    pub trusted: Vec<OperatorId>,
    /// How many of them must have signed.
    pub signatures_required: usize,
}

impl MapFiles {
    /// The newer of the distributed and the kept map.
    ///
    /// # Errors
    /// The distributed file cannot be read, or is not signed well. A kept file that is, is passed over.
    pub fn load(&self) -> Result<(SignedMap, NetworkMap), NodeError> {
        let distributed = self.read(&self.distributed)?;
        match self.read(&self.kept) {
            Ok(kept) if kept.1.network == distributed.1.network && kept.1.epoch > distributed.1.epoch => {
                Ok(kept)
            }
            _ => Ok(distributed),
        }
    }

    fn read(&self, file: &Path) -> Result<(SignedMap, NetworkMap), NodeError> {
        let refused = |source| NodeError::Map { file: file.to_owned(), source };
        let io = |source| NodeError::Io { action: "read", path: file.to_owned(), source };
        let len = std::fs::metadata(file).map_err(io)?.len();
        if len > SIGNED_MAP_BYTES_MAX as u64 {
            return Err(refused(MapError::Malformed { reason: format!("it has {len} bytes") }));
        }
        let text = std::fs::read_to_string(file).map_err(io)?;
        let signed = SignedMap::from_json(&text).map_err(refused)?;
        let map = signed.verify_quorum(&self.trusted, self.signatures_required).map_err(refused)?;
        Ok((signed, map))
    }

    /// Puts newer maps in force as they appear in the distributed file (looked at every `period`, and at once on
    /// SIGHUP) and keeps what peers pass on. Runs until `stop`.
    pub async fn follow(self, handle: MeshHandle, period: Duration, stop: CancellationToken) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("cannot listen for SIGHUP; the network map is not followed");
            return;
        };
        let mut changes = handle.map_changes();
        let mut ticks = tokio::time::interval(period);
        let mut refused = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                _ = hangup.recv() => refused = None,
                news = changes.changed() => match news {
                    Ok(()) => { self.keep(&handle); continue; }
                    Err(_) => return,
                },
            }
            if let Err(error) = self.offer(&handle).await {
                let error = error.to_string();
                if refused.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the network map file is refused; the map in force stays");
                    refused = Some(error);
                }
            }
        }
    }

    async fn offer(&self, handle: &MeshHandle) -> Result<(), NodeError> {
        let (signed, map) = self.read(&self.distributed)?;
        if map.epoch <= handle.map().epoch {
            return Ok(());
        }
        match handle.update_map(signed).await {
            // A peer was faster.
            Err(MeshError::Map(MapError::NotNewer { .. })) => Ok(()),
            result => result.map_err(NodeError::from),
        }
    }

    fn keep(&self, handle: &MeshHandle) {
        let json = handle.signed_map().to_json();
        match durable_file::replace(&self.kept, json.as_bytes(), Readers::All) {
            Ok(()) => tracing::info!(epoch = handle.map().epoch, "a newer network map is in force"),
            Err(error) => tracing::warn!(%error, "could not keep the newer network map for the next start"),
        }
    }
}
