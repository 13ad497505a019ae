//! Logging to standard error, as the configuration says.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSection};

/// The S3 protocol library and its parts log answers with their bodies and the signatures that they expect: content and
/// secrets, which are in no log of ours, however much of it is asked for.
const SILENCED: &str = "s3s";

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
    let filter = EnvFilter::try_from_default_env().unwrap_or(configured);
    let is_ours = filter_fn(|metadata| !metadata.target().starts_with(SILENCED));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that logging was started before.
    let _ = match section.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
            builder.finish().with(is_ours).try_init()
        }
        LogFormat::Json => builder.json().finish().with(is_ours).try_init(),
    };
    Ok(())
}
