//! What can end a reconcile early, and whether trying again can help.
//!
//! Transient errors are tried again with growing distance; terminal ones set Stalled and wait for a
//! change. [`Error::reason`] is the condition reason, the event reason and the metric label at once.

use safetytwin_crds::section::SectionError;

use crate::execute::ExecuteError;
use crate::guest::GuestError;
use crate::vm::VmError;

/// Why a reconcile ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("failed to {call}: {source}")]
    Api {
        /// What was tried: "read the twin".
        call: &'static str,
        /// What the client says.
        #[source]
        source: Box<kube::Error>,
    },
    /// A call to the API server took too long; its outcome is unknown.
    #[error("failed to {call}: no answer within {seconds} s")]
    Deadline {
        /// What was tried.
        call: &'static str,
        /// The deadline.
        seconds: u64,
    },
    /// The hypervisor or the VM.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// A section or a revision that cannot be written or read.
    #[error("failed to read {what}: {source}")]
    Content {
        /// Section or revision.
        what: String,
        /// What is wrong.
        #[source]
        source: SectionError,
    },
    /// Something that is not ready yet; tried again.
    #[error("{message}")]
    NotYet {
        /// PascalCase reason.
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
    /// Only a user can make progress possible.
    #[error("{message}")]
    Terminal {
        /// PascalCase reason.
        reason: &'static str,
        /// A sentence for people: what, why, what to do.
        message: String,
    },
    /// The controller stops, or is the leader no longer; the operation resumes later.
    #[error("stopped: {0}")]
    Stopped(&'static str),
}

impl Error {
    /// Whether trying again without a user's help can succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Api { source, .. } => !is_refusal(source),
            Self::Vm(error) => error.is_transient(),
            Self::Guest(error) => error.is_transient(),
            Self::Deadline { .. } | Self::NotYet { .. } | Self::Stopped(_) | Self::Content { .. } => true,
            Self::Terminal { .. } => false,
        }
    }

    /// Whether somebody else wrote the object first: read again at once.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if status_code(source) == Some(409))
    }

    /// PascalCase word for conditions, events and metrics. Bounded.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api { .. } => "ApiError",
            Self::Deadline { .. } => "ApiTimeout",
            Self::Vm(error) => error.reason(),
            Self::Guest(error) => error.reason(),
            Self::Content { .. } => "ContentUnreadable",
            Self::NotYet { reason, .. } | Self::Terminal { reason, .. } => reason,
            Self::Stopped(_) => "Stopped",
        }
    }
}

impl From<ExecuteError> for Error {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Vm(error) => Self::Vm(error),
            ExecuteError::Guest(error) => Self::Guest(error),
            ExecuteError::Refused(refused) if refused.reason == "Stopped" => {
                Self::Stopped("the controller stops or leads no longer")
            }
            ExecuteError::Refused(refused) => Self::NotYet {
                reason: refused.reason,
                message: refused.message,
            },
            ExecuteError::ForeignGuest { .. } => Self::Terminal {
                reason: "ForeignGuest",
                message: error.to_string(),
            },
        }
    }
}

/// The HTTP status of an answer, when there was an answer.
pub fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// An answer that will stay the same until somebody changes something: the object is invalid, or
/// does not decode.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::SerdeError(_)) || matches!(status_code(error), Some(400 | 413 | 422))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16) -> Error {
        let status = kube::core::Status {
            code,
            ..Default::default()
        };
        Error::Api {
            call: "read the twin",
            source: Box::new(kube::Error::Api(Box::new(status))),
        }
    }

    #[test]
    fn an_invalid_object_waits_for_a_change_and_a_busy_server_does_not() {
        assert!(!answer(422).is_transient());
        assert!(answer(503).is_transient() && answer(409).is_conflict());
    }
}
