//! One section that the API server does not take: all else goes on.

use serde_json::{Value, json};

use super::*;

const REFUSED: Option<(&str, u16)> = Some((PROCESSES, 422));

/// What the head says of the processes.
fn processes(server: &Server) -> Value {
    let head = server.spec(HEAD);
    let mut sections = head["sections"].as_array().unwrap().iter();
    sections.find(|s| s["name"] == "processes").unwrap().clone()
}

/// How often the section was tried.
fn tries(asked: &[Asked]) -> usize {
    asked.iter().filter(|a| a.object.starts_with(PROCESSES)).count()
}

#[tokio::test(start_paused = true)]
async fn a_section_that_is_refused_is_said_to_be_and_keeps_what_was_accepted_last() {
    let scene = scene().await;
    let before = processes(&scene.server);
    assert_eq!(
        (&before["state"], &before["message"]),
        (&json!("Complete"), &Value::Null)
    );
    assert_eq!(scene.server.spec(HEAD)["complete"], "1/5");
    scene.server.refuses(REFUSED);
    runs(&scene.board, "refused");
    let machine = Content::Machine {
        item: Box::default(),
        summary: Default::default(),
    };
    let section = Some(SectionName::Machine);
    scene
        .board
        .post("machine", section, Ok(Collected::whole(machine)));
    sleep(Duration::from_secs(61)).await;
    let asked = scene.server.take_asked();
    assert!(heads(&asked).len() >= 6, "{asked:?}");
    assert_eq!((tries(&asked), written(&asked, PROCESSES)), (1, 0), "{asked:?}");
    assert_eq!(written(&asked, "hostsections/web-01.machine"), 1, "{asked:?}");
    let now = processes(&scene.server);
    assert_eq!((&now["state"], &now["items"]), (&json!("Unavailable"), &json!(1)));
    assert_eq!(now["parts"], before["parts"]);
    let message = now["message"].as_str().unwrap();
    let why = "failed to write HostSection web-01.processes.0.b: refused (422): hostsections/web-01.processes.0.b is \\u{1b}invalid";
    assert!(message.starts_with(why), "{message}");
    let head = scene.server.spec(HEAD);
    assert_eq!(
        (&head["complete"], &head["counts"]["processes"]),
        (&json!("1/5"), &Value::Null)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_section_is_tried_again_when_it_changes() {
    let scene = scene().await;
    scene.server.refuses(REFUSED);
    runs(&scene.board, "refused");
    sleep(Duration::from_secs(30)).await;
    let since = processes(&scene.server)["collectedTime"].clone();
    scene.server.take_asked();
    runs(&scene.board, "refused, too");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(tries(&scene.server.take_asked()), 1);
    assert_eq!(processes(&scene.server)["collectedTime"], since);
    scene.server.refuses(None);
    runs(&scene.board, "accepted");
    sleep(Duration::from_secs(5)).await;
    let now = processes(&scene.server);
    assert_eq!(
        (&now["state"], &now["message"]),
        (&json!("Complete"), &Value::Null)
    );
    assert_eq!(now["parts"][0]["slot"], "b", "never the slot that the head named");
}

#[tokio::test(start_paused = true)]
async fn a_refused_section_that_stays_as_it_is_is_tried_again_after_ten_minutes() {
    let scene = scene().await;
    scene.server.refuses(REFUSED);
    runs(&scene.board, "refused");
    sleep(REAPPLY + Duration::from_secs(20)).await;
    let asked = scene.server.take_asked();
    assert_eq!((tries(&asked), written(&asked, PROCESSES)), (2, 0), "{asked:?}");
    scene.server.refuses(None);
    sleep(REAPPLY + Duration::from_secs(20)).await;
    assert_eq!(written(&scene.server.take_asked(), PROCESSES), 1);
    assert_eq!(processes(&scene.server)["state"], "Complete");
}

#[tokio::test(start_paused = true)]
async fn a_section_of_which_nothing_was_ever_accepted_has_no_parts() {
    let server = Server::new();
    server.refuses(REFUSED);
    let scene = begun(server, SelfTest::Require);
    sleep(Duration::from_secs(30)).await;
    let asked = scene.server.take_asked();
    assert!(heads(&asked).len() >= 3 && tries(&asked) == 1, "{asked:?}");
    let now = processes(&scene.server);
    assert_eq!((&now["state"], &now["items"]), (&json!("Unavailable"), &json!(0)));
    assert_eq!(now["parts"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_of_a_refused_section_and_is_gone_is_not_named() {
    let lost: [fn(&Server); 2] = [
        |server| server.delete_all(),
        |server| server.lose_sections("again"),
    ];
    for lose in lost {
        let scene = scene().await;
        scene.server.refuses(REFUSED);
        runs(&scene.board, "refused");
        sleep(Duration::from_secs(15)).await;
        let slot = processes(&scene.server)["parts"][0]["slot"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(scene.server.has(&format!("{PROCESSES}{slot}")));
        lose(&scene.server);
        sleep(Duration::from_secs(15)).await;
        assert_eq!(processes(&scene.server)["parts"], json!([]));
        assert!(
            scene.server.has("hostsections/web-01.observed.0.a")
                || scene.server.has("hostsections/web-01.observed.0.b")
        );
        scene.server.refuses(None);
        runs(&scene.board, "accepted");
        sleep(Duration::from_secs(15)).await;
        assert_eq!(processes(&scene.server)["state"], "Complete");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_otherwise_the_next_time_is_no_refusal_and_the_head_waits() {
    for code in [401, 404, 408, 409, 429, 500, 504] {
        let scene = scene().await;
        scene.server.refuses(Some((PROCESSES, code)));
        runs(&scene.board, "late");
        sleep(Duration::from_secs(60)).await;
        let asked = scene.server.take_asked();
        assert_eq!(heads(&asked).len(), 0, "{code}: {asked:?}");
        assert!(tries(&asked) > 3, "{code}: {asked:?}");
        assert_eq!(processes(&scene.server)["state"], "Complete");
        scene.server.refuses(None);
        sleep(LONGEST_PAUSE).await;
        assert_eq!(written(&scene.server.take_asked(), PROCESSES), 1, "{code}");
        scene.agent.abort();
    }
}
