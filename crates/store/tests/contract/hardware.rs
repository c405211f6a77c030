use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;
use stepgate_core::factor::{EnrolledFactor, FactorKind, FactorSecret, FactorUse, Moves, OathHash, OathKey};
use stepgate_core::id::{FactorId, PersonId};
use stepgate_core::ports::{
    ChangeError, HardwareToken, HardwareTokens as _, NewToken, Store as _, TicketThen, TokenState,
};

use crate::house::{House, is_conflict};

const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

impl House {
    fn token(&self, serial: &str, next: u64) -> NewToken {
        let key = OathKey { seed: SEED.into(), hash: OathHash::Sha1, digits: 6, moves: Moves::Counts };
        NewToken { id: self.id(), serial: serial.to_owned(), manufacturer: "Acme".to_owned(), key, next, until: None }
    }

    async fn import(&self, tokens: Vec<NewToken>) -> Result<(), ChangeError> {
        self.store.import_tokens(tokens, self.now(), self.said("imported")).await
    }

    async fn find(&self, serial: &str) -> HardwareToken {
        self.store.token(serial).await.unwrap().unwrap()
    }

    async fn assign(&self, serial: &str, person: PersonId) -> Result<(), ChangeError> {
        let token = self.find(serial).await;
        self.store.assign_token(token.id, person, self.said("assigned")).await
    }

    async fn activate(&self, person: PersonId, factor: &EnrolledFactor, to: u64) -> Result<(), ChangeError> {
        let ticket = self.ticket(person, &[FactorKind::Hotp]).await;
        let used = FactorUse::Moved(to);
        let entry = self.said("activated");
        self.store.activate_token(ticket.digest, TicketThen::Ends, person, factor, used, entry).await
    }

    /// A token of this person's, active since the code of counter 0.
    pub(crate) async fn active_token(&self, serial: &str, person: PersonId) -> FactorId {
        self.import(vec![self.token(serial, 0)]).await.unwrap();
        self.assign(serial, person).await.unwrap();
        let waiting = self.store.assigned_tokens(person).await.unwrap().remove(0);
        let factor = EnrolledFactor { id: self.id(), ..waiting };
        self.activate(person, &factor, 0).await.unwrap();
        factor.id
    }

    async fn last(&self, person: PersonId) -> Option<u64> {
        match &self.store.factors(person).await.unwrap()[0].secret {
            FactorSecret::Oath { last, token: Some(_), .. } => *last,
            other => panic!("{other:?}"),
        }
    }

    async fn removed(&self, token: &HardwareToken) -> Option<(FactorId, stepgate_evidence::Entry)> {
        match token.state {
            TokenState::Active(_, factor) => Some((factor, self.said("removed"))),
            _ => None,
        }
    }
}

pub(crate) async fn an_import_is_whole_or_nothing(house: House) {
    house.import(vec![house.token("A-1", 0), house.token("A-2", 7)]).await.unwrap();
    let again = house.import(vec![house.token("A-3", 0), house.token("A-2", 0)]).await;
    assert!(matches!(again, Err(ChangeError::UsedBefore)), "{again:?}");
    let serials: BTreeSet<String> =
        house.store.tokens(None, 10).await.unwrap().into_iter().map(|token| token.serial).collect();
    assert_eq!(serials, BTreeSet::from(["A-1".to_owned(), "A-2".to_owned()]));
    assert_eq!(house.count_said("imported").await, 1);
    let after = house.store.tokens(Some("A-1"), 10).await.unwrap();
    assert_eq!((after.len(), after[0].state, after[0].kind), (1, TokenState::Free, FactorKind::Hotp));
}

/// A seed stands in the token's row alone, sealed; the factor leads there.
pub(crate) async fn a_token_reads_back_as_a_factor_and_is_sealed(house: House) {
    let alice = house.person("alice").await;
    let factor = house.active_token("A-1", alice.id).await;
    let factors = house.store.factors(alice.id).await.unwrap();
    let FactorSecret::Oath { key, last: Some(0), token: Some(token) } = &factors[0].secret else {
        panic!("{factors:?}")
    };
    assert_eq!((key.seed.expose_secret(), key.digits, key.moves), (SEED, 6, Moves::Counts));
    assert_eq!((factors[0].id, token.serial.as_str(), token.ending()), (factor, "A-1", "A-1"));
    assert_eq!(house.find("A-1").await.state, TokenState::Active(alice.id, factor));
    if let Some(path) = house.url.strip_prefix("sqlite:") {
        let bytes = std::fs::read(format!("{path}-wal")).unwrap();
        assert!(!bytes.windows(SEED.len()).any(|window| window == SEED.as_bytes()));
    }
}

