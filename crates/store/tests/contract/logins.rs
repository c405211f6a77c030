use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::challenge::GrantKind;
use stepgate_core::factor::{EnrolledFactor, FactorKind, FactorSecret, FactorUse, Identity, Strength, identity_digest};
use stepgate_core::id::SessionId;
use stepgate_core::ports::{
    AnsweredChallenge, LeftBy, LoggedOut, NewSession, PendingLogin, ProvedThere, ProviderLogin, Renewal,
    SignalStore as _, Store as _,
};
use stepgate_core::provider::ProviderName;

use crate::house::{ADDRESS, House, MINUTE, is_conflict, is_used_before};
use crate::sealing::tamper;

const ISSUER: &str = "https://id.example";

fn corp() -> ProviderName {
    ProviderName::parse("corp").unwrap()
}

fn known_as(house: &House, subject: &str) -> EnrolledFactor {
    let identity = Identity { provider: corp(), issuer: ISSUER.to_owned(), subject: subject.to_owned() };
    house.factor(FactorSecret::Idp(identity))
}

fn sid(sid: &str) -> LoggedOut {
    LoggedOut { sid: Some(sid.to_owned()), identity: None }
}

fn pending(house: &House) -> PendingLogin {
    PendingLogin {
        state: house.digest(),
        browser: house.digest(),
        by: LeftBy::Stranger(ADDRESS),
        provider: corp(),
        kept: SecretString::from("what is kept and not in the clear"),
        expires_at: house.now().plus(MINUTE),
    }
}

fn login(subject: &str, sid: Option<&str>) -> ProviderLogin {
    ProviderLogin {
        provider: corp(),
        issuer: ISSUER.to_owned(),
        identity: identity_digest(ISSUER, subject),
        subject: subject.to_owned(),
        left_at: stepgate_testkit::clock::BEGINNING,
        sid: sid.map(str::to_owned),
        id_token: SecretString::from("id-token-not-in-the-clear"),
        refresh_token: Some(SecretString::from("refresh-token-not-in-the-clear")),
        renew_at: None,
    }
}

/// Somebody who came from the provider: their session rests on a login there.
async fn arrived(house: &House, name: &str, login: ProviderLogin) -> NewSession {
    let person = house.somebody(name);
    let identity = known_as(house, &login.subject);
    let at = house.now();
    house.store.add_person_known_by(&person, &identity, at, vec![house.said("added")]).await.unwrap();
    let strength = Strength::SECOND_FACTOR.and(Strength::POSSESSION);
    let session = NewSession {
        login: Some(login),
        ..house.new_session(person.id, FactorKind::Idp(strength), (identity.id, FactorUse::Nothing))
    };
    let copy = NewSession { login: None, ..house.new_session(person.id, FactorKind::Password, session.used.clone()) };
    let copy = NewSession { id: session.id, gate_token: session.gate_token, ..copy };
    house.store.start_session(session, vec![house.said("started")]).await.unwrap();
    copy
}

pub(crate) async fn a_person_is_found_by_issuer_and_subject_and_nothing_else(house: House) {
    let alice = house.somebody("alice");
    let identity = known_as(&house, "00u1");
    let at = house.now();
    house
        .store
        .add_person_known_by(&alice, &identity, at, vec![house.said("added"), house.said("known")])
        .await
        .unwrap();
    let found = |issuer: &str, subject: &str| house.store.person_by_identity(identity_digest(issuer, subject));
    assert_eq!(found(ISSUER, "00u1").await.unwrap(), Some((alice.id, identity.id)));
    assert_eq!(found(ISSUER, "00u2").await.unwrap(), None);
    assert_eq!(found("https://id.example/", "00u1").await.unwrap(), None);
    // No other split of the same characters is the same identity.
    assert_eq!(found("https://id.example0", "0u1").await.unwrap(), None);
    assert_eq!(house.count_said("added").await + house.count_said("known").await, 2);
    let factors = house.store.factors(alice.id).await.unwrap();
    let FactorSecret::Idp(kept) = &factors[0].secret else { panic!("{factors:?}") };
    assert_eq!((kept.issuer.as_str(), kept.subject.as_str(), &kept.provider), (ISSUER, "00u1", &corp()));
}

