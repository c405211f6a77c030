//! Codes that are sent to people.

use secrecy::SecretString;
use stepgate_core::factor::{
    Binding, CodeDelivery, CodeDigest, Destination, FactorKind, FactorSecret, FactorUse, OpenCode,
};
use stepgate_core::id::{FactorId, PersonId, SentCodeId};
use stepgate_core::ports::{ChangeError, NewSentCode, Store as _};

use crate::house::{House, MINUTE, is_conflict, is_limit};

const PER_HOUR: u32 = 3;
const FOR_THIS: Binding = Binding([4; 32]);

impl House {
    pub(crate) fn address(&self) -> FactorSecret {
        FactorSecret::Address { to: Destination::email("alice@example.com").unwrap(), newest: None }
    }

    pub(crate) fn sent(&self, person: PersonId, factor: FactorId) -> NewSentCode {
        NewSentCode {
            id: self.id(),
            person,
            kind: FactorKind::EmailCode,
            sent_to: person.to_string(),
            of: Some((factor, FOR_THIS, CodeDigest(self.digest().0))),
            at: self.now(),
            expires_at: self.now().plus(MINUTE * 10),
        }
    }

    /// Puts a code; gives its id.
    pub(crate) async fn send(&self, person: PersonId, factor: FactorId) -> Result<SentCodeId, ChangeError> {
        let code = self.sent(person, factor);
        let id = code.id;
        self.store.put_sent_code(code, PER_HOUR, self.said("sent")).await.map(|()| id)
    }

