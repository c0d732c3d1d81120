//! Databases of dpkg and rpm in planted trees.

use std::fs;

use safetytwin_crds::item::package::PackageManager;

use super::rpm::tests::{database, lines, log, oracle, unpacked};
use super::*;
use crate::collect::optin::OptIn;
use crate::collect::optin::tests::Tree;
use crate::collect::{Collector, Scope};

const STATUS: &str = "var/lib/dpkg/status";

fn stanza(name: &str, status: &str, version: &str) -> String {
    format!(
        "Package: {name}\nStatus: {status}\nArchitecture: amd64\nVersion: {version}\nDescription: x\n more\n .\n\n"
    )
}

#[test]
fn packages_are_those_that_dpkg_has_with_state_and_hold() {
    let tree = Tree::new();
    let text = stanza("nginx", "install ok installed", "1:1.22.1-9+deb12u1")
        + &stanza("gone", "deinstall ok config-files", "1")
        + &stanza("never", "purge ok not-installed", "")
        + &stanza("apt", "hold ok installed", "2.6.1");
    tree.write(STATUS, text);
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    let told: Vec<_> = items
        .iter()
        .map(|p| (p.name.as_str(), p.version.as_str(), p.state.as_deref(), p.held))
        .collect();
    assert_eq!(
        told,
        [
            ("apt", "2.6.1", None, true),
            ("gone", "1", Some("config-files"), false),
            ("nginx", "1:1.22.1-9+deb12u1", None, false),
        ]
    );
    assert_eq!(gaps, Vec::<String>::new());
}

#[test]
fn a_hostile_status_file_costs_little_and_is_never_read_as_whole() {
    let tree = Tree::new();
    tree.write(STATUS, stanza("first", "install ok installed", "1"));
    let file = fs::OpenOptions::new()
        .append(true)
        .open(tree.dir.path().join(STATUS))
        .unwrap();
    file.set_len(1 << 30).unwrap();
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert_eq!(items.len(), 1);
    assert!(gaps.iter().any(|gap| gap.contains("longer than")), "{gaps:?}");
    let many: String = (0..200_000)
        .map(|n| stanza(&format!("p{n:06}"), "install ok installed", "1"))
        .collect();
    tree.write(STATUS, many);
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert!(items.len() > 5000 && gaps.len() == 2, "{} {gaps:?}", items.len());
    tree.write(
        STATUS,
        "Package: \u{1b}[31m\nStatus: install ok installed\n\n\0\0\0\nPackage: a\n\n",
    );
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert!(items.is_empty() && gaps[0].starts_with("2 entries"), "{gaps:?}");
}

fn why(tree: &Tree) -> String {
    Packages.look(&tree.root).unwrap_err().to_string()
}

const RPM: &str = "var/lib/rpm/rpmdb.sqlite";

#[test]
fn without_a_database_that_is_read_packages_are_unavailable_and_never_none() {
    let tree = Tree::new();
    assert!(
        why(&tree).contains("no database of dpkg or rpm"),
        "{}",
        why(&tree)
    );
    tree.write(RPM, "x");
    assert_eq!(
        why(&tree),
        "/var/lib/rpm/rpmdb.sqlite is not an SQLite database of a known form"
    );
    tree.fifo(STATUS);
    assert!(
        why(&tree).contains("regular") && why(&tree).contains("SQLite"),
        "{}",
        why(&tree)
    );
}

#[test]
fn packages_of_rpm_are_read_where_it_keeps_them_now_and_where_it_kept_them() {
    for path in [RPM, "usr/lib/sysimage/rpm/rpmdb.sqlite"] {
        let tree = Tree::new();
        tree.write(path, database());
        // As a database is left behind that nobody writes to.
        tree.write(&format!("{path}-wal"), "");
        let (items, gaps) = tree.look::<PackageItem>(&Packages);
        assert_eq!((lines(&items), gaps), (oracle("rpm-qa.txt"), vec![]));
    }
    let fedora = Tree::new();
    fedora.write("usr/lib/sysimage/rpm/rpmdb.sqlite", database());
    fedora.link("var/lib/rpm", "../../usr/lib/sysimage/rpm");
    assert_eq!(lines(&fedora.look(&Packages).0), oracle("rpm-qa.txt"));
}

#[test]
fn what_rpm_committed_to_the_log_beside_the_database_is_read_too() {
    let tree = Tree::new();
    tree.write(RPM, database())
        .write("var/lib/rpm/rpmdb.sqlite-wal", log());
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert_eq!((lines(&items), gaps), (oracle("rpm-qa-wal.txt"), vec![]));
}

