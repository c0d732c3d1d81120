//! A libvirtd of the test's own: in its own network, mount and process namespaces, with its own state.
//!
//! The machine's libvirt is never touched. Everything ends with the first process of the namespace.
//! The pool's folder is seen by that libvirtd only: what a test's backend does with a volume, it does
//! through libvirt, as on a remote hypervisor.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use safetytwin::vm::libvirt::{Endpoint, Hypervisors};
use safetytwin::vm::{Seed, TwinVm, VmError, VmOrigin, VmSpec};
use safetytwin_crds::twinclass::{Libvirt, Vm, VmType};
use virt::connect::Connect;
use virt::network::Network;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use super::pki::Authority;

const NEEDED: &[&str] = &[
    "unshare",
    "ip",
    "libvirtd",
    "virtlogd",
    "qemu-system-x86_64",
    "qemu-img",
    "dnsmasq",
];
const INSTALL: &str = "apt-get install -y qemu-system-x86 qemu-utils libvirt-daemon-system \
                       libvirt-daemon-driver-qemu libvirt-clients dnsmasq-base iproute2 nftables";

const INSIDE: &str = r#"set -e
ip link set lo up
mount -t tmpfs -o mode=0755 lab /run
mount -t sysfs lab /sys
mkdir -p /run/libvirt /run/lock
mount --bind "$LAB/run" /run/libvirt
mount --bind "$LAB/lib" /var/lib/libvirt
mount --bind "$LAB/etc" /etc/libvirt
mount --bind "$LAB/cache" /var/cache/libvirt
mount --bind "$LAB/log" /var/log/libvirt
virtlogd -d -p /run/virtlogd.pid
# No exec: this shell is process 1 of the namespace and reaps what QEMU leaves.
libvirtd $LISTEN -p /run/libvirtd.pid
exit
"#;

/// Where the pool is for libvirtd, and where this process finds it below the lab's folder.
const POOL_FOLDER: (&str, &str) = ("/var/lib/libvirt/twins", "lib/twins");

/// Of a lab that listens with TLS, in its network namespace.
pub const TLS_URI: &str = "qemu+tls://127.0.0.1/system";

pub const POOL: &str = "twins";
pub const NETWORK: &str = "twins-isolated";
pub const BASE: &str = "base.qcow2";

/// A running libvirtd with a pool, an isolated network and an empty base image.
pub struct Lab {
    folder: tempfile::TempDir,
    first: Child,
    hypervisors: Hypervisors,
}

impl Lab {
    pub fn start() -> Self {
        Self::start_with("", None)
    }

    /// Also listens with TLS, as `server` and for clients of `authority`.
    pub fn start_with_tls(authority: &Authority) -> Self {
        let daemon = "listen_tls = 1\nlisten_tcp = 0\nlisten_addr = \"127.0.0.1\"\nauth_tls = \"none\"\n\
                      ca_file = \"/etc/libvirt/ca.pem\"\ncert_file = \"/etc/libvirt/server.pem\"\n\
                      key_file = \"/etc/libvirt/server.key\"\n";
        Self::start_with(daemon, Some(authority))
    }