pub(crate) async fn an_identity_belongs_to_one_person(house: House) {
    let alice = house.somebody("alice");
    let at = house.now();
    house.store.add_person_known_by(&alice, &known_as(&house, "00u1"), at, vec![house.said("alice")]).await.unwrap();
    let mallory = house.somebody("mallory");
    let theirs = known_as(&house, "00u1");
    is_used_before(house.store.add_person_known_by(&mallory, &theirs, at, vec![house.said("mallory")]).await);
    assert_eq!(house.store.person(mallory.id).await.unwrap(), None);
    let twin = house.somebody("alice");
    let other = known_as(&house, "00u9");
    is_conflict(house.store.add_person_known_by(&twin, &other, at, vec![house.said("twin")]).await);
    assert_eq!(house.store.person_by_identity(identity_digest(ISSUER, "00u9")).await.unwrap(), None);
    let bob = house.person("bob").await;
    is_used_before(house.store.add_identity(bob.id, &theirs, house.said("bob")).await);
    is_conflict(house.store.add_identity(house.id(), &other, house.said("nobody")).await);
    house.store.add_identity(bob.id, &other, house.said("linked")).await.unwrap();
    let linked = house.store.person_by_identity(identity_digest(ISSUER, "00u9")).await.unwrap();
    assert_eq!(linked, Some((bob.id, other.id)));
    for said in ["mallory", "twin", "bob", "nobody"] {
        assert_eq!(house.count_said(said).await, 0, "{said}");
    }
}

pub(crate) async fn an_identity_goes_with_its_person(house: House) {
    let session = arrived(&house, "alice", login("00u1", None)).await;
    assert_eq!(house.look(session.gate_token).await.unwrap().providers.as_ref(), [corp()]);
    house.store.remove_person(session.person, "cli:test", house.now(), house.said("removed")).await.unwrap();
    assert_eq!(house.store.person_by_identity(identity_digest(ISSUER, "00u1")).await.unwrap(), None);
    assert!(house.store.provider_login(session.id).await.unwrap().is_none());
}

pub(crate) async fn a_login_on_its_way_is_taken_once_by_its_browser(house: House) {
    let login = pending(&house);
    house.store.put_pending_login(login.clone()).await.unwrap();
    let take = |state, browser, provider: ProviderName| {
        let (store, now) = (house.store.clone(), house.now());
        async move { store.take_pending_login(state, browser, &provider, now).await.unwrap() }
    };
    let other = ProviderName::parse("other").unwrap();
    assert!(take(login.state, house.digest(), corp()).await.is_none(), "another browser");
    assert!(take(login.state, login.browser, other).await.is_none(), "another provider");
    assert!(take(house.digest(), login.browser, corp()).await.is_none(), "another state");
    let kept = crate::sealing::column(&house, "SELECT sealed FROM pending_logins").await;
    assert!(!kept.windows(16).any(|window| window == b"not in the clear"));
    let taken = take(login.state, login.browser, corp()).await.unwrap();
    assert_eq!(taken.expose_secret(), login.kept.expose_secret());
    assert!(take(login.state, login.browser, corp()).await.is_none(), "a second time");
}

pub(crate) async fn a_login_that_took_too_long_is_gone(house: House) {
    let login = pending(&house);
    house.store.put_pending_login(login.clone()).await.unwrap();
    house.clock.advance(MINUTE);
    let taken = house.store.take_pending_login(login.state, login.browser, &corp(), house.now()).await.unwrap();
    assert!(taken.is_none());
    assert!(house.store.purge(house.now()).await.unwrap() >= 1);
}

