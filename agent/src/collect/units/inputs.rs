//! What an item was made of. Most looks are about one unit: the items of all others stay the allocations they were,
//! and nothing is parsed, redacted, compared or encoded for them again.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetytwin_crds::item::RunClass;

use super::build::Facts;
use super::files::UnitFiles;
use super::text::UnitText;
use crate::collect::accounts::Accounts;

/// All that [`Facts::item`] looks at, in a form that is cheap to keep and to compare: what is replaced as a whole when
/// it changes is told by its place or its number.
pub struct Inputs {
    files: Arc<UnitFiles>,
    loaded_text: Option<Arc<UnitText>>,
    /// Which reading of the unit's properties, whether that is old, and the load state, which a signal carries.
    live: Option<(u64, bool, String)>,
    enablement: String,
    preset: &'static str,
    installed: BTreeMap<String, Vec<String>>,
    run: RunClass,
    /// Which reading of the manager's own properties.
    manager: u64,
    accounts: Arc<Accounts>,
}

impl Inputs {
    /// Those of an item in run class `run`.
    pub fn of(facts: &Facts<'_>, run: RunClass, manager: u64, accounts: &Arc<Accounts>) -> Self {
        Self {
            files: Arc::clone(facts.files),
            loaded_text: facts.loaded_text.cloned(),
            live: facts
                .live
                .map(|live| (live.reading, live.stale, live.load_state.clone())),
            enablement: facts.enablement().to_owned(),
            preset: facts.preset,
            installed: facts.installed.clone(),
            run,
            manager,
            accounts: Arc::clone(accounts),
        }
    }
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        let text = match (&self.loaded_text, &other.loaded_text) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        text && Arc::ptr_eq(&self.files, &other.files)
            && Arc::ptr_eq(&self.accounts, &other.accounts)
            && (&self.live, self.run, self.manager) == (&other.live, other.run, other.manager)
            && (&self.enablement, self.preset) == (&other.enablement, other.preset)
            && self.installed == other.installed
    }
}
