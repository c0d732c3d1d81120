//! Counts the effects of a process, whatever they are on, and lets it die at one of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::guest::fake as guest;
use crate::vm::fake as vm;

/// When a process dies, relative to an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The effect does not happen.
    Before,
    /// It happens, and nobody learns so.
    After,
}

/// What happens to a process at one of its effects; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It dies.
    Death(u64, Moment),
    /// The call fails, and the connection that it was made on is gone; the process lives.
    Fault(u64, Moment),
}

impl Trouble {
    fn at(self) -> (u64, Moment) {
        match self {
            Self::Death(n, moment) | Self::Fault(n, moment) => (n, moment),
        }
    }
}

/// The fate of one process after the other.
#[derive(Clone, Default)]
pub struct Fate {
    state: Arc<Mutex<State>>,
    struck: Arc<Notify>,
}

#[derive(Default)]
struct State {
    effects: Vec<String>,
    trouble: Option<Trouble>,
    struck: bool,
    dead: bool,
}

impl Fate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new process begins, with trouble ahead.
    pub fn begin(&self, trouble: Option<Trouble>) {
        *self.state() = State {
            trouble,
            ..State::default()
        };
    }

    /// One effect is about to happen. `None`: it does, and the caller learns so.
    pub fn ask(&self, what: &str) -> Option<Moment> {
        let mut state = self.state();
        if state.dead {
            return Some(Moment::Before);
        }
        state.effects.push(what.to_owned());
        let trouble = state.trouble?;
        let (n, moment) = trouble.at();
        if n != state.effects.len() as u64 {
            return None;
        }
        state.struck = true;
        state.dead = matches!(trouble, Trouble::Death(..));
        self.struck.notify_waiters();
        Some(moment)
    }

    /// Whether the process died.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Resolves when the trouble has come.
    pub async fn struck(&self) {
        while !self.is_struck() {
            self.struck.notified().await;
        }
    }

    /// Whether the trouble has come.
    pub fn is_struck(&self) -> bool {
        self.state().struck
    }

    /// How many effects the process has had.
    pub fn count(&self) -> usize {
        self.state().effects.len()
    }

    /// What the last effects were, for messages.
    pub fn last(&self, n: usize) -> Vec<String> {
        let effects = &self.state().effects;
        effects[effects.len().saturating_sub(n)..].to_vec()
    }

    /// For a fake VM.
    pub fn gate(&self) -> vm::Gate {
        let fate = self.clone();
        Arc::new(move |effect| match fate.ask(&format!("vm: {effect}")) {
            None => vm::Verdict::Done,
            Some(Moment::Before) => vm::Verdict::LostBefore,
            Some(Moment::After) => vm::Verdict::LostAfter,
        })
    }

    /// For a fake guest.
    pub fn hook(&self) -> guest::EffectHook {
        let fate = self.clone();
        Arc::new(move |effect| match fate.ask(&format!("guest: {effect}")) {
            None => guest::Verdict::Proceed,
            Some(Moment::Before) => guest::Verdict::CrashBefore,
            Some(Moment::After) => guest::Verdict::CrashAfter,
        })
    }
}
