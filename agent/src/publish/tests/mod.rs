//! The publisher in bad conditions, against a server of its own, in paused time.

mod entry;
mod refused;
mod server;

use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use safetytwin_crds::hoststate::Load;
use safetytwin_crds::item::ProcessItem;
use safetytwin_crds::item::Text;
use safetytwin_crds::section::{SectionName, SectionState, encode_parts};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use self::server::{Asked, Mood, Server};
use super::brake::LONGEST_PAUSE;
use super::*;
use crate::cli::Cli;
use crate::collect::{Collected, Content};

const HEAD: &str = "hoststates/web-01";
const PROCESSES: &str = "hostsections/web-01.processes.0.";

/// A section of one item.
pub fn section(content: &str) -> AssembledSection {
    AssembledSection {
        name: SectionName::Units,
        parts: encode_parts(&[content]).unwrap().into(),
        items: 1,
        state: SectionState::Complete,
        collected_time: None,
        message: None,
    }
}

struct Scene {
    server: Server,
    board: Board,
    agent: JoinHandle<PublishError>,
    proc: TempDir,
}

/// An agent that has published once and beats every 10 s.
async fn scene() -> Scene {
    let scene = begun(Server::new(), SelfTest::Require);
    sleep(Duration::from_secs(60)).await;
    let asked = scene.server.take_asked();
    assert!(heads(&asked).len() >= 6, "{asked:?}");
    scene
}

fn begun(server: Server, self_test: SelfTest) -> Scene {
    begun_with(server, self_test, &[])
}

fn begun_with(server: Server, self_test: SelfTest, more: &[&str]) -> Scene {
    let way = server.api();
    begun_over(server, way, self_test, more)
}

fn begun_over(server: Server, way: (ClusterApi, Brake), self_test: SelfTest, more: &[&str]) -> Scene {
    let proc = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(proc.path().join("sys/kernel/random")).unwrap();
    std::fs::write(proc.path().join("sys/kernel/random/boot_id"), "first\n").unwrap();
    uptime(proc.path(), "1000.00");
    let path = proc.path().to_str().unwrap();
    let words = ["twin-agent", "--node-name=web-01", "--proc", path];
    let cli = Cli::parse_from(words.iter().chain(more));
    let settings = cli.settings(None).unwrap();
    let board = Board::default();
    runs(&board, "0");
    let publisher = Publisher::new(settings, board.clone(), way, self_test, Counts::default());
    Scene {
        agent: tokio::spawn(publisher.run()),
        server,
        board,
        proc,
    }
}

fn uptime(proc: &Path, seconds: &str) {
    std::fs::write(proc.join("uptime"), format!("{seconds} 0.00\n")).unwrap();
}

/// The host runs a process with this argument now.
fn runs(board: &Board, argument: &str) {
    let item: ProcessItem = serde_json::from_value(serde_json::json!({
        "key": "k", "comm": "sleep", "argv": ["sleep"], "user": {"name": "root"}, "group": {"name": "root"}, "ordinal": 0,
    }))
    .unwrap();
    let argv = vec![Text(argument.as_bytes().to_vec())];
    let collected = Collected {
        content: Content::Processes(crate::collect::shared([ProcessItem { argv, ..item }])).into(),
        gaps: vec![],
        observed: Arc::default(),
    };
    board.post("processes", Some(SectionName::Processes), Ok(collected));
}

fn stored(asked: &[Asked]) -> impl Iterator<Item = &Asked> {
    asked
        .iter()
        .filter(|a| a.is_write && (200..300).contains(&a.code))
}

fn heads(asked: &[Asked]) -> Vec<&Asked> {
    stored(asked).filter(|a| a.object == HEAD).collect()
}

/// How many sections were written, of those whose names begin so.
fn written(asked: &[Asked], begin: &str) -> usize {
    stored(asked).filter(|a| a.object.starts_with(begin)).count()
}

/// Five minutes of a bad day, during which the host changes every 7 s; answers with the requests of the time after.
async fn after_bad_day(scene: &Scene, mood: Mood, most_requests: usize) -> Vec<Asked> {
    scene.server.is(mood);
    for change in 1..=43 {
        sleep(Duration::from_secs(7)).await;
        runs(&scene.board, &change.to_string());
    }
    let during = scene.server.take_asked();
    assert!(
        (3..=most_requests).contains(&during.len()),
        "{} requests: {during:?}",
        during.len()
    );
    scene.server.is(Mood::Fine);
    // The longest pause.
    sleep(LONGEST_PAUSE).await;
    let first = scene.server.take_asked();
    assert!(!heads(&first).is_empty(), "{first:?}");
    sleep(Duration::from_secs(60)).await;
    [first, scene.server.take_asked()].concat()
}

