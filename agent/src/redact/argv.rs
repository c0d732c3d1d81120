//! Redacts a command line, argument by argument.

use safetytwin_crds::item::Text;

use super::shape::{hides, secret_name};
use super::{PLACEHOLDER, text};

/// Programs whose `-p`, directly followed by the value, is a password.
const SHORT_P: [&str; 7] = [
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mariadb",
    "mariadb-dump",
    "sshpass",
    "mysqlimport",
];
/// Programs and the flag whose next argument is, or holds, a password.
const NEXT: [(&str, &[&str]); 5] = [
    ("curl", &["-u", "--user", "--proxy-user", "-U"]),
    ("redis-cli", &["-a", "--pass"]),
    ("sshpass", &["-p"]),
    ("ldapsearch", &["-w"]),
    ("docker", &["-p"]),
];

/// The arguments without what looks like a secret, and how many values were taken out. An
/// argument without any keeps its exact bytes, also when they are not UTF-8.
pub fn argv(arguments: &[Vec<u8>]) -> (Vec<Text>, u32) {
    let program = arguments.first().map(|a| program_name(a)).unwrap_or_default();
    let mut out = Vec::with_capacity(arguments.len());
    let mut count = 0;
    let mut next_is_secret = false;
    for (place, argument) in arguments.iter().enumerate() {
        let lossy = String::from_utf8_lossy(argument);
        let value_of_flag = std::mem::take(&mut next_is_secret);
        let redacted = if value_of_flag && hides(&lossy) && !lossy.starts_with("--") {
            Some((PLACEHOLDER.to_owned(), 1))
        } else {
            one(&program, place, &lossy)
        };
        next_is_secret = place > 0 && takes_secret(&program, &lossy);
        match redacted {
            Some((text, n)) => {
                count += n;
                out.push(Text(text.into_bytes()));
            }
            None => out.push(Text(argument.clone())),
        }
    }
    (out, count)
}

fn one(program: &str, place: usize, argument: &str) -> Option<(String, u32)> {
    if place > 0
        && SHORT_P.contains(&program)
        && let Some(value) = argument.strip_prefix("-p").filter(|v| !v.is_empty())
    {
        // `-port`-like words do not exist in these programs; what follows -p is the password.
        return hides(value).then(|| (format!("-p{PLACEHOLDER}"), 1));
    }
    let redacted = text(argument);
    (redacted.count > 0).then_some((redacted.text, redacted.count))
}

/// Whether the next argument is this flag's secret.
fn takes_secret(program: &str, argument: &str) -> bool {
    let listed = NEXT
        .iter()
        .any(|(name, flags)| *name == program && flags.contains(&argument));
    let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
    listed || flag.is_some_and(|name| name.len() > 1 && !name.contains(['=', ' ', ':']) && secret_name(name))
}

fn program_name(argument: &[u8]) -> String {
    let name = String::from_utf8_lossy(argument);
    name.rsplit('/').next().unwrap_or_default().to_owned()
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
