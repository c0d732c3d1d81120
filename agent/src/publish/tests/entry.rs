//! Agents that are not let in at first, or no longer.

use super::*;

fn tokens(asked: &[Asked]) -> usize {
    let all = asked.iter().filter(|a| a.object.ends_with("/web-01/token"));
    all.filter(|a| a.code == 201).count()
}

/// An agent of a node, which presents the token of its host's account after it was given it.
fn at_the_door(server: Server) -> Scene {
    let way = server.api_with_door();
    begun_over(server, way, SelfTest::Require, &[])
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_a_node_makes_its_host_waits_for_its_rights_and_publishes() {
    let server = Server::new();
    server.lets_in(false);
    let scene = at_the_door(server);
    sleep(Duration::from_secs(120)).await;
    let waiting = scene.server.take_asked();
    let head = scene.server.spec(HEAD);
    let said = (&head["complete"], &head["counts"], &head["sections"]);
    let nothing = serde_json::json!(["0/5", {}, []]);
    assert_eq!(said, (&nothing[0], &nothing[1], &nothing[2]));
    assert_eq!(written(&waiting, "hostsections/"), 0);
    // A failure each 4 to 8 s at the end, of four requests each.
    assert!(
        (40..=130).contains(&waiting.len()),
        "{}: {waiting:?}",
        waiting.len()
    );
    scene.server.lets_in(true);
    sleep(Duration::from_secs(9)).await;
    let asked = scene.server.take_asked();
    assert_eq!((tokens(&asked), written(&asked, PROCESSES)), (1, 1), "{asked:?}");
    assert!(scene.server.spec(HEAD)["sections"].is_array());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_long_before_it_ends() {
    let scene = at_the_door(Server::new());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(tokens(&scene.server.take_asked()), 1);
    sleep(Duration::from_hours(6)).await;
    assert_eq!(tokens(&scene.server.take_asked()), 7);
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_rights_were_taken_and_given_back_publishes_all_that_changed() {
    for at_door in [false, true] {
        let server = Server::new();
        let scene = match at_door {
            true => at_the_door(server),
            false => begun(server, SelfTest::Require),
        };
        sleep(Duration::from_secs(60)).await;
        scene.server.lets_in(false);
        runs(&scene.board, "1");
        sleep(Duration::from_secs(60)).await;
        assert!(
            heads(&scene.server.take_asked())
                .iter()
                .all(|head| head.at < Duration::from_secs(61))
        );
        scene.server.lets_in(true);
        sleep(Duration::from_secs(9)).await;
        assert_eq!(written(&scene.server.take_asked(), PROCESSES), 1);
    }
}
