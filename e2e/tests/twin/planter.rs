//! Secrets of every format of the corpus, written into all that the agent reads.

use std::collections::BTreeSet;

use safetytwin_e2e::lab::host::quote;

use self::corpus::formats::{COMMANDS, TEXTS};
use self::corpus::secrets::{Secrets, traces};
use self::corpus::{commented, plant, quoted};

/// The corpus of the agent's own test.
#[path = "../../../agent/src/planted/corpus/mod.rs"]
#[allow(dead_code, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]
mod corpus;

/// Plants, and remembers what.
pub struct Planter {
    source: Secrets,
    pub planted: BTreeSet<String>,
    pub formats: BTreeSet<&'static str>,
}

impl Planter {
    pub fn new(seed: u64) -> Self {
        Self {
            source: Secrets::new(seed),
            planted: BTreeSet::new(),
            formats: BTreeSet::new(),
        }
    }

    /// Writes new secrets into a format.
    pub fn plant(&mut self, format: &'static str) -> String {
        let planted = plant(&mut self.source, format);
        self.planted.extend(planted.secrets);
        self.formats.insert(format);
        planted.text
    }

    /// A token that may stand in a name.
    pub fn token(&mut self) -> String {
        let is_name = |token: &String| token.starts_with("gh") || token.starts_with("glsa_");
        let tokens = std::iter::repeat_with(|| self.source.make("tok"));
        let token = tokens.take(10_000).find(is_name).unwrap_or_default();
        self.planted.insert(token.clone());
        token
    }

    fn texts(&mut self) -> Vec<String> {
        TEXTS
            .iter()
            .map(|format| self.plant(format).replace("\\n", "\n"))
            .collect()
    }

    fn commands(&mut self) -> Vec<Vec<String>> {
        let words = |line: String| line.split('|').map(str::to_owned).collect();
        COMMANDS.iter().map(|format| words(self.plant(format))).collect()
    }

    /// A service with all commands, and all texts as comments.
    pub fn unit(&mut self) -> String {
        let mut text = "[Service]\nType=oneshot\n".to_owned();
        for words in self.commands() {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            text += &format!("ExecStart=-{}\n", words.join(" "));
        }
        text + &commented(&self.texts().join("\n"))
    }

    /// A drop-in with all commands as comments, and all texts as settings.
    pub fn drop_in(&mut self) -> String {
        let commands = self
            .commands()
            .iter()
            .map(|words| words.join(" "))
            .collect::<Vec<_>>();
        let mut text = commented(&commands.join("\n")) + "[Service]\n";
        for (number, setting) in self.texts().iter().enumerate() {
            let named = setting.split_once('=').is_some_and(|(name, _)| is_variable(name));
            let name = if named {
                String::new()
            } else {
                format!("SETTING{number}=")
            };
            text += &format!("Environment={}\n", quoted(&(name + setting)));
        }
        text + &format!("SetCredential=key:{}\n", self.plant("{pw}"))
    }

    /// Words of `docker create` behind the name.
    pub fn container(&mut self) -> String {
        let commands = self.commands().into_iter().map(|words| words.join(" "));
        let labels: Vec<String> = commands.chain(self.texts()).collect();
        let mut words = String::new();
        for (number, label) in labels.iter().enumerate() {
            words += &format!(" --label {}", quote(&format!("app.{number}={label}")));
        }
        words += &format!(" -e {}", quote(&self.plant("DB_PASSWORD={sym}")));
        words += &format!(" --label {}=x", quote(&format!("note-{}", self.token())));
        words += &format!(
            " --health-cmd {}",
            quote(&self.plant("wget -q -O- http://web:{sym:url}@h:8080/health"))
        );
        let program = self.plant("x|--password|{pw}|--token={jwt}|postgres://web:{sym:url}@db/app|{tok}");
        let program: Vec<String> = program.split('|').map(quote).collect();
        format!(
            "{words} localhost/busybox:1 sh -c 'sleep 100000; :' {}",
            program.join(" ")
        )
    }

    /// A process that runs under the name of the first word, with the others as its arguments.
    pub fn process(&mut self, format: &'static str) -> String {
        let words = self.plant(format);
        let (name, rest) = words.split_once('|').unwrap_or((&words, ""));
        let rest: Vec<String> = rest.split('|').map(quote).collect();
        let program = format!("exec -a {name} /bin/sh -c 'sleep 876000; :' {}", rest.join(" "));
        format!(
            "cd /srv && setsid --fork bash -c {} < /dev/null > /dev/null 2>&1",
            quote(&program)
        )
    }

    /// All that may not be found, a line each.
    pub fn patterns(&self) -> String {
        let all: BTreeSet<String> = self.planted.iter().flat_map(|secret| traces(secret)).collect();
        all.into_iter().map(|trace| trace + "\n").collect()
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}
