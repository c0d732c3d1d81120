//! Names of units, containers, networks and volumes that hold a secret: `backup@ghp_….service`. Others
//! refer to them by name, so they get another valid name, and the same one everywhere.

use safetytwin_crds::names::{ContainerName, UnitName};

use super::{Redacted, Redactor, shape};

impl Redactor {
    /// The name with `redacted-1a2b3c` for each part that is a secret by its shape. Such parts are random,
    /// so that their digest says nothing about them even without a key.
    pub fn name(&self, name: &str) -> Redacted {
        let mut redacted = Redacted {
            text: String::with_capacity(name.len()),
            count: 0,
        };
        for (number, part) in name.split('@').enumerate() {
            if number > 0 {
                redacted.text.push('@');
            }
            self.part(part, &mut redacted);
        }
        redacted
    }

    /// The name of a unit.
    pub fn unit_name(&self, name: &UnitName) -> UnitName {
        self.name(name.as_str())
            .text
            .parse()
            .unwrap_or_else(|_| name.clone())
    }

    /// The name of a container.
    pub fn container_name(&self, name: &ContainerName) -> ContainerName {
        self.name(name.as_str())
            .text
            .parse()
            .unwrap_or_else(|_| name.clone())
    }

    /// A part between two `@`: whole without the type suffix of a unit, else between its dots.
    fn part(&self, part: &str, out: &mut Redacted) {
        let suffix = part
            .parse::<UnitName>()
            .map_or("", |unit| unit.unit_type().suffix());
        let stem = part.strip_suffix(suffix).unwrap_or(part);
        let stem = stem
            .strip_suffix('.')
            .filter(|_| !suffix.is_empty())
            .unwrap_or(stem);
        if self.is_secret(stem) {
            self.push(stem, out);
        } else {
            for (number, piece) in stem.split('.').enumerate() {
                if number > 0 {
                    out.text.push('.');
                }
                match self.is_secret(piece) {
                    true => self.push(piece, out),
                    false => out.text.push_str(piece),
                }
            }
        }
        if !suffix.is_empty() {
            out.text.push('.');
            out.text.push_str(suffix);
        }
    }

    fn push(&self, secret: &str, out: &mut Redacted) {
        let digest: String = self.short(secret).iter().map(|b| format!("{b:02x}")).collect();
        out.text.push_str("redacted-");
        out.text.push_str(&digest);
        out.count += 1;
    }

    /// systemd-escape(1) writes `-` as `\x2d`.
    fn is_secret(&self, word: &str) -> bool {
        shape::secret_value(&word.replace("\\x2d", "-")) || self.is_machine_id(word)
    }
}
