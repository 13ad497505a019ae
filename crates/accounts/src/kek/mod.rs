//! The key-encryption key: a file that only its owner may read, kept apart from the database.
//!
//! The file may hold several keys while one replaces another: see `rotation`. A gateway that meets a secret
//! sealed under a key that it does not know reads its file again, in case it was given a new one.

mod file;
mod ring;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::AccountsError;

use file::Existing;
pub use ring::KekRole;
pub(crate) use ring::SEALED_HEAD_LEN;
use ring::{KekKey, Ring};

/// A file that lacks a key is read again this often at most.
const REREAD_EVERY: Duration = Duration::from_secs(1);

/// Names a key of a KEK file; says nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KekId(pub(crate) [u8; Self::LEN]);

impl KekId {
    const LEN: usize = 4;
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KekId({self})")
    }
}

/// The keys that secrets in the database are sealed under.
pub struct Kek {
    path: PathBuf,
    ring: RwLock<Arc<Ring>>,
    /// When the file was last read for want of a key. Held while the file is changed, so that changes queue.
    reread: Mutex<Option<Instant>>,
}

impl Kek {
    /// Reads the keys at `path`, or creates the file, with its folder and mode 0600, with a random key.
    ///
    /// # Errors
    /// A file that its group or anyone else may read is refused.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, AccountsError> {
        let path = path.as_ref();
        let missing = |error: &AccountsError| matches!(error, AccountsError::KekFile { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
        let ring = match file::read(path) {
            Err(error) if missing(&error) => {
                file::write(path, [file::draw(KekRole::Sealing)?].iter(), Existing::Keep)?;
                file::read(path)?
            }
            other => other?,
        };
        Ok(Self { path: path.to_owned(), ring: RwLock::new(Arc::new(ring)), reread: Mutex::default() })
    }

    /// Seals a secret under its name: it opens under no other.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, AccountsError> {
        self.ring().seal(name, secret)
    }

    /// Opens what [`Kek::seal`] made.
    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccountsError> {
        match self.ring().open(name, sealed) {
            Err(AccountsError::UnknownKek { .. }) => {
                self.reread()?;
                self.ring().open(name, sealed)
            }
            other => other,
        }
    }

    /// The key that seals.
    pub(crate) fn sealing(&self) -> KekId {
        self.ring().sealing().id
    }

    /// All keys.
    pub(crate) fn keys(&self) -> Vec<(KekId, KekRole)> {
        self.ring().keys().iter().map(|key| (key.id, key.role)).collect()
    }

    /// Adds a random key to the file, which is next; if there is one already, that one stays.
    pub(crate) fn add(&self) -> Result<KekId, AccountsError> {
        let new = file::draw(KekRole::Next)?;
        let ring = self.change(|keys| {
            if keys.iter().all(|key| key.role != KekRole::Next) {
                keys.push(new);
            }
        })?;
        Ok(ring.with_role(KekRole::Next).expect("a key was added unless there was one").id)
    }

    /// Makes the next key, if there is one, the one that seals. The key that seals now.
    pub(crate) fn promote(&self) -> Result<KekId, AccountsError> {
        let ring = self.change(|keys| {
            if keys.iter().all(|key| key.role != KekRole::Next) {
                return;
            }
            for key in keys {
                key.role = match key.role {
                    KekRole::Next => KekRole::Sealing,
                    KekRole::Sealing | KekRole::Old => KekRole::Old,
                };
            }
        })?;
        Ok(ring.sealing().id)
    }

    /// Takes the old keys out of the file, and returns them.
    pub(crate) fn retire(&self) -> Result<Vec<KekId>, AccountsError> {
        let mut retired = Vec::new();
        self.change(|keys| {
            retired = keys.extract_if(.., |key| key.role == KekRole::Old).map(|key| key.id).collect();
        })?;
        Ok(retired)
    }

    /// Changes what the file holds now; only a change that is durable takes effect.
    fn change(&self, change: impl FnOnce(&mut Vec<KekKey>)) -> Result<Arc<Ring>, AccountsError> {
        let _turn = self.reread.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = file::read(&self.path)?.keys().to_vec();
        change(&mut keys);
        file::write(&self.path, keys.iter(), Existing::Replace)?;
        self.set(Ring::new(keys).expect("every change leaves one key that seals"));
        Ok(self.ring())
    }

    /// Reads the file again, unless that was done a moment ago.
    fn reread(&self) -> Result<(), AccountsError> {
        let mut reread = self.reread.lock().unwrap_or_else(PoisonError::into_inner);
        if reread.is_some_and(|at| at.elapsed() < REREAD_EVERY) {
            return Ok(());
        }
        *reread = Some(Instant::now());
        self.set(file::read(&self.path)?);
        Ok(())
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, ring: Ring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_key_is_created_once_private_and_loaded_afterwards() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("deep/kek");
        let sealed = Kek::load_or_create(&path).unwrap().seal("a", b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let kek = Kek::load_or_create(&path).unwrap();
        assert_eq!(**kek.open("a", &sealed).unwrap(), *b"secret");
        assert_eq!(format!("{kek:?}"), "Kek(..)");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("kek");
        Kek::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Kek::load_or_create(&path).unwrap_err();
            assert!(error.to_string().contains("expected 0600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        Kek::load_or_create(&path).unwrap();
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("kek");
        Kek::load_or_create(&path).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let broken = format!("{whole}hunter2\n");
        let two = format!("{whole}{whole}");
        for text in ["", "hunter2", "datamesh-kek-1:", &whole[..whole.len() - 2], &broken, &two] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(Kek::load_or_create(&path), Err(AccountsError::KekMalformed { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_new_key_seals_only_once_it_is_promoted_and_the_old_one_opens_until_it_is_retired() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("kek");
        let kek = Kek::load_or_create(&path).unwrap();
        let first = kek.seal("a", b"secret").unwrap();
        let new = kek.add().unwrap();
        assert_eq!(KekId::of_sealed(&kek.seal("a", b"secret").unwrap()), KekId::of_sealed(&first));
        assert_eq!(kek.add().unwrap(), new, "a second key was added before the first took effect");
        assert_eq!(kek.promote().unwrap(), new);
        assert_eq!(kek.promote().unwrap(), new, "the old key was promoted again");
        let second = kek.seal("a", b"secret").unwrap();
        assert_eq!(KekId::of_sealed(&second), Some(new));
        assert_eq!(**kek.open("a", &first).unwrap(), *b"secret");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(kek.retire().unwrap().len(), 1);
        assert!(matches!(kek.open("a", &first), Err(AccountsError::UnknownKek { .. })));
        assert_eq!(**Kek::load_or_create(&path).unwrap().open("a", &second).unwrap(), *b"secret");
    }

    #[test]
    fn a_gateway_finds_a_key_that_its_file_was_given_later() {
        let folder = tempfile::TempDir::new().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let rotating = Kek::load_or_create(&one).unwrap();
        fs::copy(&one, &other).unwrap();
        let waiting = Kek::load_or_create(&other).unwrap();
        rotating.add().unwrap();
        fs::copy(&one, &other).unwrap();
        rotating.promote().unwrap();
        let sealed = rotating.seal("a", b"secret").unwrap();
        assert_eq!(**waiting.open("a", &sealed).unwrap(), *b"secret");
    }
}