pub(crate) async fn one_network_pushes_out_its_own_logins_and_nobody_elses(house: House) {
    let other = PendingLogin { by: LeftBy::Stranger("198.51.100.9".parse().unwrap()), ..pending(&house) };
    let signed_in = PendingLogin { by: LeftBy::Session(house.id()), ..pending(&house) };
    let first = pending(&house);
    for login in [&other, &signed_in, &first] {
        house.store.put_pending_login(login.clone()).await.unwrap();
    }
    // Those that came later expire later.
    house.clock.advance(MINUTE / 2);
    for _ in 0..100 {
        house.store.put_pending_login(pending(&house)).await.unwrap();
    }
    for (login, is_there) in [(&other, true), (&signed_in, true), (&first, false)] {
        let taken = house.store.take_pending_login(login.state, login.browser, &corp(), house.now()).await.unwrap();
        assert_eq!(taken.is_some(), is_there, "{:?}", login.by);
    }
}

pub(crate) async fn of_two_nodes_that_take_one_login_one_has_it(house: House) {
    let other = house.another_node(9).await;
    for _ in 0..5 {
        let login = pending(&house);
        house.store.put_pending_login(login.clone()).await.unwrap();
        let provider = corp();
        let (here, there) = tokio::join!(
            house.store.take_pending_login(login.state, login.browser, &provider, house.now()),
            other.take_pending_login(login.state, login.browser, &provider, house.now()),
        );
        let taken = [here.unwrap(), there.unwrap()].iter().flatten().count();
        assert_eq!(taken, 1);
    }
}

pub(crate) async fn the_login_that_a_session_rests_on_reads_back_sealed(house: House) {
    let session = arrived(&house, "alice", login("00u1", Some("sid-1"))).await;
    let read = house.store.provider_login(session.id).await.unwrap().unwrap();
    assert_eq!((read.subject.as_str(), read.sid.as_deref(), read.renew_at), ("00u1", Some("sid-1"), None));
    assert_eq!(read.id_token.expose_secret(), "id-token-not-in-the-clear");
    assert_eq!(read.refresh_token.unwrap().expose_secret(), "refresh-token-not-in-the-clear");
    assert!(house.store.provider_login(house.id()).await.unwrap().is_none());
    let kept = crate::sealing::column(&house, "SELECT sealed FROM provider_logins").await;
    assert!(!kept.windows(16).any(|window| window == b"not-in-the-clear"), "a token lies in the clear");
    house.store.end_session(session.id, session.person, house.said("ended")).await.unwrap();
    assert!(house.store.provider_login(session.id).await.unwrap().is_none());
}

pub(crate) async fn a_session_tells_what_its_login_counts_as(house: House) {
    let session = arrived(&house, "alice", login("00u1", None)).await;
    let view = house.look(session.gate_token).await.unwrap();
    let strength = Strength::SECOND_FACTOR.and(Strength::POSSESSION);
    assert_eq!(view.assurance.proofs()[0].kind, FactorKind::Idp(strength));
    assert!(view.enrolled.is_empty(), "what it could prove is not for the store to say");
}

pub(crate) async fn a_logout_there_finds_its_sessions_here(house: House) {
    let first = arrived(&house, "alice", login("00u1", Some("sid-1"))).await;
    let bob = arrived(&house, "bob", login("00u2", Some("sid-2"))).await;
    let found = |of: LoggedOut| {
        let (store, now) = (house.store.clone(), house.now());
        async move { store.sessions_logged_out(&corp(), &of, now).await.unwrap() }
    };
    assert_eq!(found(sid("sid-1")).await, [(first.id, first.person)]);
    let of_bob = LoggedOut { sid: None, identity: Some(identity_digest(ISSUER, "00u2")) };
    assert_eq!(found(of_bob.clone()).await, [(bob.id, bob.person)]);
    assert_eq!(found(sid("sid-3")).await, []);
    let other = ProviderName::parse("other").unwrap();
    let elsewhere = house.store.sessions_logged_out(&other, &of_bob, house.now()).await.unwrap();
    assert_eq!(elsewhere, [], "another provider's logout is none of its");
    house.store.end_session(bob.id, bob.person, house.said("ended")).await.unwrap();
    assert_eq!(found(of_bob).await, [], "it has ended");
}

