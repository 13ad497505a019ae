//! The key-encryption key: a file that only its owner may read, kept apart from the database.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::AccountsError;

/// The file is one line: this, and the key in hexadecimal digits.
const PREFIX: &str = "datamesh-kek-1:";
const KEY_LEN: usize = 32;
/// Sealed secret, version 1: `version u8 | nonce [12] | ciphertext | tag [16]`, AES-256-GCM, with
/// `datamesh sealed secret 1:` and the secret's name as additional data.
const SEALED_VERSION: u8 = 1;
const AAD_PREFIX: &str = "datamesh sealed secret 1:";

/// The key that secrets in the database are sealed under.
pub struct Kek(RandomizedNonceKey);

impl Kek {
    /// Reads the key at `path`, or creates the file, with its folder and mode 0600, with a random key.
    ///
    /// # Errors
    /// A file that its group or anyone else may read is refused.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, AccountsError> {
        let path = path.as_ref();
        let failed = |source| AccountsError::KekFile { path: path.to_owned(), source };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create(path)?;
                fs::metadata(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(AccountsError::KekExposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        let malformed = || AccountsError::KekMalformed { path: path.to_owned() };
        let digits = text.trim_end().strip_prefix(PREFIX).ok_or_else(malformed)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        hex::decode_to_slice(digits, &mut *key).map_err(|_| malformed())?;
        Ok(Self::from_bytes(&key))
    }

    fn from_bytes(key: &[u8; KEY_LEN]) -> Self {
        Self(RandomizedNonceKey::new(&AES_256_GCM, key).expect("AES-256 keys have 32 bytes"))
    }

    /// Seals a secret under its name: it opens under no other.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, AccountsError> {
        let mut text = Zeroizing::new(secret.to_vec());
        text.reserve_exact(AES_256_GCM.tag_len());
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(format!("{AAD_PREFIX}{name}")), &mut *text)
            .map_err(|_| AccountsError::Random)?;
        Ok([&[SEALED_VERSION], nonce.as_ref().as_slice(), &text].concat())
    }

    /// Opens what [`Kek::seal`] made.
    pub(crate) fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccountsError> {
        let damaged = || AccountsError::Damaged { name: name.to_owned() };
        let Some((&[SEALED_VERSION], rest)) = sealed.split_first_chunk::<1>() else { return Err(damaged()) };
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut text = Zeroizing::new(text.to_vec());
        let len = self
            .0
            .open_in_place(Nonce::from(nonce), Aad::from(format!("{AAD_PREFIX}{name}")), &mut text)
            .map_err(|_| damaged())?
            .len();
        text.truncate(len);
        Ok(text)
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(..)")
    }
}

/// Creates the file whole or not at all; when another process is faster, its file stays.
fn create(path: &Path) -> Result<(), AccountsError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    aws_lc_rs::rand::fill(&mut *key).map_err(|_| AccountsError::Random)?;
    let line = Zeroizing::new(format!("{PREFIX}{}\n", hex::encode(*key)));
    let failed = |source| AccountsError::KekFile { path: path.to_owned(), source };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&folder).map_err(failed)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    let written = write();
    // A draft that stays behind is private and of no further use.
    let _ = fs::remove_file(&draft);
    written.map_err(failed)?;
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
        for text in ["", "hunter2", PREFIX, &whole[..whole.len() - 2]] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(Kek::load_or_create(&path), Err(AccountsError::KekMalformed { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_secret_opens_only_under_its_name_key_and_bytes() {
        let kek = Kek::from_bytes(&[1; 32]);
        let sealed = kek.seal("a", b"secret").unwrap();
        assert_eq!(**kek.open("a", &sealed).unwrap(), *b"secret");
        assert!(kek.open("b", &sealed).is_err());
        assert!(Kek::from_bytes(&[2; 32]).open("a", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(kek.open("a", &changed).is_err(), "byte {index}");
        }
        assert!(kek.open("a", &sealed[..sealed.len() - 1]).is_err());
    }

    #[test]
    fn secrets_sealed_by_version_1_still_open() {
        let golden = hex::decode(GOLDEN).unwrap();
        assert_eq!(**Kek::from_bytes(&[1; 32]).open("a", &golden).unwrap(), *b"secret");
    }

    const GOLDEN: &str = "01000102030405060708090a0bc8c3f654458a84e750eab0a84eaa87ac4365ce2d0d78";
}
