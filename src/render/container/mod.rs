//! Containers: a service each, which owns the life cycle. The engine's own restart policy is `no`.
//!
//! ```text
//! ExecStartPre  remove what a crash left · make networks and volumes · create · connect
//! ExecStart     start --attach            ExecStopPost  remove
//! ```
//! Every word of every line is typed by us or escaped by rule R; options and their values are one
//! word (`--name=web`), so that no value can be read as an option. Images are never pulled.

mod options;
mod settings;

use askama::Template;
use safetytwin_crds::item::container::Engine;
use safetytwin_crds::item::{ContainerItem, Reason, RunClass};
use safetytwin_crds::names::{ContainerName, UnitName};
use safetytwin_crds::revision::{DesiredFile, Image};

use super::process::check;
use super::unit::values;
use super::{MAX_LINE, Refusal, Rendered, UNIT_DIR, escape};

#[derive(Template)]
#[template(path = "container.service")]
struct ContainerUnit<'a> {
    name: &'a str,
    engine: &'a str,
    daemon: Option<&'a str>,
    before: Vec<String>,
    start: String,
    stop: String,
    remove: String,
    restart: &'a str,
    /// Most starts within an hour.
    starts: Option<i64>,
}

/// `twin-container-<engine of the host>-<name>.service`; of a user's engine
/// `twin-container-<engine>:<uid>-<name>.service`, which no name of a container can be.
pub fn unit_name(item: &ContainerItem) -> Result<UnitName, Refusal> {
    let engine = item.engine.command();
    let name = match item.rootless_uid() {
        Some(uid) => format!("twin-container-{engine}:{uid}-{}.service", item.name),
        None => format!("twin-container-{engine}-{}.service", item.name),
    };
    name.parse().map_err(|e| Refusal::invalid(format!("{e}")))
}

/// Its name in the twin, where one engine has the containers of all users.
fn name_in_twin(item: &ContainerItem) -> String {
    match item.rootless_uid() {
        Some(uid) => format!("{}.user{uid}", item.name),
        None => item.name.to_string(),
    }
}

/// The engine that may stand in when the guest lacks the host's.
pub fn fallback_engine(engine: Engine) -> Option<Engine> {
    match engine {
        Engine::Docker => Some(Engine::Podman),
        Engine::Podman => None,
    }
}

/// Renders a container for `engine`, which is the host's or the one that stands in.
pub fn render(item: &ContainerItem, engine: Engine) -> Result<Rendered, Refusal> {
    let mut rendered = Rendered::default();
    note_differences(item, engine, &mut rendered);
    let image = image(item)?;
    let lines = Lines { engine };
    let mut options = options::options(item, engine, &mut rendered)?;
    options.extend(settings::settings(item, engine, &mut rendered));
    let networks = options::networks(item, &mut rendered);
    let before = lines.before(item, image, &options, &networks);
    if before.iter().any(|line| line.len() > MAX_LINE) {
        return Err(Refusal::new(
            Reason::ArgvTooLong,
            "its command line is longer than 64 KiB when escaped",
        ));
    }
    let name = name_in_twin(item);
    let stop = format!("--time={}", settings::stop_timeout(&item.options));
    let text = ContainerUnit {
        name: &name,
        engine: engine.command(),
        daemon: (engine == Engine::Docker).then_some("docker.service"),
        before,
        start: lines.line("", &["start", "--attach", &name]),
        stop: lines.line("-", &["stop", &stop, &name]),
        remove: lines.line("-", &["rm", "--force", &name]),
        restart: restart(item),
        starts: starts(item),
    }
    .render()
    .map_err(|e| Refusal::invalid(format!("no unit: {e}")))?;
    let text = check(&text, &["Unit", "Service", "Install"])?;
    rendered.installable = true;
    rendered.needs.image = Some(Image {
        reference: image.to_owned(),
        engine,
    });
    rendered.files.push(DesiredFile {
        path: format!("{UNIT_DIR}/{}", unit_name(item)?),
        content: text,
    });
    Ok(rendered)
}

fn note_differences(item: &ContainerItem, engine: Engine, rendered: &mut Rendered) {
    if engine != item.engine {
        let detail = format!(
            "runs with {} instead of {}",
            engine.command(),
            item.engine.command()
        );
        rendered.substitute(Reason::EngineSubstituted, detail);
    }
    if item.rootless_user.is_some() {
        rendered.substitute(
            Reason::EngineSubstituted,
            "runs with the system's engine instead of a user's",
        );
    }
    if item.redactions > 0 {
        let detail = format!("{} redacted", values(item.redactions));
        rendered.substitute(Reason::Redacted, detail);
    }
    if !item.environment_names.is_empty() {
        let detail = format!(
            "runs without its environment: {}",
            item.environment_names.join(", ")
        );
        rendered.substitute(Reason::Redacted, detail);
    }
}

