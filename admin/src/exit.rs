//! Why a command failed, and the exit code that says so to scripts.

use std::process::ExitCode;

/// A command failed. The exit codes are stable: 1 for anything else, 2 wrong usage or an unknown name, 3 denied,
/// 4 conflict, 6 an invariant is broken. (5, signatures pending, comes with actions of several operators.)
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Anything that has no code of its own: the gateway cannot be reached, or failed.
    #[error("{0:#}")]
    Failed(anyhow::Error),
    /// An argument makes no sense, or names something that doesn't exist.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
    },
    /// The token is missing, wrong, or not enough.
    #[error("{message}")]
    Denied {
        /// Why.
        message: String,
    },
    /// It contradicts what is there.
    #[error("{message}")]
    Conflict {
        /// What.
        message: String,
    },
    /// What was checked is not as it must be. The report has been printed.
    #[error("{message}")]
    Broken {
        /// A summary.
        message: String,
    },
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage { .. } => 2,
            Self::Denied { .. } => 3,
            Self::Conflict { .. } => 4,
            Self::Broken { .. } => 6,
        })
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}
