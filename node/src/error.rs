//! Why a node cannot start or stop cleanly, and how an error is shown to people.

use std::error::Error;
use std::path::PathBuf;

use datamesh_mesh::{MapError, MeshError};
use datamesh_shard_store::StoreError;

/// A node cannot start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The mesh host.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The shard store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The map file holds no map that may be used.
    #[error("{}", file.display())]
    Map {
        /// The map file.
        file: PathBuf,
        /// Why it is refused.
        source: MapError,
    },
    /// The operating system failed a call.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl NodeError {
    /// An [`NodeError::Io`], for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// An error with its causes in one line. A cause that its effect already quotes is not repeated.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_prints_as_one_line_with_each_cause_once() {
        let error = NodeError::io("open", "/x")(std::io::Error::other("broken"));
        assert_eq!(one_line(&error), "cannot open /x: broken");
        assert_eq!(one_line(&NodeError::Mesh(MeshError::Closed)), "the mesh host is shut down");
    }
}