    fn start_with(tls: &str, authority: Option<&Authority>) -> Self {
        for program in NEEDED {
            let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists());
            assert!(found, "{program} is missing; install it: {INSTALL}");
        }
        let folder = tempfile::Builder::new().prefix("twin-vm-").tempdir().unwrap();
        for name in ["run", "lib", "etc", "cache", "log", POOL_FOLDER.1] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let etc = folder.path().join("etc");
        if let Some(authority) = authority {
            let server = authority.server();
            std::fs::write(etc.join("ca.pem"), authority.pem()).unwrap();
            std::fs::write(etc.join("server.pem"), server.certificate).unwrap();
            std::fs::write(etc.join("server.key"), server.key).unwrap();
        }
        // Anybody in this process's place may connect; QEMU runs as root, without control groups.
        let daemon = format!("auth_unix_rw = \"none\"\nunix_sock_rw_perms = \"0700\"\n{tls}");
        let qemu = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\nremember_owner = 0\n\
                    cgroup_controllers = []\nnamespaces = []\n";
        std::fs::write(etc.join("libvirtd.conf"), daemon).unwrap();
        std::fs::write(etc.join("qemu.conf"), qemu).unwrap();
        let log = std::fs::File::create(folder.path().join("log/lab.log")).unwrap();
        let first = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["--propagation", "private", "--", "sh", "-c", INSIDE])
            .env("LAB", folder.path())
            .env("LISTEN", if authority.is_some() { "--listen" } else { "" })
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("failed to run unshare: run this test as root");
        let lab = Self {
            folder,
            first,
            hypervisors: Hypervisors::new(),
        };
        lab.with_connect(|connect| lab.furnish(connect));
        lab
    }

    pub fn uri(&self) -> String {
        format!(
            "qemu+unix:///system?socket={}/run/libvirt-sock",
            self.folder.path().display()
        )
    }

    pub fn pool_folder(&self) -> PathBuf {
        self.folder.path().join(POOL_FOLDER.1)
    }

    /// Names of the files in the pool, sorted.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.pool_folder()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn vm(&self, spec: VmSpec) -> Arc<dyn TwinVm> {
        self.hypervisors.vm(&self.endpoint(), spec)
    }

    pub async fn check(&self, class: &Libvirt) -> Result<(), VmError> {
        self.hypervisors.check(&self.endpoint(), class).await
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.uri(), None).unwrap()
    }

    /// Runs `work` on a thread in the lab's network namespace, which its connections are made from.
    pub fn inside<R: Send>(&self, work: impl Future<Output = R> + Send) -> R {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.first.id())).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(work)
            });
            inside.join().unwrap()
        })
    }

    /// Runs `work` on a connection of its own, as an administrator would with virsh.
    pub fn with_connect<R>(&self, work: impl FnOnce(&Connect) -> R) -> R {
        let began = Instant::now();
        let mut connect = loop {
            match Connect::open(Some(&self.uri())) {
                Ok(connect) => break connect,
                Err(error) if began.elapsed() > Duration::from_secs(60) => {
                    let log = std::fs::read_to_string(self.folder.path().join("log/lab.log"));
                    panic!("libvirtd does not answer: {error}\n{}", log.unwrap_or_default());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let result = work(&connect);
        connect.close().unwrap();
        result
    }

    fn furnish(&self, connect: &Connect) {
        let pool = format!(
            "<pool type='dir'><name>{POOL}</name><target><path>{}</path></target></pool>",
            POOL_FOLDER.0
        );
        let pool = StoragePool::define_xml(connect, &pool, 0).unwrap();
        pool.create(0).unwrap();
        let base = format!(
            "<volume><name>{BASE}</name><capacity unit='MiB'>64</capacity>\
             <target><format type='qcow2'/></target></volume>"
        );
        StorageVol::create_xml(&pool, &base, 0).unwrap();
        for (name, bridge, forward) in [
            (NETWORK, "twin0", ""),
            ("open", "twin1", "<forward mode='open'/>"),
        ] {
            let network = format!(
                "<network><name>{name}</name><bridge name='{bridge}'/><dns enable='no'/>{forward}</network>"
            );
            Network::create_xml(connect, &network).unwrap();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Its child is process 1 of the namespace and dies with it, and all others with that.
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

/// A VM that boots nothing: enough for everything but the guest's own side.
pub fn spec(number: u32) -> VmSpec {
    VmSpec {
        name: format!("ops-web-{number:02}-9c1e"),
        uuid: format!("5f0c6f1e-6a7e-4b39-9d3c-0d6c2f6f{number:04x}"),
        twin_uid: format!("twin-{number}"),
        origin: VmOrigin::BaseImage {
            volume: BASE.into(),
            seed: Seed {
                instance_id: "twin".into(),
                hostname: "web".into(),
                authorized_key: "ssh-ed25519 AAAA".into(),
                host_key_private: "private".into(),
                host_key_public: "public".into(),
            },
        },
        pool: POOL.into(),
        network: NETWORK.into(),
        vm: Vm {
            type_: VmType::Qemu,
            ..Vm::default()
        },
        cpus: 1,
        memory_bytes: 128 << 20,
    }
}
