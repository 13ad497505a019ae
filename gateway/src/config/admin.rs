//! `[admin]`: the admin listener, and who may use it.

use std::net::SocketAddr;
use std::path::PathBuf;

use datamesh_node::config::Invalid;
use serde::Deserialize;

use crate::admin_api::{Administrator, Role};

/// The longest name of an administrator.
const NAME_LEN_MAX: usize = 64;

/// `[admin]`: REST, /metrics, /healthz, /readyz.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// Where to listen. It speaks plain HTTP: keep it on a private address. Default: 127.0.0.1:9001.
    pub listen: SocketAddr,
    /// Administrators beside `operator`, whose token is in `admin.json`. Default: none.
    pub tokens: Vec<TokenSection>,
}

/// `[[admin.tokens]]`: an administrator.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSection {
    /// What the audit log calls them: small letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// `operator` may do everything, `auditor` only look.
    pub role: Role,
    /// The file with the token, at least 32 characters, readable by its owner only.
    pub file: PathBuf,
}

impl Default for AdminSection {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9001)), tokens: Vec::new() }
    }
}

impl AdminSection {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let reserved =
            [Administrator::OPERATOR, Administrator::NOBODY, Administrator::GATEWAY, Administrator::OWNER];
        let is_name = |name: &str| {
            (1..=NAME_LEN_MAX).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
        };
        for (index, token) in self.tokens.iter().enumerate() {
            if !is_name(&token.name) || reserved.contains(&token.name.as_str()) {
                return Err(Invalid::new(
                    "admin.tokens.name",
                    "1 to 64 small letters, digits, '-', '_' or '.', and none of operator, nobody, gateway and owner",
                ));
            }
            if self.tokens[..index].iter().any(|other| other.name == token.name) {
                return Err(Invalid::new("admin.tokens.name", "another name for each token"));
            }
        }
        Ok(())
    }
}
