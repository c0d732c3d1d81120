//! Requests as a program makes them that knows no kinds.

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use super::SERVER;

/// A request with this body; of null, without.
pub fn request(method: &str, path: &str, form: &str, body: &Value) -> http::Request<Vec<u8>> {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = http::Request::builder().method(method).uri(path);
    request.header("Content-Type", form).body(body).unwrap()
}

/// A client that is known by `token` alone.
pub async fn client(token: &str) -> Client {
    let mut file = Kubeconfig::read_from(SERVER.kubeconfig()).unwrap();
    for user in &mut file.auth_infos {
        user.auth_info = Some(AuthInfo {
            token: Some(token.to_owned().into()),
            ..AuthInfo::default()
        });
    }
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// Waits for what is asked.
pub fn run<T>(asking: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(asking)
}
