//! Logging to standard error, as the configuration says.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};

/// The S3 protocol library logs answers with their bodies and the signatures that it expects: content and secrets, which are in
/// no log of ours, however much of it is asked for.
const SILENCED: &str = "s3s=off";

/// What goes to the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter makes no sense.
    #[error("key `log.filter`: expected directives such as \"info,datamesh_mesh=debug\"")]
    Filter {
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Starts logging for this process. `RUST_LOG` goes before the configured filter. Later calls change nothing.
///
/// # Errors
/// The configured filter makes no sense.
pub fn start_logging(section: &LogSection) -> Result<(), TelemetryError> {
    let configured =
        EnvFilter::try_new(&section.filter).map_err(|source| TelemetryError::Filter { source })?;
    let silenced = SILENCED.parse().map_err(|source| TelemetryError::Filter { source })?;
    let filter = EnvFilter::try_from_default_env().unwrap_or(configured).add_directive(silenced);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that logging was started before.
    let _ = match section.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
