//! The cloud-init NoCloud seed: a FAT volume labelled `CIDATA` with `user-data` and `meta-data`.
//!
//! cloud-init reads `vfat` and `iso9660` volumes of that label in either case (datasource NoCloud,
//! "source 2: drive with labeled filesystem"). Both files are JSON, which is YAML: no value needs
//! quoting rules of its own. There is no password anywhere.

use std::io::{Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use serde_json::json;

use super::super::{Seed, VmError};

/// Bytes of the volume: FAT12, as a floppy disk has it.
pub(super) const SIZE: u64 = 1440 * 1024;

/// The volume's bytes.
///
/// # Errors
/// The files do not fit.
pub(super) fn image(seed: &Seed) -> Result<Vec<u8>, VmError> {
    write(seed).map_err(|error| VmError::Failed {
        call: "make the cloud-init seed",
        message: error.to_string(),
    })
}

fn write(seed: &Seed) -> std::io::Result<Vec<u8>> {
    let mut volume = Cursor::new(vec![0; usize::try_from(SIZE).unwrap_or_default()]);
    format_volume(
        &mut volume,
        FormatVolumeOptions::new().volume_label(*b"CIDATA     "),
    )?;
    volume.set_position(0);
    let filesystem = FileSystem::new(&mut volume, FsOptions::new())?;
    for (name, content) in [("user-data", user_data(seed)), ("meta-data", meta_data(seed))] {
        let mut file = filesystem.root_dir().create_file(name)?;
        file.truncate()?;
        file.write_all(content.as_bytes())?;
        file.flush()?;
    }
    filesystem.unmount()?;
    Ok(volume.into_inner())
}

/// cloud-config: the pinned host key is the only one, root logs in by key only.
fn user_data(seed: &Seed) -> String {
    let config = json!({
        "hostname": seed.hostname,
        "manage_etc_hosts": "localhost",
        "disable_root": false,
        "ssh_pwauth": false,
        "ssh_deletekeys": true,
        "ssh_keys": {
            "ed25519_private": seed.host_key_private,
            "ed25519_public": seed.host_key_public,
        },
        "users": [{
            "name": "root",
            "lock_passwd": true,
            "ssh_authorized_keys": [seed.authorized_key],
        }],
        "package_update": false,
        "package_upgrade": false,
    });
    format!("#cloud-config\n{config:#}\n")
}

fn meta_data(seed: &Seed) -> String {
    let data = json!({
        "instance-id": seed.instance_id,
        "local-hostname": seed.hostname,
    });
    format!("{data:#}\n")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn seed() -> Seed {
        Seed {
            instance_id: "twin-9c1e".into(),
            hostname: "web-01: [x]".into(),
            authorized_key: "restrict,pty ssh-ed25519 AAAA twin".into(),
            host_key_private: "-----BEGIN-----\nabc\n-----END-----\n".into(),
            host_key_public: "ssh-ed25519 BBBB".into(),
        }
    }

    #[test]
    fn the_seed_is_a_labelled_volume_with_both_files() {
        let bytes = image(&seed()).unwrap();
        assert_eq!(bytes.len() as u64, SIZE);
        let volume = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "CIDATA");
        let label = volume.read_volume_label_from_root_dir().unwrap();
        assert_eq!(label.as_deref(), Some("CIDATA"));
        let mut text = String::new();
        let mut file = volume.root_dir().open_file("user-data").unwrap();
        file.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("#cloud-config\n"), "{text}");
        assert_eq!(text, user_data(&seed()));
    }

    #[test]
    fn every_value_comes_back_as_it_was_and_no_password_is_set() {
        let text = user_data(&seed());
        let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read["hostname"], "web-01: [x]");
        assert_eq!(read["ssh_keys"]["ed25519_private"], seed().host_key_private);
        assert_eq!(read["users"][0]["ssh_authorized_keys"][0], seed().authorized_key);
        assert_eq!(read["ssh_pwauth"], false);
        assert!(
            !text.contains("\"passwd\"") && !text.contains("chpasswd"),
            "{text}"
        );
    }
}
