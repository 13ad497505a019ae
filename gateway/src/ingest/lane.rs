//! Work that happens in order, off the async threads, one piece at a time.

use tokio::task::{JoinError, JoinHandle, spawn_blocking};

/// A state that blocking work is done on. While one piece runs, the next can be prepared.
///
/// Each piece is a short blocking task of its own, so that no thread waits for a slow client and any number of
/// uploads make progress on few threads.
pub(super) struct Lane<T> {
    state: Option<T>,
    running: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Lane<T> {
    pub(super) fn new(state: T) -> Self {
        Self { state: Some(state), running: None }
    }

    /// Waits for the piece that runs, then starts `work`.
    pub(super) async fn run(&mut self, work: impl FnOnce(&mut T) + Send + 'static) -> Result<(), JoinError> {
        self.wait().await?;
        let mut state = self.state.take().expect("the state is here when nothing runs");
        self.running = Some(spawn_blocking(move || {
            work(&mut state);
            state
        }));
        Ok(())
    }

    /// Waits for the piece that runs.
    pub(super) async fn wait(&mut self) -> Result<(), JoinError> {
        if let Some(running) = &mut self.running {
            let state = running.await;
            self.running = None;
            self.state = Some(state?);
        }
        Ok(())
    }

    /// The state between two pieces: call [`Self::wait`] first.
    pub(super) fn state(&mut self) -> &mut T {
        self.state.as_mut().expect("the state is here when nothing runs")
    }

    /// Waits for the last piece and hands the state back.
    pub(super) async fn finish(mut self) -> Result<T, JoinError> {
        self.wait().await?;
        Ok(self.state.take().expect("the state is here when nothing runs"))
    }
}
