//! Finds the program that a command line runs in the end: through wrappers, shells and interpreters.
//!
//! ```text
//! nice -n 5 sh -c 'cd /opt && exec python3 -m vllm.entrypoints.openai.api_server --port 1' ──▶ Module(vllm…), [--port, 1]
//! ```

use super::rules::{Program, Table, Wrapper, base_name};
use crate::collect::units::text::words;

/// Wrappers within wrappers that are followed.
const DEPTH: usize = 8;
/// Shell words before a command that do not replace it.
const PREPARATIONS: [&str; 9] = [
    "cd", "source", ".", "export", "set", "ulimit", "umask", "trap", "eval",
];

/// A command line and where it runs.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The file that runs, as the kernel resolved it; empty when that is not known.
    pub executable: String,
    /// The arguments, the name included.
    pub argv: Vec<String>,
    /// Working directory; empty when that is not known.
    pub directory: String,
}

/// The program and its arguments; none where it cannot be said, or an interpreter runs text.
pub fn program(table: &Table, command: &Command) -> Option<(Program, Vec<String>)> {
    let mut executable = command.executable.as_str();
    let mut argv = command.argv.clone();
    let mut directory = command.directory.clone();
    for _ in 0..DEPTH {
        let first = argv.first()?.clone();
        // What the kernel runs is sure; a name is only what the process calls itself.
        let path = if executable.is_empty() {
            first.as_str()
        } else {
            executable
        };
        let name = base_name(path).trim_start_matches('-');
        let rest = argv.get(1..).unwrap_or_default();
        // setproctitle(3) of many servers: one name, which is no file, in the place of the command line.
        if first.contains("::") && (executable.is_empty() || is_interpreter(table, name)) {
            return Some((Program::Title(first), Vec::new()));
        }
        if is_interpreter(table, name) {
            let (program, rest) = python(rest, &directory)?;
            // Some wrappers are Python scripts themselves.
            let inner = match &program {
                Program::Script(path) => wrapper(table, base_name(path)).and_then(|w| unwrap(w, &rest)),
                _ => None,
            };
            match inner {
                Some(inner) => argv = inner,
                None => return Some((program, rest)),
            }
        } else if table.shells.iter().any(|shell| shell == name) {
            match shell(rest, &mut directory) {
                Shell::Command(inner) => argv = inner,
                Shell::Script(script, rest) => {
                    return Some((Program::File(absolute(&script, &directory)), rest));
                }
                Shell::Nothing => return None,
            }
        } else if let Some(wrapper) = wrapper(table, name) {
            argv = unwrap(wrapper, rest)?;
        } else {
            let path = if path.contains('/') {
                absolute(path, &directory)
            } else {
                path.to_owned()
            };
            return Some((Program::File(path), rest.to_vec()));
        }
        executable = "";
    }
    None
}

/// Whether the words of a container's command are a program of their own rather than arguments of its image's.
pub fn runs_another(table: &Table, command: &Command) -> bool {
    let Some(first) = command.argv.first() else {
        return false;
    };
    let name = base_name(first);
    let known = is_interpreter(table, name)
        || table.shells.iter().any(|s| s == name)
        || wrapper(table, name).is_some();
    known || first.starts_with('/')
}

/// `python3.11` is `python3`.
fn is_interpreter(table: &Table, name: &str) -> bool {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    table.interpreters.iter().any(|i| i == name || i == plain)
}

/// What a wrapper runs.
fn unwrap(wrapper: &Wrapper, arguments: &[String]) -> Option<Vec<String>> {
    let mut words = arguments.iter().peekable();
    let mut own = wrapper.words;
    let mut verb = wrapper.verb.as_deref();
    while let Some(word) = words.peek() {
        let word = word.as_str();
        if word == "--" {
            words.next();
            if verb.is_none() && own == 0 {
                break;
            }
        } else if wrapper.valued.iter().any(|o| o == word) {
            words.next();
            words.next();
        } else if word.starts_with('-') || is_assignment(word) {
            words.next();
        } else if let Some(wanted) = verb {
            if word != wanted {
                return None;
            }
            verb = None;
            words.next();
        } else if own > 0 {
            own -= 1;
            words.next();
        } else {
            break;
        }
    }
    let inner: Vec<String> = words.cloned().collect();
    (!inner.is_empty()).then_some(inner)
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

fn wrapper<'a>(table: &'a Table, name: &str) -> Option<&'a Wrapper> {
    table.wrappers.iter().find(|w| w.name == name)
}

