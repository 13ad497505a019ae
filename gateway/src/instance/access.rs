//! The files through which people and tools find a gateway: `admin.json` and `credentials.env`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use datamesh_node::durable_file::{Readers, replace};
use serde::{Deserialize, Serialize};

use super::StartError;
use crate::admin_api::{AdminToken, Administrator};
use crate::config::TokenSection;

/// The shortest token that somebody may choose: a random one of 32 hexadecimal digits has 128 bits.
const TOKEN_LEN_MIN: usize = 32;

/// `admin.json`: where the admin listener is, and the token that opens it.
#[derive(Serialize, Deserialize)]
struct AdminAccess {
    endpoint: String,
    token: AdminToken,
}

/// Writes `admin.json` in `data_dir`, with the token that is there or a fresh one, and returns the token.
pub(super) fn write_admin_access(data_dir: &Path, address: SocketAddr) -> Result<AdminToken, StartError> {
    let path = data_dir.join("admin.json");
    let token = match std::fs::read(&path) {
        Ok(json) => {
            let expected = "{\"endpoint\": ..., \"token\": ...}";
            let malformed = |source| StartError::Malformed { path: path.clone(), expected, source };
            serde_json::from_slice::<AdminAccess>(&json).map_err(malformed)?.token
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => AdminToken::random(),
        Err(source) => return Err(StartError::Io { action: "read", path, source }),
    };
    let access = AdminAccess { endpoint: format!("http://{}", reachable(address)), token };
    let json = serde_json::to_vec_pretty(&access).expect("two texts are representable as JSON");
    replace(&path, &json, Readers::Owner).map_err(StartError::io("write", &path))?;
    Ok(access.token)
}

/// The administrators that the configuration names, with the tokens in their files.
pub(super) fn administrators(tokens: &[TokenSection]) -> Result<Vec<Administrator>, StartError> {
    let administrator = |section: &TokenSection| {
        let token = AdminToken::from(read_token(&section.file)?);
        Ok(Administrator { name: section.name.clone(), role: section.role, token })
    };
    tokens.iter().map(administrator).collect()
}

/// A secret that somebody chose, from a file that nobody else may read.
pub(super) fn read_token(path: &Path) -> Result<String, StartError> {
    let mode = std::fs::metadata(path).map_err(StartError::io("read", path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StartError::TokenExposed { path: path.to_owned(), mode });
    }
    let text = std::fs::read_to_string(path).map_err(StartError::io("read", path))?;
    let token = text.trim();
    if token.len() < TOKEN_LEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(StartError::TokenWeak { path: path.to_owned(), expected: TOKEN_LEN_MIN });
    }
    Ok(token.to_owned())
}

/// Makes a file with a random token, unless it is there.
pub fn make_token(path: &Path) -> Result<(), StartError> {
    if path.exists() {
        return Ok(());
    }
    let token = AdminToken::random();
    replace(path, token.expose().as_bytes(), Readers::Owner).map_err(StartError::io("write", path))
}

/// What an S3 client needs to use an account.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The key's id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

/// The credentials in `credentials.env`, if the file is there and whole.
pub fn read_credentials(path: &Path) -> Option<Credentials> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name));
        line?.strip_prefix('=').map(str::to_owned)
    };
    Some(Credentials {
        access_key_id: value("AWS_ACCESS_KEY_ID")?,
        secret_access_key: value("AWS_SECRET_ACCESS_KEY")?,
    })
}

/// Writes `credentials.env`, ready to be sourced, readable by its owner only.
pub fn write_credentials(
    path: &Path,
    credentials: &Credentials,
    region: &str,
    endpoint: &str,
) -> Result<(), StartError> {
    let Credentials { access_key_id, secret_access_key } = credentials;
    // Some clients read AWS_REGION, others AWS_DEFAULT_REGION.
    let text = format!(
        "export AWS_ACCESS_KEY_ID={access_key_id}\n\
         export AWS_SECRET_ACCESS_KEY={secret_access_key}\n\
         export AWS_REGION={region}\n\
         export AWS_DEFAULT_REGION={region}\n\
         export AWS_ENDPOINT_URL={endpoint}\n"
    );
    replace(path, text.as_bytes(), Readers::Owner).map_err(StartError::io("write", path))
}

/// An address that a client on this machine can use for a listener on `address`.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::admin_api::Role;

    #[test]
    fn the_admin_token_outlives_a_restart_on_another_port() {
        let dir = tempfile::tempdir().unwrap();
        let first = write_admin_access(dir.path(), "0.0.0.0:9001".parse().unwrap()).unwrap();
        let second = write_admin_access(dir.path(), "127.0.0.1:9002".parse().unwrap()).unwrap();
        assert!(first.matches(second.expose().as_bytes()));
        let path = dir.path().join("admin.json");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(json["endpoint"], "http://127.0.0.1:9002");
    }

    #[test]
    fn tokens_are_read_from_private_files_and_must_be_long() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alice.token");
        let section = TokenSection { name: "alice".into(), role: Role::Auditor, file: file.clone() };
        let read = |text: &str, mode: u32| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            administrators(std::slice::from_ref(&section))
        };
        let good = "0123456789abcdef0123456789abcdef";
        let alice = read(&format!("{good}\n"), 0o600).unwrap().remove(0);
        assert!(alice.token.matches(good.as_bytes()));
        assert_eq!((alice.name.as_str(), alice.role), ("alice", Role::Auditor));
        assert!(matches!(read(good, 0o640), Err(StartError::TokenExposed { .. })));
        for weak in ["", &good[1..], "0123456789abcdef 0123456789abcdef"] {
            assert!(matches!(read(weak, 0o600), Err(StartError::TokenWeak { .. })), "{weak:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(administrators(&[section]), Err(StartError::Io { .. })));
    }

    #[test]
    fn credentials_survive_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.env");
        assert!(read_credentials(&path).is_none());
        let credentials = Credentials { access_key_id: "AK".into(), secret_access_key: "s/e+c=".into() };
        write_credentials(&path, &credentials, "us-east-1", "http://127.0.0.1:9000").unwrap();
        let read = read_credentials(&path).unwrap();
        assert_eq!((read.access_key_id.as_str(), read.secret_access_key.as_str()), ("AK", "s/e+c="));
    }
}
