//! The agent's opt-in sections, against what the host's own tools say.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use safetytwin_crds::digest::Digest;
use safetytwin_crds::item::file::{FileType, Withheld};
use safetytwin_crds::item::module::ModuleState;
use safetytwin_crds::item::{
    AccountItem, CronItem, FileItem, HostnameItem, ModuleItem, PackageItem, SysctlItem,
};
use safetytwin_crds::redaction;
use safetytwin_crds::section::{SectionName, SectionState};
use safetytwin_e2e::lab::host::quote;

use crate::Sentence;
use crate::dump::{Dump, LIMIT, agree};
use crate::world::World;

pub const SENTENCES: &[Sentence] = &[
    (
        "no_section_is_published_that_the_administrator_did_not_choose",
        nothing_is_published_that_was_not_chosen,
    ),
    (
        "the_chosen_sections_say_what_the_host_s_own_tools_say",
        the_sections_say_what_the_tools_say,
    ),
];

const CHOSEN: &str = "--section=packages,accounts,files,hostname,sysctl,modules,cron --file='/etc/agree/*'";
const SECRET: &str = "S3cr3tS3cr3tS3cr3t";

const MAKE: &str = "set -e
useradd --system --uid 4711 --comment 'Jane Roe' --groups audio agree
chown agree:audio /etc/agree/owned.conf
chmod 600 /etc/agree/private.conf
ln -s /etc/shadow /etc/agree/link
sysctl --quiet --write vm.swappiness=43
printf '5 4 * * 1 /bin/true weekly\\n' | crontab -u agree -";

const CLEAN: &str = "crontab -u agree -r
rm -rf /etc/agree /etc/cron.d/agree /etc/sysctl.d/60-agree.conf /etc/modules-load.d/agree.conf
userdel agree
sysctl --quiet --write vm.swappiness=60";

fn nothing_is_published_that_was_not_chosen(world: &World) -> Result<()> {
    let dump = Dump::look(world, "")?;
    let chosen = SectionName::OPT_IN.map(|name| dump.head.spec.section(name).is_some());
    ensure!(chosen == [false; 7], "{:?}", dump.head.spec.sections);
    Ok(())
}

fn the_sections_say_what_the_tools_say(world: &World) -> Result<()> {
    let host = world.lab.host();
    host.write(
        "/etc/agree/app.conf",
        format!("port = 8080\npassword = {SECRET}\n"),
    )?;
    host.write("/etc/agree/owned.conf", "a line\n")?;
    host.write("/etc/agree/private.conf", "a line\n")?;
    host.write(
        "/etc/cron.d/agree",
        format!("*/5 * * * * root /bin/true --token {SECRET}\n"),
    )?;
    host.write("/etc/sysctl.d/60-agree.conf", "vm.swappiness = 41\n")?;
    host.write("/etc/modules-load.d/agree.conf", "loop\n")?;
    host.run(MAKE)?;
    let agreed = agree("the sections to agree with the host's tools", LIMIT, || {
        differences(world)
    });
    host.run(CLEAN)?;
    agreed
}

/// What the agent and the host's tools say at one time.
fn differences(world: &World) -> Result<Vec<String>> {
    let text = Dump::text(world, CHOSEN)?;
    ensure!(!text.contains(SECRET), "a secret is published");
    ensure!(!text.contains("Jane Roe"), "a person's name is published");
    let dump = Dump::read(&text)?;
    let mut differences = Vec::new();
    for name in SectionName::OPT_IN {
        let section = dump
            .head
            .spec
            .section(name)
            .with_context(|| format!("no section {name}"))?;
        if section.state != SectionState::Complete {
            differences.push(format!("{name} is {section:?}"));
        }
    }
    for (what, (ours, theirs)) in [
        ("packages", packages(world, &dump)?),
        ("users", users(world, &dump)?),
        ("groups", groups(world, &dump)?),
        ("modules", modules(world, &dump)?),
        ("parameters", parameters(world, &dump)?),
        ("names", names(world, &dump)?),
    ] {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (ours, theirs) = (lines(&ours), lines(&theirs));
        ensure!(!theirs.is_empty(), "the host has no {what}");
        let more = ours.iter().filter(|line| !theirs.contains(line));
        differences.extend(more.map(|line| format!("{what}: only the agent says {line}")));
        let less = theirs.iter().filter(|line| !ours.contains(line));
        differences.extend(less.map(|line| format!("{what}: only the host says {line}")));
    }
    differences.extend(files(world, &dump)?);
    differences.extend(jobs(&dump)?);
    Ok(differences)
}

/// Lines of ours and of the host's.
type Both = (String, String);

fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

fn packages(world: &World, dump: &Dump) -> Result<Both> {
    let items: Vec<PackageItem> = dump.items(SectionName::Packages)?;
    let ours = items.iter().map(|p| {
        let state = p.state.as_deref().unwrap_or("installed");
        format!("{} {} {} {state}", p.name, p.architecture, p.version)
    });
    let query = r"dpkg-query -W -f '${Package} ${Architecture} ${Version} ${db:Status-Status}\n' | grep -v ' not-installed$'";
    Ok((joined(ours), world.lab.host().run(query)?))
}

fn users(world: &World, dump: &Dump) -> Result<Both> {
    let items: Vec<AccountItem> = dump.items(SectionName::Accounts)?;
    let ours = items.iter().filter_map(|item| match item {
        AccountItem::User {
            name,
            id,
            primary_group,
            home,
            shell,
        } => Some(format!("{name}:{id}:{primary_group}:{home}:{shell}")),
        AccountItem::Group { .. } => None,
    });
    Ok((
        joined(ours),
        world
            .lab
            .host()
            .run("getent -s files passwd | cut -d: -f1,3,4,6,7")?,
    ))
}

