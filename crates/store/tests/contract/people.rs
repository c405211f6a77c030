use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{EnrolledFactor, FactorKind, FactorSecret, PasswordStands};
use stepgate_core::person::Login;
use stepgate_core::ports::{Store as _, TicketThen};

use crate::house::{House, is_conflict, is_used_before};

pub(crate) async fn a_person_reads_back_as_it_was_added(house: House) {
    let alice = house.person("alice").await;
    assert_eq!(house.store.person(alice.id).await.unwrap().as_ref(), Some(&alice));
    assert_eq!(house.store.person_by_login(&alice.login).await.unwrap(), Some(alice));
    assert_eq!(house.store.person(house.id()).await.unwrap(), None);
    assert_eq!(house.store.person_by_login(&Login::parse("bob").unwrap()).await.unwrap(), None);
}

pub(crate) async fn a_login_that_exists_is_a_conflict_and_writes_no_entry(house: House) {
    house.person("alice").await;
    let twin = house.somebody("alice");
    is_conflict(house.store.add_person(&twin, house.now(), house.said("twin")).await);
    assert_eq!(house.store.person(twin.id).await.unwrap(), None);
    assert_eq!(house.count_said("twin").await, 0);
}

pub(crate) async fn a_change_of_a_person_replaces_name_email_and_groups(house: House) {
    let mut alice = house.person("alice").await;
    alice.name = "Alice \"\\ ' ; DROP TABLE people; --".to_owned();
    alice.email = String::new();
    alice.groups = vec!["auditors".to_owned()];
    house.store.change_person(&alice, house.said("changed")).await.unwrap();
    assert_eq!(house.store.person(alice.id).await.unwrap(), Some(alice));
    assert_eq!(house.count_said("changed").await, 1);
}

pub(crate) async fn changing_or_removing_nobody_is_a_conflict(house: House) {
    let nobody = house.somebody("nobody");
    is_conflict(house.store.change_person(&nobody, house.said("changed")).await);
    is_conflict(house.store.remove_person(nobody.id, "cli:test", house.now(), house.said("removed")).await);
    assert_eq!(house.count_said("changed").await + house.count_said("removed").await, 0);
}

pub(crate) async fn a_removed_person_takes_factors_links_and_sessions_along(house: House) {
    let alice = house.signed_in("alice").await;
    let link = house.link(alice.person.id);
    house.store.put_link(&link, house.said("link")).await.unwrap();
    let challenge = house.opened(&alice, stepgate_core::challenge::GrantKind::Freshness).await;
    assert!(house.look(alice.token).await.is_some());
    house.store.remove_person(alice.person.id, "cli:test", house.now(), house.said("removed")).await.unwrap();
    assert!(house.look(alice.token).await.is_none());
    assert!(house.store.factors(alice.person.id).await.unwrap().is_empty());
    assert!(house.store.link(link.digest, house.now()).await.unwrap().is_none());
    assert!(house.store.sessions(alice.person.id, house.now()).await.unwrap().is_empty());
    assert!(house.store.challenge(challenge.id).await.unwrap().is_none());
    assert_eq!(house.count_said("removed").await, 1);
}

