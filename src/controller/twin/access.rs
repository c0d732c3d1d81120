//! The way into a twin's guest: as whom, with the keys of which Secret, at which addresses.
//!
//! The controller and the verbs `twin ssh` and `twin forward` ask here, so both log in alike.

use std::net::IpAddr;

use safetytwin_crds::TwinClass;
use safetytwin_crds::digitaltwin::VmStatus;

use crate::controller::keys::{self, TwinKeys};
use crate::guest::GuestAddress;

/// Port of sshd in a twin.
const SSH_PORT: u16 = 22;
/// Login of twins that we make.
const LOGIN: &str = "root";

/// As whom to log in, and where the keys lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Login name.
    pub user: String,
    /// Secret in the controller's namespace.
    pub secret: String,
    /// The class names both, of a domain that it adopts; the keys are not ours to make.
    pub adopted: bool,
}

impl Access {
    /// Access to the twin of this UID and class.
    pub fn of(uid: &str, class: &TwinClass) -> Self {
        match &class.spec.libvirt.adopt {
            Some(adopt) => Self {
                user: adopt.user.clone(),
                secret: adopt.key_ref.name.clone(),
                adopted: true,
            },
            None => Self {
                user: LOGIN.to_owned(),
                secret: keys::secret_name(uid),
                adopted: false,
            },
        }
    }

    /// Where the guest may be: first the address that answered last, then those that the hypervisor sees.
    pub fn address(&self, keys: &TwinKeys, vm: &VmStatus, seen: &[IpAddr]) -> GuestAddress {
        let mut addresses = seen.to_vec();
        if let Some(last) = vm.address.as_ref().and_then(|a| a.parse().ok()) {
            addresses.retain(|a| *a != last);
            addresses.insert(0, last);
        }
        GuestAddress {
            addresses,
            port: SSH_PORT,
            user: self.user.clone(),
            private_key: keys.login.clone(),
            host_key: keys.host_public.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "9c1e2f00-1111-4222-8333-444455556666";

    fn class(origin: serde_json::Value) -> TwinClass {
        let mut libvirt = serde_json::json!({"uri": "qemu:///system", "pool": "twins", "network": "lab"});
        libvirt
            .as_object_mut()
            .unwrap()
            .extend(origin.as_object().unwrap().clone());
        let spec = serde_json::from_value(serde_json::json!({"libvirt": libvirt})).unwrap();
        TwinClass::new("lab", spec)
    }

    fn vm(address: Option<&str>) -> VmStatus {
        VmStatus {
            domain_uuid: UID.into(),
            domain_name: "ops-web-01-9c1e2f00".into(),
            uri: "qemu:///system".into(),
            pool: "twins".into(),
            adopted: false,
            address: address.map(str::to_owned),
            host_key: None,
            incarnation: None,
        }
    }

    #[test]
    fn a_twin_that_we_make_is_entered_by_root_with_its_own_key() {
        let access = Access::of(UID, &class(serde_json::json!({"baseImage": "debian-12.qcow2"})));
        assert_eq!((access.user.as_str(), access.adopted), ("root", false));
        assert_eq!(access.secret, format!("twin-{UID}"));
    }

    #[test]
    fn an_adopted_domain_is_entered_as_its_class_says() {
        let adopt = serde_json::json!({"adopt": {
            "domainUuid": UID, "user": "twin", "keyRef": {"name": "old-vm"},
        }});
        let access = Access::of(UID, &class(adopt));
        assert_eq!((access.user.as_str(), access.adopted), ("twin", true));
        assert_eq!(access.secret, "old-vm");
    }

    #[test]
    fn the_address_that_answered_last_is_tried_first_and_once() {
        let access = Access::of(UID, &class(serde_json::json!({"baseImage": "debian-12.qcow2"})));
        let keys = TwinKeys::generate("web-01").unwrap();
        let seen: Vec<IpAddr> = ["192.0.2.10", "192.0.2.11"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect();
        let tried = access.address(&keys, &vm(Some("192.0.2.11")), &seen).addresses;
        assert_eq!(tried, [seen[1], seen[0]]);
        assert_eq!(access.address(&keys, &vm(None), &seen).addresses, seen);
        let known = access.address(&keys, &vm(Some("192.0.2.11")), &[]);
        assert_eq!(known.addresses, [seen[1]]);
        assert_eq!(known.host_key, keys.host_public);
    }
}
