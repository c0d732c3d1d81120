//! The board: the latest report of each collector, and a bell for the publisher.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use safetytwin_crds::item::Observed;
use safetytwin_crds::names::printable;
use safetytwin_crds::section::{SectionName, SectionState};
use tokio::sync::Notify;

use super::{CollectError, Collected, Content, share};
use crate::redact::Redactor;

/// The latest that is known from one collector.
#[derive(Clone, Debug)]
pub struct Report {
    /// The section that it feeds.
    pub section: Option<SectionName>,
    /// Last known content; none when it never succeeded. As long as it is equal it is the same allocation.
    pub content: Option<Arc<Content>>,
    /// What changes by itself, as of then.
    pub observed: Arc<Observed>,
    /// How much of the truth that is.
    pub state: SectionState,
    /// Why it is not Complete.
    pub message: Option<String>,
}

/// Latest reports by collector name. Cloning shares the board.
#[derive(Clone, Default)]
pub struct Board {
    redactor: Redactor,
    reports: Arc<Mutex<BTreeMap<&'static str, Report>>>,
    bell: Arc<Notify>,
}

impl Board {
    /// An empty board, whose messages `redactor` cleans.
    pub fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            ..Self::default()
        }
    }

    /// Puts up what an attempt of a collector gave. A failure keeps the last known content.
    pub fn post(
        &self,
        name: &'static str,
        section: Option<SectionName>,
        result: Result<Collected, CollectError>,
    ) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reports.get(name);
        let report = match result {
            Ok(mut collected) => Report {
                section,
                state: if collected.gaps.is_empty() {
                    SectionState::Complete
                } else {
                    SectionState::Partial
                },
                message: self.message(&collected.gaps.join("; ")),
                content: Some({
                    if let Some(before) = before.and_then(|b| b.content.as_ref()) {
                        share(&mut collected.content, before);
                    }
                    collected.content
                }),
                observed: collected.observed,
            },
            Err(error) => Report {
                section,
                content: before.and_then(|b| b.content.clone()),
                observed: before.map_or_else(Arc::default, |b| Arc::clone(&b.observed)),
                state: SectionState::Unavailable,
                message: self.message(&error.to_string()),
            },
        };
        let news = before.is_none_or(|b| {
            let same = match (&b.content, &report.content) {
                (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                (before, now) => before.is_none() && now.is_none(),
            };
            b.state != report.state || b.message != report.message || !same
        });
        // Load is in the head and in what moves by itself; it waits for the next beat.
        let urgent = news && !matches!(section, None | Some(SectionName::Observed));
        reports.insert(name, report);
        if urgent {
            self.bell.notify_one();
        }
    }

    /// What may be told of a gap or an error: names and answers of the host may hold a secret.
    pub fn message(&self, text: &str) -> Option<String> {
        (!text.is_empty()).then(|| printable(&self.redactor.text(text).text, 256))
    }

    /// All reports, by collector name.
    pub fn reports(&self) -> BTreeMap<&'static str, Report> {
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Resolves when something that goes into a section changed since the last call.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_the_last_known_content_and_says_why() {
        let board = Board::default();
        let section = Some(SectionName::Processes);
        board.post(
            "processes",
            section,
            Ok(Collected::whole(Content::Processes(vec![]))),
        );
        board.post(
            "processes",
            section,
            Err(CollectError::Unavailable("gone\u{1b}".into())),
        );
        let report = &board.reports()["processes"];
        assert_eq!(report.state, SectionState::Unavailable);
        assert_eq!(report.message.as_deref(), Some("gone\\u{1b}"));
        assert!(report.content.is_some());
    }
}
