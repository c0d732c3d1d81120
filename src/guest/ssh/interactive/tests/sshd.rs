//! An SSH server on this machine's loopback, in this process: it runs programs and opens ports as sshd does. The
//! same is tried with OpenSSH in a real guest, see `ssh::real` and `e2e/tests/twin/reaching.rs`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::guest::GuestAddress;

/// A command that the server refuses.
pub const FORBIDDEN: &str = "forbidden";

/// The server, and how to get in. It ends with the test.
pub struct Sshd {
    pub address: GuestAddress,
    connections: Arc<Mutex<Vec<std::net::TcpStream>>>,
    serving: JoinHandle<()>,
}

impl Sshd {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let (host, login) = (key(), key());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = GuestAddress {
            addresses: vec![Ipv4Addr::LOCALHOST.into()],
            port: listener.local_addr().unwrap().port(),
            user: "root".into(),
            private_key: login.to_openssh(LineEnding::LF).unwrap().to_string(),
            host_key: host.public_key().to_openssh().unwrap(),
        };
        let config = Arc::new(server::Config {
            keys: vec![host],
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        });
        let connections = Arc::<Mutex<Vec<std::net::TcpStream>>>::default();
        let taken = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream = stream.into_std().unwrap();
                taken.lock().unwrap().push(stream.try_clone().unwrap());
                let guest = Guest {
                    login: login.public_key().clone(),
                    channels: HashMap::new(),
                };
                let stream = TcpStream::from_std(stream).unwrap();
                let session = server::run_stream(Arc::clone(&config), stream, guest);
                tokio::spawn(async move {
                    if let Ok(session) = session.await {
                        let _hung_up = session.await;
                    }
                });
            }
        });
        Self {
            address,
            connections,
            serving,
        }
    }

    /// Ends it with all its connections.
    pub fn die(&self) {
        self.serving.abort();
        for connection in self.connections.lock().unwrap().iter() {
            let _gone = connection.shutdown(Shutdown::Both);
        }
    }
}

/// A new key.
pub fn key() -> PrivateKey {
    let seed: [u8; 32] = rand::random();
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), "test").unwrap()
}

struct Guest {
    login: russh::keys::PublicKey,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Guest {
    fn run(&mut self, id: ChannelId, command: &mut Command, session: &mut Session) {
        let channel = self.channels.remove(&id).unwrap();
        session.channel_success(id).unwrap();
        command.kill_on_drop(true);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        tokio::spawn(attach(channel, command.spawn().unwrap(), session.handle()));
    }
}

/// Streams first, then the status, then the end: the order of sshd.
async fn attach(channel: Channel<Msg>, mut program: tokio::process::Child, handle: Handle) {
    let id = channel.id();
    let (mut from_user, to_user) = channel.split();
    let mut stdin = program.stdin.take().unwrap();
    let input = tokio::spawn(async move {
        let _closed = tokio::io::copy(&mut from_user.make_reader(), &mut stdin).await;
    });
    let (output, errors) = (program.stdout.take().unwrap(), program.stderr.take().unwrap());
    let _gone = tokio::join!(to_user.data(output), to_user.extended_data(1, errors));
    let status = program.wait().await.unwrap();
    let _gone = match status.signal() {
        Some(9) => {
            let nothing = String::new();
            handle
                .exit_signal_request(id, Sig::KILL, false, nothing.clone(), nothing)
                .await
        }
        _ => {
            let code = u32::try_from(status.code().unwrap()).unwrap();
            handle.exit_status_request(id, code).await
        }
    };
    let _gone = handle.eof(id).await;
    let _gone = handle.close(id).await;
    input.abort();
}

impl server::Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(if key.public_key.key_data() == self.login.key_data() {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.run(id, &mut Command::new("sh"), session);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if command == FORBIDDEN.as_bytes() {
            return session.channel_failure(id);
        }
        let command = std::ffi::OsStr::from_bytes(command);
        self.run(id, Command::new("sh").arg("-c").arg(command), session);
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let Ok(mut stream) = TcpStream::connect((host, u16::try_from(port).unwrap())).await else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        reply.accept().await;
        tokio::spawn(async move {
            let _closed = tokio::io::copy_bidirectional(&mut stream, &mut channel.into_stream()).await;
        });
        Ok(())
    }
}
