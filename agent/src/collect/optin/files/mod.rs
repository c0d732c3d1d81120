//! Files that the administrator selected (`--file`): owner, mode, attributes, digest, and the text
//! where everybody on the host may read it and it is no key.
//!
//! Invariants: no link is followed; only regular files are opened; text is redacted; what is
//! withheld says why.

mod credential;
pub(super) mod pattern;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;

use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::FileItem;
use safetytwin_crds::item::file::{FileType, Withheld, Xattr};
use safetytwin_crds::names::printable;
use safetytwin_crds::section::SectionName;

use self::pattern::Pattern;
use self::walk::Walk;
use super::{Listed, Look, Source};
use crate::collect::CollectError;
use crate::collect::accounts::Accounts;
use crate::hostroot::HostRoot;
use crate::hostroot::facts::{Bytes, Facts, Form};
use crate::redact::{Redacted, Redactor};

/// Longest file whose bytes are hashed.
const MOST_HASHED: u64 = 1024 * 1024;
/// Most bytes that one look reads.
const MOST_READ: u64 = 32 * 1024 * 1024;
/// Longest text of one file, and of all.
const MOST_TEXT: usize = 64 * 1024;
const MOST_TEXTS: usize = 512 * 1024;
const MOST_XATTRS: usize = 32;
/// Attributes whose values are no secret and matter for what a file may do.
const VALUED: [&str; 4] = [
    "security.capability",
    "security.selinux",
    "system.posix_acl_access",
    "system.posix_acl_default",
];

/// The source.
pub struct Files {
    patterns: Vec<Pattern>,
    redactor: Redactor,
}

impl Files {
    /// What `patterns` select.
    pub fn new(patterns: Vec<Pattern>, redactor: Redactor) -> Self {
        Self { patterns, redactor }
    }
}

impl Source for Files {
    const SECTION: SectionName = SectionName::Files;
    const ATTRIBUTES: bool = true;

    fn directories(&self, root: &HostRoot) -> Vec<String> {
        Walk::of(root, &self.patterns).directories.into_iter().collect()
    }

    /// All but what editors write beside a file.
    fn matters(name: &[u8]) -> bool {
        !name.ends_with(b".swp") && !name.ends_with(b".swx") && !name.ends_with(b"~") && name != b"4913"
    }

    fn look(&self, root: &HostRoot) -> Result<Look, CollectError> {
        let walk = Walk::of(root, &self.patterns);
        let mut reading = Reading {
            root,
            redactor: &self.redactor,
            accounts: Accounts::read(root),
            read: 0,
            texts: 0,
        };
        let found = walk.found.into_iter();
        let items: Vec<FileItem> = found.map(|(path, facts)| reading.item(path, &facts)).collect();
        let mut gaps = walk.gaps;
        Ok(Look {
            items: Listed::of(&items, &mut gaps)?,
            gaps,
        })
    }
}

/// One look's budget.
struct Reading<'a> {
    root: &'a HostRoot,
    redactor: &'a Redactor,
    accounts: Accounts,
    read: u64,
    texts: usize,
}

/// What is published of a regular file.
#[derive(Default)]
struct Told {
    digest: Option<Digest>,
    content: Option<String>,
    redactions: u32,
    withheld: Option<Withheld>,
    xattrs: Vec<Xattr>,
}

impl Told {
    fn withheld(why: Withheld) -> Self {
        Self {
            withheld: Some(why),
            ..Self::default()
        }
    }
}

impl Reading<'_> {
    fn item(&mut self, path: String, facts: &Facts) -> FileItem {
        let mut xattrs = Vec::new();
        let what = match &facts.form {
            Form::Directory => FileType::Directory,
            Form::Special => FileType::Special,
            Form::Link(target) => FileType::Link {
                target: printable(&self.redactor.text(&target.to_string_lossy()).text, 1024),
            },
            Form::File => {
                let told = self.file(&path, facts);
                xattrs = told.xattrs;
                FileType::File {
                    size: facts.size,
                    digest: told.digest,
                    content: told.content,
                    redactions: told.redactions,
                    withheld: told.withheld,
                }
            }
        };
        FileItem {
            name: path,
            what,
            owner: self.accounts.user_of(facts.uid),
            group: self.accounts.group_of(facts.gid),
            mode: format!("{:o}", facts.mode),
            xattrs,
        }
    }

    fn file(&mut self, path: &str, facts: &Facts) -> Told {
        if credential::is_password_database(path) {
            return Told::withheld(Withheld::NeverRead);
        }
        if facts.size > MOST_HASHED || self.read + facts.size > MOST_READ {
            return Told::withheld(Withheld::NotHashed);
        }
        let Ok(Bytes { bytes, xattrs }) = self.root.read_exact(path, MOST_HASHED) else {
            return Told::withheld(Withheld::Unreadable);
        };
        self.read += bytes.len() as u64;
        let mut told = Told {
            digest: Some(Digest::of(&bytes)),
            xattrs: named(&xattrs),
            ..Told::default()
        };
        match self.text(path, facts, &bytes) {
            Err(why) => {
                // One without a key would let a short secret be guessed.
                told.digest = Some(self.redactor.digest(&bytes));
                told.withheld = Some(why);
            }
            Ok(redacted) => {
                if redacted.count > 0 {
                    told.digest = Some(Digest::of(redacted.text.as_bytes()));
                }
                told.redactions = redacted.count;
                told.content = Some(redacted.text);
            }
        }
        told
    }

    /// The text that may leave the host, or why none does.
    fn text(&mut self, path: &str, facts: &Facts, bytes: &[u8]) -> Result<Redacted, Withheld> {
        if credential::is_named_so(path) {
            return Err(Withheld::Credential);
        }
        if !facts.world_readable {
            return Err(Withheld::NotWorldReadable);
        }
        if bytes.len() > MOST_TEXT {
            return Err(Withheld::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Withheld::NotText)?;
        if text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        {
            return Err(Withheld::NotText);
        }
        if credential::holds_key(text) {
            return Err(Withheld::Credential);
        }
        let redacted = self.redactor.text(text);
        if self.texts + redacted.text.len() > MOST_TEXTS {
            return Err(Withheld::TooLarge);
        }
        self.texts += redacted.text.len();
        Ok(redacted)
    }
}

fn named(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<Xattr> {
    let all = xattrs.iter().take(MOST_XATTRS).map(|(name, value)| {
        let name = printable(&String::from_utf8_lossy(name), 255);
        let valued = VALUED.contains(&name.as_str());
        Xattr {
            value: valued.then(|| value.iter().map(|byte| format!("{byte:02x}")).collect()),
            name,
        }
    });
    all.collect()
}
