//! Who may do what to which object: every cell of writers × targets × requests, with real tokens on a real API
//! server, compared with the one rule that a host's account creates and patches the objects of that host.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube::Client;
use safetytwin_crds::hoststate::Source;
use safetytwin_e2e::api_server::ApiServer;
use serde_json::{Value, json};

use super::SERVER;
use super::admission::{account_of, host, let_in, section, token_of};
use super::asking::{client, request, run};
use super::enrolled::enrolled;
use super::kubectl;

/// Hosts that objects belong to: a node, one whose name it begins with, one that begins with it, another, enrolled ones.
const HOSTS: [&str; 6] = [
    "matrix.example",
    "matrix",
    "matrix.example.org",
    "matrix-db",
    "ext-matrix",
    "ext-matrix-2",
];

struct Writer {
    name: &'static str,
    /// The host whose objects it may write.
    own: Option<&'static str>,
    /// The node whose HostState it may make, with the token that an agent begins with.
    node: Option<&'static str>,
    client: Client,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    HostState,
    HostSection,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Create,
    Apply,
    ApplyUnderAnotherName,
    EmptyPatch,
    Patch,
    Replace,
    Update,
    Get,
    List,
    Watch,
    Delete,
    DeleteAll,
    PatchStatus,
    UpdateStatus,
}

const VERBS: [Verb; 14] = [
    Verb::Create,
    Verb::Apply,
    Verb::ApplyUnderAnotherName,
    Verb::EmptyPatch,
    Verb::Patch,
    Verb::Replace,
    Verb::Update,
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Delete,
    Verb::DeleteAll,
    Verb::PatchStatus,
    Verb::UpdateStatus,
];

/// One request of one writer to one object.
struct Cell<'a> {
    writer: &'a Writer,
    kind: Kind,
    verb: Verb,
    host: &'static str,
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (writer, verb, kind) = (self.writer.name, self.verb, self.kind);
        write!(f, "{writer}: {verb:?} {kind:?} of {}", self.host)
    }
}

impl Cell<'_> {
    /// The rule: its own objects, by the requests that an agent makes.
    fn allowed(&self) -> bool {
        if self.writer.node == Some(self.host) {
            return self.verb == Verb::Create && self.kind == Kind::HostState;
        }
        let own = self.writer.own == Some(self.host);
        own && matches!(
            self.verb,
            Verb::Create | Verb::Apply | Verb::EmptyPatch | Verb::Patch | Verb::Replace
        )
    }

    fn request(&self) -> http::Request<Vec<u8>> {
        let (plural, name, mut object) = match self.kind {
            Kind::HostState => ("hoststates", self.host.to_owned(), object(self.kind, self.host)),
            Kind::HostSection => (
                "hostsections",
                format!("{}.units.0.a", self.host),
                object(self.kind, self.host),
            ),
        };
        let all = format!("/apis/safetytwin.com/v1alpha1/{plural}");
        let one = format!("{all}/{name}");
        let apply = "?fieldManager=twin-agent&force=true&dryRun=All";
        let merge = "application/merge-patch+json";
        let (method, path, form, body) = match self.verb {
            // The name is taken, so that what is not refused for its writer is refused for that.
            Verb::Create => ("POST", all, "application/json", object),
            Verb::Apply => (
                "PATCH",
                format!("{one}{apply}"),
                "application/apply-patch+yaml",
                object,
            ),
            Verb::ApplyUnderAnotherName => {
                object["metadata"]["name"] = json!("matrix-other");
                let path = format!("{all}/matrix-other{apply}");
                ("PATCH", path, "application/apply-patch+yaml", object)
            }
            Verb::EmptyPatch => ("PATCH", one, merge, json!({})),
            Verb::Patch => (
                "PATCH",
                one,
                merge,
                json!({"metadata": {"labels": {"safetytwin.com/x": "y"}}}),
            ),
            Verb::Replace => ("PATCH", one, "application/json-patch+json", replacement(&object)),
            Verb::Update => ("PUT", one, "application/json", object),
            Verb::Get => ("GET", one, "", Value::Null),
            Verb::List => ("GET", all, "", Value::Null),
            Verb::Watch => (
                "GET",
                format!("{all}?watch=true&timeoutSeconds=1"),
                "",
                Value::Null,
            ),
            Verb::Delete => ("DELETE", one, "", Value::Null),
            Verb::DeleteAll => ("DELETE", all, "", Value::Null),
            Verb::PatchStatus => (
                "PATCH",
                format!("{one}/status"),
                merge,
                json!({"status": {"resendRequest": "x"}}),
            ),
            Verb::UpdateStatus => ("PUT", format!("{one}/status"), "application/json", object),
        };
        request(method, &path, form, &body)
    }

    /// What happened, as far as it matters: the request passed its checks, or not.
    async fn passed(&self) -> Result<bool, String> {
        match self.writer.client.request_text(self.request()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) => match status.code {
                409 if self.verb == Verb::Create => Ok(true),
                401 | 403 | 404 | 405 => Ok(false),
                422 if status.message.contains("ValidatingAdmissionPolicy")
                    || status.message.contains("metadata.name must") =>
                {
                    Ok(false)
                }
                code => Err(format!("{self}: {code} {}", status.message)),
            },
            Err(error) => Err(format!("{self}: {error}")),
        }
    }
}

