//! The verbs of `datamesh-gateway`.

pub mod dev;
pub mod serve;

use tokio::signal::unix::{SignalKind, signal};

use crate::instance::StartError;

/// Returns at the first SIGTERM or SIGINT after this was called.
fn until_terminated() -> Result<impl Future<Output = ()>, StartError> {
    let failed = |source| StartError::Process { what: "signal handlers", source: Box::new(source) };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