pub(crate) async fn a_logout_there_is_carried_out_once_and_whole(house: House) {
    let named = arrived(&house, "alice", login("00u1", Some("sid-1"))).await;
    let nameless = arrived(&house, "bob", login("00u2", None)).await;
    let of = LoggedOut { sid: Some("sid-9".to_owned()), identity: Some(identity_digest(ISSUER, "00u2")) };
    let found = house.store.sessions_logged_out(&corp(), &of, house.now()).await.unwrap();
    assert_eq!(found, [(nameless.id, nameless.person)], "a session that names none is of its person");
    let token = house.digest();
    let log_out = |token, of: LoggedOut, sessions: Vec<SessionId>, said: &'static str| {
        let (store, now, entry) = (house.store.clone(), house.now(), house.said(said));
        async move { store.log_out(token, &corp(), &of, sessions, now, vec![entry]).await }
    };
    is_conflict(log_out(token, of.clone(), Vec::new(), "early").await);
    is_conflict(log_out(token, of.clone(), vec![nameless.id, named.id], "others").await);
    assert!(house.look(nameless.gate_token).await.is_some(), "nothing happened");
    log_out(token, of.clone(), vec![nameless.id], "out").await.unwrap();
    assert!(house.look(nameless.gate_token).await.is_none());
    assert!(house.look(named.gate_token).await.is_some());
    is_used_before(log_out(token, of, Vec::new(), "again").await);
    for (said, count) in [("early", 0), ("others", 0), ("out", 1), ("again", 0)] {
        assert_eq!(house.count_said(said).await, count, "{said}");
    }
}

fn proved_there(sid: Option<&str>) -> Option<ProvedThere> {
    let ProviderLogin { provider, identity, sid, left_at, .. } = login("00u1", sid);
    Some(ProvedThere { provider, identity, sid, left_at })
}

/// Whoever signed in with a password and proved more at the provider has a session of the provider's, too.
pub(crate) async fn b116_a_logout_there_ends_what_was_stepped_up_there(house: House) {
    let there = LoggedOut { sid: None, identity: Some(identity_digest(ISSUER, "00u1")) };
    for (number, (named, of, other)) in [
        (Some("sid-7"), sid("sid-7"), sid("sid-8")),
        (Some("sid-17"), there.clone(), sid("sid-8")),
        (None, LoggedOut { sid: Some("sid-9".to_owned()), ..there.clone() }, sid("sid-7")),
        (None, there, LoggedOut { sid: None, identity: Some(identity_digest(ISSUER, "00u2")) }),
    ]
    .into_iter()
    .enumerate()
    {
        let alice = house.signed_in(&format!("alice{number}")).await;
        house.clock.advance(MINUTE);
        let challenge = house.opened(&alice, GrantKind::Freshness).await;
        let left_at = house.now();
        let login = proved_there(named).map(|login| ProvedThere { left_at, ..login });
        let answer = AnsweredChallenge { login, ..house.answer(&challenge, &alice) };
        house.store.answer_challenge(answer, vec![house.said("passed")]).await.unwrap();
        house.clock.advance(MINUTE);
        let elsewhere = ProviderName::parse("other").unwrap();
        for (provider, of, expected) in [
            (corp(), &of, vec![(alice.session, alice.person.id)]),
            (corp(), &other, Vec::new()),
            (elsewhere, &of, Vec::new()),
        ] {
            let found = house.store.sessions_logged_out(&provider, of, house.now()).await.unwrap();
            assert_eq!(found, expected, "{number} {provider} {of:?}");
        }
        if let Some(sid) = named {
            let found = house.store.sessions_of_provider(&corp(), sid, house.now()).await.unwrap();
            assert_eq!(found, [(alice.person.id, alice.session)]);
        }
        let (token, entry) = (house.digest(), vec![house.said("out")]);
        house.store.log_out(token, &corp(), &of, vec![alice.session], house.now(), entry).await.unwrap();
        assert!(house.look(alice.token).await.is_none(), "{number}");
    }
}

