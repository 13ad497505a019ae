//! The KEK file: a line for each key, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::ring::{KEY_LEN, KekKey, KekRole, Ring};
use crate::AccountsError;

/// A line is one of these, which says what the key is for, and the key in hexadecimal digits.
const PREFIXES: [(KekRole, &str); 3] = [
    (KekRole::Sealing, "datamesh-kek-1:"),
    (KekRole::Next, "datamesh-kek-1-next:"),
    (KekRole::Old, "datamesh-kek-1-old:"),
];
const PREFIX_LEN_MAX: usize = 20;
/// Each rotation leaves one more until the old ones are retired.
const KEYS_MAX: usize = 16;

/// Whether a file that is there already is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Keep,
    Replace,
}

/// Reads the keys at `path`.
pub(super) fn read(path: &Path) -> Result<Ring, AccountsError> {
    let failed = |source| AccountsError::KekFile { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(AccountsError::KekExposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    let keys: Option<Vec<KekKey>> = text.trim_end().lines().take(KEYS_MAX + 1).map(parse).collect();
    let ring = keys.filter(|keys| keys.len() <= KEYS_MAX).and_then(Ring::new);
    ring.ok_or_else(|| AccountsError::KekMalformed { path: path.to_owned() })
}

fn parse(line: &str) -> Option<KekKey> {
    let line = line.trim_end();
    let (role, digits) =
        PREFIXES.iter().find_map(|(role, prefix)| Some((*role, line.strip_prefix(prefix)?)))?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    hex::decode_to_slice(digits, &mut *key).ok()?;
    Some(KekKey::new(role, key))
}

/// A random key.
pub(super) fn draw(role: KekRole) -> Result<KekKey, AccountsError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    aws_lc_rs::rand::fill(&mut *key).map_err(|_| AccountsError::Random)?;
    Ok(KekKey::new(role, key))
}

/// Writes the file whole or not at all, durably. To keep what exists also means: when another process is faster, its
/// file stays.
pub(super) fn write<'k>(
    path: &Path,
    keys: impl Iterator<Item = &'k KekKey>,
    existing: Existing,
) -> Result<(), AccountsError> {
    let mut text = Zeroizing::new(String::with_capacity(KEYS_MAX * (PREFIX_LEN_MAX + 2 * KEY_LEN + 1)));
    for key in keys {
        let digits = Zeroizing::new(hex::encode(*key.bytes));
        let (_, prefix) =
            PREFIXES.iter().find(|(role, _)| *role == key.role).expect("every role has a prefix");
        text.push_str(prefix);
        text.push_str(&digits);
        text.push('\n');
    }
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
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match existing {
            Existing::Replace => fs::rename(&draft, path),
            Existing::Keep => match fs::hard_link(&draft, path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            },
        }
    };
    let written = write();
    // A draft that stays behind is private and of no further use.
    let _ = fs::remove_file(&draft);
    written.map_err(failed)?;
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
