//! The file that names a store: a random number that all of its record headers are bound to.

use std::fs::File;
use std::io::IoSlice;
use std::path::Path;

use crc_fast::{CrcAlgorithm, checksum};

use crate::error::StoreError;
use crate::format::{FORMAT_VERSION, StoreId};
use crate::host::Host;
use crate::recovery::{Found, identity_of};

const IDENTITY_FILE: &str = "store";
const MAGIC: [u8; 8] = *b"DMSTORE\0";
const LEN: usize = 40;

/// The store's identity. A lost or damaged file is restored from the segments, each of which names it too.
pub(crate) fn load_or_create_identity(
    dir: &Path,
    found: &[Found],
    host: &dyn Host,
) -> Result<StoreId, StoreError> {
    let path = dir.join(IDENTITY_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => match decode(&bytes) {
            Ok(store) => return Ok(store),
            Err(Some(found)) => {
                return Err(StoreError::NewerFormat { path, found, supported: FORMAT_VERSION });
            }
            Err(None) => tracing::warn!(path = %path.display(), "the store's identity file is damaged"),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("read", path, error)),
    }
    let store = match identity_of(found) {
        Some(store) => store,
        None if found.iter().all(|found| found.len == 0) => host.new_store_id(),
        None => return Err(StoreError::Damaged { path, what: "neither it nor any segment names the store" }),
    };
    save(dir, &path, store, host)?;
    Ok(store)
}

fn save(dir: &Path, path: &Path, store: StoreId, host: &dyn Host) -> Result<(), StoreError> {
    let staging = path.with_extension("new");
    let saved = File::create(&staging).and_then(|file| {
        host.write_all_at(&staging, &file, &mut [IoSlice::new(&encode(store))], 0)?;
        host.sync(&staging, &file)?;
        host.rename(&staging, path)?;
        host.sync_dir(dir)
    });
    saved.map_err(|error| StoreError::io("save", path, error))
}

fn encode(store: StoreId) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = FORMAT_VERSION;
    bytes[16..32].copy_from_slice(&store.0);
    let crc = checksum(CrcAlgorithm::Crc64Nvme, &bytes[..32]);
    bytes[32..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Fails with the version when that is the only thing in the way.
fn decode(bytes: &[u8]) -> Result<StoreId, Option<u8>> {
    let bytes: &[u8; LEN] = bytes.try_into().map_err(|_| None)?;
    let crc = checksum(CrcAlgorithm::Crc64Nvme, &bytes[..32]);
    if bytes[..8] != MAGIC || bytes[32..] != crc.to_le_bytes() || bytes[8] == 0 {
        return Err(None);
    }
    match bytes[8] {
        1..=FORMAT_VERSION => Ok(StoreId(bytes[16..32].try_into().map_err(|_| None)?)),
        newer => Err(Some(newer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_file_and_damage_is_noticed() {
        let store = StoreId(*b"0123456789abcdef");
        let bytes = encode(store);
        assert_eq!(decode(&bytes), Ok(store));
        for at in 0..LEN {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), Err(None), "byte {at}");
        }
        assert_eq!(decode(&bytes[1..]), Err(None));
    }
}
