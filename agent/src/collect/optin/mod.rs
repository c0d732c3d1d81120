//! Sections that a host publishes only when its administrator says so (`--section`). They describe
//! the machine around what runs on it; nothing of them is replicated yet.
//!
//! ```text
//! Source::directories ─▶ inotify ─▶ (1 s) ─▶ Source::look ─▶ Listed: items, encoded once
//!                        audit ───────────────────┘
//! ```
//! One source per file, all run by `OptIn`. Invariants: a source only reads files below the
//! host's root; what it leaves out is a gap that says why; items are in identity order and hold
//! nothing that changes by itself.

mod accounts;
mod cron;
mod files;
mod hostname;
mod listed;
mod modules;
pub(crate) mod packages;
mod sysctl;
mod text;

use std::time::Duration;

use async_trait::async_trait;
use clap::ValueEnum;
use safetytwin_crds::section::SectionName;
use tokio::time::sleep;

pub use self::files::pattern::{InvalidPattern, Pattern};
pub use self::listed::Listed;
use super::watch::Watch;
use super::{CollectError, Collected, Collector, Content, Scope};
use crate::hostroot::HostRoot;
#[cfg(any(test, feature = "fuzzing"))]
use crate::redact::Redactor;
use crate::settings::Settings;

/// What belongs to one change (an installation, an editor's save) is written within this time.
const SETTLE: Duration = Duration::from_secs(1);

/// The sections that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Choice {
    /// Installed packages and their versions.
    Packages,
    /// Local users and groups.
    Accounts,
    /// Files that --file selects.
    Files,
    /// The host's names.
    Hostname,
    /// Kernel parameters that sysctl.d files set.
    Sysctl,
    /// Kernel modules, loaded and configured.
    Modules,
    /// Cron jobs.
    Cron,
}

/// What the administrator chose.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// The sections.
    pub sections: Vec<Choice>,
    /// What the section `files` is of.
    pub files: Vec<Pattern>,
}

impl Chosen {
    /// Names of the chosen sections, in the order they are published.
    pub fn names(&self) -> Vec<SectionName> {
        let chosen = |name: &SectionName| self.sections.iter().any(|c| c.name() == *name);
        SectionName::OPT_IN.into_iter().filter(chosen).collect()
    }
}

impl Choice {
    fn name(self) -> SectionName {
        match self {
            Self::Packages => SectionName::Packages,
            Self::Accounts => SectionName::Accounts,
            Self::Files => SectionName::Files,
            Self::Hostname => SectionName::Hostname,
            Self::Sysctl => SectionName::Sysctl,
            Self::Modules => SectionName::Modules,
            Self::Cron => SectionName::Cron,
        }
    }
}

/// Collectors of the chosen sections.
pub fn collectors(settings: &Settings) -> Vec<Box<dyn Collector>> {
    let chosen = settings.opt_in.names().into_iter();
    chosen.filter_map(|name| collector(settings, name)).collect()
}

fn collector(settings: &Settings, name: SectionName) -> Option<Box<dyn Collector>> {
    let root = &settings.root;
    let redactor = || settings.redactor.clone();
    Some(match name {
        SectionName::Packages => OptIn::boxed(root, packages::Packages),
        SectionName::Accounts => OptIn::boxed(root, accounts::LocalAccounts),
        SectionName::Files => {
            OptIn::boxed(root, files::Files::new(settings.opt_in.files.clone(), redactor()))
        }
        SectionName::Hostname => OptIn::boxed(root, hostname::Names),
        SectionName::Sysctl => OptIn::boxed(root, sysctl::Parameters(redactor())),
        SectionName::Modules => OptIn::boxed(root, modules::Modules),
        SectionName::Cron => OptIn::boxed(root, cron::Crontabs(redactor())),
        _ => return None,
    })
}

/// What a source gives at once, without a watch: its items as JSON, and why they are not all.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn look(root: &HostRoot, redactor: &Redactor, choice: Choice) -> Option<(Vec<u8>, Vec<String>)> {
    let look = match choice {
        Choice::Packages => packages::Packages.look(root),
        Choice::Accounts => accounts::LocalAccounts.look(root),
        Choice::Files => files::Files::new(Vec::new(), redactor.clone()).look(root),
        Choice::Hostname => hostname::Names.look(root),
        Choice::Sysctl => sysctl::Parameters(redactor.clone()).look(root),
        Choice::Modules => modules::Modules.look(root),
        Choice::Cron => cron::Crontabs(redactor.clone()).look(root),
    }
    .ok()?;
    let parts: Option<Vec<_>> = look.items.parts.iter().map(|part| part.json().ok()).collect();
    Some((parts?.concat(), look.gaps))
}

/// A source of one opt-in section.
trait Source: Send + 'static {
    /// The section.
    const SECTION: SectionName;
    /// Longest time between two looks: what has no events shows that late.
    const AUDIT: Duration = Duration::from_secs(600);
    /// Whether mode, owner and extended attributes are part of the items.
    const ATTRIBUTES: bool = false;

    /// Directories whose changes are watched.
    fn directories(&self, root: &HostRoot) -> Vec<String>;

    /// Whether a change of the file of this name in one of the directories matters.
    fn matters(name: &[u8]) -> bool;

    /// Reads the source; may block.
    fn look(&self, root: &HostRoot) -> Result<Look, CollectError>;
}

/// What a source gave: its items, and why they are not all.
#[derive(Clone, Debug, PartialEq)]
struct Look {
    items: Listed,
    gaps: Vec<String>,
}

/// The collector of one source.
struct OptIn<S> {
    root: HostRoot,
    source: S,
    watch: Option<Watch>,
}

impl<S: Source> OptIn<S> {
    fn new(root: &HostRoot, source: S) -> Self {
        Self {
            root: root.clone(),
            source,
            watch: None,
        }
    }

    fn boxed(root: &HostRoot, source: S) -> Box<dyn Collector> {
        Box::new(Self::new(root, source))
    }

    /// Watches what is there now; says whether there is something new.
    fn follow(&mut self, directories: &[String]) -> bool {
        if self.watch.is_none() {
            let watch = Watch::new(S::matters).ok();
            self.watch = watch.map(|w| if S::ATTRIBUTES { w.with_attributes() } else { w });
        }
        let dirs = directories.iter().map(String::as_str);
        self.watch.as_mut().is_some_and(|w| w.follow(&self.root, dirs))
    }
}

#[async_trait]
impl<S: Source> Collector for OptIn<S> {
    fn name(&self) -> &'static str {
        S::SECTION.as_str()
    }

    fn section(&self) -> Option<SectionName> {
        Some(S::SECTION)
    }

    fn audit_interval(&self) -> Duration {
        S::AUDIT
    }

    async fn collect(&mut self, _: Scope) -> Result<Collected, CollectError> {
        // Before the look: what changes during it is looked at again.
        let directories = self.source.directories(&self.root);
        self.follow(&directories);
        let look = self.source.look(&self.root)?;
        Ok(Collected {
            gaps: look.gaps,
            ..Collected::whole(Content::Listed(look.items))
        })
    }

    async fn changed(&mut self) {
        let Some(watch) = &self.watch else {
            return std::future::pending().await;
        };
        watch.changed().await;
        sleep(SETTLE).await;
        watch.read();
    }
}

#[cfg(test)]
mod tests;
