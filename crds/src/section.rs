//! Sections: items of one kind, as canonical JSON, cut into parts, zstd-compressed, in base64.
//!
//! ```text
//! items (identity order) ──▶ parts of canonical JSON, about 64 KiB ──▶ digest ──▶ zstd + base64
//! ```
//! A part is a JSON array of items; those of large sections are longer, up to 190 KiB. Decoding is per item: an
//! undecodable item is refused by its place and the rest goes on. Data comes from hostile hosts: the decoder is capped at 4 MiB.

mod left_out;
mod parts;

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::left_out::LeftOut;
pub use self::parts::{Cut, Fit, Fitted, Part, PartWriter, PlaceInParts, encode_parts, fit_parts};
use crate::digest::PartDigest;

/// Version of the item schema that this build writes. Every version read once stays readable.
pub const SCHEMA_VERSION: i32 = 1;
/// Parts are numbered 0–15.
pub const MAX_PARTS: usize = 16;
/// A part is filled up to this many bytes of canonical JSON. zstd makes of text that does not compress at most 1/256
/// more (zstd.h: ZSTD_COMPRESSBOUND), base64 a third: what is no longer than this is never longer than [`MAX_DATA`].
pub const PART_BYTES: usize = 190 * 1024;
/// A decoder reads no more than this many bytes.
pub const MAX_DECODED: u64 = 4 * 1024 * 1024;
/// Longest `data` of a HostSection, in characters of base64, as its schema says: the API server refuses more.
pub const MAX_DATA: usize = 256 * 1024;

/// Names of sections that this build knows. An object may name others, from a newer agent: its schema takes any name,
/// and a head is read without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SectionName {
    /// systemd units: [`crate::item::UnitItem`].
    Units,
    /// Containers: [`crate::item::ContainerItem`].
    Containers,
    /// Independent processes: [`crate::item::ProcessItem`].
    Processes,
    /// The machine, one item: [`crate::item::Machine`].
    Machine,
    /// AI runtimes: [`crate::item::AiItem`].
    Ai,
    /// Pids and counters, several items that add up: [`crate::item::Observed::add`].
    Observed,
    /// Packages, opt-in: [`crate::item::PackageItem`].
    Packages,
    /// Users and groups, opt-in: [`crate::item::AccountItem`].
    Accounts,
    /// Selected files, opt-in: [`crate::item::FileItem`].
    Files,
    /// Names of the host, opt-in, one item: [`crate::item::HostnameItem`].
    Hostname,
    /// Kernel parameters that are set, opt-in: [`crate::item::SysctlItem`].
    Sysctl,
    /// Kernel modules, opt-in: [`crate::item::ModuleItem`].
    Modules,
    /// Cron jobs, opt-in: [`crate::item::CronItem`].
    Cron,
}

impl SectionName {
    /// The sections that a complete host publishes, in the order they are published.
    pub const COUNTED: [Self; 5] = [
        Self::Units,
        Self::Containers,
        Self::Processes,
        Self::Machine,
        Self::Ai,
    ];

    /// The sections that a host publishes only when its administrator says so, in the order they are
    /// published. They do not count.
    pub const OPT_IN: [Self; 7] = [
        Self::Packages,
        Self::Accounts,
        Self::Files,
        Self::Hostname,
        Self::Sysctl,
        Self::Modules,
        Self::Cron,
    ];

    /// All that this build knows.
    pub fn known() -> impl Iterator<Item = Self> {
        let counted = Self::COUNTED.into_iter();
        counted.chain([Self::Observed]).chain(Self::OPT_IN)
    }

    /// The name as it stands in objects.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Units => "units",
            Self::Containers => "containers",
            Self::Processes => "processes",
            Self::Machine => "machine",
            Self::Ai => "ai",
            Self::Observed => "observed",
            Self::Packages => "packages",
            Self::Accounts => "accounts",
            Self::Files => "files",
            Self::Hostname => "hostname",
            Self::Sysctl => "sysctl",
            Self::Modules => "modules",
            Self::Cron => "cron",
        }
    }
}

impl JsonSchema for SectionName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SectionName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$",
            "maxLength": 32,
            "description": "units, containers, processes, machine, ai, observed; opt-in: packages, accounts, files, hostname, sysctl, modules, cron; newer agents may name others.",
        })
    }
}

impl std::fmt::Display for SectionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of the two slots of a part: the writer fills the one that the head does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Slot a, where a host begins.
    A,
    /// Slot b.
    B,
}

impl Slot {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The letter in an object's name.
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

/// How much of the truth a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SectionState {
    /// The list is whole.
    Complete,
    /// Some items are missing or were refused; nothing may be concluded from an absence.
    Partial,
    /// The source could not be read; content is the last known.
    Unavailable,
}

/// How `data` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// zstd frame of canonical JSON, in base64.
    #[serde(rename = "zstd+base64")]
    ZstdBase64,
    /// Canonical JSON as text (one-shot dumps).
    #[serde(rename = "json")]
    Json,
}

