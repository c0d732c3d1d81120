//! The way out of a guest that hangs: `~.` at the beginning of a line, as in ssh(1).

/// What to do with what was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Send this.
    Send(Vec<u8>),
    /// The user leaves; what was typed before is not sent any more.
    Leave,
}

/// Where in a line the typing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Escape {
    /// At the beginning: a tilde is held back.
    #[default]
    LineStart,
    /// After a tilde at the beginning.
    Tilde,
    /// Elsewhere: everything is sent as it is.
    Within,
}

impl Escape {
    /// Takes out `~.`; of `~~` at the beginning of a line one tilde is sent.
    pub(super) fn take(&mut self, typed: &[u8]) -> Typed {
        let mut send = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (*self, byte) {
                (Self::LineStart, b'~') => {
                    *self = Self::Tilde;
                    continue;
                }
                (Self::Tilde, b'.') => return Typed::Leave,
                (Self::Tilde, b'~') | (Self::LineStart | Self::Within, _) => {}
                (Self::Tilde, _) => send.push(b'~'),
            }
            send.push(byte);
            *self = match byte {
                b'\r' | b'\n' => Self::LineStart,
                _ => Self::Within,
            };
        }
        Typed::Send(send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(chunks: &[&str]) -> Option<String> {
        let mut escape = Escape::default();
        let mut all = Vec::new();
        for chunk in chunks {
            match escape.take(chunk.as_bytes()) {
                Typed::Send(bytes) => all.extend(bytes),
                Typed::Leave => return None,
            }
        }
        Some(String::from_utf8(all).unwrap())
    }

    #[test]
    fn a_tilde_and_a_dot_at_the_beginning_of_a_line_leave() {
        for chunks in [&["~."][..], &["ls\r~."], &["ls\r", "~", "."]] {
            assert_eq!(sent(chunks), None, "{chunks:?}");
        }
    }

    #[test]
    fn any_other_tilde_is_sent() {
        for (chunks, expected) in [
            (&["ls ~.\r"][..], "ls ~.\r"),
            (&["~/bin\r"], "~/bin\r"),
            (&["~~."], "~."),
            (&["~", "~", "x"], "~x"),
            (&["~\r~x"], "~\r~x"),
        ] {
            assert_eq!(sent(chunks).as_deref(), Some(expected), "{chunks:?}");
        }
    }
}
