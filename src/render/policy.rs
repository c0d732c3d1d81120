//! Applies [`super::directives`] to a unit file that was read: what a twin must not have is left
//! out and named, what cannot be meant well is refused.

use super::Refusal;
use super::directives::{CHANNEL_PORT, Directive, HARMLESS, LISTENS, POWER_UNITS, Rule, SENSITIVE, rule_of};
use super::unit_file::{Assignment, UnitText};
use safetytwin_crds::item::Reason;
use safetytwin_crds::names::{UnitName, printable};

/// Says whether a unit is one that the twin needs as its own.
pub type IsProtected<'a> = &'a dyn Fn(&str) -> bool;

/// Filters `unit` in place. Answers what was left out, each as `Key=value: why`.
pub fn apply(unit: &mut UnitText, protected: IsProtected<'_>) -> Result<Vec<String>, Refusal> {
    let mut left_out = Vec::new();
    for section in &mut unit.sections {
        let mut kept = Vec::with_capacity(section.assignments.len());
        for assignment in section.assignments.drain(..) {
            if section.name == "Socket" {
                check_listen(&assignment)?;
            }
            match rule_of(&assignment.key).filter(|_| !assignment.value.is_empty()) {
                None => kept.push(assignment),
                Some(directive) => kept.extend(filter(assignment, directive, protected, &mut left_out)?),
            }
        }
        section.assignments = kept;
    }
    Ok(left_out)
}

fn filter(
    mut assignment: Assignment,
    directive: &Directive,
    protected: IsProtected<'_>,
    left_out: &mut Vec<String>,
) -> Result<Option<Assignment>, Refusal> {
    let keep: Box<dyn Fn(&str) -> bool> = match directive.rule {
        Rule::Never => Box::new(|_| false),
        Rule::OnlyNone => Box::new(|value| value == "none"),
        Rule::Paths => Box::new(|path| !is_sensitive(path.trim_start_matches('-'))),
        Rule::Binds => Box::new(|bind| {
            let path = bind
                .trim_start_matches(['-', '+'])
                .split(':')
                .next()
                .unwrap_or_default();
            !is_sensitive(path)
        }),
        Rule::Stream => Box::new(|stream| {
            let path = ["file:", "append:", "truncate:"]
                .iter()
                .find_map(|p| stream.strip_prefix(p));
            path.is_none_or(|path| !is_sensitive(path))
        }),
        Rule::PullsIn => Box::new(|name| !POWER_UNITS.contains(&name)),
        Rule::Stops => Box::new(move |name| POWER_UNITS.contains(&name) || !protected(name)),
        Rule::Alias | Rule::Install => {
            check_install(&assignment)?;
            Box::new(move |name| !is_taken(name, directive.rule, protected))
        }
    };
    let words: Vec<&str> = match directive.rule {
        Rule::Never | Rule::OnlyNone | Rule::Stream | Rule::Paths => vec![assignment.value.as_str()],
        _ => assignment
            .value
            .split([' ', '\t'])
            .filter(|w| !w.is_empty())
            .collect(),
    };
    let (good, bad): (Vec<&str>, Vec<&str>) = words.into_iter().partition(|word| keep(unquoted(word)));
    if bad.is_empty() {
        return Ok(Some(assignment));
    }
    let gone = printable(&bad.join(" "), 60);
    left_out.push(format!("{}={gone} left out: {}", directive.key, directive.why));
    // A line without words would reset the list.
    if good.is_empty() {
        return Ok(None);
    }
    assignment.value = good.join(" ");
    Ok(Some(assignment))
}

/// A word without the quotes that systemd would take away.
fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// Whether an `[Install]` name is one that the twin needs. Being wanted by a target is fine.
fn is_taken(name: &str, rule: Rule, protected: IsProtected<'_>) -> bool {
    if rule == Rule::Install && name.ends_with(".target") {
        POWER_UNITS.contains(&name)
    } else {
        protected(name)
    }
}

/// Names in `[Install]` become names of links: each must be a unit name. Specifiers stand for
/// parts of the unit's own name, which is checked already.
fn check_install(assignment: &Assignment) -> Result<(), Refusal> {
    for word in assignment.value.split([' ', '\t']).filter(|w| !w.is_empty()) {
        let plain = without_specifiers(word);
        if plain.is_none_or(|name| name.parse::<UnitName>().is_err()) {
            return Err(Refusal::invalid(format!(
                "[Install] {}={} is no unit name",
                assignment.key,
                printable(word, 80)
            )));
        }
    }
    Ok(())
}

/// `word` with specifiers of the unit's name replaced by a letter; `None` for all others.
fn without_specifiers(word: &str) -> Option<String> {
    let mut plain = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next()? {
                'i' | 'I' | 'j' | 'J' | 'n' | 'N' | 'p' | 'P' => plain.push('x'),
                _ => return None,
            },
            c => plain.push(c),
        }
    }
    Some(plain)
}

