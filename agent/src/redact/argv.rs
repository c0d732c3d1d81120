//! Redacts a command line, argument by argument.

use safetytwin_crds::item::Text;

use super::known::{KEYWORDS, Program, program_of};
use super::shape::{hides, secret_name};
use super::{PLACEHOLDER, Redacted, text};

/// The arguments without what looks like a secret, and how many values were taken out. An
/// argument without any keeps its exact bytes, also when they are not UTF-8.
pub fn argv(arguments: &[Vec<u8>]) -> (Vec<Text>, u32) {
    let mut scan = Scan::default();
    let out = arguments.iter().map(|argument| scan.argument(argument)).collect();
    (out, scan.count)
}

#[derive(Default)]
struct Scan {
    count: u32,
    program: Option<&'static Program>,
    /// How many of the next arguments to pass over, and how many to take after those.
    coming: (u32, u32),
    /// The argument before gives its successor to a shell.
    command: bool,
    /// `ENV` and its like: `NAME=VALUE` is whole.
    first: bool,
}

impl Scan {
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
                Some(Redacted {
                    text: PLACEHOLDER.to_owned(),
                    count: 1,
                })
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
            Some(kept) if hides(argument.get(kept..).unwrap_or_default()) => Redacted {
                text: format!("{}{PLACEHOLDER}", argument.get(..kept).unwrap_or_default()),
                count: 1,
            },
            _ => text(argument),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &[&str]) -> (Vec<String>, u32) {
        let arguments: Vec<Vec<u8>> = line.iter().map(|a| a.as_bytes().to_vec()).collect();
        let (texts, count) = argv(&arguments);
        (texts.iter().map(Text::lossy).collect(), count)
    }

    #[test]
    fn passwords_in_command_lines_are_replaced() {
        for (line, place) in [
            (vec!["/usr/bin/mysql", "-pS3cr3t", "db"], 1),
            (vec!["x", "--password", "S3cr3t"], 2),
            (vec!["x", "-token", "S3cr3t"], 2),
            (vec!["x", "--token=S3cr3t"], 1),
            (vec!["curl", "-u", "me:S3cr3t", "https://h"], 2),
            (vec!["curl", "-H", "Authorization: Bearer S3cr3t"], 2),
            (vec!["sh", "-c", "PGPASSWORD=S3cr3t psql"], 2),
            (vec!["redis-cli", "-a", "S3cr3t"], 2),
        ] {
            let (out, count) = run(&line);
            assert_eq!(count, 1, "{line:?}");
            assert!(
                out[place].contains(PLACEHOLDER) && !out.concat().contains("S3cr3t"),
                "{out:?}"
            );
        }
    }

    #[test]
    fn ordinary_arguments_keep_their_exact_bytes() {
        let arguments: Vec<Vec<u8>> = vec![
            b"python3".to_vec(),
            b"-m".to_vec(),
            b"http.server".to_vec(),
            b"a\nExecStartPre=/bin/evil".to_vec(),
            b"b\rc".to_vec(),
            vec![0xff, 0xfe],
            Vec::new(),
            b"-p".to_vec(),
        ];
        let (texts, count) = argv(&arguments);
        let kept: Vec<Vec<u8>> = texts.into_iter().map(|t| t.0).collect();
        assert_eq!((kept, count), (arguments, 0));
    }
}
