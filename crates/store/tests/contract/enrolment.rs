use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::FactorKind;
use stepgate_core::ports::{Store as _, Ticket};

use crate::house::{House, MINUTE, is_conflict};

fn ticket(house: &House, person: stepgate_core::id::PersonId) -> Ticket {
    Ticket {
        digest: house.digest(),
        person,
        authority: "link".to_owned(),
        kinds: vec![FactorKind::Totp],
        browser: house.digest(),
        begun: None,
        expires_at: house.now().plus(MINUTE * 10),
    }
}

pub(crate) async fn b71_a_link_is_used_once(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let link = house.link(alice.id);
    house.store.put_link(&link, house.said("made")).await.unwrap();
    let found = house.store.link(link.digest, house.now()).await.unwrap().unwrap();
    assert_eq!((found.id, found.person, found.kinds), (link.id, alice.id, vec![FactorKind::Totp]));
    let use_it = async |person| {
        let ticket = ticket(&house, person);
        house.store.use_link(link.id, &ticket, house.now(), house.said("used")).await
    };
    is_conflict(use_it(bob.id).await);
    use_it(alice.id).await.unwrap();
    is_conflict(use_it(alice.id).await);
    assert!(house.store.link(link.digest, house.now()).await.unwrap().is_none());
    assert_eq!((house.count_said("made").await, house.count_said("used").await), (1, 1));
}

pub(crate) async fn a_link_is_gone_when_its_time_is_over(house: House) {
    let alice = house.person("alice").await;
    let link = house.link(alice.id);
    house.store.put_link(&link, house.said("made")).await.unwrap();
    house.clock.advance(MINUTE);
    assert!(house.store.link(link.digest, house.now()).await.unwrap().is_none());
    is_conflict(house.store.use_link(link.id, &ticket(&house, alice.id), house.now(), house.said("used")).await);
}

pub(crate) async fn a_ticket_belongs_to_its_browser(house: House) {
    let alice = house.person("alice").await;
    let ticket = ticket(&house, alice.id);
    house.store.put_ticket(&ticket).await.unwrap();
    let find = async |digest, browser| house.store.ticket(digest, browser, house.now()).await.unwrap();
    let found = find(ticket.digest, ticket.browser).await.unwrap();
    assert_eq!((found.person, found.authority.as_str(), found.expires_at), (alice.id, "link", ticket.expires_at));
    assert!(find(ticket.digest, house.digest()).await.is_none());
    assert!(find(house.digest(), ticket.browser).await.is_none());
    house.clock.advance(MINUTE * 10);
    assert!(find(ticket.digest, ticket.browser).await.is_none());
}

pub(crate) async fn what_is_begun_on_a_ticket_is_sealed_and_replaced(house: House) {
    let alice = house.person("alice").await;
    let ticket = ticket(&house, alice.id);
    house.store.put_ticket(&ticket).await.unwrap();
    for state in ["one-not-in-the-clear", "two"] {
        house.store.begin_on_ticket(ticket.digest, (FactorKind::Totp, SecretString::from(state))).await.unwrap();
        let found = house.store.ticket(ticket.digest, ticket.browser, house.now()).await.unwrap().unwrap();
        let (kind, begun) = found.begun.unwrap();
        assert_eq!((kind, begun.expose_secret()), (FactorKind::Totp, state));
    }
    if let Some(path) = house.url.strip_prefix("sqlite:") {
        let bytes = std::fs::read(format!("{path}-wal")).unwrap();
        assert!(!bytes.windows(16).any(|window| window == b"not-in-the-clear"));
    }
}

pub(crate) async fn a_kind_that_the_ticket_does_not_allow_is_not_begun(house: House) {
    let alice = house.person("alice").await;
    let ticket = ticket(&house, alice.id);
    house.store.put_ticket(&ticket).await.unwrap();
    let begin = |digest, kind| house.store.begin_on_ticket(digest, (kind, SecretString::from("state")));
    is_conflict(begin(ticket.digest, FactorKind::Passkey).await);
    is_conflict(begin(house.digest(), FactorKind::Totp).await);
    house.clock.advance(MINUTE * 10);
    is_conflict(begin(ticket.digest, FactorKind::Totp).await);
}

pub(crate) async fn an_ended_ticket_is_gone(house: House) {
    let alice = house.person("alice").await;
    let ticket = ticket(&house, alice.id);
    house.store.put_ticket(&ticket).await.unwrap();
    house.store.end_ticket(ticket.digest).await.unwrap();
    house.store.end_ticket(ticket.digest).await.unwrap();
    assert!(house.store.ticket(ticket.digest, ticket.browser, house.now()).await.unwrap().is_none());
}
