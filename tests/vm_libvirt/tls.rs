//! A hypervisor over TLS, from the Secret of a class to the VM.

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use safetytwin::controller::ports::{Hypervisor, Site};
use safetytwin::controller::{backends, credentials};
use safetytwin::vm::conformance;
use safetytwin_crds::twinclass::{Libvirt, LocalRef};

use super::lab::{BASE, Lab, TLS_URI, spec};
use super::pki::{Authority, Identity};

/// A class at `uri` whose Secret holds these.
fn site(uri: &str, authorities: &[&Authority], client: &Identity) -> Site {
    let parts = [
        (
            "ca.crt",
            authorities.iter().map(|authority| authority.pem()).collect(),
        ),
        ("tls.crt", client.certificate.clone()),
        ("tls.key", client.key.clone()),
    ];
    let secret = Secret {
        metadata: ObjectMeta {
            namespace: Some("safetytwin".into()),
            name: Some("hv1".into()),
            ..ObjectMeta::default()
        },
        data: Some(
            parts
                .map(|(key, text)| (key.into(), ByteString(text.into())))
                .into(),
        ),
        ..Secret::default()
    };
    Site {
        libvirt: Libvirt {
            uri: uri.into(),
            credentials_ref: Some(LocalRef { name: "hv1".into() }),
            ..super::class()
        },
        credentials: Some(credentials::from_secret(&secret).unwrap()),
    }
}

fn hypervisors() -> Arc<dyn Hypervisor> {
    backends::ports().hypervisors
}

/// Why a class at `site` is not Ready.
async fn refusal(site: &Site) -> (&'static str, String) {
    let error = hypervisors().check(site).await.unwrap_err();
    (error.reason(), error.to_string())
}

/// Connections to the TLS port that are open in the namespace of this thread, seen from the client.
fn connections() -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let open = |line: &&str| {
        // proc(5): remote address and port, and state; 0x4082 is 16514, 01 is ESTABLISHED.
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.ends_with(":4082")) && fields.next() == Some("01")
    };
    table.lines().skip(1).filter(open).count()
}

#[test]
fn a_class_is_worked_over_tls_with_the_client_certificate_of_its_secret() {
    let authority = Authority::new("lab");
    let lab = Lab::start_with_tls(&authority);
    let site = site(TLS_URI, &[&authority], &authority.client());
    lab.inside(async {
        let hypervisors = hypervisors();
        hypervisors.check(&site).await.unwrap();
        let vm = hypervisors.vm(&site, spec(1)).await.unwrap();
        if let Err(error) = conformance::run(vm.as_ref()).await {
            panic!("{error}\nfiles: {:?}", lab.files());
        }
    });
    assert_eq!(lab.files(), [BASE]);
}

#[test]
fn a_hypervisor_over_tls_takes_and_gives_only_certificates_of_the_right_authority() {
    let (ours, other) = (Authority::new("lab"), Authority::new("other"));
    let lab = Lab::start_with_tls(&ours);
    let mixed = Identity {
        key: ours.client().key,
        ..ours.client()
    };
    lab.inside(async {
        for (uri, authorities, client, says) in [
            (
                TLS_URI,
                vec![&ours, &other],
                other.client(),
                "the hypervisor refuses tls.crt",
            ),
            (TLS_URI, vec![&other], other.client(), "verify peer's certificate"),
            (
                "qemu+tls://localhost/system",
                vec![&ours],
                ours.client(),
                "valid for the host in the URI",
            ),
            (
                TLS_URI,
                vec![&ours],
                other.client(),
                "tls.crt of Secret safetytwin/hv1 failed validation against ca.crt of Secret safetytwin/hv1",
            ),
            (TLS_URI, vec![&ours], mixed, "key do not match"),
        ] {
            let (reason, message) = refusal(&site(uri, &authorities, &client)).await;
            assert_eq!(reason, "HypervisorUnreachable", "{message}");
            assert!(message.contains(says), "{says:?} is not in {message}");
            assert!(message.contains("Secret safetytwin/hv1"), "{message}");
        }
        let mut without = site(TLS_URI, &[&ours], &ours.client());
        without.credentials = None;
        assert_eq!(refusal(&without).await.0, "CredentialsMissing");
        // Nothing of that is remembered.
        let right = site(TLS_URI, &[&ours], &ours.client());
        hypervisors().check(&right).await.unwrap();
    });
}

#[test]
fn a_replaced_certificate_means_a_new_connection_and_the_end_of_the_old_one() {
    let authority = Authority::new("lab");
    let lab = Lab::start_with_tls(&authority);
    let (before, after) = (
        site(TLS_URI, &[&authority], &authority.client()),
        site(TLS_URI, &[&authority], &authority.client()),
    );
    lab.inside(async {
        let hypervisors = hypervisors();
        let old = hypervisors.vm(&before, spec(1)).await.unwrap();
        assert_eq!(old.observe().await.unwrap(), None);
        let same = hypervisors.vm(&before, spec(2)).await.unwrap();
        assert_eq!(same.observe().await.unwrap(), None);
        assert_eq!(connections(), 1, "one certificate, one connection");
        let new = hypervisors.vm(&after, spec(1)).await.unwrap();
        assert_eq!(new.observe().await.unwrap(), None);
        assert_eq!(connections(), 2);
        drop((old, same));
        let ended = async {
            while connections() > 1 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let patience = std::time::Duration::from_secs(30);
        assert!(tokio::time::timeout(patience, ended).await.is_ok());
        assert_eq!(new.observe().await.unwrap(), None);
    });
}
