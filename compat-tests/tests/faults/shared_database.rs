//! Gateways that share nothing but a database and its keys. Reservations and jobs come round in seconds.

use std::path::Path;

use anyhow::Result;
use datamesh_compat_tests::Gateway;

/// A gateway on the database at that URL, with a disk of its own in `folder`. Objects of up to a MiB are kept in the
/// database, where the other gateways find them.
pub fn serve(database: &str, folder: &Path, disk: &str) -> Result<Gateway> {
    let folder = folder.display();
    Gateway::serve(&format!(
        r#"
[s3]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[database]
url = "{database}"
[keys]
kek_file = "{folder}/kek"
[accounts]
reservation_ttl = "2s"
[jobs]
expiry_interval = "500ms"
rollup_interval = "50ms"
[ingest]
inline_max = "1 MiB"
[storage.backends.disk]
type = "local"
dir = "{folder}/{disk}"
capacity = "1 GiB"
[storage.classes]
STANDARD = "disk"
"#
    ))
}

/// How many rounds a race is run: `DATAMESH_TEST_ROUNDS` asks for more than the few of a test run.
pub fn rounds(few: u64) -> u64 {
    std::env::var("DATAMESH_TEST_ROUNDS")
        .map_or(few, |rounds| rounds.parse().expect("DATAMESH_TEST_ROUNDS is a number"))
}
