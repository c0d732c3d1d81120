//! Local users and groups: passwd(5) and group(5). Never shadow(5); of a line, never the password
//! field nor the comment. Name services beyond files are not asked: asking starts them.

use std::collections::BTreeMap;

use safetytwin_crds::item::AccountItem;
use safetytwin_crds::section::SectionName;

use super::text::is_clean;
use super::{Listed, Look, Source};
use crate::collect::CollectError;
use crate::hostroot::HostRoot;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// The source.
pub struct LocalAccounts;

impl Source for LocalAccounts {
    const SECTION: SectionName = SectionName::Accounts;

    fn directories(&self, _: &HostRoot) -> Vec<String> {
        vec!["/etc".to_owned()]
    }

    fn matters(name: &[u8]) -> bool {
        matches!(name, b"passwd" | b"group")
    }

    fn look(&self, root: &HostRoot) -> Result<Look, CollectError> {
        let mut gaps = Vec::new();
        let mut items = read(root, PASSWD, user, &mut gaps)?;
        items.extend(read(root, GROUP, group, &mut gaps)?);
        Ok(Look {
            items: Listed::of(&items, &mut gaps)?,
            gaps,
        })
    }
}

/// Accounts of one file by name. Of equal names the first counts, as for getpwnam(3).
fn read(
    root: &HostRoot,
    path: &str,
    parse: fn(&[&str]) -> Option<AccountItem>,
    gaps: &mut Vec<String>,
) -> Result<Vec<AccountItem>, CollectError> {
    let bytes = root.read(path, MOST_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut accounts = BTreeMap::new();
    let mut refused = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        // `+` and `-` refer to NIS (nsswitch.conf(5), compat).
        let fields: Vec<&str> = line.split(':').collect();
        match parse(&fields).filter(|_| is_clean(line) && !line.starts_with(['+', '-'])) {
            Some(account) => {
                let name = account.key().1.to_owned();
                accounts.entry(name).or_insert(account);
            }
            None => refused += 1,
        }
    }
    if refused > 0 {
        gaps.push(format!("{refused} lines of {path} are not of its form"));
    }
    Ok(accounts.into_values().collect())
}

fn user(fields: &[&str]) -> Option<AccountItem> {
    let [name, _password, id, group, _comment, home, shell] = fields else {
        return None;
    };
    Some(AccountItem::User {
        name: name_of(name)?,
        id: id.parse().ok()?,
        primary_group: group.parse().ok()?,
        home: (*home).to_owned(),
        shell: (*shell).to_owned(),
    })
}

fn group(fields: &[&str]) -> Option<AccountItem> {
    let [name, _password, id, members] = fields else {
        return None;
    };
    let members = members.split(',').map(str::trim).filter(|m| !m.is_empty());
    let mut members: Vec<String> = members.map(str::to_owned).collect();
    members.sort();
    members.dedup();
    Some(AccountItem::Group {
        name: name_of(name)?,
        id: id.parse().ok()?,
        members,
    })
}

fn name_of(name: &str) -> Option<String> {
    ((1..=256).contains(&name.len()) && !name.contains('/')).then(|| name.to_owned())
}