pub(crate) async fn b152_a_token_is_activated_by_whom_it_was_handed_to_and_nobody_else(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    house.import(vec![house.token("A-1", 0)]).await.unwrap();
    house.assign("A-1", alice.id).await.unwrap();
    is_conflict(house.assign("A-1", bob.id).await);
    assert!(house.store.assigned_tokens(bob.id).await.unwrap().is_empty());
    let waiting = house.store.assigned_tokens(alice.id).await.unwrap().remove(0);
    let factor = EnrolledFactor { id: house.id(), ..waiting };
    is_conflict(house.activate(bob.id, &factor, 0).await);
    house.activate(alice.id, &factor, 0).await.unwrap();
    assert!(house.store.factors(bob.id).await.unwrap().is_empty());
    let twice = EnrolledFactor { id: house.id(), ..factor };
    assert!(house.activate(alice.id, &twice, 1).await.is_err(), "a token is one factor");
}

/// Whatever becomes of the factor, the code that was accepted last stays the last one.
pub(crate) async fn b150_a_counter_never_goes_back(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let factor = house.active_token("A-1", alice.id).await;
    let with = |person, factor, to| house.new_session(person, FactorKind::Hotp, (factor, FactorUse::Moved(to)));
    let start = async |session| house.store.start_session(session, vec![house.said("started")]).await;
    start(with(alice.id, factor, 5)).await.unwrap();
    for to in [5, 4, 0] {
        let back = start(with(alice.id, factor, to)).await;
        assert!(matches!(back, Err(ChangeError::UsedBefore)), "{to}: {back:?}");
    }
    let token = house.find("A-1").await;
    let removed = house.removed(&token).await;
    house.store.unassign_token(token.id, alice.id, removed, house.said("unassigned")).await.unwrap();
    assert!(house.store.factors(alice.id).await.unwrap().is_empty());
    house.assign("A-1", bob.id).await.unwrap();
    let waiting = house.store.assigned_tokens(bob.id).await.unwrap().remove(0);
    let FactorSecret::Oath { last: Some(5), .. } = waiting.secret else { panic!("{waiting:?}") };
    let factor = EnrolledFactor { id: house.id(), ..waiting };
    let old = house.activate(bob.id, &factor, 5).await;
    assert!(matches!(old, Err(ChangeError::UsedBefore)), "{old:?}");
    house.activate(bob.id, &factor, 6).await.unwrap();
    house.store.remove_person(bob.id, "test", house.now(), house.said("gone")).await.unwrap();
    let again = house.import(vec![house.token("A-1", 0)]).await;
    assert!(matches!(again, Err(ChangeError::UsedBefore)), "{again:?}");
    house.assign("A-1", alice.id).await.unwrap();
    let waiting = house.store.assigned_tokens(alice.id).await.unwrap().remove(0);
    assert!(matches!(waiting.secret, FactorSecret::Oath { last: Some(6), .. }), "{waiting:?}");
}

pub(crate) async fn a_revoked_token_is_gone_for_good(house: House) {
    let alice = house.person("alice").await;
    house.active_token("A-1", alice.id).await;
    let token = house.find("A-1").await;
    is_conflict(house.store.revoke_token(token.id, None, house.said("revoked")).await);
    assert_eq!(house.last(alice.id).await, Some(0), "without its entry no factor goes");
    let removed = house.removed(&token).await;
    house.store.revoke_token(token.id, removed, house.said("revoked")).await.unwrap();
    assert!(house.store.factors(alice.id).await.unwrap().is_empty());
    assert_eq!(house.find("A-1").await.state, TokenState::Revoked);
    is_conflict(house.assign("A-1", alice.id).await);
    is_conflict(house.store.revoke_token(token.id, None, house.said("revoked")).await);
    let again = house.import(vec![house.token("A-1", 0)]).await;
    assert!(matches!(again, Err(ChangeError::UsedBefore)), "{again:?}");
    assert_eq!((house.count_said("revoked").await, house.count_said("removed").await), (1, 1));
}

pub(crate) async fn a_token_stays_when_its_factor_goes(house: House) {
    let alice = house.person("alice").await;
    let factor = house.active_token("A-1", alice.id).await;
    house.store.remove_factor(alice.id, factor, Vec::new(), house.said("removed")).await.unwrap();
    assert_eq!(house.find("A-1").await.state, TokenState::Assigned(alice.id), "its holder may activate it again");
}
