//! Where a twin lives: its class, its keys, its VM. Frozen once made: URI, pool, domain name and
//! UUID come from the twin's status when they are there, from the class otherwise.

use std::sync::Arc;

use kube::ResourceExt as _;
use safetytwin_crds::digitaltwin::VmStatus;
use safetytwin_crds::twinclass::quantity_bytes;
use safetytwin_crds::{DigitalTwin, TwinClass};

use super::access::Access;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::keys::{self, TwinKeys};
use crate::controller::{class, ports::Site};
use crate::guest::{GuestAddress, GuestDoor};
use crate::vm::{Seed, TwinVm, VmFacts, VmOrigin, VmSpec};

/// A twin's VM and how to get into it.
pub struct Home {
    /// The class.
    pub class: TwinClass,
    /// The VM.
    pub vm: Arc<dyn TwinVm>,
    /// The VM's frozen names.
    pub frozen: VmStatus,
    /// Keys of the twin.
    pub keys: TwinKeys,
    /// The way to the guest.
    pub door: Arc<dyn GuestDoor>,
    access: Access,
}

impl Home {
    /// Opens a twin's home: makes the keys when there are none and the twin stays, changes nothing on the
    /// hypervisor.
    pub async fn open(ctx: &Context, twin: &DigitalTwin, class: &TwinClass) -> Result<Self, Error> {
        let uid = uid_of(twin)?;
        let mut site = class::site(ctx, class).await?;
        let access = Access::of(&uid, class);
        let goes = twin.metadata.deletion_timestamp.is_some();
        let name = twin.name_any();
        let keys = if access.adopted {
            adopted_keys(ctx, &access.secret).await?
        } else if goes {
            keys::remaining(&ctx.client, &ctx.namespace, &name, &uid).await?
        } else {
            keys::ensure(&ctx.client, &ctx.namespace, &name, &uid).await?
        };
        let frozen = frozen(twin, &uid, &site);
        site.libvirt.uri.clone_from(&frozen.uri);
        site.libvirt.pool.clone_from(&frozen.pool);
        let spec = vm_spec(twin, &uid, class, &frozen, &keys);
        Ok(Self {
            class: class.clone(),
            vm: ctx.hypervisors.vm(&site, spec).await?,
            frozen,
            keys,
            door: ctx.memory.door(&uid, ctx.doors.as_ref()),
            access,
        })
    }

    /// Where the guest is now. The address that answered last is tried first.
    pub fn address(&self, facts: &VmFacts) -> GuestAddress {
        self.access.address(&self.keys, &self.frozen, &facts.addresses)
    }
}

/// UID of a stored twin.
pub fn uid_of(twin: &DigitalTwin) -> Result<String, Error> {
    twin.uid().ok_or(Error::Terminal {
        reason: "Invalid",
        message: "the twin has no UID".into(),
    })
}

/// The first eight characters of a UID.
pub fn short(uid: &str) -> &str {
    uid.get(..8).unwrap_or(uid)
}

async fn adopted_keys(ctx: &Context, secret: &str) -> Result<TwinKeys, Error> {
    keys::read(&ctx.client, &ctx.namespace, secret)
        .await?
        .ok_or_else(|| Error::Terminal {
            reason: "CredentialsMissing",
            message: format!(
                "Secret {}/{secret} must hold {} and {} of the domain to adopt",
                ctx.namespace,
                keys::LOGIN_KEY,
                keys::HOST_KEY_PUBLIC
            ),
        })
}

/// The VM's names: those in status, else those that the class gives a new one.
fn frozen(twin: &DigitalTwin, uid: &str, site: &Site) -> VmStatus {
    if let Some(vm) = twin.status.as_ref().and_then(|s| s.vm.clone()) {
        return vm;
    }
    let adopt = site.libvirt.adopt.as_ref();
    VmStatus {
        domain_uuid: adopt.map_or_else(|| uid.to_owned(), |a| a.domain_uuid.clone()),
        domain_name: domain_name(twin, uid),
        uri: site.libvirt.uri.clone(),
        pool: site.libvirt.pool.clone(),
        adopted: adopt.is_some(),
        address: None,
        host_key: None,
        incarnation: None,
    }
}

/// `<namespace>-<twin>-<short uid>` in `[a-z0-9-]`, at most 63 bytes; the UID part is never cut.
fn domain_name(twin: &DigitalTwin, uid: &str) -> String {
    let namespace = twin.namespace().unwrap_or_default();
    let readable: String = format!("{namespace}-{}", twin.name_any())
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(54)
        .collect();
    format!("{readable}-{}", short(uid))
}

fn vm_spec(twin: &DigitalTwin, uid: &str, class: &TwinClass, frozen: &VmStatus, keys: &TwinKeys) -> VmSpec {
    let libvirt = &class.spec.libvirt;
    let origin = match (&libvirt.base_image, frozen.adopted, &keys.host) {
        (Some(volume), false, Some(host_key)) => VmOrigin::BaseImage {
            volume: volume.clone(),
            seed: Seed {
                instance_id: uid.to_owned(),
                hostname: hostname(&twin.name_any()),
                authorized_key: keys.authorized_key(),
                host_key_private: host_key.clone(),
                host_key_public: keys.host_public.clone(),
            },
        },
        _ => VmOrigin::Adopt,
    };
    VmSpec {
        name: frozen.domain_name.clone(),
        uuid: frozen.domain_uuid.clone(),
        twin_uid: uid.to_owned(),
        origin,
        pool: frozen.pool.clone(),
        network: libvirt.network.clone(),
        vm: libvirt.vm.clone(),
        cpus: u32::try_from(class.spec.limits.cpus).unwrap_or(1),
        memory_bytes: quantity_bytes(&class.spec.limits.memory).unwrap_or(1 << 30),
    }
}

/// The twin's name up to its first dot, as a host name of its own.
fn hostname(name: &str) -> String {
    let label = name.split('.').next().unwrap_or(name);
    format!("twin-{label}").chars().take(63).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twin(namespace: &str, name: &str) -> DigitalTwin {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin",
            "metadata": {"name": name, "namespace": namespace, "uid": "9c1e2f00-1111-4222-8333-444455556666"},
            "spec": {"hostRef": {"name": name}, "className": "lab"},
        }))
        .unwrap()
    }

    #[test]
    fn a_domain_name_is_short_safe_and_ends_in_the_uid() {
        let uid = "9c1e2f00-1111-4222-8333-444455556666";
        assert_eq!(domain_name(&twin("ops", "web.01"), uid), "ops-web-01-9c1e2f00");
        let long = domain_name(&twin(&"n".repeat(63), &"t".repeat(40)), uid);
        assert!(long.len() <= 63 && long.ends_with("-9c1e2f00"), "{long}");
    }

    #[test]
    fn names_in_status_win_over_the_class() {
        let uid = "9c1e2f00-1111-4222-8333-444455556666";
        let mut twin = twin("ops", "web-01");
        let kept = VmStatus {
            domain_uuid: uid.into(),
            domain_name: "old".into(),
            uri: "qemu:///system".into(),
            pool: "old-pool".into(),
            adopted: false,
            address: None,
            host_key: None,
            incarnation: None,
        };
        twin.status = Some(safetytwin_crds::DigitalTwinStatus {
            vm: Some(kept.clone()),
            ..Default::default()
        });
        let site = Site {
            libvirt: serde_json::from_value(serde_json::json!({
                "uri": "qemu+tls://other/system", "pool": "new", "network": "n", "baseImage": "i"
            }))
            .unwrap(),
            credentials: None,
        };
        assert_eq!(frozen(&twin, uid, &site), kept);
    }
}