/// As an agent writes: another spec, and no record of who wrote it.
fn replacement(object: &Value) -> Value {
    json!([
        {"op": "add", "path": "/spec", "value": object["spec"]},
        {"op": "add", "path": "/metadata/managedFields", "value": [{}]},
    ])
}

fn object(kind: Kind, name: &str) -> Value {
    let source = if name.starts_with("ext-") {
        "Enrolled"
    } else {
        "Node"
    };
    match kind {
        Kind::HostState => host(name, source),
        Kind::HostSection => section(name),
    }
}

/// A token whose payload says another account, under the signature of the true one.
fn forged(token: &str, from: &str, to: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    assert!(payload.contains(&format!("{from}\"")), "{payload}");
    let payload = payload.replace(&format!("{from}\""), &format!("{to}\""));
    format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(payload), parts[2])
}

fn enrolled_with_rights(name: &str) -> String {
    let machine = enrolled(name);
    let_in(&format!("ext-{name}"), Source::Enrolled);
    machine.token().trim().to_owned()
}

fn plain_token(account: &str, namespace: &str) -> String {
    let namespace = format!("-n={namespace}");
    kubectl(&["create", "token", account, &namespace])
        .unwrap()
        .trim()
        .to_owned()
}

async fn writers() -> Vec<Writer> {
    let short = account_of("matrix");
    // An account that was given the agents' role by mistake, and one with all rights to the kinds but no host.
    let by_mistake = [
        "create",
        "clusterrolebinding",
        "mistake",
        "--clusterrole=safetytwin-host",
        "--serviceaccount=default:mistaken",
    ];
    kubectl(&["create", "serviceaccount", "mistaken", "-n=default"]).unwrap();
    kubectl(&by_mistake).unwrap();
    let tokens = [
        ("node", Some("matrix.example"), account_of("matrix.example")),
        ("node of a shorter name", Some("matrix"), short.clone()),
        ("enrolled", Some("ext-matrix"), enrolled_with_rights("matrix")),
        (
            "agent without a node",
            None,
            plain_token("safetytwin-agent", "safetytwin-system"),
        ),
        (
            "account with the role by mistake",
            None,
            plain_token("mistaken", "default"),
        ),
        ("forged", None, forged(&short, "hosts:matrix", "hosts:matrix-db")),
        ("no token", None, String::new()),
    ];
    let mut writers = Vec::new();
    for (name, own, token) in tokens {
        writers.push(Writer {
            name,
            own,
            node: None,
            client: client(&token).await,
        });
    }
    writers.push(Writer {
        name: "agent that begins",
        own: None,
        node: Some("matrix.example"),
        client: client(&token_of("matrix.example")).await,
    });
    writers
}

