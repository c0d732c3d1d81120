//! What the loop was measured on.

use anyhow::Result;

use super::points::MEMORY;
use crate::bench::machine::{self, value};
use crate::lab::Lab;

/// Titles and texts.
///
/// # Errors
/// A part of the lab does not answer.
pub(super) fn of(lab: &Lab) -> Result<Vec<(String, String)>> {
    let virsh = lab.virsh(["version"])?;
    let library = value(&virsh, "Using library").unwrap_or("unknown libvirt");
    let hypervisor = value(&virsh, "Running hypervisor").unwrap_or("unknown hypervisor");
    let kubernetes = machine::kubernetes(lab)?;
    let entries = [
        ("guests", lab.prepared().acceleration.describe().to_owned()),
        (
            "host",
            "a Kubernetes node in a VM, 2 processors, 1536 MiB; agent as a service, beat 10 s".to_owned(),
        ),
        (
            "twin",
            format!("1 processor, {MEMORY} MiB; {library}, {hypervisor}"),
        ),
        (
            "cluster",
            format!("Kubernetes {kubernetes} on the same machine; etcd without fsync"),
        ),
    ];
    let own = entries.map(|(title, text)| (title.to_owned(), text));
    Ok(machine::run()?.into_iter().chain(own).collect())
}
