//! What is true of a VM now.

use std::net::IpAddr;

use safetytwin_crds::twinsnapshot::TakenMode;
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::ErrorNumber;
use virt::network::Network;
use virt::sys;

use super::super::{Point, VmError, VmFacts};
use super::call::Call;
use super::errors::optional;
use super::read;
use super::snapshot::{self, Kept, Snapshot};

impl Call<'_> {
    /// `None` when the domain does not exist. Changes nothing.
    pub(super) fn observe(&self) -> Result<Option<VmFacts>, VmError> {
        self.find_domain()?.map(|domain| self.facts(&domain)).transpose()
    }

    pub(super) fn facts(&self, domain: &Domain) -> Result<VmFacts, VmError> {
        let failed = self.failed("observe the domain");
        let seen = self.read(domain)?;
        let (state, _) = domain.get_state().map_err(&failed)?;
        let running = state == sys::VIR_DOMAIN_RUNNING;
        let memory_kib = domain.get_max_memory().map_err(&failed)?;
        let pool = self.pool()?;
        self.refresh(&pool);
        let free_bytes = pool.handle.get_info().map_err(&failed)?.available;
        let id = domain
            .get_id()
            .map_or_else(|| "off".to_owned(), |id| id.to_string());
        Ok(VmFacts {
            running,
            // The current point is no part of it: taking a point must not look like a restart.
            incarnation: format!("{id}-{}", seen.generation),
            memory_bytes: memory_kib.saturating_mul(1024),
            epoch: seen.owner.as_ref().map_or(0, |owner| owner.epoch),
            free_bytes,
            isolated: self.isolated(&seen)?,
            addresses: if running {
                self.addresses(domain, &seen)
            } else {
                Vec::new()
            },
            points: self.points(domain)?,
        })
    }

    /// No interface leads out: all are on libvirt networks without `<forward>`.
    fn isolated(&self, seen: &read::Domain) -> Result<bool, VmError> {
        let failed = self.failed("read the network");
        for interface in &seen.interfaces {
            let Some(name) = &interface.network else {
                return Ok(false);
            };
            let found = Network::lookup_by_name(self.session.connect(), name);
            let network = optional(found, ErrorNumber::NoNetwork).map_err(&failed)?;
            let Some(network) = network else { return Ok(false) };
            if read::network_leads_out(&network.get_xml_desc(0).map_err(&failed)?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Candidates only: the pinned host key decides. libvirt appends renewed leases to its list, so
    /// the last one is the newest. The guest agent is asked only when leases do not settle it,
    /// since a hung agent costs seconds.
    fn addresses(&self, domain: &Domain, seen: &read::Domain) -> Vec<IpAddr> {
        let mut leases = self.addresses_from(domain, sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE);
        leases.reverse();
        let mut found = Vec::new();
        if leases.len() != 1 && seen.agent {
            found = self.addresses_from(domain, sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT);
        }
        found.extend(leases);
        if found.is_empty() {
            found = self.addresses_from(domain, sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP);
        }
        let mut unique: Vec<IpAddr> = Vec::new();
        for address in found {
            if !unique.contains(&address) {
                unique.push(address);
            }
        }
        unique
    }

    fn addresses_from(&self, domain: &Domain, source: u32) -> Vec<IpAddr> {
        let interfaces = match domain.interface_addresses(source, 0) {
            Ok(interfaces) => interfaces,
            Err(error) => {
                tracing::debug!(
                    vm = self.spec.name,
                    source,
                    error = error.message(),
                    "no addresses"
                );
                return Vec::new();
            }
        };
        let texts = interfaces.into_iter().flat_map(|interface| interface.addrs);
        texts
            .filter_map(|address| address.addr.parse::<IpAddr>().ok())
            .filter(|address| !address.is_loopback() && !is_link_local(*address))
            .collect()
    }

    /// All snapshots of the domain, in the order they were taken.
    pub(super) fn snapshots(&self, domain: &Domain) -> Result<Vec<Snapshot>, VmError> {
        let failed = self.failed("list the points");
        let mut snapshots = Vec::new();
        for handle in domain.list_all_snapshots(0).map_err(&failed)? {
            snapshots.push(snapshot::read(&handle.get_xml_desc(0).map_err(&failed)?)?);
        }
        Ok(in_order(snapshots))
    }

    fn points(&self, domain: &Domain) -> Result<Vec<Point>, VmError> {
        let current = self.current(domain)?;
        let point = |snapshot: Snapshot| Point {
            current: current.as_ref() == Some(&snapshot.name),
            mode: mode_of(&snapshot),
            name: snapshot.name,
            parent: snapshot.parent,
        };
        Ok(self.snapshots(domain)?.into_iter().map(point).collect())
    }

    /// Points as the chain's rules need them.
    pub(super) fn tree(&self, domain: &Domain) -> Result<Vec<Point>, VmError> {
        self.points(domain)
    }

    pub(super) fn current(&self, domain: &Domain) -> Result<Option<String>, VmError> {
        let failed = self.failed("list the points");
        let found = DomainSnapshot::current(domain, 0);
        let current = optional(found, ErrorNumber::NoDomainSnapshot).map_err(&failed)?;
        current
            .map(|handle| handle.get_name())
            .transpose()
            .map_err(&failed)
    }
}

/// What a snapshot holds.
pub(super) fn mode_of(snapshot: &Snapshot) -> TakenMode {
    if snapshot.memory == Kept::No {
        TakenMode::Disk
    } else {
        TakenMode::Full
    }
}

/// By time; within one second (libvirt's resolution) a parent comes before its children.
fn in_order(snapshots: Vec<Snapshot>) -> Vec<Snapshot> {
    let depth = |snapshot: &Snapshot| {
        let mut depth = 0_usize;
        let mut parent = snapshot.parent.clone();
        while let Some(name) = parent.filter(|_| depth <= snapshots.len()) {
            depth += 1;
            parent = snapshots
                .iter()
                .find(|other| other.name == name)
                .and_then(|other| other.parent.clone());
        }
        depth
    };
    let mut keyed: Vec<_> = snapshots
        .iter()
        .map(|snapshot| (snapshot.created, depth(snapshot), snapshot.clone()))
        .collect();
    keyed.sort_by_key(|(created, depth, _)| (*created, *depth));
    keyed.into_iter().map(|(_, _, snapshot)| snapshot).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(name: &str, parent: Option<&str>, created: i64) -> Snapshot {
        Snapshot {
            name: name.into(),
            parent: parent.map(Into::into),
            created,
            memory: Kept::No,
            internal: false,
            files: Vec::new(),
            memory_file: None,
            frozen: Vec::new(),
        }
    }

    #[test]
    fn points_of_one_second_are_ordered_by_their_parents() {
        let ordered = in_order(vec![
            snapshot("c", Some("b"), 5),
            snapshot("a", None, 5),
            snapshot("b", Some("a"), 5),
            snapshot("old", None, 4),
        ]);
        let names: Vec<_> = ordered.iter().map(|snapshot| snapshot.name.as_str()).collect();
        assert_eq!(names, ["old", "a", "b", "c"]);
    }

    #[test]
    fn a_parent_that_loops_does_not_hang() {
        assert_eq!(
            in_order(vec![snapshot("a", Some("b"), 1), snapshot("b", Some("a"), 1)]).len(),
            2
        );
    }
}
