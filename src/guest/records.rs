//! The controller's own files in the guest: manifest, operation record, lock. Encoding, size caps and
//! the rules of the lock, shared by the SSH guest and the fake.
//!
//! What the guest answers is hostile until decoded: too large, not JSON, or of a newer format are
//! errors by name, never a panic.

use safetytwin_crds::manifest::{FORMAT, Manifest};
use safetytwin_crds::names::printable;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::GuestError;

/// Longest manifest or operation record that is read: some 10,000 items.
pub const MAX_RECORD: usize = 8 * 1024 * 1024;

/// Content of the lock file (`/run/safetytwin/lock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Epoch of the holder.
    pub epoch: i64,
    /// Operation it was taken for.
    pub operation: i64,
}

impl Lock {
    /// Whether `epoch` may take a lock that `self` holds: an equal or lower one gives way.
    pub fn yields_to(self, epoch: i64) -> Result<(), GuestError> {
        if self.epoch > epoch {
            Err(GuestError::Fenced {
                holder: self.epoch,
                ours: epoch,
            })
        } else {
            Ok(())
        }
    }
}

/// JSON of a record.
pub fn encode<T: Serialize>(call: &'static str, value: &T) -> Result<Vec<u8>, GuestError> {
    serde_json::to_vec(value).map_err(|error| GuestError::Failed {
        call,
        message: error.to_string(),
    })
}

/// A record from JSON.
pub fn decode<T: DeserializeOwned>(call: &'static str, bytes: &[u8]) -> Result<T, GuestError> {
    if bytes.len() > MAX_RECORD {
        return Err(GuestError::Failed {
            call,
            message: format!("the file is larger than {MAX_RECORD} bytes"),
        });
    }
    serde_json::from_slice(bytes).map_err(|error| GuestError::Failed {
        call,
        message: printable(&error.to_string(), 300),
    })
}

/// A manifest from JSON; one of a newer format is refused before its content is looked at.
pub fn decode_manifest(bytes: &[u8]) -> Result<Manifest, GuestError> {
    const CALL: &str = "read the manifest";
    #[derive(Deserialize)]
    struct Head {
        format: i32,
    }
    let head: Head = decode(CALL, bytes)?;
    if head.format > FORMAT {
        return Err(GuestError::NewerManifest {
            found: head.format,
            known: FORMAT,
        });
    }
    decode(CALL, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_a_newer_format_is_refused_whatever_it_holds() {
        let newer = format!(r#"{{"format":{},"items":"in another shape"}}"#, FORMAT + 1);
        assert!(matches!(
            decode_manifest(newer.as_bytes()),
            Err(GuestError::NewerManifest { .. })
        ));
    }

    #[test]
    fn a_manifest_that_is_not_json_is_an_error_in_printable_text() {
        let error = decode_manifest(b"\x1b[2J").unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }

    #[test]
    fn a_manifest_survives_its_file() {
        let manifest = Manifest {
            format: FORMAT,
            epoch: 3,
            operation: 9,
            own_units: vec!["ssh.service".into()],
            ..Manifest::default()
        };
        let bytes = encode("write", &manifest).unwrap();
        assert_eq!(decode_manifest(&bytes).unwrap(), manifest);
    }

    #[test]
    fn a_lock_gives_way_to_its_own_and_higher_epochs_only() {
        let lock = Lock {
            epoch: 5,
            operation: 1,
        };
        assert!(lock.yields_to(5).is_ok());
        assert!(lock.yields_to(6).is_ok());
        assert!(matches!(
            lock.yields_to(4),
            Err(GuestError::Fenced { holder: 5, ours: 4 })
        ));
    }
}
