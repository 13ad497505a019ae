//! Running a transaction's body on SQLite, where nothing ever waits.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use crate::{DbError, Tx, TxFuture};

/// How a body ended.
pub(super) enum Outcome<T, E> {
    /// It returned; an `Err` undoes it.
    Returned(Result<T, E>),
    /// It panicked; the panic goes on in the caller.
    Panicked(Box<dyn Any + Send>),
}

impl<T, E> Outcome<T, E> {
    pub(super) const fn is_ok(&self) -> bool {
        matches!(self, Self::Returned(Ok(_)))
    }

    /// Hands the result, or the panic, to the caller.
    pub(super) fn unwrap(self) -> Result<T, E> {
        match self {
            Self::Returned(result) => result,
            Self::Panicked(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Runs `body` to its end on this thread. Statements on SQLite are ready at once, so one poll is all it takes.
pub(super) fn run<T, E, F>(body: &F, tx: &mut Tx) -> Outcome<T, E>
where
    E: From<DbError>,
    F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
{
    tx.reset();
    // A panic leaves only `tx` behind, and its transaction is rolled back.
    let polled =
        catch_unwind(AssertUnwindSafe(|| body(tx).as_mut().poll(&mut Context::from_waker(Waker::noop()))));
    match polled {
        Ok(Poll::Ready(Ok(_))) if tx.is_aborted() => Outcome::Returned(Err(DbError::Aborted.into())),
        Ok(Poll::Ready(result)) => Outcome::Returned(result),
        Ok(Poll::Pending) => Outcome::Returned(Err(DbError::BodyWaited.into())),
        Err(panic) => Outcome::Panicked(panic),
    }
}
