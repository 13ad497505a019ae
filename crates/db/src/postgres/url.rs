//! A `postgres://` URL, with the part of libpq's TLS parameters that the driver does not know.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tls::Verification;
use crate::DbError;

/// After this long without an answer to what was sent, a connection counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(30);

pub(super) struct Parsed {
    pub(super) config: Config,
    pub(super) verification: Verification,
}

/// Parses `url`. `sslmode` has libpq's meaning: `disable`, `prefer` (the default) and `require` don't look at the
/// server's certificate, `verify-ca` and `verify-full` check it against the file `sslrootcert`.
pub(super) fn parse(url: &str) -> Result<Parsed, DbError> {
    let invalid = |reason: String| DbError::InvalidUrl { reason };
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut mode = "prefer";
    let mut root_file = None;
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = value,
            Some(("sslrootcert", value)) => root_file = Some(PathBuf::from(value)),
            _ => rest.push(parameter),
        }
    }
    let separator = if rest.is_empty() { "" } else { "?" };
    let mut config: Config =
        format!("{base}{separator}{}", rest.join("&")).parse().map_err(|error: tokio_postgres::Error| {
            invalid(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
        })?;
    let roots =
        |mode| root_file.clone().ok_or_else(|| invalid(format!("sslmode={mode} needs sslrootcert=FILE")));
    let (ssl_mode, verification) = match mode {
        "disable" => (SslMode::Disable, Verification::None),
        "prefer" => (SslMode::Prefer, Verification::None),
        "require" => (SslMode::Require, Verification::None),
        "verify-ca" => (SslMode::Require, Verification::Authority { roots: roots("verify-ca")? }),
        "verify-full" => (SslMode::Require, Verification::AuthorityAndName { roots: roots("verify-full")? }),
        other => {
            return Err(invalid(format!(
                "sslmode is {other:?}, not disable, prefer, require, verify-ca or verify-full"
            )));
        }
    };
    config.ssl_mode(ssl_mode).keepalives_idle(SILENCE_MAX).tcp_user_timeout(SILENCE_MAX);
    if config.get_application_name().is_none() {
        config.application_name("datamesh");
    }
    Ok(Parsed { config, verification })
}

/// Host, port and database for messages; never the password.
pub(super) fn target(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{host}:{port}/{database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_parameters_are_libpqs() {
        let parsed =
            parse("postgres://u:p@db.example/m?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3")
                .unwrap();
        assert_eq!(parsed.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(parsed.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert!(
            matches!(parsed.verification, Verification::AuthorityAndName { roots } if roots.ends_with("ca.pem"))
        );
        let parsed = parse("postgres://db.example/m").unwrap();
        assert_eq!(parsed.config.get_ssl_mode(), SslMode::Prefer);
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_with_its_reason_and_without_its_password() {
        let message = |url| parse(url).err().unwrap().to_string();
        assert!(message("postgres://u:secret@h/d?sslmode=verify-full").contains("needs sslrootcert"));
        assert!(message("postgres://u:secret@h/d?sslmode=full").contains("verify-full"));
        assert!(message("postgres://u:secret@h:port/d").contains("port"));
        assert!(!message("postgres://u:secret@h:port/d").contains("secret"));
        assert_eq!(target(&parse("postgres://u:secret@h/d").unwrap().config), "postgres://h:5432/d");
    }
}
