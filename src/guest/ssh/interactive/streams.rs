//! The streams of a program in the guest: all directions at once, so that a full one stops no other.

use std::io::{self, Read as _, Write};

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use safetytwin_crds::names::printable;
use tokio::sync::mpsc;

use super::InteractiveError;
use super::escape::{Escape, Typed};
use super::run::RUN;
use super::terminal::{Notice, Terminal};
use crate::guest::GuestError;
use crate::guest::ssh::session::lost;

/// How a program in the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Status(u32),
    /// A signal ended it: `KILL`.
    Signal(String),
    /// The user left it; it may run on.
    Left,
}

/// What a program in the guest is connected to here.
pub(super) struct Streams<O, E> {
    /// What is typed or piped in; its end is the end of the program's input.
    pub(super) input: mpsc::Receiver<Vec<u8>>,
    pub(super) output: O,
    pub(super) errors: E,
    /// The terminal that the program has, if it has one.
    pub(super) terminal: Option<Terminal>,
}

/// Standard input, from a thread of its own: reading it cannot be given up. It ends with the process.
pub(super) fn standard_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut bytes = vec![0_u8; 32 * 1024];
        loop {
            let read = match input.read(&mut bytes) {
                Ok(read @ 1..) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => break,
            };
            let chunk = bytes.get(..read).unwrap_or_default().to_vec();
            if sender.blocking_send(chunk).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Carries the streams until the program ends.
///
/// # Errors
/// `Failed` when the guest refuses the program, `Lost` when the connection ends first, `Here` when its output cannot
/// be written.
pub(super) async fn carry<O: Write, E: Write>(
    channel: Channel<Msg>,
    streams: Streams<O, E>,
) -> Result<Ended, InteractiveError> {
    let (mut from_guest, to_guest) = channel.split();
    let Streams {
        input,
        mut output,
        mut errors,
        mut terminal,
    } = streams;
    let escape = terminal.is_some().then(Escape::default);
    tokio::select! {
        ended = deliver(&mut from_guest, &mut output, &mut errors) => ended,
        () = feed(&to_guest, input, escape) => Ok(Ended::Left),
        () = attend(&to_guest, terminal.as_mut()) => Ok(Ended::Left),
    }
}

/// What the guest says, until it has said all.
async fn deliver(
    from_guest: &mut ChannelReadHalf,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> Result<Ended, InteractiveError> {
    let mut ended = None;
    loop {
        match from_guest.wait().await {
            Some(ChannelMsg::Data { data }) => write(output, &data)?,
            Some(ChannelMsg::ExtendedData { data, .. }) => write(errors, &data)?,
            Some(ChannelMsg::ExitStatus { exit_status }) => ended = Some(Ended::Status(exit_status)),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                ended = Some(Ended::Signal(printable(&format!("{signal_name:?}"), 32)));
            }
            Some(ChannelMsg::Failure) => {
                return Err(InteractiveError::Guest(GuestError::Failed {
                    call: RUN,
                    message: "its sshd does not allow it".into(),
                }));
            }
            None | Some(ChannelMsg::Close) => break,
            Some(_) => {}
        }
    }
    ended.ok_or_else(|| lost(RUN, "the guest closed it without an exit status").into())
}

fn write(stream: &mut impl Write, bytes: &[u8]) -> Result<(), InteractiveError> {
    let written = stream.write_all(bytes).and_then(|()| stream.flush());
    written.map_err(|source| InteractiveError::Here {
        what: "the guest's output cannot be written".into(),
        source,
    })
}

/// Passes the input on; answers when the user left. A guest that takes no more is no failure here: a
/// program may end without having read all, and what ends the connection, [`deliver`] sees.
async fn feed(
    to_guest: &ChannelWriteHalf<Msg>,
    mut input: mpsc::Receiver<Vec<u8>>,
    mut escape: Option<Escape>,
) {
    while let Some(typed) = input.recv().await {
        let bytes = match escape.as_mut().map(|escape| escape.take(&typed)) {
            None => typed,
            Some(Typed::Send(bytes)) => bytes,
            Some(Typed::Leave) => return,
        };
        if to_guest.data_bytes(bytes).await.is_err() {
            break;
        }
    }
    let _closed = to_guest.eof().await;
    std::future::pending().await
}

/// Tells the guest the terminal's new sizes; answers when this process shall end.
async fn attend(to_guest: &ChannelWriteHalf<Msg>, terminal: Option<&mut Terminal>) {
    let Some(terminal) = terminal else {
        return std::future::pending().await;
    };
    while let Notice::Resized((columns, rows)) = terminal.notice().await {
        // As for the input: deliver sees the end.
        let _closed = to_guest.window_change(columns, rows, 0, 0).await;
    }
}
