//! Users and groups of the host, from its passwd and group files.
//!
//! Name services beyond files are not asked: their sockets are activated by asking. A name that
//! the files lack has no id.

use std::collections::HashMap;

use safetytwin_crds::item::unit::Account;

use crate::hostroot::HostRoot;

const LIMIT: u64 = 4 * 1024 * 1024;

/// Users and groups by name and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<Account>,
    groups: Vec<Account>,
    user_by_id: HashMap<u32, usize>,
    group_by_id: HashMap<u32, usize>,
}

impl Accounts {
    /// Reads `/etc/passwd` and `/etc/group`; unreadable ones are empty.
    pub fn read(root: &HostRoot) -> Self {
        let text = |path| String::from_utf8_lossy(&root.read(path, LIMIT).unwrap_or_default()).into_owned();
        Self::parse(&text("/etc/passwd"), &text("/etc/group"))
    }

    /// Parses the two files (passwd(5), group(5)); a malformed line is skipped.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let users: Vec<Account> = passwd.lines().filter_map(user).collect();
        let groups: Vec<Account> = group.lines().filter_map(self::group).collect();
        let index = |accounts: &[Account]| {
            let ids = accounts.iter().enumerate().rev();
            ids.filter_map(|(at, account)| Some((account.id?, at))).collect()
        };
        Self {
            user_by_id: index(&users),
            group_by_id: index(&groups),
            users,
            groups,
        }
    }

    /// A user by name or decimal id, as `User=` takes it.
    pub fn user(&self, name: &str) -> Account {
        by_name(&self.users, name)
    }

    /// A group by name or decimal id, as `Group=` takes it.
    pub fn group(&self, name: &str) -> Account {
        by_name(&self.groups, name)
    }

    /// A user by id; the decimal id stands in for an unknown name.
    pub fn user_of(&self, id: u32) -> Account {
        let known = self.user_by_id.get(&id).and_then(|at| self.users.get(*at));
        known.cloned().unwrap_or_else(|| unknown(id))
    }

    /// A group by id; the decimal id stands in for an unknown name.
    pub fn group_of(&self, id: u32) -> Account {
        let known = self.group_by_id.get(&id).and_then(|at| self.groups.get(*at));
        known.cloned().unwrap_or_else(|| unknown(id))
    }
}

fn by_name(accounts: &[Account], name: &str) -> Account {
    let known = accounts.iter().find(|account| account.name == name);
    known.cloned().unwrap_or_else(|| Account {
        name: name.to_owned(),
        id: name.parse().ok(),
        primary_group: None,
    })
}

fn unknown(id: u32) -> Account {
    Account {
        name: id.to_string(),
        id: Some(id),
        primary_group: None,
    }
}

fn user(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    Some(Account {
        name: fields.next().filter(|n| !n.is_empty())?.to_owned(),
        id: Some(fields.nth(1)?.parse().ok()?),
        primary_group: Some(fields.next()?.parse().ok()?),
    })
}

fn group(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    Some(Account {
        name: fields.next().filter(|n| !n.is_empty())?.to_owned(),
        id: Some(fields.nth(1)?.parse().ok()?),
        primary_group: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_found_both_ways_and_unknown_ones_stay_visible() {
        let accounts = Accounts::parse(
            "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/:/bin/false\n",
            "root:x:0:\nweb:x:34:\n",
        );
        assert_eq!(accounts.user("web").id, Some(33));
        assert_eq!(accounts.user_of(33).primary_group, Some(34));
        assert_eq!(accounts.group_of(34).name, "web");
        assert_eq!(accounts.user("ghost").id, None);
        assert_eq!(accounts.user("1001").id, Some(1001));
        assert_eq!(accounts.user_of(4242).name, "4242");
    }
}
