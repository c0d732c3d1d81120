//! Redaction by shape: what looks like a secret is replaced by a placeholder before anything leaves
//! this process, and counted, so that a reader sees that, where and when it changes.
//!
//! A deny-list cannot find every secret (the best detectors find 88 %), so the rules lean to
//! redacting, and values that nobody needs are not read at all: process environments, container
//! environment values. Values that a unit file gives variables are kept by allow-list (`environment`).

mod argv;
mod environment;
mod known;
mod names;
mod pem;
pub(crate) mod shape;
mod tally;
mod text;
mod unit;
mod url;
mod value;
mod word;

use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::Text;
use safetytwin_crds::machineid::MachineId;
use safetytwin_crds::redaction;

pub use self::environment::Allowed;
pub use self::tally::Tally;
use crate::hostroot::HostRoot;

/// What one pass leaves may look like a secret to the next; real text is settled after two.
const PASSES: usize = 8;
/// Domain of the key of a host without a machine id; only for digests that say nothing.
const NO_HOST: &str = "safetytwin.com 2026-11 digests of redacted values without a machine id";

/// Replaces what looks like a secret. Made once, from the host, and handed to all that publish. The
/// digests in placeholders are keyed: only who knows the machine id can try guesses on them.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    id: Option<MachineId>,
    /// Variables whose values the administrator lets go.
    allowed: Allowed,
}

/// A text and how many placeholders are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// The text with placeholders.
    pub text: String,
    /// How many.
    pub count: u32,
}

impl Redactor {
    /// Of the host below `root`. Without a machine id placeholders carry no digest, and the log says so.
    pub fn of_host(root: &HostRoot) -> Self {
        let id = root
            .read_word("/etc/machine-id")
            .and_then(|text| text.parse().ok());
        if id.is_none() {
            tracing::warn!(
                "no machine id in /etc/machine-id: a redacted value that changes is not seen as a change"
            );
        }
        Self {
            id,
            ..Self::default()
        }
    }

    /// Of a host with this machine id.
    pub fn keyed(id: MachineId) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }

    /// That lets the values of these variables go, too.
    #[must_use]
    pub fn allowing(self, allowed: Allowed) -> Self {
        Self { allowed, ..self }
    }

    /// What others may know the host by; empty without a machine id.
    pub fn published_id(&self) -> String {
        self.id.map(|id| id.published()).unwrap_or_default()
    }

    /// `text` without what looks like a secret. Applied to what it gave, it changes nothing.
    pub fn text(&self, text: &str) -> Redacted {
        self.settled(text, text::text)
    }

    /// The text of a unit file or drop-in without what looks like a secret; line ends and all else
    /// keep their bytes.
    pub fn unit(&self, text: &str) -> Redacted {
        self.settled(text, unit::text)
    }

    /// The arguments without what looks like a secret, and how many placeholders stand for it. An
    /// argument without any keeps its exact bytes, also when they are not UTF-8.
    pub fn argv(&self, arguments: &[Vec<u8>]) -> (Vec<Text>, u32) {
        argv::argv(self, arguments)
    }

    /// A path or other bytes without what looks like a secret; the same bytes when there is none.
    pub fn bytes(&self, bytes: &[u8]) -> (Text, u32) {
        let redacted = self.text(&String::from_utf8_lossy(bytes));
        match redacted.count {
            0 => (Text(bytes.to_vec()), 0),
            count => (Text(redacted.text.into_bytes()), count),
        }
    }

    /// A name and its value, such as a label.
    pub fn pair(&self, name: &str, value: &str) -> (Redacted, Redacted) {
        let value = match shape::secret_name(name) && shape::hides(value) {
            true => self.whole(value),
            false => self.text(value),
        };
        (self.text(name), value)
    }

    /// An image reference, without the user information that some put before the registry.
    pub fn image(&self, reference: &str) -> Redacted {
        let is_digest = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        let (name, digest) = match reference.rsplit_once("@sha256:") {
            Some((name, digest)) if is_digest(digest) => (name, format!("@sha256:{digest}")),
            _ => (reference, String::new()),
        };
        let mut redacted = match name.rsplit_once('@') {
            Some((user, name)) if !redaction::is_placeholder(user) => {
                let (user, name) = (self.whole(user), self.text(name));
                Redacted {
                    text: format!("{}@{}", user.text, name.text),
                    count: user.count + name.count,
                }
            }
            _ => self.text(name),
        };
        redacted.text.push_str(&digest);
        redacted
    }

    /// A text that is a secret as a whole.
    pub fn whole(&self, secret: &str) -> Redacted {
        Redacted {
            text: self.placeholder(secret),
            count: 1,
        }
    }

    /// The digest of bytes that are not published; it tells a change, and nothing to who has no machine id.
    pub fn digest(&self, bytes: &[u8]) -> Digest {
        let keyed = blake3::keyed_hash(&self.key(), bytes);
        Digest::of(keyed.as_bytes())
    }

    /// What stands where `secret` was.
    fn placeholder(&self, secret: &str) -> String {
        redaction::placeholder(self.id.is_some().then(|| self.short(secret)))
    }

    fn short(&self, secret: &str) -> [u8; redaction::DIGEST_BYTES] {
        let [a, b, c, ..] = *blake3::keyed_hash(&self.key(), secret.as_bytes()).as_bytes();
        [a, b, c]
    }

    fn key(&self) -> [u8; 32] {
        self.id
            .map_or_else(|| blake3::derive_key(NO_HOST, b""), |id| id.redaction_key())
    }

    /// Whether the word is the machine id, which others must not know.
    fn is_machine_id(&self, word: &str) -> bool {
        word.len() == 32 && self.id.is_some_and(|id| word.eq_ignore_ascii_case(&id.secret()))
    }

    fn settled(&self, text: &str, pass: fn(&Self, &str) -> Redacted) -> Redacted {
        let mut settled = pass(self, text);
        if settled.count == 0 {
            return settled;
        }
        for _ in 1..PASSES {
            let next = pass(self, &settled.text);
            if next.text == settled.text {
                break;
            }
            settled = next;
        }
        settled.count = redaction::count(settled.text.as_bytes());
        settled
    }
}

#[cfg(test)]
mod tests;