#[test]
fn a_host_with_dpkg_and_rpm_has_the_packages_of_both() {
    let tree = Tree::new();
    tree.write(STATUS, stanza("plain", "install ok installed", "1"));
    tree.write(RPM, database());
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert_eq!(gaps, Vec::<String>::new());
    assert_eq!(items.len(), oracle("rpm-qa.txt").len() + 1);
    let plain: Vec<_> = items
        .iter()
        .filter(|item| item.name == "plain")
        .map(|item| (item.architecture.as_str(), item.version.as_str(), item.manager))
        .collect();
    assert_eq!(
        plain,
        [
            ("amd64", "1", PackageManager::Dpkg),
            ("noarch", "2.10.0-1.el9", PackageManager::Rpm),
            ("noarch", "2.4.1-3.el9", PackageManager::Rpm),
        ]
    );
    tree.write(RPM, "torn");
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert!(
        items.len() == 1 && gaps[0].contains("rpmdb.sqlite is not"),
        "{gaps:?}"
    );
    fs::remove_file(tree.dir.path().join(STATUS)).unwrap();
    tree.write(RPM, database()).fifo(STATUS);
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert!(
        items.len() == 6 && gaps[0].contains("not a regular file"),
        "{gaps:?}"
    );
}

#[test]
fn an_older_database_of_rpm_is_unavailable_and_says_what_reads_it() {
    for (name, format) in [("Packages", "Berkeley DB"), ("Packages.db", "ndb")] {
        let tree = Tree::new();
        tree.write(&format!("var/lib/rpm/{name}"), "x");
        let why = why(&tree);
        assert!(why.contains(format) && why.contains("rpmdb --rebuilddb"), "{why}");
        // What the conversion left behind is no more in use.
        tree.write(RPM, database());
        assert_eq!(tree.look::<PackageItem>(&Packages).1, Vec::<String>::new());
    }
}

#[test]
fn a_host_on_which_rpm_installed_nothing_has_no_packages() {
    let tree = Tree::new();
    tree.write(RPM, unpacked("initdb.sqlite.zst"));
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert!(items.is_empty() && gaps.is_empty(), "{gaps:?}");
}

#[test]
fn a_transaction_that_is_not_finished_makes_the_section_partial() {
    let tree = Tree::new();
    tree.write(RPM, database());
    let journal = "var/lib/rpm/rpmdb.sqlite-journal";
    tree.write(journal, [0; 512]);
    assert_eq!(tree.look::<PackageItem>(&Packages).1, Vec::<String>::new());
    tree.write(journal, b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7rest");
    let (items, gaps) = tree.look::<PackageItem>(&Packages);
    assert!(items.len() == 6 && gaps[0].ends_with("not finished"), "{gaps:?}");
}

#[test]
fn a_database_that_leads_out_is_a_fifo_or_too_long_is_not_read() {
    let tree = Tree::new();
    tree.fifo(RPM);
    assert!(why(&tree).contains("not a regular file"), "{}", why(&tree));
    let tree = Tree::new();
    tree.write(RPM, database());
    tree.fifo("var/lib/rpm/rpmdb.sqlite-wal");
    assert!(why(&tree).contains("not a regular file"), "{}", why(&tree));
    let tree = Tree::new();
    tree.link(RPM, "../../../../../../etc/passwd");
    assert!(why(&tree).contains("no database"), "{}", why(&tree));
    // Files without content, of a size that no disk has to hold.
    for (path, most) in [
        (RPM, "longer than 1024 MiB"),
        ("var/lib/rpm/rpmdb.sqlite-wal", "longer than 256 MiB"),
    ] {
        let tree = Tree::new();
        tree.write(RPM, database());
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(tree.dir.path().join(path));
        file.unwrap().set_len(3 << 30).unwrap();
        assert!(why(&tree).ends_with(most), "{}", why(&tree));
    }
}

/// rpm writes the database in place; what was read of it before is no other content.
#[tokio::test]
async fn a_transaction_of_rpm_is_seen() {
    let tree = Tree::new();
    tree.write(RPM, unpacked("initdb.sqlite.zst"));
    let mut collector = OptIn::new(&tree.root, Packages);
    let none = collector.collect(Scope::Audit).await.unwrap();
    tree.write(RPM, database());
    collector.changed().await;
    let some = collector.collect(Scope::Changes).await.unwrap();
    assert_ne!(some, none);
    tree.write("var/lib/rpm/rpmdb.sqlite-wal", log())
        .write("var/lib/rpm/.rpm.lock", "");
    collector.changed().await;
    assert_ne!(collector.collect(Scope::Changes).await.unwrap(), some);
}

#[test]
fn a_query_of_rpm_causes_no_look() {
    for name in ["rpmdb.sqlite-wal", "rpmdb.sqlite-shm", "status-old"] {
        assert!(!Packages::matters(name.as_bytes()), "{name}");
    }
}
