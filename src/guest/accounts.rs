//! Users and groups that units need, as lines of sysusers.d(5).
//!
//! The lines are handed to `systemd-sysusers --inline` as arguments, one line each: nothing is
//! parsed by a shell, and an existing user or group stays as it is. Names and ids come from a host
//! and are checked here.

use safetytwin_crds::item::unit::Account;
use safetytwin_crds::names::printable;

use crate::facts::Accounts;

/// Most accounts that one call makes: each is an argument.
const MAX_ACCOUNTS: usize = 1000;

/// Lines for `accounts`, groups first. Accounts whose name or id systemd-sysusers would refuse, and
/// those that would be root by another name, are left out with a warning: their units fail by name.
pub fn sysusers(accounts: &Accounts) -> Vec<String> {
    let groups = accounts.groups.iter().filter(|a| usable(a));
    let users = accounts.users.iter().filter(|a| usable(a));
    let group_lines = groups.map(|group| format!("g {} {}", group.name, id(group)));
    let user_lines = users.map(|user| match primary_group(accounts, user) {
        Some(group) => format!("u {} {}:{group} - - -", user.name, id(user)),
        None => format!("u {} {} - - -", user.name, id(user)),
    });
    group_lines.chain(user_lines).take(MAX_ACCOUNTS).collect()
}

/// The name of a user's primary group, when it is one of those to be made. With `-` as uid the
/// syntax knows no group.
fn primary_group<'a>(accounts: &'a Accounts, user: &Account) -> Option<&'a str> {
    let wanted = user.primary_group?;
    user.id?;
    let mut groups = accounts.groups.iter().filter(|g| usable(g));
    let group = groups.find(|g| g.id == Some(wanted) && g.name != user.name)?;
    Some(&group.name)
}

fn id(account: &Account) -> String {
    account.id.map_or_else(|| "-".into(), |id| id.to_string())
}

/// Whether systemd takes this name and id (systemd.io/USER_NAMES, strict), and it is not root's.
pub fn usable(account: &Account) -> bool {
    let name = account.name.as_bytes();
    let begins = name
        .first()
        .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_');
    let rest = name
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b));
    let id = !matches!(account.id, Some(0 | 65535 | u32::MAX));
    let usable = begins && rest && name.len() <= 31 && id;
    if !usable {
        tracing::warn!(
            account = printable(&account.name, 80),
            "account cannot be made in the guest"
        );
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, id: Option<u32>, primary_group: Option<u32>) -> Account {
        Account {
            name: name.into(),
            id,
            primary_group,
        }
    }

    #[test]
    fn accounts_get_the_ids_of_the_host() {
        let accounts = Accounts {
            users: vec![
                account("web", Some(1500), Some(1600)),
                account("job", None, None),
                account("own", Some(1700), Some(1700)),
            ],
            groups: vec![account("www", Some(1600), None)],
        };
        assert_eq!(
            sysusers(&accounts),
            [
                "g www 1600",
                "u web 1500:www - - -",
                "u job - - - -",
                "u own 1700 - - -"
            ]
        );
    }

    #[test]
    fn names_that_would_add_fields_or_lines_and_second_roots_are_left_out() {
        let hostile = ["", "a b", "a\nu root", "-x", "%h", "1abc", "a.b", &"x".repeat(32)];
        let mut users: Vec<Account> = hostile.iter().map(|n| account(n, Some(1000), None)).collect();
        users.push(account("toor", Some(0), None));
        users.push(account("nobody", Some(u32::MAX), None));
        let accounts = Accounts {
            users,
            groups: vec![],
        };
        assert_eq!(sysusers(&accounts), Vec::<String>::new());
    }
}
