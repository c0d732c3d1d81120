//! `twin ssh`: a shell or a command in a twin.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use super::client::Cluster;
use super::guest::{Target, advise};
use crate::guest::ssh::interactive::{Ended, run as run_in_guest};

/// What ssh(1) answers when it failed itself, so that a command's status stays recognisable.
pub const FAILED: u8 = 255;

/// Arguments of `twin ssh`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  twin ssh web-01 -n ops                                a shell; ~. at the beginning of a line leaves it
  twin ssh web-01 -n ops -- journalctl -u nginx -n 20
  twin ssh web-01 -n ops -- 'ps aux | grep nginx'       words are joined by blanks, for the login's shell
  twin ssh web-01 -n ops -t -- top                      with a terminal
  twin ssh web-01 -n ops < commands.sh                  a shell that reads its commands there

The exit code is the one of the command or shell; 255 when there was none, as with ssh.
Needs the right to get the twin, its class, and the Secret twin-UID in the controller's namespace.")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Give the command a terminal.
    #[arg(short, long)]
    tty: bool,
    /// What to run instead of a shell; `--` before it is allowed.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs it; answers the exit code of what ran in the twin.
pub async fn run(args: Args, cluster: &Cluster) -> anyhow::Result<ExitCode> {
    let command = (!args.command.is_empty()).then(|| line(&args.command));
    // As ssh: a shell has a terminal if we have one, a command only when asked.
    let on_terminal = args.tty || (command.is_none() && std::io::stdin().is_terminal());
    let address = args.target.address(cluster).await?;
    let ended = run_in_guest(&address, command, on_terminal)
        .await
        .map_err(advise)?;
    Ok(match ended {
        Ended::Status(status) => ExitCode::from(u8::try_from(status).unwrap_or(FAILED)),
        Ended::Signal(signal) => {
            eprintln!("ended by signal {signal}");
            ExitCode::from(FAILED)
        }
        Ended::Left => {
            // The guest's prompt stands on the line.
            eprintln!("\nleft the twin");
            ExitCode::from(FAILED)
        }
    })
}

/// The words with blanks between them, as ssh sends them.
fn line(words: &[OsString]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    words.join(&b' ')
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from([&["ssh"], words].concat()).map(|line| line.args)
    }

    #[test]
    fn the_words_of_a_command_are_the_users_own_with_and_without_two_dashes() {
        for words in [
            &["web-01", "--", "ls", "-l", "a b", "--tty"][..],
            &["web-01", "ls", "-l", "a b", "--tty"],
        ] {
            let args = parse(words).unwrap();
            assert!(!args.tty);
            assert_eq!(line(&args.command), b"ls -l a b --tty");
        }
        assert!(parse(&["web-01", "--", "-x"]).unwrap().command == ["-x"]);
    }

    #[test]
    fn options_before_the_command_are_ours() {
        let args = parse(&["web-01", "-t", "top"]).unwrap();
        assert!(args.tty && args.command == ["top"]);
        assert!(parse(&["web-01"]).unwrap().command.is_empty());
    }
}
