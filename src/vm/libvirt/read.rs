//! Reads what libvirt answers in XML: only what the twin needs, and nothing is believed to be there.

use roxmltree::{Document, Node};

use super::super::{MARK, VmError};

/// Our element in a domain's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    /// UID of the twin.
    pub(super) uid: String,
    /// Epoch of the controller that acted last.
    pub(super) epoch: i64,
}

/// A drive: disk, CD-ROM or floppy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// `vda`.
    pub(super) target: String,
    pub(super) medium: Medium,
}

/// What a drive reads from.
///
/// A revert puts an overlay over every file, read-only or `snapshot='no'` or not, and counts it to the point from then on
/// (libvirt 11.3, qemuSnapshotRevertExternalPrepare and -Finish). A point that leaves one out makes libvirt remove
/// overlays that others are built on; so a point holds all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// Nothing is inserted.
    Empty,
    /// The file in use, and the files it is based on.
    Files(Vec<String>),
    /// A block device, a network volume: no external point of it can be gone back to.
    NoFile,
}

impl Disk {
    /// The file in use, and the files it is based on.
    pub(super) fn files(&self) -> &[String] {
        match &self.medium {
            Medium::Files(files) => files,
            Medium::Empty | Medium::NoFile => &[],
        }
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// The libvirt network; `None` for any other kind of interface.
    pub(super) network: Option<String>,
    /// The link is set down.
    pub(super) down: bool,
    /// The element as libvirt wrote it.
    pub(super) xml: String,
}

/// What we need of `virDomainGetXMLDesc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain {
    pub(super) owner: Option<Owner>,
    /// `genid`: changes with every revert.
    pub(super) generation: String,
    pub(super) disks: Vec<Disk>,
    pub(super) interfaces: Vec<Interface>,
    /// The guest agent has opened its channel.
    pub(super) agent: bool,
}

pub(super) fn parse(xml: &str) -> Result<Document<'_>, VmError> {
    Document::parse(xml).map_err(|error| VmError::Failed {
        call: "read what libvirt answered",
        message: error.to_string(),
    })
}

/// First descendant along a path of element names.
pub(super) fn at<'a>(node: Node<'a, 'a>, path: &[&str]) -> Option<Node<'a, 'a>> {
    path.iter().try_fold(node, |node, name| {
        node.children().find(|child| child.has_tag_name(*name))
    })
}

pub(super) fn text_at<'a>(node: Node<'a, 'a>, path: &[&str]) -> Option<String> {
    at(node, path)?.text().map(str::to_owned)
}

pub(super) fn elements<'a>(node: Node<'a, 'a>, path: &[&str], name: &'static str) -> Vec<Node<'a, 'a>> {
    at(node, path)
        .map(|parent| {
            parent
                .children()
                .filter(|child| child.has_tag_name(name))
                .collect()
        })
        .unwrap_or_default()
}

/// A domain.
///
/// # Errors
/// It is no XML.
pub(super) fn domain(xml: &str) -> Result<Domain, VmError> {
    let tree = parse(xml)?;
    let root = tree.root_element();
    let owner = root.descendants().find(|node| node.has_tag_name((MARK, "twin")));
    let channel_is_open = |node: &Node<'_, '_>| {
        node.children().any(|target| {
            target.has_tag_name("target")
                && target.attribute("name") == Some("org.qemu.guest_agent.0")
                && target.attribute("state") == Some("connected")
        })
    };
    Ok(Domain {
        owner: owner.map(|node| Owner {
            uid: node.attribute("uid").unwrap_or_default().to_owned(),
            epoch: node
                .attribute("epoch")
                .and_then(|e| e.parse().ok())
                .unwrap_or_default(),
        }),
        generation: text_at(root, &["genid"]).unwrap_or_default(),
        disks: elements(root, &["devices"], "disk")
            .into_iter()
            .filter_map(disk)
            .collect(),
        interfaces: elements(root, &["devices"], "interface")
            .into_iter()
            .map(|node| interface(node, xml))
            .collect(),
        agent: elements(root, &["devices"], "channel")
            .iter()
            .any(channel_is_open),
    })
}

pub(super) fn disk(node: Node<'_, '_>) -> Option<Disk> {
    let child = |name: &'static str| node.children().find(|child| child.has_tag_name(name));
    let target = child("target")?.attribute("dev")?.to_owned();
    let Some(source) = child("source") else {
        let medium = Medium::Empty;
        return Some(Disk { target, medium });
    };
    if source.attribute("file").is_none() {
        let medium = Medium::NoFile;
        return Some(Disk { target, medium });
    }
    // Nested <backingStore><source file=…/><backingStore>…: document order is chain order.
    let sources = node.descendants().filter(|child| child.has_tag_name("source"));
    let files = sources.filter_map(|source| source.attribute("file").map(str::to_owned));
    let medium = Medium::Files(files.collect());
    Some(Disk { target, medium })
}

fn interface(node: Node<'_, '_>, xml: &str) -> Interface {
    let child = |name: &'static str| node.children().find(|child| child.has_tag_name(name));
    let network = child("source").and_then(|source| source.attribute("network"));
    Interface {
        network: network
            .filter(|_| node.attribute("type") == Some("network"))
            .map(str::to_owned),
        down: child("link").and_then(|link| link.attribute("state")) == Some("down"),
        xml: xml.get(node.range()).unwrap_or_default().to_owned(),
    }
}