pub(crate) async fn b116_a_step_up_on_its_way_that_was_logged_out_there_proves_nothing(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, GrantKind::Freshness).await;
    house.clock.advance(MINUTE);
    let of = LoggedOut { sid: Some("sid-7".to_owned()), identity: Some(identity_digest(ISSUER, "00u1")) };
    house.store.log_out(house.digest(), &corp(), &of, Vec::new(), house.now(), vec![house.said("out")]).await.unwrap();
    for sid in [Some("sid-7"), None] {
        let answer = AnsweredChallenge { login: proved_there(sid), ..house.answer(&challenge, &alice) };
        is_used_before(house.store.answer_challenge(answer, vec![house.said("late")]).await);
    }
    assert_eq!(house.count_said("late").await, 0);
    assert_eq!(house.look(alice.token).await.unwrap().newest_generation, 1, "nothing was proved");
    let answer = AnsweredChallenge { login: proved_there(Some("sid-8")), ..house.answer(&challenge, &alice) };
    house.store.answer_challenge(answer, vec![house.said("another")]).await.unwrap();
}

pub(crate) async fn a_login_on_its_way_that_was_logged_out_there_starts_no_session(house: House) {
    let person = house.somebody("alice");
    let identity = known_as(&house, "00u1");
    house.store.add_person_known_by(&person, &identity, house.now(), vec![house.said("added")]).await.unwrap();
    let start = |sid: Option<&str>, said: &'static str| {
        let strength = Strength::SECOND_FACTOR.and(Strength::POSSESSION);
        let used = (identity.id, FactorUse::Nothing);
        let login = Some(ProviderLogin { left_at: house.now(), ..login("00u1", sid) });
        let session = NewSession { login, ..house.new_session(person.id, FactorKind::Idp(strength), used) };
        (session, vec![house.said(said)])
    };
    let log_out = |of: LoggedOut| {
        let (store, token, now, entry) = (house.store.clone(), house.digest(), house.now(), house.said("out"));
        async move { store.log_out(token, &corp(), &of, Vec::new(), now, vec![entry]).await.unwrap() }
    };
    let digest = identity_digest(ISSUER, "00u1");
    let on_their_way = [start(Some("s1"), "late"), start(Some("s2"), "other"), start(None, "nameless")];
    house.clock.advance(MINUTE);
    log_out(LoggedOut { sid: Some("s1".to_owned()), identity: Some(digest) }).await;
    let [late, other, nameless] = on_their_way;
    is_used_before(house.store.start_session(late.0, late.1).await);
    house.store.start_session(other.0, other.1).await.unwrap();
    is_used_before(house.store.start_session(nameless.0, nameless.1).await);
    assert_eq!((house.count_said("late").await, house.count_said("other").await), (0, 1));
    // The session of the provider does not come back, and what began since is another login.
    let (again, since) = (start(Some("s1"), "again"), start(None, "since"));
    is_used_before(house.store.start_session(again.0, again.1).await);
    house.store.start_session(since.0, since.1).await.unwrap();
    // All of a person.
    let left = start(Some("s3"), "left");
    house.clock.advance(MINUTE);
    let all = LoggedOut { sid: None, identity: Some(digest) };
    let there = house.store.sessions_logged_out(&corp(), &all, house.now()).await.unwrap();
    let there: Vec<_> = there.into_iter().map(|(session, _)| session).collect();
    let out = vec![house.said("all")];
    house.store.log_out(house.digest(), &corp(), &all, there, house.now(), out).await.unwrap();
    is_used_before(house.store.start_session(left.0, left.1).await);
    let (back, said) = start(Some("s4"), "back");
    house.store.start_session(back, said).await.unwrap();
}

