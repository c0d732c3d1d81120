use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::super::tests::Tree;
use super::*;

fn selected(tree: &Tree, patterns: &[&str]) -> (Vec<FileItem>, Vec<String>) {
    fs::set_permissions(tree.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let patterns = patterns.iter().map(|p| p.parse().unwrap()).collect();
    tree.look(&Files::new(patterns, Redactor::default()))
}

fn mode(tree: &Tree, path: &str, mode: u32) {
    fs::set_permissions(tree.dir.path().join(path), Permissions::from_mode(mode)).unwrap();
}

/// Name, content, why there is none, and whether there is a digest.
type Told<'a> = (&'a str, Option<&'a str>, Option<Withheld>, bool);

fn told(items: &[FileItem]) -> Vec<Told<'_>> {
    items.iter().map(one).collect()
}

fn one(item: &FileItem) -> Told<'_> {
    let FileType::File {
        content,
        withheld,
        digest,
        ..
    } = &item.what
    else {
        panic!("{item:?}");
    };
    (&item.name, content.as_deref(), *withheld, digest.is_some())
}

#[test]
fn only_text_that_everybody_may_read_and_that_is_no_key_leaves_the_host() {
    let tree = Tree::new();
    tree.write("etc/app/a.conf", "port = 8080\npassword = hunter2hunter2\n");
    tree.write("etc/app/b.conf", "x")
        .write("etc/app/c.conf", [0xff, 0]);
    tree.write(
        "etc/app/d.conf",
        "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n",
    );
    tree.write("etc/app/e_key", "x").write("etc/shadow", "root:$6$x:");
    tree.write("etc/app/f.conf", vec![b'x'; 65 << 10])
        .write("etc/app/g.conf", vec![b'x'; 2 << 20]);
    for path in ["a.conf", "c.conf", "d.conf", "e_key", "f.conf", "g.conf"] {
        mode(&tree, &format!("etc/app/{path}"), 0o644);
    }
    mode(&tree, "etc/app/b.conf", 0o640);
    let (items, gaps) = selected(&tree, &["/etc/app/*", "/etc/shadow"]);
    assert!(gaps.is_empty(), "{gaps:?}");
    assert_eq!(
        told(&items),
        [
            (
                "/etc/app/a.conf",
                Some("port = 8080\npassword = <redacted>\n"),
                None,
                true
            ),
            ("/etc/app/b.conf", None, Some(Withheld::NotWorldReadable), true),
            ("/etc/app/c.conf", None, Some(Withheld::NotText), true),
            ("/etc/app/d.conf", None, Some(Withheld::Credential), true),
            ("/etc/app/e_key", None, Some(Withheld::Credential), true),
            ("/etc/app/f.conf", None, Some(Withheld::TooLarge), true),
            ("/etc/app/g.conf", None, Some(Withheld::NotHashed), false),
            ("/etc/shadow", None, Some(Withheld::NeverRead), false),
        ]
    );
    let FileType::File {
        digest, redactions, ..
    } = &items[0].what
    else {
        panic!("{items:?}");
    };
    assert_eq!(*digest, Some(Digest::of(b"port = 8080\npassword = <redacted>\n")));
    assert_eq!((*redactions, items[1].mode.as_str()), (1, "640"));
}

#[test]
fn links_are_told_and_never_lead_anywhere() {
    let tree = Tree::new();
    tree.write("etc/secret/x", "x").write("srv/real/a.conf", "a");
    tree.link("srv/app/x", "/etc/secret/x");
    tree.link("srv/app/up", "../../../../../etc/passwd");
    tree.link("srv/way", "real");
    tree.fifo("srv/app/fifo");
    let (items, gaps) = selected(&tree, &["/srv/app/*", "/srv/way/a.conf"]);
    let whats: Vec<_> = items.iter().map(|i| (i.name.as_str(), &i.what)).collect();
    let link = |target: &str| FileType::Link {
        target: target.to_owned(),
    };
    assert_eq!(
        whats,
        [
            ("/srv/app/fifo", &FileType::Special),
            ("/srv/app/up", &link("../../../../../etc/passwd")),
            ("/srv/app/x", &link("/etc/secret/x")),
        ]
    );
    assert_eq!(gaps, ["/srv/way is a symbolic link, which is not followed"]);
}

#[test]
fn a_directory_full_of_names_is_bounded_and_hostile_names_are_left_out() {
    let tree = Tree::new();
    for n in 0..5000 {
        tree.write(&format!("srv/many/{n:04}"), "");
    }
    tree.write("srv/odd/\u{1b}[31m", "x")
        .write("srv/odd/\u{202e}", "x")
        .write("srv/odd/fine", "x");
    let (items, gaps) = selected(&tree, &["/srv/odd/*", "/srv/many/*"]);
    assert_eq!(items.len(), 512);
    assert_eq!(
        items.iter().filter(|i| i.name.starts_with("/srv/odd/")).count(),
        1
    );
    assert!(
        gaps.contains(&"a name has characters that are not published".to_owned()),
        "{gaps:?}"
    );
    assert!(gaps.contains(&"more than 512 files".to_owned()), "{gaps:?}");
    assert!(
        gaps.contains(&"/srv/many has more than 4096 names".to_owned()),
        "{gaps:?}"
    );
}

#[test]
fn texts_share_one_budget() {
    let tree = Tree::new();
    for n in 10..22 {
        let path = format!("srv/app/{n}.conf");
        tree.write(&path, "line\n".repeat(12_000));
        mode(&tree, &path, 0o644);
    }
    let (items, _) = selected(&tree, &["/srv/app/*.conf"]);
    let texts = told(&items)
        .iter()
        .filter(|(_, content, ..)| content.is_some())
        .count();
    assert_eq!((items.len(), texts), (12, 8));
}

#[tokio::test]
async fn a_file_that_appears_is_seen_where_its_directory_is_watched() {
    use super::super::OptIn;
    use crate::collect::{Collector, Scope};
    let tree = Tree::new();
    tree.write("srv/app/a.conf", "a");
    let files = Files::new(vec!["/srv/app/*.conf".parse().unwrap()], Redactor::default());
    let mut collector = OptIn::new(&tree.root, files);
    let first = collector.collect(Scope::Audit).await.unwrap();
    tree.write("srv/app/b.conf", "b");
    collector.changed().await;
    let second = collector.collect(Scope::Changes).await.unwrap();
    assert_ne!(second, first);
    mode(&tree, "srv/app/b.conf", 0o600);
    collector.changed().await;
    assert_ne!(collector.collect(Scope::Changes).await.unwrap(), second);
}
