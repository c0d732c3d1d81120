//! Makes the unit of a runit service: what a twin's systemd runs in its place.

use std::collections::BTreeMap;

use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::unit::{Origin, Service, UnitFile};
use safetytwin_crds::item::{RunClass, UnitItem};

use crate::redact::Redactor;

/// Programs that only prepare what they run, which is named after their options.
const WRAPPERS: [&str; 9] = [
    "chpst",
    "env",
    "envdir",
    "envuidgid",
    "ionice",
    "nice",
    "setsid",
    "setuidgid",
    "softlimit",
];

/// A service's files.
pub struct Script<'a> {
    /// Its directory on the host.
    pub directory: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Content of `run`; none when it is too large to be a script.
    pub bytes: Option<&'a [u8]>,
    /// Takes secrets out.
    pub redactor: &'a Redactor,
    /// It has a `finish`.
    pub finishes: bool,
    /// It has a `down`.
    pub is_down: bool,
}

impl Script<'_> {
    /// The unit `runit-NAME.service`.
    ///
    /// # Errors
    /// The name cannot be that of a unit.
    pub fn item(&self, run: RunClass) -> Result<UnitItem, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if !self.name.bytes().all(plain) {
            return Err("its name has characters that a unit's cannot have".to_owned());
        }
        let name = format!("runit-{}.service", self.name);
        let text = String::from_utf8_lossy(self.bytes.unwrap_or_default());
        let clean = self.redactor.text(&text);
        let mut executables = vec![format!("{}/run", self.directory)];
        executables.extend(program(&clean.text));
        Ok(UnitItem {
            name: name.parse().map_err(|error| format!("{error}"))?,
            load_state: "loaded".to_owned(),
            run,
            enablement: if self.is_down { "disabled" } else { "enabled" }.to_owned(),
            origin: Origin::Local,
            fragment: Some(UnitFile {
                path: format!("{}/run", self.directory),
                // The unit's text is ours; an edit of the script is a change all the same.
                digest: Digest::of(clean.text.as_bytes()),
                content: Some(self.unit()),
                redactions: 0,
                refused: None,
            }),
            drop_ins: Vec::new(),
            dependencies: BTreeMap::new(),
            limits: BTreeMap::new(),
            preset: String::new(),
            timer: None,
            socket: None,
            path: None,
            mount: None,
            service: Some(Service {
                type_: "simple".to_owned(),
                executables,
                working_directory: Some(self.directory.to_owned()),
                ..Service::default()
            }),
        })
    }

    /// As runsv runs it: in its directory, again a second after it ended, `finish` after it. A
    /// runsvdir of the twin's own would run it a second time.
    fn unit(&self) -> String {
        let Self { directory, name, .. } = self;
        let finish = match self.finishes {
            true => format!("ExecStopPost=-{directory}/finish\n"),
            false => String::new(),
        };
        format!(
            "[Unit]\nDescription=runit service {name} of the host\nConflicts=runit.service\n\n\
             [Service]\nWorkingDirectory={directory}\nExecStart={directory}/run\n{finish}\
             Restart=always\nRestartSec=1\n\n[Install]\nWantedBy=multi-user.target\n"
        )
    }
}

/// The program that a script ends up as: what its last `exec` names.
fn program(script: &str) -> Option<String> {
    let lines = script.lines().map(str::trim);
    let words = lines.filter_map(|line| line.strip_prefix("exec ")).next_back()?;
    let mut words = words
        .split_whitespace()
        .filter(|word| !word.starts_with('-') && !word.contains('='));
    let first = words.next()?;
    let found = match WRAPPERS.contains(&first.rsplit('/').next()?) {
        false => first,
        // Which words are values of a wrapper's options is not known: a path is no such value.
        true => words.find(|word| word.starts_with('/'))?,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_.+-".contains(&b);
    found.bytes().all(plain).then(|| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_what_the_last_exec_names() {
        for (script, expected) in [
            (
                "#!/bin/sh\nexec 2>&1\nexec /usr/sbin/sshd -D -e\n",
                Some("/usr/sbin/sshd"),
            ),
            (
                "exec chpst -u web -o 64 /usr/bin/web --port 80",
                Some("/usr/bin/web"),
            ),
            ("exec env A=b sshd -D", None),
            ("exec dhcpcd -B", Some("dhcpcd")),
            ("exec \"$PROGRAM\"", None),
            ("while :; do sleep 1; done", None),
            ("", None),
        ] {
            assert_eq!(program(script).as_deref(), expected, "{script}");
        }
    }
}
