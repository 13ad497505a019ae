//! The files through which people and tools find a gateway: `admin.json` and `credentials.env`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use datamesh_node::durable_file::{Readers, replace};
use serde::{Deserialize, Serialize};

use super::StartError;
use crate::admin_api::AdminToken;

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
