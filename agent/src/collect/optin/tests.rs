//! Planted trees, hostile ones too, read as a look reads them.

use crate::redact::Redactor;
use std::fs;

use safetytwin_crds::item::module::ModuleState;
use safetytwin_crds::item::{AccountItem, CronItem, HostnameItem, ModuleItem, SysctlItem};
use safetytwin_crds::section::{Encoding, decode_items};
use serde::de::DeserializeOwned;

use super::*;

/// A host's tree with a procfs and a sysfs of its own.
pub(super) struct Tree {
    pub dir: tempfile::TempDir,
    pub root: HostRoot,
}

impl Tree {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let below = |name| dir.path().join(name);
        let root = HostRoot::new(dir.path(), below("proc"), below("sys"));
        Self { dir, root }
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub fn fifo(&self, path: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    }

    pub fn link(&self, path: &str, target: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// What a source says of the tree.
    pub fn look<T: DeserializeOwned>(&self, source: &impl Source) -> (Vec<T>, Vec<String>) {
        let look = source.look(&self.root).unwrap();
        let mut items = Vec::new();
        for part in look.items.parts.iter() {
            let (good, refused) = decode_items(&part.json().unwrap()).unwrap();
            assert!(refused.is_empty(), "{refused:?}");
            items.extend(good);
        }
        assert_eq!(items.len(), look.items.items);
        (items, look.gaps)
    }
}

#[test]
fn accounts_are_told_without_passwords_and_comments() {
    let tree = Tree::new();
    tree.write(
        "etc/passwd",
        "root:$6$hash:0:0:Jane Roe,Room 1:/root:/bin/bash\nweb:x:33:33::/srv:\n",
    );
    tree.write("etc/group", "root:x:0:\nadm:$6$hash:4:web,root,web\n");
    tree.write("etc/shadow", "root:$6$shadowhash:1::::::\n");
    let look = accounts::LocalAccounts.look(&tree.root).unwrap();
    let json = look.items.parts[0].data(Encoding::Json).unwrap();
    assert!(!json.contains("hash") && !json.contains("Jane"), "{json}");
    let (items, gaps) = tree.look::<AccountItem>(&accounts::LocalAccounts);
    assert_eq!(items.len(), 4);
    let AccountItem::Group { name, id, members } = &items[2] else {
        panic!("{items:?}");
    };
    assert_eq!(
        (name.as_str(), *id, members.join(",")),
        ("adm", 4, "root,web".to_owned())
    );
    assert!(gaps.is_empty());
}

#[test]
fn accounts_that_are_not_of_their_form_make_the_section_partial() {
    let tree = Tree::new();
    tree.write(
        "etc/passwd",
        b"ok:x:1:1::/:/bin/sh\nev\x1bil:x:2:2::/:\n+::::::\nshort:x\n\xff\xfe:x:x:1::/:\n\n",
    );
    tree.write("etc/group", "");
    let (items, gaps) = tree.look::<AccountItem>(&accounts::LocalAccounts);
    assert_eq!(
        (items.len(), gaps[0].as_str()),
        (1, "4 lines of /etc/passwd are not of its form")
    );
    tree.write("etc/passwd", vec![b'x'; 9 << 20]);
    assert!(accounts::LocalAccounts.look(&tree.root).is_err());
    let many: String = (0..100_000)
        .map(|n| format!("u{n}:x:{n}:1::/home/u{n}:/bin/sh\n"))
        .collect();
    tree.write("etc/passwd", many);
    let (items, gaps) = tree.look::<AccountItem>(&accounts::LocalAccounts);
    assert!(
        items.len() > 5000 && gaps[0].contains("left out"),
        "{} {gaps:?}",
        items.len()
    );
}

#[test]
fn names_of_the_host_are_printable() {
    let tree = Tree::new();
    tree.write("proc/sys/kernel/hostname", "web-01\n");
    tree.write("etc/hostname", "# set by hand\nweb-01\u{1b}[2J\n");
    tree.write(
        "etc/machine-info",
        "DEPLOYMENT=prod\nPRETTY_HOSTNAME=\"Lennart's Web\"\n",
    );
    let (items, _) = tree.look::<HostnameItem>(&hostname::Names);
    let [item] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(item.name, "web-01");
    assert_eq!(item.static_name, "web-01\\u{1b}[2J");
    assert_eq!(item.pretty, "Lennart's Web");
}

fn parameters(tree: &Tree) -> Vec<(String, Option<String>, Option<String>, String)> {
    let (items, gaps) = tree.look::<SysctlItem>(&sysctl::Parameters(Redactor::default()));
    assert!(gaps.is_empty(), "{gaps:?}");
    items
        .into_iter()
        .map(|i| (i.name, i.configured, i.live, i.source))
        .collect()
}

#[test]
fn a_parameter_has_the_value_of_the_file_that_decides_and_the_kernel_s() {
    let tree = Tree::new();
    tree.write("usr/lib/sysctl.d/10-a.conf", "vm.swappiness = 10\nkernel.x=1\n");
    tree.write(
        "etc/sysctl.d/20-b.conf",
        "vm/swappiness=20\n-net.ipv4.conf.*.rp_filter = 1\n",
    );
    tree.write("usr/lib/sysctl.d/30-masked.conf", "vm.swappiness=30\n");
    tree.link("etc/sysctl.d/30-masked.conf", "/dev/null");
    tree.write("etc/sysctl.conf", "net.ipv4.ip_local_port_range = 1024 65000\n");
    tree.write("proc/sys/vm/swappiness", "60\n");
    tree.write("proc/sys/net/ipv4/ip_local_port_range", "1024\t65000\n");
    let text = |s: &str| Some(s.to_owned());
    assert_eq!(
        parameters(&tree),
        [
            (
                "kernel.x".into(),
                text("1"),
                None,
                "/usr/lib/sysctl.d/10-a.conf".into()
            ),
            (
                "net.ipv4.conf.*.rp_filter".into(),
                text("1"),
                None,
                "/etc/sysctl.d/20-b.conf".into()
            ),
            (
                "net.ipv4.ip_local_port_range".into(),
                text("1024 65000"),
                text("1024 65000"),
                "/etc/sysctl.conf".into()
            ),
            (
                "vm.swappiness".into(),
                text("20"),
                text("60"),
                "/etc/sysctl.d/20-b.conf".into()
            ),
        ]
    );
}

#[test]
fn secrets_and_what_moves_by_itself_have_no_live_value() {
    let tree = Tree::new();
    let keys = "net.ipv4.tcp_fastopen_key=11111111-22222222-33333333-44444444\nkernel.ns_last_pid=1\nfs.file-nr=1\n\
                kernel.shmmax=1\n";
    tree.write("etc/sysctl.conf", keys);
    tree.write(
        "proc/sys/net/ipv4/tcp_fastopen_key",
        "11111111-22222222-33333333-44444444",
    );
    for path in ["kernel/ns_last_pid", "fs/file-nr", "kernel/shmmax"] {
        tree.write(&format!("proc/sys/{path}"), "7");
    }
    let counter = tree.dir.path().join("proc/sys/fs/file-nr");
    fs::set_permissions(counter, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    for (name, configured, live, _) in parameters(&tree) {
        assert_eq!(live, None, "{name}");
        let redacted = configured.as_deref() == Some("<redacted>");
        assert_eq!(redacted, name.ends_with("fastopen_key"), "{name}");
    }
}

#[test]
fn modules_are_loaded_built_in_or_absent_and_say_who_wants_them() {
    let tree = Tree::new();
    tree.write(
        "proc/modules",
        "br_netfilter 32768 0 - Live 0x0000\ngoing 1 0 - Unloading 0x0\nloop 4 0 - Live 0x0\n",
    );
    tree.write(
        "etc/modules-load.d/k8s.conf",
        "br-netfilter\noverlay\n# no\n../../evil\n",
    );
    tree.write("etc/modules", "fuse\n");
    fs::create_dir_all(tree.dir.path().join("sys/module/overlay")).unwrap();
    let (items, _) = tree.look::<ModuleItem>(&modules::Modules);
    let told: Vec<_> = items
        .iter()
        .map(|m| (m.name.as_str(), m.state, m.configured.join(",")))
        .collect();
    let k8s = "/etc/modules-load.d/k8s.conf".to_owned();
    assert_eq!(
        told,
        [
            ("br_netfilter", ModuleState::Live, k8s.clone()),
            ("fuse", ModuleState::Absent, "/etc/modules".into()),
            ("loop", ModuleState::Live, String::new()),
            ("overlay", ModuleState::BuiltIn, k8s),
        ]
    );
}

#[test]
fn jobs_of_the_system_and_of_users_are_told_and_redacted() {
    let tree = Tree::new();
    tree.write(
        "etc/crontab",
        "SHELL=/bin/sh\nDB_PASSWORD=hunter2\n17 * * * * root run-parts /etc/cron.hourly\n",
    );
    tree.write(
        "etc/cron.d/backup",
        "@daily web pg_dump --password S3cr3tS3cr3t db\n",
    );
    tree.write("etc/cron.d/backup.dpkg-old", "@daily web old\n");
    tree.write(
        "var/spool/cron/crontabs/jane",
        "0 5 * * 1 tar cf - / | mail -s x\n0 5 * * 1 tar cf - / | mail -s x\n",
    );
    let look = cron::Crontabs(Redactor::default()).look(&tree.root).unwrap();
    let json = look.items.parts[0].data(Encoding::Json).unwrap();
    assert!(!json.contains("hunter2") && !json.contains("S3cr3t"), "{json}");
    let (items, gaps) = tree.look::<CronItem>(&cron::Crontabs(Redactor::default()));
    assert!(gaps.is_empty(), "{gaps:?}");
    let told: Vec<_> = items
        .iter()
        .map(|j| (j.user.as_str(), j.schedule.as_str(), j.redactions))
        .collect();
    assert_eq!(
        told,
        [
            ("web", "@daily", 1),
            ("root", "17 * * * *", 0),
            ("jane", "0 5 * * 1", 0),
            ("jane", "0 5 * * 1", 0)
        ]
    );
    assert_eq!(items[1].environment_names, ["DB_PASSWORD", "SHELL"]);
    assert_ne!(items[2].key, items[3].key);
}

#[test]
fn a_hostile_crontab_directory_neither_blocks_nor_leads_out() {
    let tree = Tree::new();
    tree.fifo("etc/cron.d/fifo");
    tree.link("etc/cron.d/out", "../../../../../../etc/passwd");
    tree.write("etc/cron.d/binary", [0xffu8, 0, 1, 2, b'\n', 0x1b, b'[', b'\n']);
    tree.write("etc/cron.d/large", vec![b'*'; 2 << 20]);
    for n in 0..1200 {
        tree.write(&format!("var/spool/cron/crontabs/u{n:04}"), "@hourly true\n");
    }
    tree.write("var/spool/cron/crontabs/\u{1b}[31m", "@hourly true\n");
    let (items, gaps) = tree.look::<CronItem>(&cron::Crontabs(Redactor::default()));
    assert!(items.len() <= 1000 && items.iter().all(|i| i.user.starts_with('u')));
    for part in [
        "fifo is not a regular file",
        "large is longer than",
        "more than 1000 names",
        "not of their form",
    ] {
        assert!(gaps.iter().any(|gap| gap.contains(part)), "{part}: {gaps:?}");
    }
}

#[tokio::test]
async fn a_change_is_seen_and_a_look_that_finds_the_same_is_no_news() {
    let tree = Tree::new();
    tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n")
        .write("etc/group", "root:x:0:\n");
    let mut collector = OptIn::new(&tree.root, accounts::LocalAccounts);
    let first = collector.collect(Scope::Audit).await.unwrap();
    tree.write("etc/group", "root:x:0:\n");
    collector.changed().await;
    assert_eq!(collector.collect(Scope::Changes).await.unwrap(), first);
    fs::write(tree.dir.path().join("etc/new"), "root:x:0:\nweb:x:33:\n").unwrap();
    fs::rename(tree.dir.path().join("etc/new"), tree.dir.path().join("etc/group")).unwrap();
    collector.changed().await;
    assert_ne!(collector.collect(Scope::Changes).await.unwrap(), first);
}

#[test]
fn nothing_is_on_unless_it_is_chosen() {
    assert!(Chosen::default().names().is_empty());
    let chosen = Chosen {
        sections: vec![Choice::Cron, Choice::Packages, Choice::Cron],
        files: vec![],
    };
    assert_eq!(chosen.names(), [SectionName::Packages, SectionName::Cron]);
}
