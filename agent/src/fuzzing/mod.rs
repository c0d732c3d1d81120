//! Doors to all that reads what a host says, for `fuzz/` and for the test that replays its corpus: no input
//! panics, a secret of known shape never comes out, and redacting twice is redacting once.

mod answers;
mod host;
mod units;

use std::io::Cursor;

use safetytwin_crds::names::printable;

pub use self::answers::{answer, container};
pub use self::host::host_file;
pub use self::units::{name, properties, unit_text};
use crate::collect::optin::packages::rpm;
use crate::collect::processes::files::arguments;
use crate::collect::processes::table;
use crate::redact::Redactor;

/// A secret that is known by its shape, whatever stands around it.
const TOKEN: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
const MACHINE_ID: &str = "5afe7a1e5afe7a1e5afe7a1e5afe7a1e";

fn redactor() -> Redactor {
    MACHINE_ID.parse().map(Redactor::keyed).unwrap_or_default()
}

/// `stat`, `cgroup` and `cmdline` of a process.
pub fn process(bytes: &[u8]) {
    table::Stat::parse(bytes);
    table::owner(&String::from_utf8_lossy(bytes));
    let Some((mut argv, _)) = arguments(bytes.to_vec()).filter(|(argv, _)| !argv.is_empty()) else {
        return;
    };
    argv.push(TOKEN.into());
    let redactor = redactor();
    let (once, _) = redactor.argv(&argv);
    assert_eq!(once.len(), argv.len(), "an argument is lost");
    assert!(!once.iter().any(|text| text.lossy().contains(TOKEN)), "{once:?}");
    let again: Vec<Vec<u8>> = once.iter().map(|text| text.0.clone()).collect();
    assert_eq!(redactor.argv(&again).0, once, "the second time differs");
}

/// Whether a text is safe in a terminal, a log line and an event.
fn is_shown(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || printable(text, usize::MAX) == text
}

/// An rpm database, and its write-ahead log from where one begins in it; or the header of one
/// package.
pub fn rpm(bytes: &[u8]) {
    let log = bytes.windows(3).position(|start| start == [0x37, 0x7f, 0x06]);
    let (database, log) = bytes.split_at(log.unwrap_or(bytes.len()));
    let log = (!log.is_empty()).then(|| Cursor::new(log));
    if let Ok(found) = rpm::packages(Cursor::new(database), log) {
        for item in &found.items {
            assert!(item.name.is_ascii() && item.version.len() <= 256, "{item:?}");
            assert!(!item.version.contains(char::is_control), "{item:?}");
        }
    }
    assert!(rpm::header::Header::read(bytes).is_ok(), "bytes in memory");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The inputs that are kept for a target.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let files = std::fs::read_dir(&folder).unwrap();
        let inputs: Vec<_> = files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        assert!(!inputs.is_empty(), "{}", folder.display());
        inputs
    }

    #[test]
    fn every_input_that_the_fuzzer_kept_is_read() {
        type Door = (&'static str, fn(&[u8]));
        let doors: [Door; 8] = [
            ("process", process),
            ("unit_text", |bytes| unit_text(&String::from_utf8_lossy(bytes))),
            ("properties", properties),
            ("container", container),
            ("name", |bytes| name(&String::from_utf8_lossy(bytes))),
            ("rpm", rpm),
            ("host_file", host_file),
            ("answer", answer),
        ];
        for (target, door) in doors {
            for input in corpus(target) {
                door(&input);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,120}") {
            process(text.as_bytes());
            unit_text(&text);
            name(&text);
            host_file(text.as_bytes());
            answer(text.as_bytes());
        }
    }
}
