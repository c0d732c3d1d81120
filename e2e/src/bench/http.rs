//! Plain HTTP/1.0 requests to what the benchmarks look at: metrics and etcd's gateway, both without TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest wait for a connection, and for each piece of an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// The body that `GET path` answers with.
///
/// # Errors
/// There is no answer in time, or its status is not 200.
pub(super) fn get(address: SocketAddr, path: &str) -> Result<String> {
    ask(
        address,
        &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"),
    )
    .with_context(|| format!("failed to get http://{address}{path}"))
}

/// The body that `POST path` of a JSON text answers with.
///
/// # Errors
/// There is no answer in time, or its status is not 200.
pub(super) fn post(address: SocketAddr, path: &str, json: &str) -> Result<String> {
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    );
    ask(address, &request).with_context(|| format!("failed to post to http://{address}{path}"))
}

fn ask(address: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{status}: {}", body.chars().take(200).collect::<String>());
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one request with this text; what it was asked comes back.
    fn once(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        });
        (address, asked)
    }

    #[test]
    fn the_body_of_an_answer_comes_back() {
        let (address, asked) = once("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nup 1\n");
        assert_eq!(get(address, "/metrics").unwrap(), "up 1\n");
        assert!(asked.join().unwrap().starts_with("GET /metrics HTTP/1.0\r\n"));
        let (address, asked) = once("HTTP/1.0 200 OK\r\n\r\n{}");
        assert_eq!(post(address, "/v3/kv/range", "{\"key\":\"\"}").unwrap(), "{}");
        assert!(
            asked
                .join()
                .unwrap()
                .ends_with("Content-Length: 10\r\n\r\n{\"key\":\"\"}")
        );
    }

    #[test]
    fn a_refusal_is_told_with_its_status() {
        let (address, _) = once("HTTP/1.0 503 Service Unavailable\r\n\r\nlater");
        let error = format!("{:#}", get(address, "/metrics").unwrap_err());
        assert!(error.contains("503") && error.contains("later"), "{error}");
    }
}