/// The image's reference, when it can be nothing else.
fn image(item: &ContainerItem) -> Result<&str, Refusal> {
    let image = item.image.as_str();
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._/:@-".contains(&b);
    if image.len() <= 255
        && image.bytes().all(known)
        && image.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        Ok(image)
    } else {
        Err(Refusal::invalid("its image has no acceptable name"))
    }
}

/// The host's restart policy, kept by systemd. A container that is Down is not restarted.
fn restart(item: &ContainerItem) -> &'static str {
    match item.restart_policy.as_str() {
        "always" | "unless-stopped" if item.run == RunClass::Up => "always",
        "on-failure" => "on-failure",
        _ => "no",
    }
}

/// Starts that a limit of retries comes to, the first one included.
fn starts(item: &ContainerItem) -> Option<i64> {
    let retries = item.options.restart_max_retries;
    (item.restart_policy == "on-failure" && retries > 0).then(|| retries.min(1000) + 1)
}

/// A network that the container joins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Network<'a> {
    name: &'a str,
    aliases: Vec<&'a str>,
}

/// Writes command lines of one engine.
struct Lines {
    engine: Engine,
}

impl Lines {
    /// One line; `prefix` is `-` where failing is fine. The first words are ours, so none of them
    /// can change what the line means.
    fn line<S: AsRef<str>>(&self, prefix: &str, words: &[S]) -> String {
        let mut line = format!("{prefix}/usr/bin/{}", self.engine.command());
        for word in words {
            line.push(' ');
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,@".contains(&b);
            match word.as_ref() {
                word if !word.is_empty() && word.bytes().all(plain) => line.push_str(word),
                word => escape::push_argument(&mut line, word.as_bytes()),
            }
        }
        line
    }

    fn before(
        &self,
        item: &ContainerItem,
        image: &str,
        options: &[String],
        networks: &[Network<'_>],
    ) -> Vec<String> {
        let name = name_in_twin(item);
        let mut lines = vec![self.line("-", &["rm", "--force", &name])];
        for network in networks {
            lines.push(self.line("-", &["network", "create", network.name]));
        }
        for volume in item.mounts.iter().filter(|m| m.kind == "volume") {
            if volume.driver.is_empty() && volume.source.parse::<ContainerName>().is_ok() {
                lines.push(self.line("-", &["volume", "create", &volume.source]));
            }
        }
        lines.push(self.create(item, image, options, networks));
        for network in networks.iter().skip(1) {
            let mut words = vec!["network".to_owned(), "connect".to_owned()];
            words.extend(network.aliases.iter().map(|a| format!("--alias={a}")));
            words.extend([network.name.to_owned(), name.clone()]);
            lines.push(self.line("", &words));
        }
        lines
    }

    fn create(
        &self,
        item: &ContainerItem,
        image: &str,
        options: &[String],
        networks: &[Network<'_>],
    ) -> String {
        let mut words = vec!["create".to_owned(), format!("--name={}", name_in_twin(item))];
        words.push("--restart=no".into());
        words.push("--pull=never".into());
        match networks.first() {
            Some(first) => {
                words.push(format!("--network={}", first.name));
                words.extend(first.aliases.iter().map(|a| format!("--network-alias={a}")));
                if item.rootless_uid().is_some() {
                    words.push(format!("--network-alias={}", item.name));
                }
            }
            None if item.network_mode == "none" => words.push("--network=none".into()),
            None => {}
        }
        words.extend(options.iter().cloned());
        let mut line = self.line("", &words);
        let mut arguments: Vec<&[u8]> = Vec::new();
        if let Some(entrypoint) = &item.entrypoint {
            let (first, rest) = match entrypoint.split_first() {
                Some((first, rest)) => (first.0.as_slice(), rest),
                None => (&b""[..], &[][..]),
            };
            line.push(' ');
            escape::push_argument(&mut line, &[b"--entrypoint=", first].concat());
            arguments.extend(rest.iter().map(|a| a.0.as_slice()));
        }
        arguments.extend(item.command.iter().flatten().map(|a| a.0.as_slice()));
        line.push_str(" -- ");
        line.push_str(image);
        for argument in arguments {
            line.push(' ');
            escape::push_argument(&mut line, argument);
        }
        line
    }
}