/// Versions of all objects of the matrix.
fn versions() -> String {
    let path =
        "jsonpath={range .items[*]}{.metadata.name}={.metadata.resourceVersion}/{.metadata.labels} {end}";
    let list = kubectl(&["get", "hoststates,hostsections", "-o", path]).unwrap();
    let foreign = |entry: &&str| {
        let own = [
            "matrix.example=",
            "matrix.example.units.0.a=",
            "matrix=",
            "matrix.units.0.a=",
            "ext-matrix=",
            "ext-matrix.units.0.a=",
        ];
        entry.contains("matrix") && !own.iter().any(|name| entry.starts_with(name))
    };
    list.split_whitespace()
        .filter(foreign)
        .collect::<Vec<_>>()
        .join(" ")
}

fn make(server: &ApiServer) {
    for name in HOSTS {
        for kind in [Kind::HostState, Kind::HostSection] {
            let output = server
                .kubectl(&["create", "-f", "-"], &object(kind, name).to_string())
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }
}

#[test]
fn of_all_requests_of_all_writers_only_an_agent_s_own_pass() {
    let (mut cells, mut passed, mut wrong) = (0, 0, Vec::new());
    run(async {
        let writers = writers().await;
        make(&SERVER);
        let before = versions();
        for writer in &writers {
            for (kind, verb, host) in combinations() {
                let cell = Cell {
                    writer,
                    kind,
                    verb,
                    host,
                };
                cells += 1;
                match cell.passed().await {
                    Ok(yes) if yes == cell.allowed() => passed += usize::from(yes),
                    Ok(yes) => wrong.push(format!("{cell}: {}", if yes { "passed" } else { "was refused" })),
                    Err(error) => wrong.push(error),
                }
            }
        }
        assert_eq!(versions(), before, "a foreign object was written");
    });
    println!("{cells} cells, {passed} allowed and passed");
    assert!(
        wrong.is_empty(),
        "{} of {cells} cells are wrong: {wrong:#?}",
        wrong.len()
    );
    assert!(cells >= 60 && passed == 3 * 2 * 5 + 1);
}

fn combinations() -> impl Iterator<Item = (Kind, Verb, &'static str)> {
    [Kind::HostState, Kind::HostSection]
        .into_iter()
        .flat_map(|kind| VERBS.map(|verb| (kind, verb)))
        .flat_map(|(kind, verb)| HOSTS.map(|host| (kind, verb, host)))
}

#[test]
fn an_agent_s_token_opens_no_other_kind() {
    run(async {
        let agent = client(&account_of("kinds.example")).await;
        let own = "/apis/safetytwin.com/v1alpha1";
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "up"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": []});
        let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
        for (method, path, body) in [
            ("GET", "/api/v1/secrets", Value::Null),
            ("GET", "/api/v1/namespaces/safetytwin-system/secrets", Value::Null),
            ("GET", "/api/v1/nodes", Value::Null),
            ("GET", "/api/v1/pods", Value::Null),
            ("GET", "/api/v1/configmaps", Value::Null),
            ("GET", "/apis/coordination.k8s.io/v1/leases", Value::Null),
            ("GET", &format!("{own}/digitaltwins"), Value::Null),
            ("GET", &format!("{own}/twinsnapshots"), Value::Null),
            ("GET", &format!("{own}/twinrevisions"), Value::Null),
            ("GET", &format!("{own}/twinclasses"), Value::Null),
            (
                "POST",
                &format!("{own}/namespaces/default/digitaltwins"),
                json!({"apiVersion": "safetytwin.com/v1alpha1", "kind": "DigitalTwin", "metadata": {"name": "x"}, "spec": {"hostRef": {"name": "h"}, "className": "c"}}),
            ),
            (
                "POST",
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                role,
            ),
            (
                "POST",
                "/api/v1/namespaces/safetytwin-system/serviceaccounts/safetytwin-controller/token",
                token,
            ),
            ("DELETE", &format!("{own}/twinclasses"), Value::Null),
        ] {
            let answer = agent
                .request_text(request(method, path, "application/json", &body))
                .await;
            let refused = matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403);
            assert!(refused, "{method} {path}: {answer:?}");
        }
    });
}
