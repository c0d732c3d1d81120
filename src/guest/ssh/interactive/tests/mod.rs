mod sshd;

use std::io::Write;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::run::start;
use super::streams::{Streams, carry};
use super::{Ended, Forward, InteractiveError, PortPair};
use crate::guest::ssh::session;
use crate::guest::{GuestAddress, GuestError};
use sshd::Sshd;

/// Only what hangs takes so long, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a program left.
struct Ran {
    ended: Result<Ended, InteractiveError>,
    output: Vec<u8>,
    errors: Vec<u8>,
}

async fn run(address: &GuestAddress, command: Option<&str>, input: Vec<u8>) -> Ran {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let ended = run_into(address, command, input, &mut output, &mut errors).await;
    Ran {
        ended,
        output,
        errors,
    }
}

async fn run_into(
    address: &GuestAddress,
    command: Option<&str>,
    input: Vec<u8>,
    output: impl Write,
    errors: impl Write,
) -> Result<Ended, InteractiveError> {
    let session = session::open(address).await?;
    let channel = start(&session, command.map(|c| c.as_bytes().to_vec()), None).await?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for chunk in input.chunks(32 * 1024) {
            if sender.send(chunk.to_vec()).await.is_err() {
                break;
            }
        }
    });
    let streams = Streams {
        input: receiver,
        output,
        errors,
        terminal: None,
    };
    let carried = carry(channel, streams);
    tokio::time::timeout(PATIENCE, carried).await.unwrap()
}

#[tokio::test]
async fn output_errors_and_exit_status_of_a_command_come_back_apart() {
    let sshd = Sshd::start().await;
    let ran = run(
        &sshd.address,
        Some("echo out; echo 'it''s err' >&2; exit 7"),
        vec![],
    )
    .await;
    assert_eq!(ran.ended.unwrap(), Ended::Status(7));
    assert_eq!(
        (ran.output.as_slice(), ran.errors.as_slice()),
        (&b"out\n"[..], &b"its err\n"[..])
    );
}

#[tokio::test]
async fn more_than_every_window_goes_in_and_comes_back_at_the_same_time() {
    let sshd = Sshd::start().await;
    let input: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();
    let ran = run(&sshd.address, Some("cat"), input.clone()).await;
    assert_eq!(ran.ended.unwrap(), Ended::Status(0));
    assert!(ran.output == input, "{} bytes came back", ran.output.len());
}

#[tokio::test]
async fn a_shell_without_a_terminal_reads_commands_from_its_input() {
    let sshd = Sshd::start().await;
    let ran = run(&sshd.address, None, b"x=4\necho $((x + 1))\nexit $x\n".to_vec()).await;
    assert_eq!(ran.ended.unwrap(), Ended::Status(4));
    assert_eq!(ran.output, b"5\n");
}

#[tokio::test]
async fn a_program_that_leaves_its_input_unread_ends_as_it_likes() {
    let sshd = Sshd::start().await;
    let ran = run(&sshd.address, Some("exec true"), vec![b'x'; 6_000_000]).await;
    assert_eq!(ran.ended.unwrap(), Ended::Status(0));
}

#[tokio::test]
async fn the_signal_that_ended_a_program_is_named() {
    let sshd = Sshd::start().await;
    let ran = run(&sshd.address, Some("kill -KILL $$"), vec![]).await;
    assert_eq!(ran.ended.unwrap(), Ended::Signal("KILL".into()));
}

#[tokio::test]
async fn a_refused_program_or_terminal_is_an_error_that_says_so() {
    let sshd = Sshd::start().await;
    let refused = run(&sshd.address, Some(sshd::FORBIDDEN), vec![])
        .await
        .ended
        .unwrap_err();
    assert!(refused.to_string().contains("does not allow it"), "{refused}");
    let session = session::open(&sshd.address).await.unwrap();
    let refused = start(&session, None, Some((80, 24))).await.unwrap_err();
    assert!(
        refused.to_string().contains("authorized_keys must say pty"),
        "{refused}"
    );
}

/// Ends the guest as soon as the program says something.
struct Deadly<'a>(&'a Sshd);