/// The module or script that Python is told to run.
fn python(arguments: &[String], directory: &str) -> Option<(Program, Vec<String>)> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-m" => {
                let module = words.next()?.clone();
                return Some((Program::Module(module), words.cloned().collect()));
            }
            "-X" | "-W" | "--check-hash-based-pycs" => {
                words.next();
            }
            "-c" | "-" => return None,
            option if option.starts_with('-') => {}
            script => {
                let path = absolute(script, directory);
                return Some((Program::Script(path), words.cloned().collect()));
            }
        }
    }
    None
}

enum Shell {
    Command(Vec<String>),
    Script(String, Vec<String>),
    Nothing,
}

/// What a shell runs: the last command of `-c`, without its redirections, or a script.
fn shell(arguments: &[String], directory: &mut String) -> Shell {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let bundle = word.strip_prefix('-').filter(|o| !o.starts_with('-'));
        match bundle {
            Some(letters) if letters.ends_with('c') => {
                let text = words.next().map(String::as_str).unwrap_or_default();
                return last_command(text, directory).map_or(Shell::Nothing, Shell::Command);
            }
            Some("o" | "O") => {
                words.next();
            }
            _ if word.starts_with('-') || word.starts_with('+') => {}
            _ => return Shell::Script(word.clone(), words.cloned().collect()),
        }
    }
    Shell::Nothing
}

/// The words of the one command in `text`; none when there are several that count.
fn last_command(text: &str, directory: &mut String) -> Option<Vec<String>> {
    let spaced = text
        .replace("&&", " \u{0} ")
        .replace("||", " \u{0} ")
        .replace([';', '\n'], " \u{0} ");
    let mut found = None;
    for piece in spaced.split('\u{0}') {
        // What a pipe feeds only reads what the first command says.
        let mut command = words(piece.split('|').next().unwrap_or_default());
        let assignments = command.iter().take_while(|w| is_assignment(w)).count();
        command.drain(..assignments);
        if command.first().is_some_and(|w| w == "exec") {
            command.remove(0);
        }
        let Some(first) = command.first() else { continue };
        if first == "cd"
            && let Some(to) = command.get(1)
        {
            *directory = absolute(to, directory);
        }
        if PREPARATIONS.contains(&first.as_str()) {
            continue;
        }
        if found.is_some() {
            return None;
        }
        let redirection = command.iter().position(|w| {
            w == "&"
                || w.trim_start_matches(|c: char| c.is_ascii_digit())
                    .starts_with(['>', '<'])
                || w.starts_with("&>")
        });
        command.truncate(redirection.unwrap_or(command.len()));
        found = Some(command);
    }
    found.filter(|command| !command.is_empty())
}

fn absolute(path: &str, directory: &str) -> String {
    match path.strip_prefix("./").unwrap_or(path) {
        plain if plain.starts_with('/') || directory.is_empty() => plain.to_owned(),
        plain => format!("{}/{plain}", directory.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::TABLE;
    use super::*;

    fn of(line: &str) -> Option<(Program, Vec<String>)> {
        let command = Command {
            argv: words(line),
            ..Command::default()
        };
        program(&TABLE, &command)
    }

    #[test]
    fn a_program_is_found_through_wrappers_shells_and_interpreters() {
        let module = |line: &str| match of(line) {
            Some((Program::Module(m), rest)) => (m, rest),
            other => panic!("{line}: {other:?}"),
        };
        for line in [
            "python3 -m a.b --port 1",
            "env -u X A=1 nice -n 5 /venv/bin/python3.11 -u -m a.b --port 1",
            "sudo -u web -- timeout -k 5 60s conda run -n x python -X dev -m a.b --port 1",
            "sh -c 'cd /srv && A=1 exec python3 -m a.b --port 1 >> /var/log/x 2>&1'",
            "bash -lc 'source /venv/bin/activate; python3 -m a.b --port 1 | tee log'",
            "tini -s -- uv run --with x python -m a.b --port 1",
        ] {
            let words = vec!["--port".to_owned(), "1".to_owned()];
            assert_eq!(module(line), ("a.b".to_owned(), words), "{line}");
        }
    }

    #[test]
    fn what_only_names_a_program_runs_nothing_of_it() {
        for line in [
            "python3 -c 'import a'",
            "sh -c 'a; b'",
            "sh",
            "uv pip install a",
            "python3",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
        let (program, _) = of("grep ollama /var/log/syslog").unwrap();
        assert_eq!(program, Program::File("grep".into()));
    }

    #[test]
    fn a_relative_script_is_found_below_its_directory() {
        let command = Command {
            executable: "/usr/bin/python3.11".into(),
            argv: words("python main.py --listen"),
            directory: "/opt/ComfyUI".into(),
        };
        let (program, _) = program(&TABLE, &command).unwrap();
        assert_eq!(program, Program::Script("/opt/ComfyUI/main.py".into()));
    }
}
