//! Why nothing is published.

use safetytwin_crds::section::SectionName;

use super::api::ApiError;

/// The agent may not publish.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A section cannot be encoded.
    #[error("failed to encode section {section}: {source}")]
    Section {
        /// Which.
        section: SectionName,
        /// Why.
        source: safetytwin_crds::section::SectionError,
    },
    /// The self-test found that this agent may write what is not its own.
    #[error(
        "failed the admission self-test: this cluster lets the agent of {host} write another host's HostState; nothing is published; install the admission policy (chart value agent.admission.enabled) or start with --admission-self-test=warn"
    )]
    NotConfined {
        /// This host.
        host: String,
    },
}

impl PublishError {
    /// How many failures in a row count, so that what is put right in moments does not wait for a minute.
    pub(super) fn most(&self) -> u32 {
        match self {
            Self::Api(ApiError::NotYet { .. }) => 4,
            _ => u32::MAX,
        }
    }

    /// Whether the API server does not let this agent in, or no longer.
    pub(super) fn is_shut_out(&self) -> bool {
        matches!(self, Self::Api(error) if error.is_shut_out())
    }
}