impl Write for Deadly<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.die();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_guest_that_dies_is_an_error_and_no_exit_status() {
    let sshd = Sshd::start().await;
    let command = Some("echo up; sleep 60");
    let ended = run_into(&sshd.address, command, vec![], Deadly(&sshd), Vec::new()).await;
    assert!(
        matches!(ended, Err(InteractiveError::Guest(GuestError::Lost { .. }))),
        "{ended:?}"
    );
}

/// Takes nothing, as a pipe whose reader went away.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_endless_program_whose_output_nobody_reads_is_left() {
    let sshd = Sshd::start().await;
    let ended = run_into(&sshd.address, Some("yes"), vec![], Closed, Vec::new()).await;
    let Err(InteractiveError::Here { source, .. }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(source.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn another_host_key_or_login_is_refused() {
    let sshd = Sshd::start().await;
    let other = sshd::key().public_key().to_openssh().unwrap();
    let mut address = sshd.address.clone();
    address.host_key = other;
    let refused = run(&address, Some("true"), vec![]).await.ended;
    assert!(
        matches!(
            refused,
            Err(InteractiveError::Guest(GuestError::HostKeyRefused { .. }))
        ),
        "{refused:?}"
    );
    let mut address = sshd.address.clone();
    address.private_key = Sshd::start().await.address.private_key;
    let refused = run(&address, Some("true"), vec![]).await.ended;
    assert!(
        matches!(
            refused,
            Err(InteractiveError::Guest(GuestError::LoginRefused { .. }))
        ),
        "{refused:?}"
    );
}

/// A port that greets who connects and then says what it hears.
async fn greeter(greeting: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(greeting.as_bytes()).await.unwrap();
                let (mut heard, mut said) = stream.split();
                tokio::io::copy(&mut heard, &mut said).await
            });
        }
    });
    port
}

/// What comes back from a local port after this was said.
async fn ask(local: std::net::SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(local).await.unwrap();
    stream.write_all(word.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    // A refused connection may be reset.
    let _refused = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn several_local_ports_lead_into_the_guest_and_a_closed_one_harms_no_other() {
    let sshd = Sshd::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = silent.local_addr().unwrap().port();
    drop(silent);
    let guest = [greeter("one ").await, closed, greeter("two ").await];
    let pairs = guest.map(|guest| PortPair { local: 0, guest });
    let forward = Forward::open(&sshd.address, &pairs).await.unwrap();
    let ports = forward.ports();
    assert!(ports.iter().all(|(local, _)| local.ip().is_loopback()));
    assert_eq!(ports.iter().map(|(_, guest)| *guest).collect::<Vec<_>>(), guest);
    let asked = async {
        assert_eq!(ask(ports[0].0, "x").await, "one x");
        assert_eq!(ask(ports[1].0, "x").await, "");
        assert_eq!(ask(ports[2].0, "y").await, "two y");
        assert_eq!(ask(ports[0].0, "z").await, "one z");
    };
    tokio::select! {
        error = forward.serve() => panic!("{error}"),
        () = asked => {}
    }
}

#[tokio::test]
async fn a_taken_port_is_named_before_anything_is_sent_to_the_guest() {
    let sshd = Sshd::start().await;
    sshd.die();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = taken.local_addr().unwrap().port();
    let refused = Forward::open(&sshd.address, &[PortPair { local, guest: 80 }])
        .await
        .err()
        .unwrap();
    assert!(refused.to_string().contains(&local.to_string()), "{refused}");
    assert!(matches!(refused, InteractiveError::Here { .. }));
}

#[tokio::test]
async fn forwarding_ends_when_the_guest_is_gone() {
    let sshd = Sshd::start().await;
    let pair = PortPair { local: 0, guest: 80 };
    let forward = Forward::open(&sshd.address, &[pair]).await.unwrap();
    sshd.die();
    let ended = tokio::time::timeout(PATIENCE, forward.serve()).await;
    let error = ended.unwrap();
    assert!(
        matches!(error, InteractiveError::Guest(GuestError::Lost { .. })),
        "{error:?}"
    );
}
