//! What is derived from `/etc/machine-id`. machine-id(5) asks to treat the id itself as confidential and to
//! hand out only keyed hashes of it, one for each application, as sd_id128_get_machine_app_specific(3) does.

use std::fmt;
use std::str::FromStr;

use crate::digest::hex;

/// Domains of the derivations; changing one changes every value that was derived in it.
const PUBLISHED: &str = "safetytwin.com 2026-11 identity of a host";
const REDACTION: &str = "safetytwin.com 2026-11 digests of redacted values";

/// A machine id. It is never shown: what may be seen is derived from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MachineId([u8; 16]);

/// The text is not 32 hex digits, or all of them are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a machine id is 32 hex digits, not all of them zero")]
pub struct InvalidMachineId;

impl MachineId {
    /// The identity of the host that others may see: 32 hex digits.
    pub fn published(&self) -> String {
        let derived = blake3::derive_key(PUBLISHED, &self.0);
        hex(derived.first_chunk::<16>().unwrap_or(&[0; 16]))
    }

    /// The key of the digests in placeholders; see [`crate::redaction`].
    pub fn redaction_key(&self) -> [u8; 32] {
        blake3::derive_key(REDACTION, &self.0)
    }

    /// The id as its file has it. Only for finding it in what must not hold it.
    pub fn secret(&self) -> String {
        hex(&self.0)
    }
}

impl FromStr for MachineId {
    type Err = InvalidMachineId;

    fn from_str(text: &str) -> Result<Self, InvalidMachineId> {
        let digits = text.trim().as_bytes();
        let mut id = [0u8; 16];
        if digits.len() != 32 {
            return Err(InvalidMachineId);
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(*pair.get(at).unwrap_or(&b'?')).to_digit(16);
            let (high, low) = digit(0).zip(digit(1)).ok_or(InvalidMachineId)?;
            *byte = u8::try_from(high * 16 + low).map_err(|_| InvalidMachineId)?;
        }
        if id == [0; 16] {
            Err(InvalidMachineId)
        } else {
            Ok(Self(id))
        }
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MachineId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_stays_the_same_and_is_not_the_id() {
        let id: MachineId = "0123456789abcdef0123456789abcdef\n".parse().unwrap();
        assert_eq!(id.published(), "9effb266384046e4fcc9368568f2aa15");
        assert_eq!(id.secret(), "0123456789abcdef0123456789abcdef");
        assert!(!format!("{id:?}").contains("0123"));
    }

    #[test]
    fn an_id_that_is_not_there_yet_is_no_id() {
        let zero = "0".repeat(32);
        for text in ["", "uninitialized", &zero, "0123456789abcdef0123456789abcdeg"] {
            assert!(text.parse::<MachineId>().is_err(), "{text}");
        }
    }
}
