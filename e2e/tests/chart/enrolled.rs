//! Machines outside the cluster, with the real binaries: enrolled with one command, each held to its own host,
//! gone with its account.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use safetytwin_crds::hoststate::Source;
use safetytwin_e2e::lab::process::built_binary;
use safetytwin_e2e::wait::{self, Look};
use serde_json::Value;

use super::admission::{host, let_in, write};
use super::{SERVER, kubectl, said};

const ACCOUNTS: &str = safetytwin_crds::access::ACCOUNTS;

/// `twin enroll NAME`: the invitation, or what it says.
fn invite(arguments: &[&str]) -> Result<String, String> {
    let mut twin = Command::new(built_binary("twin").unwrap());
    twin.env("KUBECONFIG", SERVER.kubeconfig())
        .arg("enroll")
        .args(arguments);
    answer(&twin.output().unwrap())
}

fn answer(output: &Output) -> Result<String, String> {
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout.clone()).unwrap()),
        false => Err(said(output)),
    }
}

/// A machine: the directories in which an enrolment is kept.
pub struct Machine(PathBuf);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap().keep())
    }

    /// `twin-agent enroll` with this invitation.
    fn accept(&self, invitation: &str) -> Result<String, String> {
        let file = self.0.join("invitation");
        std::fs::write(&file, invitation).unwrap();
        let mut agent = Command::new(built_binary("twin-agent").unwrap());
        agent
            .args(["enroll", "--no-start", "--config-dir"])
            .arg(&self.0)
            .arg("--state-dir")
            .arg(self.0.join("state"))
            .stdin(std::fs::File::open(file).unwrap());
        answer(&agent.output().unwrap())
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.0.join("state/token")).unwrap()
    }

    /// The agent of this machine, publishing.
    fn publish(&self, name: &str) -> Running {
        let mut agent = Command::new(built_binary("twin-agent").unwrap());
        agent
            .args([
                "--node-name",
                name,
                "--interval=1",
                "--admission-self-test=require",
                "--kubeconfig",
            ])
            .arg(self.0.join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.0.join("agent.log")).unwrap());
        Running(agent.spawn().unwrap())
    }
}

/// Ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub fn enrolled(name: &str) -> Machine {
    let machine = Machine::new();
    machine.accept(&invite(&[name]).unwrap()).unwrap();
    machine
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn two_enrolled_machines_publish_under_their_own_names_and_are_not_mixed() {
    let machines = ["ext-web-09", "ext-web"].map(|name| (name, enrolled(name.trim_start_matches("ext-"))));
    for (name, machine) in &machines {
        let_in(name, Source::Enrolled);
        assert_eq!(mode(&machine.0.join("state/token")), 0o600);
        assert_eq!(mode(&machine.0.join("kubeconfig")), 0o600);
        assert!(
            !std::fs::read_to_string(machine.0.join("kubeconfig"))
                .unwrap()
                .contains(machine.token().trim())
        );
        let _agent = machine.publish(name);
        wait::until(
            "the head of the enrolled machine",
            Duration::from_secs(60),
            || {
                let head = kubectl(&["get", "hoststate", name, "-o", "json"]);
                Ok(match head.as_deref().map(serde_json::from_str::<Value>) {
                    Ok(Ok(head)) if head["spec"]["source"] == "Enrolled" => Look::Ready(()),
                    other => Look::NotYet(format!("{other:?}")),
                })
            },
        )
        .unwrap();
    }
    let [(first, one), (second, other)] = &machines;
    for (machine, own, foreign) in [(one, first, second), (other, second, first)] {
        // It is there already, so the write is refused only for that.
        let error = write(&machine.token(), &host(own, "Enrolled")).unwrap_err();
        assert!(error.contains("already exists"), "{error}");
        let error = write(&machine.token(), &host(foreign, "Enrolled")).unwrap_err();
        assert!(
            error.contains("only by the service account of the same name"),
            "{error}"
        );
        let token = format!("--token={}", machine.token());
        let renew = |account: &str| kubectl(&["create", "token", account, "-n", ACCOUNTS, &token]);
        renew(own).unwrap();
        assert!(renew(foreign).unwrap_err().contains("forbidden"));
        for question in [["get", "hoststates"], ["get", "secrets"], ["get", "nodes"]] {
            let error = kubectl(&[question[0], question[1], &token]).unwrap_err();
            assert!(error.contains("forbidden"), "{error}");
        }
    }
}

#[test]
fn a_name_is_enrolled_once_unless_it_is_said_to_be_the_same_machine() {
    let machine = enrolled("once");
    let error = invite(&["once"]).unwrap_err();
    assert!(error.contains("enrolled already"), "{error}");
    machine.accept(&invite(&["once", "--again"]).unwrap()).unwrap();
    let error = machine.accept(&invite(&["another"]).unwrap()).unwrap_err();
    assert!(error.contains("enrolled as ext-once"), "{error}");
}

#[test]
fn an_invitation_of_no_host_is_refused() {
    let machine = Machine::new();
    for name in ["../x", "UPPER", "a_b", ""] {
        let error = invite(&["--", name]).unwrap_err();
        assert!(error.contains("cannot be a host's name"), "{name}: {error}");
    }
    let administrator = std::fs::read_to_string(SERVER.kubeconfig()).unwrap();
    let error = machine.accept(&administrator).unwrap_err();
    assert!(error.contains("no token of a service account"), "{error}");
    assert!(!machine.0.join("kubeconfig").exists());
}

#[test]
fn a_machine_whose_account_is_deleted_writes_nothing_more() {
    let machine = enrolled("revoked");
    kubectl(&["delete", "serviceaccount", "ext-revoked", "-n", ACCOUNTS]).unwrap();
    wait::until_true("the token to be refused", Duration::from_secs(60), || {
        let error = write(&machine.token(), &host("ext-revoked", "Enrolled"));
        Ok(error.is_err_and(|error| error.contains("Unauthorized") || error.contains("logged in")))
    })
    .unwrap();
}