#[tokio::test(start_paused = true)]
async fn after_five_minutes_without_an_api_one_state_is_published_and_nothing_is_lost() {
    for mood in [Mood::Answers(503, None), Mood::Answers(500, None), Mood::Silent] {
        let scene = scene().await;
        // 1 s doubling to 60 s, each at least half: 6 while they double, 9 more in the rest.
        let after = after_bad_day(&scene, mood, 16).await;
        // The last content, once; no other section, for it did not change.
        assert_eq!(written(&after, PROCESSES), 1, "{after:?}");
        assert!(written(&after, "hostsections/web-01.units") == 0, "{after:?}");
        // One head at once, then one a beat: the pairs that are closer than a beat are the first and the second.
        let heads = heads(&after);
        let close = heads
            .windows(2)
            .filter(|w| w[1].at - w[0].at < Duration::from_millis(9_900));
        assert!(close.count() <= 1, "{heads:?}");
        let named = scene.server.spec(HEAD);
        let slot = named["sections"]
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["name"] == "processes");
        let slot = slot.unwrap()["parts"][0].clone();
        let section = scene
            .server
            .spec(&format!("{PROCESSES}{}", slot["slot"].as_str().unwrap()));
        let json = safetytwin_crds::section::decode_data(
            section["data"].as_str().unwrap(),
            Encoding::ZstdBase64,
            serde_json::from_value(slot["digest"].clone()).unwrap(),
        );
        let items: Vec<ProcessItem> = serde_json::from_slice(&json.unwrap()).unwrap();
        assert_eq!(items[0].argv[0].0, b"43");
        scene.agent.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_stays_away_as_long_as_an_overloaded_api_server_asks_for() {
    for code in [429, 503] {
        let scene = scene().await;
        let after = after_bad_day(&scene, Mood::Answers(code, Some(30)), 11).await;
        assert_eq!(written(&after, PROCESSES), 1, "{after:?}");
        // Now only for one request.
        scene.server.is(Mood::Answers(code, Some(30)));
        sleep(Duration::from_secs(15)).await;
        let refused = scene.server.take_asked();
        assert_eq!(refused.len(), 1, "{refused:?}");
        scene.server.is(Mood::Fine);
        sleep(Duration::from_secs(60)).await;
        let after = scene.server.take_asked();
        let silent = after[0].at - refused[0].at;
        let asked_for = Duration::from_secs(30)..Duration::from_secs(38);
        assert!(asked_for.contains(&silent), "{silent:?}");
        scene.agent.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_silences_an_agent_for_ever() {
    let scene = scene().await;
    scene.server.is(Mood::Answers(429, Some(u32::MAX)));
    sleep(Duration::from_secs(15)).await;
    scene.server.is(Mood::Fine);
    scene.server.take_asked();
    sleep(Duration::from_secs(376)).await;
    assert!(!heads(&scene.server.take_asked()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_sequence_follows_the_time_since_boot_and_never_goes_back_within_a_boot() {
    let scene = scene().await;
    let sequence = || scene.server.spec(HEAD)["sequence"].as_i64().unwrap();
    let first = sequence();
    assert!(first >= 1_000_000);
    uptime(scene.proc.path(), "2000.00");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(sequence(), 2_000_000);
    // What no kernel does; an unreadable file looks the same.
    uptime(scene.proc.path(), "5.00");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(sequence(), 2_000_001);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_in_the_cluster_is_written_again_at_the_next_beat() {
    let scene = scene().await;
    scene.server.delete_all();
    sleep(Duration::from_secs(11)).await;
    let asked = scene.server.take_asked();
    assert_eq!(written(&asked, PROCESSES), 1, "{asked:?}");
    assert_eq!(written(&asked, "hostsections/"), 6, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_not_confined_publishes_nothing_and_ends() {
    let server = Server::new();
    server.confines(false);
    let scene = begun(server, SelfTest::Require);
    let error = scene.agent.await.unwrap();
    assert!(matches!(error, PublishError::NotConfined { .. }));
    let asked = scene.server.take_asked();
    assert!(asked.iter().all(|a| !a.is_write), "{asked:?}");
    assert!((3..=10).contains(&asked.len()), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_in_force_a_little_later_is_waited_for() {
    let server = Server::new();
    server.confines(false);
    let scene = begun(server, SelfTest::Require);
    sleep(Duration::from_secs(20)).await;
    assert!(heads(&scene.server.take_asked()).is_empty());
    scene.server.confines(true);
    sleep(Duration::from_secs(40)).await;
    assert!(!heads(&scene.server.take_asked()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_administrator_wants_it_publishes_unconfined() {
    let server = Server::new();
    server.confines(false);
    let scene = begun(server, SelfTest::Warn);
    sleep(Duration::from_secs(20)).await;
    assert!(!heads(&scene.server.take_asked()).is_empty());
}

#[test]
fn pauses_grow_to_a_minute_and_differ_between_agents() {
    let seconds: Vec<f64> = (1..=12).map(|n| pause(n, None).as_secs_f64()).collect();
    assert!(seconds[0] < 1.0 && seconds.iter().all(|s| *s < 60.0) && seconds[11] >= 30.0);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_host_applies_everything_again_after_ten_minutes_also_between_heartbeats() {
    let scene = begun_with(Server::new(), SelfTest::Require, &["--heartbeat=3600"]);
    sleep(Duration::from_secs(60)).await;
    scene.server.take_asked();
    sleep(Duration::from_secs(500)).await;
    assert!(scene.server.take_asked().len() <= 1, "one heartbeat at most");
    sleep(Duration::from_secs(60)).await;
    let again = scene.server.take_asked();
    assert_eq!(
        (heads(&again).len(), written(&again, PROCESSES)),
        (1, 1),
        "{again:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_quiet_host_writes_its_head_with_each_heartbeat_and_a_change_at_once() {
    let scene = begun_with(Server::new(), SelfTest::Require, &["--heartbeat=60"]);
    let loads = |percent| {
        let load = Load {
            cpu_percent: Some(percent),
            ..Load::default()
        };
        let load = Collected::whole(Content::Load(load));
        scene.board.post("load", None, Ok(load));
    };
    sleep(Duration::from_secs(61)).await;
    scene.server.take_asked();
    for percent in 1..=30 {
        loads(percent);
        sleep(Duration::from_secs(10)).await;
    }
    let quiet = scene.server.take_asked();
    assert_eq!((heads(&quiet).len(), quiet.len()), (5, 5), "{quiet:?}");
    runs(&scene.board, "changed");
    sleep(Duration::from_secs(1)).await;
    let change = scene.server.take_asked();
    assert_eq!(
        (heads(&change).len(), written(&change, PROCESSES)),
        (1, 1),
        "{change:?}"
    );
}
