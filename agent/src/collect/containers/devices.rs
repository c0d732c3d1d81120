//! Devices of the host that a container is given.

use bollard::models::{DeviceMapping, HostConfig};

use super::item::sorted;
use crate::redact::Tally;

/// Devices by path, and what of the GPUs is asked for (`--gpus`, or the Container Device Interface).
pub fn devices(host: &HostConfig, clean: &mut Tally<'_>) -> Vec<String> {
    let devices = host.devices.iter().flatten().filter_map(mapping);
    let mut list: Vec<String> = devices
        .map(|device| format!("device {}", clean.text(&device)))
        .collect();
    for request in host.device_requests.iter().flatten() {
        let ids = request.device_ids.clone().unwrap_or_default();
        let what = match request.count {
            _ if !ids.is_empty() => clean.text(&ids.join(",")),
            Some(-1) => "all".to_owned(),
            count => count.unwrap_or(0).to_string(),
        };
        list.push(format!("gpus {what}"));
    }
    sorted(Some(list))
}

/// As `--device` takes it: `HOST[:CONTAINER[:PERMISSIONS]]`, each part only where it is not what the
/// engine does by itself. Permissions always stand third, so that a part is known by its place.
fn mapping(device: &DeviceMapping) -> Option<String> {
    let host = device.path_on_host.as_deref().filter(|path| !path.is_empty())?;
    let container = device.path_in_container.as_deref().unwrap_or_default();
    let container = if container.is_empty() { host } else { container };
    let permissions = device.cgroup_permissions.as_deref().unwrap_or_default();
    // Podman leaves them empty (libpod's inspect).
    let all = permissions.is_empty() || "rwm".chars().all(|c| permissions.contains(c));
    Some(match (container == host, all) {
        (true, true) => host.to_owned(),
        (false, true) => format!("{host}:{container}"),
        (_, false) => format!("{host}:{container}:{permissions}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;

    fn given(json: &str) -> Vec<String> {
        let host: HostConfig = serde_json::from_str(json).unwrap();
        devices(&host, &mut Redactor::default().tally())
    }

    #[test]
    fn a_device_is_given_by_its_other_name_and_with_fewer_rights_as_docker_writes_it() {
        for (inside, permissions, expected) in [
            ("/dev/kfd", "rwm", "device /dev/kfd"),
            ("/dev/kfd", "mrw", "device /dev/kfd"),
            ("/dev/kfd", "", "device /dev/kfd"),
            ("", "", "device /dev/kfd"),
            ("/dev/gpu", "rwm", "device /dev/kfd:/dev/gpu"),
            ("/dev/gpu", "", "device /dev/kfd:/dev/gpu"),
            ("/dev/gpu", "r", "device /dev/kfd:/dev/gpu:r"),
            ("/dev/kfd", "rw", "device /dev/kfd:/dev/kfd:rw"),
            ("", "rw", "device /dev/kfd:/dev/kfd:rw"),
        ] {
            let json = format!(
                r#"{{"Devices":[{{"PathOnHost":"/dev/kfd","PathInContainer":"{inside}","CgroupPermissions":"{permissions}"}}]}}"#
            );
            assert_eq!(given(&json), [expected], "{inside} {permissions}");
        }
    }

    #[test]
    fn devices_and_gpus_are_sorted_and_one_without_a_path_is_none() {
        assert_eq!(
            given(
                r#"{"Devices":[{"PathOnHost":"/dev/b"},{"PathOnHost":"/dev/a"},{"PathOnHost":"/dev/b"},{"PathInContainer":"/dev/c"},{}],
                "DeviceRequests":[{"Count":-1},{"Count":2},{"DeviceIDs":["0","1"]}]}"#
            ),
            ["device /dev/a", "device /dev/b", "gpus 0,1", "gpus 2", "gpus all"]
        );
        assert_eq!(
            given(r#"{"Devices":null,"DeviceRequests":null}"#),
            Vec::<String>::new()
        );
    }
}
