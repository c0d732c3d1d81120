//! Content digests: blake3 over exact bytes, written as 64 lower-case hex digits; the head, which is rewritten every
//! beat, names its parts by the first 32 of them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical::canonical_json;

/// A blake3 digest. Equal digests mean equal bytes; a digest only triggers, decoded items decide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hex digits")]
pub struct InvalidDigest;

impl Digest {
    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Digest of several fields, each framed by its length, so that no two field lists collide.
    pub fn of_fields<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for field in fields {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// Digest of the canonical JSON of `value`; see [`crate::canonical`].
    pub fn of_json<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        canonical_json(value).map(|bytes| Self::of(&bytes))
    }

    /// The first eight hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

/// The first 128 bits of a [`Digest`], 32 hex digits: what the head names a part by. Who could make two contents with
/// the same one is the host itself, whose twin would then miss a change of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct PartDigest([u8; 16]);

/// The text is neither 32 nor 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the digest of a part is 32 lower-case hex digits")]
pub struct InvalidPartDigest;

impl PartDigest {
    /// Digest of a part's canonical JSON.
    pub fn of(json: &[u8]) -> Self {
        Digest::of(json).into()
    }
}

impl From<Digest> for PartDigest {
    fn from(whole: Digest) -> Self {
        let mut first = [0; 16];
        first.iter_mut().zip(whole.0).for_each(|(to, from)| *to = from);
        Self(first)
    }
}

impl TryFrom<Cow<'_, str>> for PartDigest {
    type Error = InvalidPartDigest;

    /// Also of all 64 digits, as the first agents wrote it.
    fn try_from(text: Cow<'_, str>) -> Result<Self, InvalidPartDigest> {
        let whole = match text.len() {
            32 => format!("{text}{text}").parse(),
            _ => text.parse::<Digest>(),
        };
        whole.map(Self::from).map_err(|_| InvalidPartDigest)
    }
}

impl From<PartDigest> for String {
    fn from(digest: PartDigest) -> Self {
        hex(&digest.0)
    }
}

impl fmt::Display for PartDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PartDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartDigest({self})")
    }
}

impl JsonSchema for PartDigest {
    fn schema_name() -> Cow<'static, str> {
        "PartDigest".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 32, "maxLength": 64, "pattern": "^([0-9a-f]{32}){1,2}$"})
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidDigest);
        }
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| InvalidDigest)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 64, "maxLength": 64, "pattern": "^[0-9a-f]{64}$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_from_its_text_and_refuses_everything_else() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for text in ["", "abc", &digest.to_string().to_uppercase(), &"g".repeat(64)] {
            assert_eq!(text.parse::<Digest>(), Err(InvalidDigest), "{text}");
        }
    }

    #[test]
    fn a_part_is_named_by_half_a_digest_and_the_whole_one_of_an_older_agent_means_the_same() {
        let whole = Digest::of(b"x").to_string();
        let read = |text: &str| serde_json::from_value::<PartDigest>(text.into());
        assert_eq!(read(&whole[..32]).unwrap(), PartDigest::of(b"x"));
        assert_eq!(read(&whole).unwrap(), PartDigest::of(b"x"));
        assert_eq!(serde_json::to_value(PartDigest::of(b"x")).unwrap(), whole[..32]);
        for text in [
            "",
            "abc",
            &whole[..33],
            &whole[..32].to_uppercase(),
            &"g".repeat(32),
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moving_a_byte_from_one_field_to_the_next_changes_the_digest() {
        assert_ne!(
            Digest::of_fields([b"ab".as_slice(), b"c"]),
            Digest::of_fields([b"a".as_slice(), b"bc"])
        );
    }
}