/// Whether a path is the twin's own, or cannot be judged: relative, with `..`, with specifiers.
fn is_sensitive(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if !path.starts_with('/') || parts.is_empty() || parts.contains(&"..") {
        return true;
    }
    let clean = format!("/{}", parts.join("/"));
    let below = |folder: &&str| {
        clean
            .strip_prefix(*folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // A glob or an escape could stand for any name below its folder.
    let vague = clean
        .find(['*', '?', '[', '\\', '%'])
        .map(|at| clean.get(..at).unwrap_or_default());
    match vague {
        Some(known) => SENSITIVE.iter().any(|s| s.starts_with(known) || below(s)),
        None => !HARMLESS.iter().any(below) && SENSITIVE.iter().any(below),
    }
}

fn check_listen(assignment: &Assignment) -> Result<(), Refusal> {
    let port = assignment.value.rsplit(':').next().unwrap_or_default();
    if LISTENS.contains(&assignment.key.as_str()) && port.trim() == CHANNEL_PORT {
        return Err(Refusal::new(
            Reason::NotPermitted,
            "it listens at port 22, which is the twin's own way in",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::unit_file::read;
    use super::*;

    fn filtered(text: &str) -> Result<(String, usize), Refusal> {
        let mut unit = read("x.service", text).unwrap();
        let left_out = apply(&mut unit, &|name| name.starts_with("ssh"))?;
        Ok((unit.write(), left_out.len()))
    }

    #[test]
    fn what_reaches_for_the_twins_own_means_is_left_out_and_counted() {
        for line in [
            "EnvironmentFile=/etc/shadow",
            "EnvironmentFile=-/etc/../etc/shadow",
            "EnvironmentFile=/etc/sha*",
            "EnvironmentFile=%t/safetytwin/lock",
            "EnvironmentFile=\"/etc/shadow\"",
            "LoadCredential=a:/etc/x",
            "BindPaths=/",
            "BindPaths=-/:/mnt",
            "BindReadOnlyPaths=/dev/mem",
            "RootImage=/srv/a.img",
            "StandardOutput=truncate:/root/.ssh/authorized_keys",
            "FailureAction=reboot-force",
            "OnFailure=poweroff.target",
            "Conflicts=ssh.service",
            "PropagatesStopTo=ssh.service",
        ] {
            let text = format!("[Service]\n{line}\n");
            assert_eq!(filtered(&text).unwrap(), (String::new(), 1), "{line}");
        }
    }

    #[test]
    fn what_services_ordinarily_say_is_kept() {
        let text = "[Unit]\nConflicts=shutdown.target getty@tty1.service\nWants=network-online.target\nOnFailure=mail@%n.service\n\n[Service]\nEnvironmentFile=-/etc/default/nginx\nBindReadOnlyPaths=/dev/log\nStandardOutput=append:/var/log/x.log\nFailureAction=none\n\n[Install]\nWantedBy=multi-user.target\nAlias=web.service\n";
        assert_eq!(filtered(text).unwrap(), (text.to_owned(), 0));
    }

    #[test]
    fn one_bad_name_of_a_list_goes_alone_and_never_empties_the_list() {
        let (text, left_out) =
            filtered("[Unit]\nConflicts=a.service ssh.service\nConflicts=ssh.socket\n").unwrap();
        assert_eq!((text.as_str(), left_out), ("[Unit]\nConflicts=a.service\n", 2));
    }

    #[test]
    fn install_names_that_are_paths_are_refused_and_protected_ones_left_out() {
        for line in [
            "Alias=../../../x.service",
            "WantedBy=../x",
            "WantedBy=a/b.target",
            "Also=%h.service",
        ] {
            let refusal = filtered(&format!("[Install]\n{line}\n")).unwrap_err();
            assert_eq!(refusal.reason, Reason::InvalidItem, "{line}");
        }
        assert_eq!(
            filtered("[Install]\nAlias=sshd.service\n").unwrap(),
            (String::new(), 1)
        );
        assert_eq!(
            filtered("[Install]\nAlso=ssh.service\n").unwrap(),
            (String::new(), 1)
        );
        assert_eq!(filtered("[Install]\nWantedBy=x@%i.service\n").unwrap().1, 0);
    }

    #[test]
    fn a_socket_at_the_port_of_the_twins_sshd_is_refused() {
        for value in ["22", "0.0.0.0:22", "[::]:22"] {
            let text = format!("[Socket]\nListenStream={value}\n");
            assert_eq!(filtered(&text).unwrap_err().reason, Reason::NotPermitted);
        }
        assert!(filtered("[Socket]\nListenStream=[::]:2222\n").is_ok());
    }
}
