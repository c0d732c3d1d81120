//! libvirt of one lab: its daemons, networks, and the pool that twins live in.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Lab;
use crate::command::{output, output_within};
use crate::prepare::image::Image;
use crate::progress::stage;
use crate::wait;

/// libvirt's network of the node.
pub const NODES: &str = "nodes";
/// libvirt's network of twins, which leads nowhere.
pub const TWINS: &str = "twins-isolated";
/// Bridge of [`TWINS`].
pub const TWINS_BRIDGE: &str = "twins0";
/// The pool of twins' volumes.
pub const POOL: &str = "twins";
/// Where the pool lies, as the lab's processes see it.
pub const POOL_DIRECTORY: &str = "/var/lib/libvirt/images/twins";
/// The base volume of twins; kernel and initial RAM disk lie beside it as `debian-12.vmlinuz` and
/// `debian-12.initrd`.
pub const BASE_VOLUME: &str = "debian-12.qcow2";

/// Read-only connections and those of root need no question; the socket is the lab's own.
const LIBVIRTD_CONF: &str = "auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n";
/// Security labels and control groups belong to the machine; owners are not remembered, because base volumes
/// are shared between labs.
const QEMU_CONF: &str =
    "security_driver = \"none\"\nremember_owner = 0\nnamespaces = [ ]\ncgroup_controllers = [ ]\n";

const NODES_XML: &str = "<network><name>nodes</name><bridge name='nodes0' stp='off' delay='0'/>\
    <dns enable='no'/><ip address='10.77.0.1' netmask='255.255.255.0'/></network>";
const TWINS_XML: &str = "<network><name>twins-isolated</name><bridge name='twins0' stp='off' delay='0'/>\
    <dns enable='no'/><ip address='10.78.0.1' netmask='255.255.255.0'>\
    <dhcp><range start='10.78.0.10' end='10.78.0.250'/></dhcp></ip></network>";

/// A libvirt network without `<forward>` still lets a guest reach this side of the bridge, and so the API server;
/// twins get an address and answers, nothing else.
const GUARD: &str = "table inet safetytwin_lab {
  chain input {
    type filter hook input priority -10; policy accept;
    iifname \"twins0\" ct state established,related accept
    iifname \"twins0\" udp dport 67 accept
    iifname \"twins0\" counter drop
  }
}
";

/// Starts libvirt, its networks and the pool with the base volumes.
///
/// # Errors
/// A daemon does not answer, or libvirt refuses a definition.
pub fn start(lab: &Lab, base: &Image) -> Result<()> {
    stage("libvirt, networks and the pool of twins", || {
        let etc = lab.path("libvirt/etc");
        std::fs::write(etc.join("libvirtd.conf"), LIBVIRTD_CONF)?;
        std::fs::write(etc.join("qemu.conf"), QEMU_CONF)?;
        lab.daemon("virtlogd", &mut lab.command("/usr/sbin/virtlogd"))?;
        start_daemon(lab)?;
        for (name, xml) in [(NODES, NODES_XML), (TWINS, TWINS_XML)] {
            let file = lab.path(&format!("{name}.xml"));
            std::fs::write(&file, xml)?;
            lab.virsh(["net-define", &file.display().to_string()])?;
            lab.virsh(["net-start", name])?;
        }
        output_within(
            lab.command("nft").args(["-f", "-"]),
            GUARD.as_bytes(),
            Duration::from_secs(20),
        )?;
        pool(lab, base)
    })
}

/// Starts libvirtd; guests of an earlier one are found again.
///
/// # Errors
/// It does not answer.
pub fn start_daemon(lab: &Lab) -> Result<()> {
    lab.daemon("libvirtd", &mut lab.command("/usr/sbin/libvirtd"))?;
    wait::until_true("libvirt's answer", Duration::from_secs(30), || {
        Ok(lab.virsh(["uri"]).is_ok())
    })
}

/// Ends libvirtd as an administrator would; guests run on.
///
/// # Errors
/// It does not end.
pub fn stop_daemon(lab: &Lab) -> Result<()> {
    output(lab.command("pkill").args(["--exact", "libvirtd"]))?;
    // It answers nobody long before it ends: it waits up to 30 s for calls that are under way.
    wait::until_true("the end of libvirtd", Duration::from_secs(60), || {
        Ok(output(lab.command("pgrep").args(["--exact", "libvirtd"])).is_err())
    })
}

fn pool(lab: &Lab, base: &Image) -> Result<()> {
    let directory = lab.path("libvirt/lib/images/twins");
    std::fs::create_dir_all(&directory)?;
    for (from, name) in [
        (&base.disk, BASE_VOLUME),
        (&base.kernel, "debian-12.vmlinuz"),
        (&base.initrd, "debian-12.initrd"),
    ] {
        share(from, &directory.join(name))?;
    }
    output(
        lab.virsh_command()
            .args(["pool-define-as", POOL, "dir", "--target", POOL_DIRECTORY]),
    )?;
    output(lab.virsh_command().args(["pool-start", POOL]))?;
    Ok(())
}

/// Makes a file of the cache appear in the lab without copying it, read-only; copies it from another disk.
///
/// # Errors
/// Neither works.
pub fn share(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(from, std::fs::Permissions::from_mode(0o444))?;
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).with_context(|| format!("failed to copy {}", from.display()))?;
    }
    Ok(())
}