    async fn newest(&self, person: PersonId) -> Option<OpenCode> {
        let factors = self.store.factors(person).await.unwrap();
        match &factors[0].secret {
            FactorSecret::Address { newest, .. } => newest.clone(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn the_newest_code_of_a_factor_reads_back_and_no_other(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.address()).await.unwrap();
    assert_eq!(house.newest(alice.id).await, None);
    let first = house.sent(alice.id, factor);
    let digest = first.of.as_ref().unwrap().2;
    house.store.put_sent_code(first.clone(), PER_HOUR, house.said("sent")).await.unwrap();
    let read = house.newest(alice.id).await.unwrap();
    assert_eq!((read.id, read.binding, read.digest, read.is_used), (first.id, FOR_THIS, digest, false));
    assert_eq!((read.expires_at, read.delivery), (first.expires_at, CodeDelivery::Sending));
    let second = house.send(alice.id, factor).await.unwrap();
    assert_eq!(house.newest(alice.id).await.unwrap().id, second);
    let old = house.new_session(alice.id, FactorKind::EmailCode, (factor, FactorUse::SentCode(first.id)));
    let refused = house.store.start_session(old, vec![house.said("started")]).await;
    assert!(matches!(refused, Err(ChangeError::UsedBefore)), "{refused:?}");
    assert_eq!(house.count_said("sent").await, 2);
}

pub(crate) async fn a_code_to_an_address_is_gone_after_its_use(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.address()).await.unwrap();
    let code = house.send(alice.id, factor).await.unwrap();
    let used = || house.new_session(alice.id, FactorKind::EmailCode, (factor, FactorUse::SentCode(code)));
    house.store.start_session(used(), vec![house.said("started")]).await.unwrap();
    assert!(house.newest(alice.id).await.unwrap().is_used);
    let again = house.store.start_session(used(), vec![house.said("started")]).await;
    assert!(matches!(again, Err(ChangeError::UsedBefore)), "{again:?}");
    // Another's code is none of this factor's.
    let bob = house.person("bob").await;
    let theirs = house.enrol(bob.id, house.address()).await.unwrap();
    let of_bob = house.send(bob.id, theirs).await.unwrap();
    let foreign = house.new_session(alice.id, FactorKind::EmailCode, (factor, FactorUse::SentCode(of_bob)));
    let refused = house.store.start_session(foreign, vec![house.said("started")]).await;
    assert!(matches!(refused, Err(ChangeError::UsedBefore)), "{refused:?}");
}

pub(crate) async fn so_many_codes_are_sent_within_an_hour_whatever_became_of_them(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.address()).await.unwrap();
    house.send(alice.id, factor).await.unwrap();
    // One for an enrolment counts with them.
    let ticket = house.ticket(alice.id, &[FactorKind::EmailCode]).await;
    let begun = || (FactorKind::EmailCode, SecretString::from("a code was sent"));
    let on_ticket = || NewSentCode { id: house.id(), of: None, ..house.sent(alice.id, factor) };
    let put = || house.store.put_code_on_ticket(ticket.digest, begun(), on_ticket(), PER_HOUR, house.said("sent"));
    put().await.unwrap();
    let read = house.store.ticket(ticket.digest, ticket.browser, house.now()).await.unwrap().unwrap();
    assert!(read.begun.is_some_and(|(kind, _)| kind == FactorKind::EmailCode));
    // A factor that is removed and enrolled anew begins no new count.
    house.store.remove_factor(alice.id, factor, Vec::new(), house.said("removed")).await.unwrap();
    let factor = house.enrol(alice.id, house.address()).await.unwrap();
    house.send(alice.id, factor).await.unwrap();
    let limited = |result: Result<(), ChangeError>| assert!(matches!(result, Err(ChangeError::Limit(_))), "{result:?}");
    limited(house.send(alice.id, factor).await.map(|_| ()));
    limited(put().await);
    assert_eq!(house.count_said("sent").await, 3, "what is refused is no entry");
    house.clock.advance(MINUTE * 60);
    house.store.purge(house.now()).await.unwrap();
    house.send(alice.id, factor).await.unwrap();
    // Neither to somebody else's address nor to nobody's.
    let bob = house.person("bob").await;
    is_conflict(house.send(bob.id, factor).await.map(|_| ()));
    is_conflict(house.send(house.id(), factor).await.map(|_| ()));
}

pub(crate) async fn what_became_of_a_code_is_kept_and_written_even_if_it_is_gone(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.address()).await.unwrap();
    let code = house.send(alice.id, factor).await.unwrap();
    for delivery in [CodeDelivery::Failed, CodeDelivery::Taken] {
        house.store.code_delivered(code, delivery, house.said("delivered")).await.unwrap();
        assert_eq!(house.newest(alice.id).await.unwrap().delivery, delivery);
    }
    house.store.code_delivered(house.id(), CodeDelivery::Failed, house.said("delivered")).await.unwrap();
    assert_eq!(house.count_said("delivered").await, 3);
}

pub(crate) async fn one_address_is_sent_so_many_codes_whoever_asks_for_them(house: House) {
    let mut left = i64::from(PER_HOUR);
    for name in ["alice", "bob", "carol"] {
        let person = house.person(name).await;
        let factor = house.enrol(person.id, house.address()).await.unwrap();
        for _ in 0..PER_HOUR.div_ceil(2) {
            let code = NewSentCode { sent_to: "one address".to_owned(), ..house.sent(person.id, factor) };
            let put = house.store.put_sent_code(code, PER_HOUR, house.said("to one")).await;
            left -= 1;
            if left >= 0 { put.unwrap() } else { is_limit(put) }
        }
        // Another address of theirs is none of that.
        if left < 0 {
            house.send(person.id, factor).await.unwrap();
        }
    }
    assert!(left < 0);
    house.clock.advance(MINUTE * 61);
    let later = house.person("dora").await;
    let factor = house.enrol(later.id, house.address()).await.unwrap();
    let code = NewSentCode { sent_to: "one address".to_owned(), ..house.sent(later.id, factor) };
    house.store.put_sent_code(code, PER_HOUR, house.said("to one")).await.unwrap();
    assert_eq!(house.count_said("to one").await, PER_HOUR as usize + 1);
}
