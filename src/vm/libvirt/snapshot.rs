//! Reads libvirt's XML of a snapshot, which is a point to us.

use roxmltree::Node;

use super::super::VmError;
use super::read::{Disk, disk, elements, parse, text_at};

/// How a snapshot keeps memory or a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    No,
    Internal,
    External,
}

/// What we need of `virDomainSnapshotGetXMLDesc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) parent: Option<String>,
    /// Seconds since 1970.
    pub(super) created: i64,
    pub(super) memory: Kept,
    /// Something of it is inside a disk image.
    pub(super) internal: bool,
    /// Files that were made for it: overlays, and memory.
    pub(super) files: Vec<String>,
    /// Its memory.
    pub(super) memory_file: Option<String>,
    /// The files that its drives wrote to until it was taken: they are what it holds, and nothing may write to them.
    pub(super) frozen: Vec<String>,
}

/// A snapshot.
///
/// # Errors
/// It is no XML.
pub(super) fn read(xml: &str) -> Result<Snapshot, VmError> {
    let tree = parse(xml)?;
    let root = tree.root_element();
    let memory = root.children().find(|child| child.has_tag_name("memory"));
    let memory_kept = kept(memory);
    let disks = elements(root, &["disks"], "disk");
    let external: Vec<_> = disks
        .iter()
        .filter(|disk| kept(Some(**disk)) == Kept::External)
        .collect();
    let memory_file = memory.and_then(|node| node.attribute("file")).map(str::to_owned);
    let mut files: Vec<String> = memory_file.iter().cloned().collect();
    for disk in &external {
        let source = disk.children().find(|child| child.has_tag_name("source"));
        files.extend(source.and_then(|node| node.attribute("file")).map(str::to_owned));
    }
    let is_held = |disk: &Disk| {
        external
            .iter()
            .any(|held| held.attribute("name") == Some(&disk.target))
    };
    let frozen = elements(root, &["domain", "devices"], "disk")
        .into_iter()
        .filter_map(disk)
        .filter(is_held)
        .filter_map(|disk| disk.files().first().cloned())
        .collect();
    Ok(Snapshot {
        name: text_at(root, &["name"]).unwrap_or_default(),
        parent: text_at(root, &["parent", "name"]),
        created: text_at(root, &["creationTime"])
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        memory: memory_kept,
        internal: memory_kept == Kept::Internal
            || disks.iter().any(|disk| kept(Some(*disk)) == Kept::Internal),
        files,
        memory_file,
        frozen,
    })
}

fn kept(node: Option<Node<'_, '_>>) -> Kept {
    match node.and_then(|node| node.attribute("snapshot")) {
        Some("internal") => Kept::Internal,
        Some("external") => Kept::External,
        _ => Kept::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_tell_external_from_internal() {
        let full = read(
            "<domainsnapshot><name>b</name><parent><name>a</name></parent><creationTime>17</creationTime>\
             <memory snapshot='external' file='/p/b.mem'/><disks>\
             <disk name='vda' snapshot='external' type='file'><source file='/p/b.qcow2'/></disk>\
             <disk name='vdb' snapshot='no'/></disks><domain><name>d</name><devices>\
             <disk><source file='/p/a.qcow2'/><target dev='vda'/></disk>\
             <disk><source file='/p/s.img'/><target dev='vdb'/></disk></devices></domain></domainsnapshot>",
        )
        .unwrap();
        assert_eq!(
            (full.parent.as_deref(), full.created, full.memory),
            (Some("a"), 17, Kept::External)
        );
        assert_eq!(full.files, ["/p/b.mem", "/p/b.qcow2"]);
        assert_eq!(full.frozen, ["/p/a.qcow2"]);
        assert!(!full.internal);
        let internal = "<domainsnapshot><name>i</name><disks><disk name='vda' snapshot='internal'/></disks></domainsnapshot>";
        assert!(read(internal).unwrap().internal);
    }
}
