//! AI runtimes among the units, containers and processes of a host: which one, its model, its port, what it takes of
//! the accelerators. Pure: everything is taken from items that are collected anyway, after their redaction.
//!
//! ```text
//! unit (ExecStart) ─┐
//! container ────────┼─▶ command ──▶ program ──▶ runtimes.yaml ──▶ AiItem
//! process ──────────┘
//! ```
//! A client of a runtime, a training script, an editor, or a name in a path is no runtime. How well that is told apart
//! is measured on the labelled set beside this file.

mod command;
mod rules;

use safetytwin_crds::item::ai::{AiItem, Model, PortEvidence, ServedPort};
use safetytwin_crds::item::{ContainerItem, ItemId, ProcessItem, RunClass, Text, UnitItem};

use self::command::Command;
use self::rules::{Runtime, TABLE, base_name};
use crate::collect::units::text::{UnitText, words};

/// A runtime and what it was started with.
struct Found {
    runtime: &'static Runtime,
    arguments: Vec<String>,
}

impl Found {
    fn of(command: &Command) -> Option<Self> {
        let (program, arguments) = command::program(&TABLE, command)?;
        let runtime = TABLE.runtimes.iter().find(|r| r.runs(&program, &arguments))?;
        Some(Self { runtime, arguments })
    }

    fn item(&self, key: ItemId, run: RunClass) -> AiItem {
        AiItem {
            key,
            runtime: self.runtime.name.clone(),
            api: self.runtime.api.clone(),
            run,
            model: self.model(),
            port: None,
            accelerators: self.accelerators(),
        }
    }

    fn model(&self) -> Option<Model> {
        let rule = &self.runtime.model;
        let named = || rule.options.iter().find_map(|o| self.value(o));
        let placed = || rule.positional.then(|| self.positional()).flatten();
        named().or_else(placed).map(model)
    }

    /// The value of an option, as `--option value` or `--option=value`.
    fn value(&self, option: &str) -> Option<&str> {
        self.arguments.iter().enumerate().find_map(|(at, word)| {
            let rest = word.strip_prefix(option)?;
            match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if rest.is_empty() => {
                    let next = self.arguments.get(at + 1)?;
                    (!next.starts_with('-')).then_some(next.as_str())
                }
                None => None,
            }
        })
    }

    /// The word after the verb; else the first that stands after no option.
    fn positional(&self) -> Option<&str> {
        let words = self.arguments.get(self.runtime.verb(&self.arguments)?..)?;
        let plain = |word: &&String| !word.starts_with('-');
        let after_option = |at: usize| {
            at.checked_sub(1)
                .and_then(|b| words.get(b))
                .is_some_and(|w| w.starts_with('-'))
        };
        let mut places = words.iter().enumerate();
        places
            .find(|(at, word)| plain(word) && !after_option(*at))
            .map(|(_, word)| word.as_str())
    }

    fn accelerators(&self) -> Vec<String> {
        let options = self.runtime.accelerators.iter();
        let given = |option: &String| match self.value(option) {
            Some(value) => Some(format!("{option} {value}")),
            None => self.arguments.contains(option).then(|| option.clone()),
        };
        let mut list: Vec<String> = options.filter_map(given).collect();
        list.sort();
        list
    }

    /// The port that the command line names: a number, or the end of an address.
    fn declared(&self) -> Option<u16> {
        let values = self.runtime.port.options.iter().filter_map(|o| self.value(o));
        let number = |value: &str| value.rsplit(':').next().and_then(|port| port.parse().ok());
        values.filter_map(number).next()
    }

    /// Where it serves: a socket among `listening`, else what is declared, else the default.
    fn port(&self, listening: &[u16]) -> Option<ServedPort> {
        let rule = &self.runtime.port;
        let wanted = [self.declared(), rule.default];
        let known = wanted.into_iter().flatten().find(|p| listening.contains(p));
        let served = |number, evidence| Some(ServedPort { number, evidence });
        match (
            known.or_else(|| listening.first().copied()),
            self.declared(),
            rule.default,
        ) {
            (Some(number), _, _) => served(number, PortEvidence::Listening),
            (None, Some(number), _) => served(number, PortEvidence::Declared),
            (None, None, Some(number)) => served(number, PortEvidence::Default),
            (None, None, None) => None,
        }
    }
}

/// A model by what a command line calls it.
fn model(text: &str) -> Model {
    const FILES: [&str; 8] = [
        ".gguf",
        ".ggml",
        ".bin",
        ".safetensors",
        ".pt",
        ".pth",
        ".ckpt",
        ".onnx",
    ];
    let place = text.strip_prefix("file://").unwrap_or(text);
    let is_file =
        place.starts_with(['/', '.', '~']) || FILES.iter().any(|end| place.to_lowercase().ends_with(end));
    if !is_file {
        return Model {
            name: text.to_owned(),
            ..Model::default()
        };
    }
    let name = base_name(place.trim_end_matches('/')).to_owned();
    let digest = name.strip_prefix("sha256-").filter(|hex| hex.len() == 64);
    Model {
        digest: digest.map(|hex| format!("sha256:{hex}")),
        file: Some(place.to_owned()),
        name,
    }
}

