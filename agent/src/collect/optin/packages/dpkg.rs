//! dpkg's status file (deb-control(5), dpkg(1)), read as a stream.

use std::io::{BufRead, BufReader, Read};

use safetytwin_crds::item::PackageItem;
use safetytwin_crds::item::package::PackageManager;
use safetytwin_crds::names::printable;

use super::{LONGEST_VERSION, MOST, is_word};
use crate::collect::CollectError;
use crate::hostroot::HostRoot;

/// Where the file is.
pub const DIRECTORY: &str = "/var/lib/dpkg";
/// The file.
pub const STATUS: &str = "/var/lib/dpkg/status";
/// Several times the file of a host with every desktop installed.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// A field that is read is on one line; descriptions and lists of files are passed over.
const LONGEST_LINE: usize = 4096;

/// The packages; none where there is no such file.
pub fn read(root: &HostRoot, gaps: &mut Vec<String>) -> Result<Option<Vec<PackageItem>>, CollectError> {
    let file = match root.open_file(STATUS) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut reader = BufReader::new(file.take(MOST_BYTES));
    let mut items = parse(&mut reader, gaps)?;
    if reader.get_ref().limit() == 0 {
        gaps.push(format!("{STATUS} is longer than {} MiB", MOST_BYTES >> 20));
    }
    items.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    items.dedup_by(|a, b| (&a.name, &a.architecture) == (&b.name, &b.architecture));
    Ok(Some(items))
}

/// A stanza as far as it was read.
#[derive(Default)]
struct Stanza {
    fields: [String; 4],
}

/// The fields that are read, in the order of `Stanza::fields`.
const FIELDS: [&[u8]; 4] = [b"Package: ", b"Status: ", b"Architecture: ", b"Version: "];

fn parse(reader: &mut impl BufRead, gaps: &mut Vec<String>) -> Result<Vec<PackageItem>, CollectError> {
    let fail = |error: std::io::Error| CollectError::Unavailable(format!("failed to read {STATUS}: {error}"));
    let mut items = Vec::new();
    let mut refused = 0;
    let mut stanza = Stanza::default();
    let mut line = Vec::new();
    loop {
        let more = next_line(reader, &mut line).map_err(fail)?;
        if line.is_empty() || !more {
            match stanza.item() {
                Ok(item) => items.extend(item),
                Err(()) => refused += 1,
            }
            stanza = Stanza::default();
        }
        if !more {
            break;
        }
        if items.len() > MOST {
            gaps.push(format!("more than {MOST} packages"));
            break;
        }
        for (field, key) in stanza.fields.iter_mut().zip(FIELDS) {
            if let Some(value) = line.strip_prefix(key) {
                *field = String::from_utf8_lossy(value).trim().to_owned();
            }
        }
    }
    if refused > 0 {
        gaps.push(format!("{refused} entries of {STATUS} are not of its form"));
    }
    Ok(items)
}

/// The next line without its end, cut at the longest; false at the end of the file.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = available.iter().position(|b| *b == b'\n');
        let taken = available
            .get(..end.unwrap_or(available.len()))
            .unwrap_or_default();
        let room = LONGEST_LINE - line.len();
        line.extend_from_slice(taken.get(..room.min(taken.len())).unwrap_or_default());
        let used = taken.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

impl Stanza {
    /// The package; none between stanzas and for one that is not installed, an error for what is
    /// no stanza.
    fn item(&self) -> Result<Option<PackageItem>, ()> {
        let [name, status, architecture, version] = &self.fields;
        if self.fields.iter().all(String::is_empty) {
            return Ok(None);
        }
        let mut words = status.split(' ');
        let (want, _, state) = (words.next(), words.next(), words.next());
        let (Some(want), Some(state)) = (want, state) else {
            return Err(());
        };
        if !is_word(name, b"+-.") || !is_word(architecture, b"-") || !is_word(state, b"-") {
            return Err(());
        }
        if state == "not-installed" {
            return Ok(None);
        }
        Ok(Some(PackageItem {
            name: name.clone(),
            architecture: architecture.clone(),
            version: printable(version, LONGEST_VERSION),
            manager: PackageManager::Dpkg,
            state: (state != "installed").then(|| state.to_owned()),
            held: want == "hold",
        }))
    }
}
