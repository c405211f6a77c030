use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{FactorKind, FactorUse};
use stepgate_core::id::SessionId;
use stepgate_core::ports::{
    ChangeError, Concerned, RestsOn, SignalEffect, SignalStore as _, Store as _, TakenSignal, Ticket, TicketThen,
};

use crate::house::{House, MINUTE, SignedIn, is_conflict};

fn ticket(house: &House, person: stepgate_core::id::PersonId) -> Ticket {
    Ticket {
        digest: house.digest(),
        person,
        authority: "link".to_owned(),
        rests_on: RestsOn::Link,
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
    is_conflict(begin(ticket.digest, FactorKind::PASSKEY).await);
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

impl House {
    /// A ticket that a session was given, with a code begun on it.
    async fn begun_in(&self, who: &SignedIn) -> Ticket {
        let mut given = ticket(self, who.person.id);
        given.rests_on = RestsOn::Session(who.session);
        self.store.put_ticket(&given).await.unwrap();
        self.store.begin_on_ticket(given.digest, (FactorKind::Totp, SecretString::from("state"))).await.unwrap();
        given
    }

    async fn enrol_on(&self, ticket: &Ticket) -> Result<(), ChangeError> {
        let factor = self.factor(self.totp());
        let entry = self.said("enrolled");
        self.store.enrol(ticket.digest, TicketThen::Stays, ticket.person, &factor, self.now(), entry).await
    }

    /// Nothing is enrolled, begun or shown with it.
    async fn opens_nothing(&self, ticket: &Ticket, why: &str) {
        is_conflict(self.enrol_on(ticket).await);
        let begun = (FactorKind::Totp, SecretString::from("state"));
        is_conflict(self.store.begin_on_ticket(ticket.digest, begun).await);
        assert!(self.store.ticket(ticket.digest, ticket.browser, self.now()).await.unwrap().is_none(), "{why}");
    }

    async fn told_of(&self, who: &SignedIn, effect: SignalEffect) {
        self.told_of_all(Concerned::Session(who.person.id, who.session), effect).await;
    }

    async fn told_of_all(&self, concerned: Concerned, effect: SignalEffect) {
        let signal = TakenSignal {
            transmitter: "corp".to_owned(),
            set: self.digest().0,
            effects: vec![(concerned, effect)],
            happened_at: self.now(),
            at: self.now(),
        };
        self.store.take_signal(signal, vec![self.said("signal")]).await.unwrap();
    }
}

pub(crate) async fn b98_a_ticket_ends_with_the_session_that_it_rests_on(house: House) {
    let alice = house.signed_in("alice").await;
    let again = async || house.sign_in(&alice.person, alice.factor).await;

    let who = again().await;
    let given = house.begun_in(&who).await;
    house.store.end_session(who.session, alice.person.id, house.said("ended")).await.unwrap();
    house.opens_nothing(&given, "somebody ended it").await;

    let who = again().await;
    let given = house.begun_in(&who).await;
    house.told_of(&who, SignalEffect::EndSessions).await;
    house.opens_nothing(&given, "an event ended it").await;

    // The session lives, and what it proved counts no more: nor does what that allowed.
    let who = again().await;
    let given = house.begun_in(&who).await;
    house.told_of(&who, SignalEffect::DropProofs).await;
    house.opens_nothing(&given, "what it proved is gone").await;

    let who = again().await;
    let given = house.begun_in(&who).await;
    let mut next = house.new_session(alice.person.id, FactorKind::Password, (alice.factor, FactorUse::Nothing));
    next.replaces = Some(who.session);
    let entry = house.started(&next);
    house.store.start_session(next, vec![entry]).await.unwrap();
    house.opens_nothing(&given, "another took its place").await;

    // What is another session's, or a link's, stays.
    let (who, other) = (again().await, again().await);
    let (of_other, of_link) = (house.begun_in(&other).await, house.ticket(alice.person.id, &[FactorKind::Totp]).await);
    house.told_of(&who, SignalEffect::EndSessions).await;
    house.enrol_on(&of_other).await.unwrap();
    let begun = (FactorKind::Totp, SecretString::from("state"));
    house.store.begin_on_ticket(of_link.digest, begun).await.unwrap();
    assert_eq!(house.count_said("enrolled").await, 1);

    // What is said of the person is said of all of their sessions; a link is none of them.
    let everywhere = || Concerned::Person(alice.person.id);
    for effect in [SignalEffect::DropProofs, SignalEffect::EndSessions] {
        let (who, other) = (again().await, again().await);
        let given = [house.begun_in(&who).await, house.begun_in(&other).await];
        house.told_of_all(everywhere(), effect.clone()).await;
        for ticket in &given {
            house.opens_nothing(ticket, "it rested on a session of theirs").await;
        }
    }
    let begun = (FactorKind::Totp, SecretString::from("state"));
    house.store.begin_on_ticket(of_link.digest, begun).await.unwrap();
    house.enrol_on(&of_link).await.unwrap();
}

pub(crate) async fn b98_a_session_that_does_not_live_is_given_no_ticket(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    let put = async |person, session: SessionId| {
        let mut given = ticket(&house, person);
        given.rests_on = RestsOn::Session(session);
        house.store.put_ticket(&given).await
    };
    put(alice.person.id, alice.session).await.unwrap();
    is_conflict(put(alice.person.id, bob.session).await);
    is_conflict(put(alice.person.id, house.id()).await);
    house.store.end_session(alice.session, alice.person.id, house.said("ended")).await.unwrap();
    is_conflict(put(alice.person.id, alice.session).await);

    // Nor does what was given before a session lapsed outlive that.
    let mut given = ticket(&house, bob.person.id);
    given.rests_on = RestsOn::Session(bob.session);
    given.expires_at = house.now().plus(MINUTE * 60 * 48);
    house.store.put_ticket(&given).await.unwrap();
    house.clock.advance(MINUTE * 60 * 25);
    house.opens_nothing(&given, "its time is over").await;
}
