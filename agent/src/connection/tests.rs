use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use kube::config::ExecConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// An authority that signs servers and clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `localhost`, and its key; PEM.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots.into()
    }

    /// Serves connections one after the other; each request is answered with what it presented.
    fn serve(&self) -> Config {
        let (certificate, key) = self.issue();
        let verifier = WebPkiClientVerifier::builder(self.roots())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let server = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let server = Arc::new(server);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&server)).unwrap();
                // A client that does not trust this server goes away.
                let _gone = answer(StreamOwned::new(connection, stream.unwrap()));
            }
        });
        let mut config = Config::new(format!("https://localhost:{port}").parse().unwrap());
        config.root_cert = Some(vec![self.0.der().to_vec()]);
        config
    }
}

fn answer(mut stream: StreamOwned<ServerConnection, std::net::TcpStream>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let request = String::from_utf8_lossy(&request);
    let token = request
        .lines()
        .find_map(|line| line.strip_prefix("authorization: "))
        .unwrap_or("no token");
    let known = stream
        .conn
        .peer_certificates()
        .map_or("no certificate", |_| "a certificate");
    let body = format!("{token}, {known}");
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn client(config: &Config) -> Client {
    let bearer = Bearer::of(&config.auth_info).unwrap();
    builder(config).unwrap().with_layer(&bearer.layer()).build()
}

async fn presented(client: &Client) -> Result<String, kube::Error> {
    client
        .request_text(axum::http::Request::get("/version").body(Vec::new()).unwrap())
        .await
}

#[tokio::test]
async fn a_token_or_a_certificate_is_presented_to_the_server_that_the_authority_signed() {
    let authority = Authority::new();
    let mut config = authority.serve();
    assert_eq!(
        presented(&client(&config)).await.unwrap(),
        "no token, no certificate"
    );
    config.auth_info.token = Some("abc".to_owned().into());
    assert_eq!(
        presented(&client(&config)).await.unwrap(),
        "Bearer abc, no certificate"
    );
    let (certificate, key) = authority.issue();
    config.auth_info = AuthInfo {
        client_certificate_data: Some(STANDARD.encode(certificate)),
        client_key_data: Some(STANDARD.encode(key).into()),
        ..AuthInfo::default()
    };
    assert_eq!(
        presented(&client(&config)).await.unwrap(),
        "no token, a certificate"
    );
}

#[tokio::test]
async fn a_server_that_another_authority_signed_is_not_spoken_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut config = authority.serve();
    config.root_cert = Some(vec![other.0.der().to_vec()]);
    config.auth_info.token = Some("abc".to_owned().into());
    let error = presented(&client(&config)).await.unwrap_err();
    assert!(format!("{error:?}").contains("InvalidCertificate"), "{error:?}");
    config.root_cert = None;
    presented(&client(&config)).await.unwrap_err();
}

#[tokio::test]
async fn an_authority_in_a_file_is_the_one_that_the_file_holds_now() {
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.crt");
    let mut config = authority.serve();
    (config.root_cert, config.root_cert_file) = (None, Some(path.clone()));
    assert!(matches!(builder(&config), Err(ConnectionError::Read { .. })));
    std::fs::write(&path, authority.0.pem()).unwrap();
    let client = client(&config);
    presented(&client).await.unwrap();
    std::fs::write(&path, other.0.pem()).unwrap();
    presented(&client).await.unwrap();
    let later = std::time::Instant::now() + Duration::from_secs(61);
    let known = tls::Authority::read(path.clone()).unwrap();
    let first = known.at(std::time::Instant::now());
    assert!(Arc::ptr_eq(&first, &known.at(std::time::Instant::now())));
    assert!(!Arc::ptr_eq(&first, &known.at(later)), "it is read again");
    std::fs::write(&path, "nothing").unwrap();
    known.at(later + Duration::from_secs(61));
}

#[test]
fn what_a_kubeconfig_asks_for_and_the_agent_does_not_do_is_refused_by_name() {
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let of = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::new("https://localhost".parse().unwrap());
        change(&mut config);
        builder(&config)
            .err()
            .map_or_else(String::new, |error| error.to_string())
    };
    let user =
        |config: &mut Config| config.auth_info.exec = Some(serde_json::from_str::<ExecConfig>("{}").unwrap());
    for (error, what) in [
        (of(&user), "exec of a kubeconfig: it starts no program"),
        (
            of(&|config| config.auth_info.username = Some("web".into())),
            "username and password",
        ),
        (
            of(&|config| config.auth_info.impersonate = Some("admin".into())),
            "use as of",
        ),
        (
            of(&|config| config.accept_invalid_certs = true),
            "insecure-skip-tls-verify",
        ),
        (
            of(&|config| config.proxy_url = Some("http://p".parse().unwrap())),
            "proxy-url",
        ),
        (
            of(&|config| config.tls_server_name = Some("-".into())),
            "tls-server-name",
        ),
        (
            of(&|config| {
                config.auth_info.client_certificate_data = Some("?".into());
                config.auth_info.client_key_data = Some("?".to_owned().into());
            }),
            "the client-certificate cannot be used",
        ),
        (
            of(&|config| config.root_cert = Some(vec![vec![1]])),
            "the certificate-authority cannot be used",
        ),
    ] {
        assert!(error.contains(what), "{what}: {error}");
    }
}
