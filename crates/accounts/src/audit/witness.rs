//! A file beside a gateway's keys with the newest head of the audit log that it has signed. Who sets back the whole
//! database to an earlier state has a log with a good head; the file tells that there was more.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::error;

use super::{AuditHead, AuditPublicKey};
use crate::AccountsError;

/// A head, and the key that signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessedHead {
    /// The key.
    pub public_key: AuditPublicKey,
    /// The head.
    pub head: AuditHead,
}

/// The file, if this gateway keeps one.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    path: Option<Arc<Path>>,
    /// The number of the newest head in the file; what the file tells of a log that was set back stays. Held while the
    /// file is written.
    newest: Arc<Mutex<u64>>,
}

impl Witness {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path: path.map(Into::into), newest: Arc::default() }
    }

    /// Keeps the file as it is from now on: it contradicts the log.
    pub fn keep(&self) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = u64::MAX;
    }

    /// The head in the file; `None` before the first.
    pub fn read(&self) -> Result<Option<WitnessedHead>, AccountsError> {
        let Some(path) = &self.path else { return Ok(None) };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(AccountsError::AuditFile { path: path.to_path_buf(), source }),
        };
        let malformed = |error: serde_json::Error| AccountsError::AuditFile {
            path: path.to_path_buf(),
            source: error.into(),
        };
        serde_json::from_slice(&text).map(Some).map_err(malformed)
    }

    /// Writes a head that was committed, unless the file has a newer one. A failure is logged only: the change that the
    /// head tells of is done.
    pub async fn note(&self, public_key: AuditPublicKey, head: AuditHead) {
        let Some(path) = self.path.clone() else { return };
        let newest = Arc::clone(&self.newest);
        let write = move || {
            let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
            if *newest >= head.sequence {
                return;
            }
            let sequence = head.sequence;
            match replace(&path, &WitnessedHead { public_key, head }) {
                Ok(()) => *newest = sequence,
                Err(error) => {
                    error!(%error, path = %path.display(), "the head of the audit log could not be kept");
                }
            }
        };
        // It cannot fail but by a panic, which has been reported.
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

fn replace(path: &Path, seen: &WitnessedHead) -> std::io::Result<()> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(seen)?)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