pub(crate) async fn people_come_by_login_in_pages(house: House) {
    for login in ["zoe", "bob", "ärger", "a-b", "a_b", "ab"] {
        house.person(login).await;
    }
    let mut found = Vec::new();
    let mut after: Option<Login> = None;
    loop {
        let page = house.store.people(after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        after = Some(last.login.clone());
        found.extend(page.into_iter().map(|person| person.login.as_str().to_owned()));
    }
    // By bytes on every database, whatever its language.
    assert_eq!(found, ["a-b", "a_b", "ab", "bob", "zoe", "ärger"]);
}

pub(crate) async fn factors_come_oldest_first_and_read_back(house: House) {
    let alice = house.person("alice").await;
    let totp = house.enrol(alice.id, house.totp()).await.unwrap();
    let passkey_secret = house.passkey(7);
    let passkey = house.enrol(alice.id, passkey_secret.clone()).await.unwrap();
    let (codes, left) = house.recovery_codes(3);
    let recovery = house.enrol(alice.id, codes).await.unwrap();
    let factors = house.store.factors(alice.id).await.unwrap();
    assert_eq!(factors.iter().map(|factor| factor.id).collect::<Vec<_>>(), [totp, passkey, recovery]);
    assert!(factors.iter().all(|factor| factor.enrolled_at == house.now() && factor.last_used_at.is_none()));
    let FactorSecret::Oath { key, last: None, token: None } = &factors[0].secret else { panic!("{:?}", factors[0]) };
    assert_eq!(key.seed.expose_secret(), "JBSWY3DPEHPK3PXP-not-in-the-clear");
    let (FactorSecret::Passkey(read), FactorSecret::Passkey(put)) = (&factors[1].secret, &passkey_secret) else {
        panic!("{:?}", factors[1])
    };
    assert_eq!(format!("{read:?}"), format!("{put:?}"));
    let FactorSecret::RecoveryCodes { left: read } = &factors[2].secret else { panic!("{:?}", factors[2]) };
    assert!(*read == left);
    assert_eq!(house.store.person_by_credential(&put.credential_id).await.unwrap(), Some(alice.id));
    assert_eq!(house.store.person_by_credential(b"another").await.unwrap(), None);
}

pub(crate) async fn a_credential_id_that_is_taken_was_used_before(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let passkey = house.passkey(0);
    house.enrol(alice.id, passkey.clone()).await.unwrap();
    is_used_before(house.enrol(bob.id, passkey).await);
    assert!(house.store.factors(bob.id).await.unwrap().is_empty());
}

pub(crate) async fn a_new_password_and_new_recovery_codes_replace_the_old(house: House) {
    let alice = house.person("alice").await;
    house.enrol(alice.id, house.password("old")).await.unwrap();
    house.enrol(alice.id, house.recovery_codes(5).0).await.unwrap();
    house.enrol(alice.id, house.totp()).await.unwrap();
    let password = house.enrol(alice.id, house.password("new")).await.unwrap();
    let codes = house.enrol(alice.id, house.recovery_codes(2).0).await.unwrap();
    let second = house.enrol(alice.id, house.totp()).await.unwrap();
    let factors = house.store.factors(alice.id).await.unwrap();
    let of = |kind| factors.iter().filter(|f| f.kind() == kind).map(|f| f.id).collect::<Vec<_>>();
    assert_eq!(of(FactorKind::Password), [password]);
    assert_eq!(of(FactorKind::RecoveryCode), [codes]);
    assert_eq!(of(FactorKind::Totp).len(), 2);
    assert_eq!(of(FactorKind::Totp)[1], second);
}

pub(crate) async fn an_enrolment_needs_what_was_begun_on_the_ticket(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let ticket = house.ticket(alice.id, &[FactorKind::Totp, FactorKind::Password]).await;
    let factor = EnrolledFactor {
        id: house.id(),
        name: "phone".to_owned(),
        enrolled_at: house.now(),
        last_used_at: None,
        last_used_from: None,
        secret: house.totp(),
    };
    let store = &house.store;
    let enrol =
        |digest, person| store.enrol(digest, TicketThen::Stays, person, &factor, house.now(), house.said("enrolled"));
    is_conflict(enrol(ticket.digest, alice.id).await);
    store.begin_on_ticket(ticket.digest, (FactorKind::Password, SecretString::from("s"))).await.unwrap();
    is_conflict(enrol(ticket.digest, alice.id).await);
    store.begin_on_ticket(ticket.digest, (FactorKind::Totp, SecretString::from("s"))).await.unwrap();
    is_conflict(enrol(ticket.digest, bob.id).await);
    is_conflict(enrol(house.digest(), alice.id).await);
    enrol(ticket.digest, alice.id).await.unwrap();
    is_conflict(enrol(ticket.digest, alice.id).await);
    let left = store.ticket(ticket.digest, ticket.browser, house.now()).await.unwrap().unwrap();
    assert!(left.begun.is_none());
    assert_eq!(house.count_said("enrolled").await, 1);
    assert_eq!(store.factors(alice.id).await.unwrap().len(), 1);
}

pub(crate) async fn removing_somebody_elses_factor_is_a_conflict(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    is_conflict(house.store.remove_factor(bob.id, factor, Vec::new(), house.said("removed")).await);
    house.store.remove_factor(alice.id, factor, Vec::new(), house.said("removed")).await.unwrap();
    is_conflict(house.store.remove_factor(alice.id, factor, Vec::new(), house.said("removed")).await);
    assert_eq!(house.count_said("removed").await, 1);
    assert!(house.store.factors(alice.id).await.unwrap().is_empty());
}

pub(crate) async fn a_ticket_for_one_factor_ends_with_it(house: House) {
    let alice = house.person("alice").await;
    let ticket = house.ticket(alice.id, &[FactorKind::Totp]).await;
    let begin = || house.store.begin_on_ticket(ticket.digest, (FactorKind::Totp, SecretString::from("s")));
    let enrol = async || {
        let factor = house.factor(house.totp());
        let (now, entry) = (house.now(), house.said("enrolled"));
        house.store.enrol(ticket.digest, TicketThen::Ends, alice.id, &factor, now, entry).await
    };
    is_conflict(enrol().await);
    assert!(
        house.store.ticket(ticket.digest, ticket.browser, house.now()).await.unwrap().is_some(),
        "nothing happened"
    );
    begin().await.unwrap();
    enrol().await.unwrap();
    assert!(house.store.ticket(ticket.digest, ticket.browser, house.now()).await.unwrap().is_none());
    is_conflict(begin().await);
    is_conflict(enrol().await);
    assert_eq!(house.store.factors(alice.id).await.unwrap().len(), 1);
}

pub(crate) async fn a_removal_is_judged_by_what_is_left_then(house: House) {
    let alice = house.person("alice").await;
    let apps = [house.enrol(alice.id, house.totp()).await.unwrap(), house.enrol(alice.id, house.totp()).await.unwrap()];
    let other = house.another_node(9).await;
    // Each of two removals at once was judged by the other's factor being left.
    let (one, two) = tokio::join!(
        house.store.remove_factor(alice.id, apps[0], vec![apps[1]], house.said("removed")),
        other.remove_factor(alice.id, apps[1], vec![apps[0]], house.said("removed")),
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(house.store.factors(alice.id).await.unwrap().len(), 1);
}

pub(crate) async fn a_short_password_is_not_enrolled_alone(house: House) {
    let alice = house.person("alice").await;
    let short = || FactorSecret::Password { phc: "$argon2id$".into(), stands: PasswordStands::BesideAnother };
    is_conflict(house.enrol(alice.id, short()).await);
    let (codes, _) = house.recovery_codes(2);
    house.enrol(alice.id, codes).await.unwrap();
    is_conflict(house.enrol(alice.id, short()).await);
    house.enrol(alice.id, house.totp()).await.unwrap();
    house.enrol(alice.id, short()).await.unwrap();
    let factors = house.store.factors(alice.id).await.unwrap();
    let stands = factors.iter().find_map(|one| match one.secret {
        FactorSecret::Password { stands, .. } => Some(stands),
        _ => None,
    });
    assert_eq!(stands, Some(PasswordStands::BesideAnother), "it reads back as it was");
}
