//! Container images on the node, without a registry.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Lab;
use super::hypervisor::share;
use super::node::{DIRECTORY, NAME};
use crate::command::output_within;

/// Its name on the node, `/dev/disk/by-id/virtio-SERIAL`.
const SERIAL: &str = "images";
/// containerd hashes and unpacks: half a minute under emulation, many times that on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);

impl Lab {
    /// Imports an archive of `docker save` for pods, under the name that it holds. It goes to the node as a disk,
    /// because SSH would cipher it under emulation; one at a time.
    ///
    /// # Errors
    /// libvirt refuses the disk or containerd the image.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        let file = self.path("libvirt/lib/node/images.tar");
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        share(archive, &file)?;
        let source = format!("{DIRECTORY}/images.tar");
        let disk = [
            "--targetbus=virtio",
            "--driver=qemu",
            "--subdriver=raw",
            "--mode=readonly",
        ];
        let serial = ["--serial", SERIAL, "--live"];
        self.virsh(
            ["attach-disk", NAME, &source, "vdc"]
                .into_iter()
                .chain(disk)
                .chain(serial),
        )?;
        let line = format!(
            "device=/dev/disk/by-id/virtio-{SERIAL}; until test -b $device; do sleep 0.1; done; \
             exec ctr --namespace k8s.io images import $device"
        );
        let imported = output_within(&mut self.host().command(&line), &[], LIMIT);
        self.virsh(["detach-disk", NAME, "vdc", "--live"])?;
        imported.map(|_| ())
    }
}
