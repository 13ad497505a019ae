//! What somebody is about to do, as the audit log will tell it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Digest, NewEntry, Outcome};

/// An administrative action under way. The first change to the accounts that is made in its name takes its entry along, in
/// the same transaction.
pub struct Act {
    actor: String,
    action: String,
    reason: String,
    request: Digest,
    is_preview: bool,
    state: Mutex<State>,
}

struct State {
    target: String,
    is_recorded: bool,
}

impl Act {
    /// An action that has not changed anything yet. A preview undoes every change instead of committing it.
    pub fn new(
        actor: impl Into<String>,
        action: impl Into<String>,
        target: impl Into<String>,
        reason: impl Into<String>,
        request: Digest,
        is_preview: bool,
    ) -> Self {
        let state = Mutex::new(State { target: target.into(), is_recorded: false });
        Self { actor: actor.into(), action: action.into(), reason: reason.into(), request, is_preview, state }
    }

    /// Why it is done, as the actor says.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether it is only tried out.
    pub const fn is_preview(&self) -> bool {
        self.is_preview
    }

    /// Whether its entry was committed together with a change.
    pub fn is_recorded(&self) -> bool {
        self.state().is_recorded
    }

    /// Names what it is done to, which only turned out on the way.
    pub fn set_target(&self, target: String) {
        self.state().target = target;
    }

    pub(crate) fn set_recorded(&self) {
        self.state().is_recorded = true;
    }

    /// Its entry.
    pub fn entry(&self, outcome: Outcome) -> NewEntry {
        NewEntry {
            actor: self.actor.clone(),
            action: self.action.clone(),
            target: self.state().target.clone(),
            reason: self.reason.clone(),
            outcome,
            request: self.request,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Act")
            .field("actor", &self.actor)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}