/// A process as a runtime, if it is one.
pub fn of_process(process: &ProcessItem) -> Option<AiItem> {
    let lossy = |text: &Option<Text>| text.as_ref().map(Text::lossy).unwrap_or_default();
    let command = Command {
        executable: lossy(&process.executable)
            .trim_end_matches(" (deleted)")
            .to_owned(),
        argv: process.argv.iter().map(Text::lossy).collect(),
        directory: lossy(&process.working_directory),
    };
    let found = Found::of(&command)?;
    let mut item = found.item(process.id(), RunClass::Up);
    let port = |listen: &String| listen.strip_prefix("tcp:")?.rsplit(':').next()?.parse().ok();
    let listening: Vec<u16> = process.listens.iter().filter_map(port).collect();
    item.port = found.port(&listening);
    Some(item)
}

/// A unit as a runtime, if it is one.
pub fn of_unit(unit: &UnitItem) -> Option<AiItem> {
    let service = unit.service.as_ref()?;
    let mut text = UnitText::default();
    for file in unit.fragment.iter().chain(&unit.drop_ins) {
        text.add(file.content.as_deref().unwrap_or_default());
    }
    let directory = text.last("Service", "WorkingDirectory").unwrap_or_default();
    let commands = text.all("Service", "ExecStart");
    let of_text = commands
        .iter()
        .filter_map(|line| Found::of(&command_line(line, directory)));
    // Of a package's unit only the executables are published.
    let of_files = service
        .executables
        .iter()
        .filter(|_| commands.is_empty())
        .filter_map(|path| {
            Found::of(&Command {
                argv: vec![path.clone()],
                ..Command::default()
            })
        });
    let found = of_text.chain(of_files).next()?;
    let mut item = found.item(unit.id(), unit.run);
    item.port = found.port(&[]);
    Some(item)
}

/// An `ExecStart=` line without its prefixes (systemd.service(5), "COMMAND LINES").
fn command_line(line: &str, directory: &str) -> Command {
    let plain = line.trim_start_matches(['-', ':', '+', '!', '|', '@']);
    let prefixes = line.len() - plain.len();
    let mut argv = words(plain);
    if line.get(..prefixes).is_some_and(|p| p.contains('@')) && argv.len() > 1 {
        // With @ the second word is what the program is called.
        argv.remove(1);
    }
    Command {
        executable: String::new(),
        argv,
        directory: directory.trim_start_matches('-').to_owned(),
    }
}

/// A container as a runtime, if it is one.
pub fn of_container(container: &ContainerItem) -> Option<AiItem> {
    let lossy =
        |list: &Option<Vec<Text>>| -> Vec<String> { list.iter().flatten().map(Text::lossy).collect() };
    let (entrypoint, arguments) = (lossy(&container.entrypoint), lossy(&container.command));
    let command = |argv: Vec<String>| Command {
        argv,
        directory: container.working_directory.clone(),
        ..Command::default()
    };
    let told = command(entrypoint.iter().chain(&arguments).cloned().collect());
    let found = Found::of(&told).or_else(|| {
        // One argument with spaces is for an image whose entry point is a shell.
        let arguments = match arguments.as_slice() {
            [line] if entrypoint.is_empty() => words(line),
            _ => arguments.clone(),
        };
        if let Some(found) = Found::of(&command(arguments.clone())) {
            return Some(found);
        }
        // Another entry point, or an interpreter as the command, makes the image a mere base.
        let first = command(arguments.clone());
        let replaced = !entrypoint.is_empty() || command::runs_another(&TABLE, &first);
        let runtime = TABLE
            .runtimes
            .iter()
            .find(|r| !replaced && r.has_image(&container.image, &arguments))?;
        Some(Found { runtime, arguments })
    })?;
    let mut item = found.item(container.id(), container.run);
    item.port = published(container, &found);
    item.accelerators.extend(container.devices.iter().cloned());
    item.accelerators.sort();
    Some(item)
}

/// The port of the host behind which a container serves; none where its engine picks it.
fn published(container: &ContainerItem, found: &Found) -> Option<ServedPort> {
    if container.network_mode == "host" {
        return found.port(&[]);
    }
    let rule = &found.runtime.port;
    let inside = [found.declared(), rule.image, rule.default];
    let behind = |inside: u16| container.ports.iter().find(|p| p.container_port == inside);
    let only = match container.ports.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    let mapping = inside.into_iter().flatten().find_map(behind).or(only)?;
    Some(ServedPort {
        number: mapping.fixed()?,
        evidence: PortEvidence::Published,
    })
}

#[cfg(test)]
mod tests;