/// A section that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SectionError {
    /// The content is more than its objects take; what, and how much.
    #[error("content does not fit into its objects: {0}")]
    TooLarge(String),
    /// Not base64.
    #[error("data is not base64")]
    Base64,
    /// Not zstd, or larger than the cap.
    #[error("data is no zstd frame of at most {MAX_DECODED} bytes")]
    Compression,
    /// The bytes do not have the digest that the head names.
    #[error("content has digest {found}, the head says {named}")]
    DigestMismatch {
        /// What the head says.
        named: PartDigest,
        /// What the bytes have.
        found: PartDigest,
    },
    /// Not a JSON array.
    #[error("content is no JSON array of items")]
    NotAList(#[source] serde_json::Error),
    /// An item cannot be written as JSON.
    #[error("failed to write an item as JSON")]
    Encode(#[source] serde_json::Error),
}

/// An item that could not be decoded; the others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedItem {
    /// The item's `name` or `key` field, printable, or its place in the part.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// zstd (level 3) and base64 of `bytes`.
pub fn compress(bytes: &[u8]) -> Result<String, SectionError> {
    pack(bytes).map(|packed| STANDARD.encode(packed))
}

/// The bytes behind `data`, at most [`MAX_DECODED`].
pub fn decompress(data: &str) -> Result<Vec<u8>, SectionError> {
    unpack(&STANDARD.decode(data).map_err(|_| SectionError::Base64)?)
}

/// At once: a stream of unknown length takes 4 MiB of tables for any part.
fn pack(bytes: &[u8]) -> Result<Vec<u8>, SectionError> {
    zstd::bulk::compress(bytes, 3).map_err(|_| SectionError::Compression)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, SectionError> {
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::new(packed).map_err(|_| SectionError::Compression)?;
    let mut capped = decoder.take(MAX_DECODED + 1);
    capped
        .read_to_end(&mut bytes)
        .map_err(|_| SectionError::Compression)?;
    if bytes.len() as u64 > MAX_DECODED {
        Err(SectionError::Compression)
    } else {
        Ok(bytes)
    }
}

/// The canonical JSON behind `data`; refused when its digest is not the one the head names.
pub fn decode_data(data: &str, encoding: Encoding, named: PartDigest) -> Result<Vec<u8>, SectionError> {
    let json = match encoding {
        Encoding::Json if data.len() as u64 > MAX_DECODED => return Err(SectionError::Compression),
        Encoding::Json => data.as_bytes().to_vec(),
        Encoding::ZstdBase64 => decompress(data)?,
    };
    let found = PartDigest::of(&json);
    if found == named {
        Ok(json)
    } else {
        Err(SectionError::DigestMismatch { named, found })
    }
}

/// Items of a part, and those that are not acceptable.
pub fn decode_items<T: DeserializeOwned>(json: &[u8]) -> Result<(Vec<T>, Vec<RefusedItem>), SectionError> {
    let values: Vec<serde_json::Value> = serde_json::from_slice(json).map_err(SectionError::NotAList)?;
    let mut items = Vec::with_capacity(values.len());
    let mut refused = Vec::new();
    for (place, value) in values.into_iter().enumerate() {
        let name = ["name", "key"]
            .iter()
            .find_map(|k| value.get(k)?.as_str().map(str::to_owned));
        match serde_json::from_value(value) {
            Ok(item) => items.push(item),
            Err(error) => refused.push(RefusedItem {
                name: name.map_or_else(|| format!("item {place}"), |n| crate::names::printable(&n, 80)),
                why: crate::names::printable(&error.to_string(), 200),
            }),
        }
    }
    Ok((items, refused))
}

/// Name of the HostSection that holds a part: `<host>.<section>.<part>.<a|b>`.
pub fn object_name(host: &str, section: SectionName, part: usize, slot: Slot) -> String {
    format!("{host}.{section}.{part}.{}", slot.letter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::unit::Account;

    #[test]
    fn content_reads_back_through_both_encodings() {
        let items = vec![serde_json::json!({"name": "a"}), serde_json::json!({"name": "b"})];
        for encoding in [Encoding::Json, Encoding::ZstdBase64] {
            let parts = encode_parts(&items).unwrap();
            let data = parts[0].data(encoding).unwrap();
            let json = decode_data(&data, encoding, parts[0].digest).unwrap();
            let (read, refused) = decode_items::<serde_json::Value>(&json).unwrap();
            assert_eq!((read, refused), (items.clone(), vec![]));
        }
    }

    #[test]
    fn a_compression_bomb_is_refused() {
        let bomb = compress(&vec![b' '; MAX_DECODED as usize + 1]).unwrap();
        assert!(bomb.len() < 4096);
        assert!(matches!(decompress(&bomb), Err(SectionError::Compression)));
    }

    #[test]
    fn one_bad_item_is_refused_by_name_and_the_rest_is_read() {
        let json = br#"[{"name":"ok","id":1},{"name":"bad\u001b","id":"no"},{"name":"fine"}]"#;
        let (items, refused) = decode_items::<Account>(json).unwrap();
        assert_eq!(
            items.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(),
            ["ok", "fine"]
        );
        assert_eq!(refused[0].name, "bad\\u{1b}");
    }

    #[test]
    fn a_long_list_is_cut_into_parts_that_keep_its_order() {
        let items: Vec<String> = (0..1000).map(|n| format!("{n:0>1000}")).collect();
        let parts = encode_parts(&items).unwrap();
        assert!(parts.len() > 1 && parts.iter().all(|p| p.bytes <= PART_BYTES));
        let read: Vec<String> = parts
            .iter()
            .flat_map(|p| decode_items(&p.json().unwrap()).unwrap().0)
            .collect();
        assert_eq!(read, items);
        let too_many: Vec<String> = (0..4000).map(|n| format!("{n:0>1000}")).collect();
        assert!(matches!(encode_parts(&too_many), Err(SectionError::TooLarge(_))));
    }

    #[test]
    fn content_that_is_not_what_the_head_names_is_refused() {
        let part = &encode_parts(&["x"]).unwrap()[0];
        let data = part.data(Encoding::ZstdBase64).unwrap();
        let error = decode_data(&data, Encoding::ZstdBase64, PartDigest::of(b"other")).unwrap_err();
        assert!(matches!(error, SectionError::DigestMismatch { .. }));
    }
}