/// The interface with its link up or down, everything else as it was.
pub(super) fn with_link(interface: &str, up: bool) -> Result<String, VmError> {
    let tree = parse(interface)?;
    let old = tree
        .root_element()
        .children()
        .find(|child| child.has_tag_name("link"));
    let mut text = interface.to_owned();
    if let Some(link) = old {
        text.replace_range(link.range(), "");
    }
    let link = if up {
        "<link state='up'/></interface>"
    } else {
        "<link state='down'/></interface>"
    };
    let Some(body) = text.trim_end().strip_suffix("</interface>") else {
        return Err(VmError::Failed {
            call: "read what libvirt answered",
            message: "an interface without content".into(),
        });
    };
    Ok(format!("{body}{link}"))
}

/// Type and target path of a storage pool.
pub(super) fn pool(xml: &str) -> Result<(String, String), VmError> {
    let tree = parse(xml)?;
    let root = tree.root_element();
    let path = text_at(root, &["target", "path"]).unwrap_or_default();
    Ok((root.attribute("type").unwrap_or_default().to_owned(), path))
}

/// Image format of a volume, `raw` when it says none.
pub(super) fn volume_format(xml: &str) -> Result<String, VmError> {
    let tree = parse(xml)?;
    let format = at(tree.root_element(), &["target", "format"]);
    let name = format.and_then(|node| node.attribute("type")).unwrap_or("raw");
    Ok(name.to_owned())
}

/// Whether a network has a way out: any `<forward>` (formatnetwork, "connectivity").
pub(super) fn network_leads_out(xml: &str) -> Result<bool, VmError> {
    Ok(at(parse(xml)?.root_element(), &["forward"]).is_some())
}

/// Whether the hypervisor offers KVM for guests of its own architecture.
pub(super) fn offers_kvm(capabilities: &str) -> Result<bool, VmError> {
    let tree = parse(capabilities)?;
    let root = tree.root_element();
    let host = text_at(root, &["host", "cpu", "arch"]);
    let mut architectures = root
        .children()
        .filter(|node| node.has_tag_name("guest"))
        .filter_map(|guest| at(guest, &["arch"]));
    Ok(architectures.any(|arch| {
        let own = arch.attribute("name").map(str::to_owned) == host;
        let kvm = arch
            .children()
            .any(|node| node.has_tag_name("domain") && node.attribute("type") == Some("kvm"));
        own && kvm
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = r#"<domain type='qemu' id='3'>
      <genid>0a1b</genid>
      <metadata><t:twin xmlns:t="https://safetytwin.com/xmlns/libvirt/v1alpha1" uid="u" epoch="7"/></metadata>
      <devices>
        <disk type='file' device='disk'><source file='/p/b.qcow2' index='2'/>
          <backingStore type='file'><source file='/p/a.qcow2'/><backingStore/></backingStore>
          <target dev='vda' bus='virtio'/></disk>
        <disk type='file' device='disk' snapshot='no'><source file='/p/s.img'/><target dev='vdb'/><readonly/></disk>
        <disk type='file' device='cdrom'><target dev='sda'/></disk>
        <disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vdc'/></disk>
        <interface type='network'><mac address='52:54:00:00:00:01'/><source network='n'/><link state='down'/></interface>
        <interface type='user'><model type='virtio'/></interface>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
      </devices></domain>"#;

    #[test]
    fn a_domain_is_read() {
        let seen = domain(DOMAIN).unwrap();
        assert_eq!(
            seen.owner.unwrap(),
            Owner {
                uid: "u".into(),
                epoch: 7
            }
        );
        assert_eq!(seen.generation, "0a1b");
        assert!(seen.agent);
        let files = |names: &[&str]| Medium::Files(names.iter().map(ToString::to_string).collect());
        let expected = [
            ("vda", files(&["/p/b.qcow2", "/p/a.qcow2"])),
            ("vdb", files(&["/p/s.img"])),
            ("sda", Medium::Empty),
            ("vdc", Medium::NoFile),
        ];
        let drives = seen.disks.into_iter().map(|disk| (disk.target, disk.medium));
        assert!(drives.eq(expected.map(|(target, medium)| (target.to_owned(), medium))));
        let networks: Vec<_> = seen.interfaces.iter().map(|nic| nic.network.as_deref()).collect();
        assert_eq!(networks, [Some("n"), None]);
    }

    #[test]
    fn only_the_link_of_an_interface_changes() {
        let seen = domain(DOMAIN).unwrap().interfaces.remove(0);
        assert!(seen.down);
        let up = with_link(&seen.xml, true).unwrap();
        assert_eq!(
            up,
            "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='n'/><link state='up'/></interface>"
        );
        assert_eq!(with_link(&up, false).unwrap(), seen.xml);
    }

    #[test]
    fn networks_pools_volumes_and_capabilities_are_read() {
        assert!(!network_leads_out("<network><name>n</name></network>").unwrap());
        assert!(network_leads_out("<network><forward mode='nat'/></network>").unwrap());
        let (kind, path) = pool("<pool type='dir'><target><path>/p</path></target></pool>").unwrap();
        assert_eq!((kind.as_str(), path.as_str()), ("dir", "/p"));
        let volume = "<volume><target><format type='qcow2'/></target></volume>";
        assert_eq!(volume_format(volume).unwrap(), "qcow2");
        let caps = |kind: &str| {
            format!(
                "<capabilities><host><cpu><arch>x86_64</arch></cpu></host><guest><arch name='x86_64'>\
                 <domain type='qemu'/><domain type='{kind}'/></arch></guest></capabilities>"
            )
        };
        assert!(offers_kvm(&caps("kvm")).unwrap());
        assert!(!offers_kvm(&caps("xen")).unwrap());
        assert!(domain("no xml").is_err());
    }
}
