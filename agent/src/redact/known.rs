//! What is known of particular tokens and programs: data for the rules.

/// Beginnings of well-known tokens, and how many more characters they have at least.
pub const PREFIXES: [(&str, usize); 49] = [
    ("ghp_", 16),
    ("gho_", 16),
    ("ghu_", 16),
    ("ghs_", 16),
    ("ghr_", 16),
    ("github_pat_", 16),
    ("glpat-", 16),
    ("gldt-", 16),
    ("glrt-", 16),
    ("glptt-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xoxa-", 16),
    ("xoxr-", 16),
    ("xoxs-", 16),
    ("xapp-", 16),
    ("sk-", 16),
    ("sk_live_", 12),
    ("sk_test_", 12),
    ("rk_live_", 12),
    ("rk_test_", 12),
    ("whsec_", 12),
    ("AIza", 30),
    ("ya29.", 16),
    ("GOCSPX-", 16),
    ("hvs.", 16),
    ("hvb.", 16),
    ("hvr.", 16),
    ("dckr_pat_", 16),
    ("dckr_oat_", 16),
    ("npm_", 30),
    ("pypi-", 30),
    ("SG.", 16),
    ("key-", 32),
    ("dop_v1_", 32),
    ("doo_v1_", 32),
    ("dapi", 32),
    ("hf_", 30),
    ("shpat_", 24),
    ("lin_api_", 24),
    ("glsa_", 24),
    ("glc_", 24),
    ("tskey-", 16),
    ("AGE-SECRET-KEY-", 40),
    ("PMAK-", 32),
    ("sntrys_", 24),
    ("nvapi-", 32),
    ("EAACEdEose0cBA", 16),
    ("ops_eyJ", 32),
];

/// Words after which a value follows without any sign between: SNMP, LDAP and Redis settings.
pub const KEYWORDS: [&str; 8] = [
    "rocommunity",
    "rwcommunity",
    "rocommunity6",
    "rwcommunity6",
    "trapcommunity",
    "bindpw",
    "requirepass",
    "masterauth",
];

/// How a program takes secrets.
pub struct Program {
    /// Its names, without directories.
    names: &'static [&'static str],
    /// Flags whose next argument is, or holds, a secret.
    pub next: &'static [&'static str],
    /// Flags that a secret follows within the same argument.
    pub joined: &'static [&'static str],
    /// Words of a subcommand whose second argument is a secret: `add_user NAME SECRET`.
    pub second: &'static [&'static str],
}

const fn program(
    names: &'static [&'static str],
    next: &'static [&'static str],
    joined: &'static [&'static str],
) -> Program {
    Program {
        names,
        next,
        joined,
        second: &[],
    }
}

const fn second(names: &'static [&'static str], second: &'static [&'static str]) -> Program {
    Program {
        names,
        next: &[],
        joined: &[],
        second,
    }
}

const PROGRAMS: [Program; 21] = [
    program(
        &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlcheck",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
        ],
        &[],
        &["-p"],
    ),
    program(&["sshpass"], &["-p"], &["-p"]),
    program(
        &["curl"],
        &[
            "-u",
            "--user",
            "--proxy-user",
            "-U",
            "-b",
            "--pass",
            "--oauth2-bearer",
        ],
        &["-u"],
    ),
    program(&["redis-cli", "valkey-cli"], &["-a", "--pass"], &[]),
    program(
        &["ldapsearch", "ldapmodify", "ldapadd", "ldapwhoami", "ldapdelete"],
        &["-w"],
        &["-w"],
    ),
    program(&["docker", "podman", "nerdctl"], &["--creds"], &[]),
    program(
        &["skopeo", "buildah", "oras"],
        &["--creds", "--src-creds", "--dest-creds"],
        &[],
    ),
    program(
        &["snmpget", "snmpwalk", "snmpset", "snmpbulkwalk", "snmptrap"],
        &["-c", "-A", "-X"],
        &["-c"],
    ),
    program(&["zip", "unzip"], &["-P"], &["-P"]),
    program(&["7z", "7za", "7zr", "rar", "unrar"], &[], &["-p"]),
    program(&["smbclient", "rpcclient", "net"], &["-U"], &[]),
    program(
        &["openssl"],
        &["-k", "-K", "-pass", "-passin", "-passout", "-hmac"],
        &[],
    ),
    program(
        &[
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "cqlsh",
            "beeline",
        ],
        &["-p"],
        &["-p"],
    ),
    program(
        &["mosquitto_pub", "mosquitto_sub", "ipmitool", "sqlcmd", "bcp"],
        &["-P"],
        &["-P"],
    ),
    program(&["lftp"], &["-u"], &[]),
    program(&["etcdctl"], &["--user"], &[]),
    program(&["xfreerdp", "wlfreerdp"], &[], &["/p:"]),
    program(
        &["nmcli"],
        &["password", "wifi-sec.psk", "802-11-wireless-security.psk"],
        &[],
    ),
    second(
        &["rabbitmqctl"],
        &["add_user", "change_password", "authenticate_user"],
    ),
    second(
        &["htpasswd"],
        &["-b", "-nb", "-cb", "-bc", "-nbB", "-bB", "-cbB", "-nbm"],
    ),
    program(&["wpa_passphrase"], &[], &[]),
];

/// What is known of a program of this name or path.
pub fn program_of(word: &str) -> Option<&'static Program> {
    let name = word.rsplit('/').next().unwrap_or_default();
    PROGRAMS.iter().find(|program| program.names.contains(&name))
}

impl Program {
    /// The length of a flag that a value follows within `argument`.
    pub fn joined_len(&self, argument: &str) -> Option<usize> {
        let flag = self.joined.iter().find(|flag| argument.starts_with(**flag))?;
        (argument.len() > flag.len() && !argument.starts_with("--")).then_some(flag.len())
    }
}
