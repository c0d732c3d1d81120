//! Runs a program in the guest on this process's streams.

use std::io;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, Pty};

use super::InteractiveError;
use super::streams::{Ended, Streams, carry, standard_input};
use super::terminal::{self, Terminal};
use crate::guest::ssh::session::{self, Session, lost};
use crate::guest::ssh::{CONNECT, within};
use crate::guest::{GuestAddress, GuestError};

pub(super) const RUN: &str = "run a program";

/// Runs a command, or without one a login shell, on this process's standard streams; with `on_terminal`
/// in a terminal of the guest that shows on this one, where `~.` at the beginning of a line leaves.
///
/// # Errors
/// As a connection; `Failed` when the guest refuses the program or the terminal; `Here` when this side has no
/// terminal, or nobody reads the output any more.
pub async fn run(
    address: &GuestAddress,
    command: Option<Vec<u8>>,
    on_terminal: bool,
) -> Result<Ended, InteractiveError> {
    let session = within(RUN, CONNECT, session::open(address)).await?;
    let ended = on_standard_streams(&session, command, on_terminal).await;
    session.close().await;
    ended
}

async fn on_standard_streams(
    session: &Session,
    command: Option<Vec<u8>>,
    on_terminal: bool,
) -> Result<Ended, InteractiveError> {
    let here = |source: io::Error| InteractiveError::Here {
        what: "the terminal cannot be used".into(),
        source,
    };
    let size = on_terminal.then(terminal::size).transpose().map_err(here)?;
    let channel = within(RUN, CONNECT, start(session, command, size)).await?;
    let streams = Streams {
        terminal: on_terminal.then(Terminal::take).transpose().map_err(here)?,
        input: standard_input(),
        output: io::stdout(),
        errors: io::stderr(),
    };
    carry(channel, streams).await
}

/// A channel with the program on it; with a size in a terminal. That the program is refused shows
/// in what the channel says.
pub(super) async fn start(
    session: &Session,
    command: Option<Vec<u8>>,
    size: Option<terminal::Size>,
) -> Result<Channel<Msg>, GuestError> {
    let mut channel = session.channel(RUN).await?;
    if let Some((columns, rows)) = size {
        let modes: [(Pty, u32); 0] = [];
        let asked = channel
            .request_pty(true, &terminal::kind(), columns, rows, 0, 0, &modes)
            .await;
        asked.map_err(|error| lost(RUN, error))?;
        granted(&mut channel).await?;
    }
    let asked = match command {
        Some(command) => channel.exec(true, command).await,
        None => channel.request_shell(true).await,
    };
    asked.map_err(|error| lost(RUN, error))?;
    Ok(channel)
}

/// Waits for the answer to the request for a terminal; nothing else is said before a program runs.
async fn granted(channel: &mut Channel<Msg>) -> Result<(), GuestError> {
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok(()),
            Some(ChannelMsg::Failure) => {
                return Err(GuestError::Failed {
                    call: RUN,
                    message: "it gives no terminal; its authorized_keys must say pty".into(),
                });
            }
            None | Some(ChannelMsg::Close) => return Err(lost(RUN, "the guest closed the channel")),
            Some(_) => {}
        }
    }
}