pub(crate) async fn a_renewal_is_due_once_and_keeps_what_it_brought(house: House) {
    let due_at = house.now().plus(MINUTE);
    let due = ProviderLogin { renew_at: Some(due_at), ..login("00u1", None) };
    let session = arrived(&house, "alice", due).await;
    arrived(&house, "bob", login("00u2", None)).await;
    let again_at = due_at.plus(MINUTE);
    let (corp, elsewhere) = (corp(), ProviderName::parse("elsewhere").unwrap());
    let take = |provider| house.store.take_due_renewal(provider, house.now(), again_at);
    assert!(house.store.renewals_due(house.now()).await.unwrap().is_empty());
    assert!(matches!(take(&corp).await.unwrap(), Renewal::None), "not due yet");
    house.clock.advance(MINUTE);
    assert_eq!(house.store.renewals_due(house.now()).await.unwrap(), std::slice::from_ref(&corp));
    assert!(matches!(take(&elsewhere).await.unwrap(), Renewal::None), "another provider's");
    let Renewal::Due(taken) = take(&corp).await.unwrap() else { panic!("it is due") };
    assert_eq!((taken.session, taken.subject.as_str()), (session.id, "00u1"));
    assert_eq!(taken.refresh_token.expose_secret(), "refresh-token-not-in-the-clear");
    assert!(matches!(take(&corp).await.unwrap(), Renewal::None), "another node would not ask too");
    let next = SecretString::from("the next refresh token");
    let was = || SecretString::from("refresh-token-not-in-the-clear");
    house.store.renewed(session.id, was(), next, Some(again_at.plus(MINUTE))).await.unwrap();
    let read = house.store.provider_login(session.id).await.unwrap().unwrap();
    assert_eq!(read.refresh_token.unwrap().expose_secret(), "the next refresh token");
    assert_eq!(read.renew_at, Some(again_at.plus(MINUTE)));
    // Somebody who was slow does not put an older one back.
    is_conflict(house.store.renewed(session.id, was(), SecretString::from("older"), None).await);
    is_conflict(house.store.renewed(house.id(), was(), SecretString::from("x"), None).await);
    // Another one, to be asked about when that was due anyway.
    let last = SecretString::from("the last");
    house.store.renewed(session.id, SecretString::from("the next refresh token"), last, None).await.unwrap();
    let read = house.store.provider_login(session.id).await.unwrap().unwrap();
    assert_eq!(read.renew_at, Some(again_at.plus(MINUTE)));
}

pub(crate) async fn a_login_that_cannot_be_read_keeps_no_other_from_being_renewed(house: House) {
    let due = |at| ProviderLogin { renew_at: Some(at), ..login("00u1", None) };
    arrived(&house, "alice", due(house.now())).await;
    let sound = ProviderLogin {
        subject: "00u2".to_owned(),
        identity: identity_digest(ISSUER, "00u2"),
        ..due(house.now().plus(MINUTE))
    };
    let sound = arrived(&house, "bob", sound).await;
    let swapped = "UPDATE provider_logins SET sealed = (SELECT p.sealed FROM provider_logins p \
                   WHERE p.renew_at <> provider_logins.renew_at) \
                   WHERE renew_at = (SELECT MIN(p.renew_at) FROM provider_logins p)";
    assert_eq!(tamper(&house, swapped).await, 1, "sealed for another row");
    house.clock.advance(MINUTE);
    let corp = corp();
    let take = || house.store.take_due_renewal(&corp, house.now(), house.now().plus(MINUTE));
    assert!(matches!(take().await.unwrap(), Renewal::Unreadable));
    let Renewal::Due(taken) = take().await.unwrap() else { panic!("the next is due") };
    assert_eq!(taken.session, sound.id);
    assert!(matches!(take().await.unwrap(), Renewal::None), "what cannot be read is put off too");
}
