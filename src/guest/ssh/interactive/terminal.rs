//! This process's terminal while a program of the guest has it.

use std::io;

use crossterm::terminal;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Columns and rows.
pub(super) type Size = (u32, u32);

/// The terminal in raw mode; it is given back as it was.
pub(super) struct Terminal {
    resized: Signal,
    ended: [Signal; 3],
}

/// What a terminal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It has another size.
    Resized(Size),
    /// The process shall end: nobody would see the guest any more.
    End,
}

impl Terminal {
    /// Every key goes to the guest from now on, Ctrl-C too.
    pub(super) fn take() -> io::Result<Self> {
        let taken = Self {
            resized: signal(SignalKind::window_change())?,
            // Their default would end the process with the terminal still raw.
            ended: [
                signal(SignalKind::hangup())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ],
        };
        terminal::enable_raw_mode()?;
        Ok(taken)
    }

    /// Waits for the next notice.
    pub(super) async fn notice(&mut self) -> Notice {
        let [hangup, terminate, interrupt] = &mut self.ended;
        loop {
            tokio::select! {
                _ = self.resized.recv() => if let Ok(size) = size() {
                    return Notice::Resized(size);
                },
                _ = hangup.recv() => return Notice::End,
                _ = terminate.recv() => return Notice::End,
                _ = interrupt.recv() => return Notice::End,
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = terminal::disable_raw_mode();
    }
}

/// The size now.
pub(super) fn size() -> io::Result<Size> {
    terminal::size().map(|(columns, rows)| (columns.into(), rows.into()))
}

/// Its kind, as programs of the guest look it up.
pub(super) fn kind() -> String {
    std::env::var("TERM").unwrap_or_else(|_| "xterm".into())
}