fn groups(world: &World, dump: &Dump) -> Result<Both> {
    let items: Vec<AccountItem> = dump.items(SectionName::Accounts)?;
    let ours = items.iter().filter_map(|item| match item {
        AccountItem::Group { name, id, members } => Some(format!("{name}:{id}:{}", members.join(","))),
        AccountItem::User { .. } => None,
    });
    Ok((
        joined(ours),
        world.lab.host().run("getent -s files group | cut -d: -f1,3,4")?,
    ))
}

fn modules(world: &World, dump: &Dump) -> Result<Both> {
    let items: Vec<ModuleItem> = dump.items(SectionName::Modules)?;
    let wanted = items.iter().find(|m| m.name == "loop");
    let files = wanted.map(|m| m.configured.clone()).unwrap_or_default();
    ensure!(files == ["/etc/modules-load.d/agree.conf"], "{wanted:?}");
    let live = items.iter().filter(|m| m.state == ModuleState::Live);
    let ours = joined(live.map(|m| m.name.clone()));
    Ok((ours, world.lab.host().run("lsmod | tail -n +2 | cut -d' ' -f1")?))
}

fn parameters(world: &World, dump: &Dump) -> Result<Both> {
    let items: Vec<SysctlItem> = dump.items(SectionName::Sysctl)?;
    let set = items.iter().find(|p| p.name == "vm.swappiness");
    let set = set.context("vm.swappiness is not published")?;
    let told = (
        set.configured.as_deref(),
        set.live.as_deref(),
        set.source.as_str(),
    );
    ensure!(
        told == (Some("41"), Some("43"), "/etc/sysctl.d/60-agree.conf"),
        "{set:?}"
    );
    let live: BTreeMap<&str, &str> = items
        .iter()
        .filter_map(|p| Some((p.name.as_str(), p.live.as_deref()?)))
        .collect();
    let ours = joined(live.iter().map(|(key, value)| format!("{key} = {value}")));
    let keys: Vec<String> = live.keys().map(|key| quote(key)).collect();
    let theirs = world
        .lab
        .host()
        .run(&format!("sysctl {} | tr -s '\\t' ' '", keys.join(" ")))?;
    Ok((ours, theirs))
}

fn names(world: &World, dump: &Dump) -> Result<Both> {
    let items: Vec<HostnameItem> = dump.items(SectionName::Hostname)?;
    let ours = items
        .iter()
        .map(|item| format!("{} {}", item.name, item.static_name));
    let theirs = world.lab.host().run("echo $(hostname) $(cat /etc/hostname)")?;
    Ok((joined(ours), theirs))
}

/// The selected files, against stat(1) and their bytes.
fn files(world: &World, dump: &Dump) -> Result<Vec<String>> {
    let host = world.lab.host();
    let items: Vec<FileItem> = dump.items(SectionName::Files)?;
    let ours = items.iter().map(|f| {
        let ids = (f.owner.id.unwrap_or_default(), f.group.id.unwrap_or_default());
        format!("{} {} {} {}", f.name, f.mode, ids.0, ids.1)
    });
    let theirs = host.run("stat -c '%n %a %u %g' /etc/agree/*")?;
    let mut differences = Vec::new();
    let ours = joined(ours);
    if ours.trim() != theirs.trim() {
        differences.push(format!("files: the agent says {ours:?}, stat {theirs:?}"));
    }
    for item in &items {
        let name = item.name.as_str();
        let expected = match (name, &item.what) {
            (
                "/etc/agree/app.conf",
                FileType::File {
                    content,
                    digest,
                    redactions,
                    ..
                },
            ) => {
                let text = content.as_deref().unwrap_or_default();
                shown(text) == "port = 8080\npassword = <redacted>\n"
                    && *digest == Some(Digest::of(text.as_bytes()))
                    && *redactions == 1
            }
            ("/etc/agree/owned.conf", FileType::File { content, digest, .. }) => {
                let bytes = host.run("cat /etc/agree/owned.conf")?;
                *digest == Some(Digest::of(bytes.as_bytes())) && content.as_deref() == Some(bytes.as_str())
            }
            (
                "/etc/agree/private.conf",
                FileType::File {
                    content, withheld, ..
                },
            ) => content.is_none() && *withheld == Some(Withheld::NotWorldReadable),
            ("/etc/agree/link", FileType::Link { target }) => target == "/etc/shadow",
            _ => false,
        };
        if !expected {
            differences.push(format!("files: {item:?}"));
        }
    }
    Ok(differences)
}

/// A text as any host shows it.
fn shown(text: &str) -> String {
    String::from_utf8_lossy(&redaction::shape(text.as_bytes())).into_owned()
}

/// The two jobs that were made.
fn jobs(dump: &Dump) -> Result<Vec<String>> {
    let items: Vec<CronItem> = dump.items(SectionName::Cron)?;
    let expected = [
        (
            "/etc/cron.d/agree",
            "*/5 * * * *",
            "root",
            "/bin/true --token <redacted>",
        ),
        (
            "/var/spool/cron/crontabs/agree",
            "5 4 * * 1",
            "agree",
            "/bin/true weekly",
        ),
    ];
    let told = |job: &CronItem| {
        (
            job.source.clone(),
            job.schedule.clone(),
            job.user.clone(),
            shown(&job.command),
        )
    };
    let told: Vec<_> = items.iter().map(told).collect();
    let missing = expected.into_iter().filter(|(source, schedule, user, command)| {
        let job = (*source).to_owned();
        !told.contains(&(
            job,
            (*schedule).to_owned(),
            (*user).to_owned(),
            (*command).to_owned(),
        ))
    });
    Ok(missing
        .map(|job| format!("cron: {job:?} is not in {told:?}"))
        .collect())
}
