//! The host's names: hostname(5), machine-info(5) and the kernel's. Asking hostnamed would start it.

use std::time::Duration;

use safetytwin_crds::item::HostnameItem;
use safetytwin_crds::names::printable;
use safetytwin_crds::section::SectionName;

use super::{Listed, Look, Source, text};
use crate::collect::CollectError;
use crate::hostroot::{HostRoot, read_plain};

/// HOST_NAME_MAX is 64; a pretty name may be longer.
const LONGEST: usize = 256;

/// The source.
pub struct Names;

impl Source for Names {
    const SECTION: SectionName = SectionName::Hostname;
    /// The kernel's name has no event in a directory.
    const AUDIT: Duration = Duration::from_secs(60);

    fn directories(&self, _: &HostRoot) -> Vec<String> {
        vec!["/etc".to_owned()]
    }

    fn matters(name: &[u8]) -> bool {
        matches!(name, b"hostname" | b"machine-info")
    }

    fn look(&self, root: &HostRoot) -> Result<Look, CollectError> {
        let mut gaps = Vec::new();
        let live = read_plain(&root.proc().join("sys/kernel/hostname"), 4096)?;
        let fixed = text::read(root, "/etc/hostname", &mut gaps).unwrap_or_default();
        let info = text::read(root, "/etc/machine-info", &mut gaps).unwrap_or_default();
        let fixed = fixed
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with('#'));
        let pretty = info
            .lines()
            .find_map(|l| l.trim().strip_prefix("PRETTY_HOSTNAME="));
        let item = HostnameItem {
            name: printable(String::from_utf8_lossy(&live).trim(), LONGEST),
            static_name: printable(fixed.unwrap_or_default(), LONGEST),
            pretty: printable(pretty.unwrap_or_default().trim_matches(['"', '\'']), LONGEST),
        };
        Ok(Look {
            items: Listed::of(&[item], &mut gaps)?,
            gaps,
        })
    }
}
