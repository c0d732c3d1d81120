//! Redacts a command line, argument by argument.

use safetytwin_crds::item::Text;

use super::known::{KEYWORDS, Program, program_of};
use super::shape::{hides, secret_name};
use super::{Redacted, Redactor};

pub(super) fn argv(redactor: &Redactor, arguments: &[Vec<u8>]) -> (Vec<Text>, u32) {
    let mut scan = Scan {
        redactor,
        count: 0,
        program: None,
        coming: (0, 0),
        command: false,
        first: false,
    };
    let out = arguments.iter().map(|argument| scan.argument(argument)).collect();
    (out, scan.count)
}

struct Scan<'a> {
    redactor: &'a Redactor,
    count: u32,
    program: Option<&'static Program>,
    /// How many of the next arguments to pass over, and how many to take after those.
    coming: (u32, u32),
    /// The argument before gives its successor to a shell.
    command: bool,
    /// `ENV` and its like: `NAME=VALUE` is whole.
    first: bool,
}

impl Scan<'_> {
    fn argument(&mut self, argument: &[u8]) -> Text {
        let lossy = String::from_utf8_lossy(argument);
        let redacted = match self.taken(&lossy) {
            Some(redacted) => redacted,
            None => self.one(&lossy),
        };
        if self.coming == (0, 0) {
            self.coming = self.following(&lossy);
        }
        if !self.first || program_of(&lossy).is_some() {
            self.program = program_of(&lossy).or(self.program);
        }
        self.first = true;
        let flag = lossy.starts_with('-') && !lossy.starts_with("--");
        self.command = flag && lossy.ends_with('c');
        if redacted.count == 0 {
            return Text(argument.to_vec());
        }
        self.count += redacted.count;
        Text(redacted.text.into_bytes())
    }

    /// The argument when an earlier one said that it is a secret.
    fn taken(&mut self, argument: &str) -> Option<Redacted> {
        match &mut self.coming {
            (0, 0) => None,
            (0, take) => {
                *take -= 1;
                let word = argument.trim();
                let between = matches!(
                    word,
                    "=" | ":" | "Bearer" | "Basic" | "Token" | "bearer" | "basic"
                );
                if between {
                    *take += 1;
                    return None;
                }
                if !hides(argument) || argument.starts_with("--") {
                    return None;
                }
                Some(self.redactor.whole(argument))
            }
            (skip, _) => {
                *skip -= 1;
                None
            }
        }
    }

    fn one(&self, argument: &str) -> Redacted {
        let joined = self.program.and_then(|program| program.joined_len(argument));
        let assigned = || {
            let (name, value) = argument.split_once('=')?;
            let flag = name.starts_with('-');
            let names = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
            let whole = flag || !self.command;
            (names && whole && secret_name(name) && hides(value)).then_some(name.len() + 1)
        };
        match joined.or_else(assigned) {
            Some(kept) if hides(argument.get(kept..).unwrap_or_default()) => {
                let (name, value) = argument.split_at_checked(kept).unwrap_or((argument, ""));
                let value = self.redactor.whole(value);
                Redacted {
                    text: format!("{name}{}", value.text),
                    ..value
                }
            }
            _ => self.redactor.text(argument),
        }
    }

    /// How many of the next arguments are no secret, and how many are one after those.
    fn following(&self, argument: &str) -> (u32, u32) {
        if !self.first {
            return (0, 0);
        }
        if let Some(program) = self.program {
            if program.next.contains(&argument) {
                return (0, 1);
            }
            if program.second.contains(&argument) {
                return (1, 2);
            }
        }
        let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let named =
            flag.is_some_and(|name| name.len() > 1 && !name.contains(['=', ' ', ':']) && secret_name(name));
        // `bindpw VALUE`, `Authorization: Bearer` `VALUE`, `X-Api-Key:` `VALUE`.
        let word = !argument.contains(' ') && !argument.is_empty();
        let keyword =
            KEYWORDS.contains(&argument) || matches!(argument, "password" | "passwd" | "Bearer" | "bearer");
        let open = argument
            .trim_end()
            .strip_suffix([':', '='])
            .is_some_and(|name| word && secret_name(name));
        let scheme = [" Bearer", " Basic", " Token", " bearer"]
            .iter()
            .any(|s| argument.trim_end().ends_with(s));
        (0, u32::from(named || keyword || open || scheme))
    }
}
