//! Timers and sockets that the agent publishes, against the lists of systemctl.

use crate::agreeing::Items;

/// Timers and sockets as the lists of systemctl have them: the unit, and what it starts or listens on.
pub fn differing(items: &Items, timers: &str, sockets: &str) -> Vec<String> {
    let mut differences = Vec::new();
    for line in timers.lines() {
        let mut words = line.split_whitespace().rev();
        let (Some(activates), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        let ours = items
            .get(name)
            .and_then(|item| item.timer.as_ref())
            .map(|timer| timer.unit.as_str());
        if ours != Some(activates) {
            differences.push(format!(
                "{name}: starts {ours:?}, systemctl list-timers {activates:?}"
            ));
        }
    }
    for line in sockets.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut parts = words.split(|word| word.ends_with(".socket"));
        let address = parts.next().unwrap_or_default().join(" ");
        let Some(name) = words.iter().find(|word| word.ends_with(".socket")) else {
            continue;
        };
        let socket = items.get(*name).and_then(|item| item.socket.as_ref());
        if !socket.is_some_and(|socket| socket.listen.iter().any(|listen| listen.address == address)) {
            differences.push(format!("{name}: {socket:?}, systemctl list-sockets {address:?}"));
        }
    }
    differences
}
