//! `Unknown`: the connection breaks at `COMMIT`, before the database has read it or
//! after it has committed. Whoever asked for the change reads again, and finds one
//! of the two, whole.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};
use stepgate_core::challenge::{ChallengeState, GrantKind, SendOutcome};
use stepgate_core::factor::{FactorSecret, FactorUse};
use stepgate_core::ports::{AnsweredChallenge, ChangeError, Spend, Store as _, StoreError};
use stepgate_testkit::{SeveredAt, SeveredWire};

use crate::evidence::verify_offline;
use crate::house::{House, is_conflict, is_used_before};

/// What `commit_delay` makes of a commit, at most.
const SLOW_COMMIT: Duration = Duration::from_millis(100);
const BOTH: [SeveredAt; 2] = [SeveredAt::BeforeCommit, SeveredAt::AfterCommit];

/// Breaks the wire at the commit of the entry that says `what`.
fn sever(house: &House, at: SeveredAt, what: &str) -> SeveredWire {
    let wire = house.wire.clone().expect("there is a wire to break");
    wire.sever(at, what);
    wire
}

fn is_unknown(result: &Result<(), ChangeError>) -> bool {
    matches!(result, Err(ChangeError::Store(StoreError::Unknown(_))))
}

pub(crate) async fn an_entry_is_there_once_or_not_at_all(house: House) {
    let other = house.another_node(9).await;
    for (number, at) in BOTH.into_iter().enumerate() {
        let what = format!("severed {number}");
        let wire = sever(&house, at, &what);
        let recorded = house.store.record(vec![house.said(&what)]).await;
        assert!(matches!(recorded, Err(StoreError::Unknown(_))), "{at:?}: {recorded:?}");
        assert_eq!(wire.severed(), number + 1);
        assert_eq!(house.count_said(&what).await, number, "{at:?}");
        // Both nodes go on where the head stands: no gap, no fork.
        other.record(vec![house.said("elsewhere")]).await.unwrap();
        house.store.record(vec![house.said("here")]).await.unwrap();
    }
    assert_eq!(house.store.ledger_size().await.unwrap(), other.ledger_size().await.unwrap());
    verify_offline(&house).await;
}

pub(crate) async fn a_spending_is_read_again_and_spends_once(house: House) {
    let alice = house.signed_in("alice").await;
    let node = house.id();
    for at in BOTH {
        let challenge = house.holding(&alice, GrantKind::Confirmation).await;
        let passed = house.pass(&challenge, &alice).await;
        let spend = Spend { node, ..house.spend(&passed) };
        let (again, request) = (house.spend_again(&spend), spend.request);
        sever(&house, at, "sent and severed");
        let spent = house.store.spend(spend, house.said("sent and severed")).await;
        assert!(is_unknown(&spent), "{at:?}: {spent:?}");
        let state = house.read(challenge.id).await.state;
        match at {
            SeveredAt::BeforeCommit => {
                assert!(matches!(state, ChallengeState::Passed { .. }), "{state:?}");
                assert!(house.store.held(challenge.id).await.unwrap().is_some(), "it can still be sent");
                house.store.spend(again, house.said("sent")).await.unwrap();
            }
            SeveredAt::AfterCommit | SeveredAt::WhileCommitting => {
                let sending = SendOutcome::Sending;
                assert!(
                    matches!(state, ChallengeState::Spent { request: by, outcome, .. } if by == request && outcome == sending),
                    "{state:?}"
                );
                let another = Spend { request: house.id(), ..again };
                is_conflict(house.store.spend(another, house.said("sent")).await);
            }
        }
        // Whoever read again and found it spent sends it: it is nobody else's to finish.
        let others = house.another_node(11).await;
        assert_eq!(house.store.unfinished(node, house.now()).await.unwrap(), [], "{at:?}");
        assert_eq!(others.unfinished(node, house.now()).await.unwrap(), [(challenge.id, request)], "{at:?}");
        let answered = SendOutcome::Answered { status: 200 };
        house.store.finish(challenge.id, request, answered, house.said("finished")).await.unwrap();
        assert_eq!(others.unfinished(node, house.now()).await.unwrap(), [], "{at:?}");
    }
    assert_eq!(house.count_said("sent and severed").await, 1);
    assert_eq!(house.count_said("sent").await, 1);
    verify_offline(&house).await;
}

/// The answer whose commit is severed, read again, and given again for another challenge.
async fn counts_once(house: &House, secret: FactorSecret, uses: [FactorUse; 2]) {
    let alice = house.signed_in("alice").await;
    let factor = house.enrol(alice.person.id, secret).await.unwrap();
    for (at, used) in BOTH.into_iter().zip(uses) {
        let challenge = house.opened(&alice, GrantKind::Confirmation).await;
        let answer = AnsweredChallenge { used: (factor, used.clone()), ..house.answer(&challenge, &alice) };
        sever(house, at, "passed and severed");
        let answered = house.store.answer_challenge(answer, vec![house.said("passed and severed")]).await;
        assert!(is_unknown(&answered), "{at:?}: {answered:?}");
        let passed = matches!(house.read(challenge.id).await.state, ChallengeState::Passed { .. });
        assert_eq!(passed, at == SeveredAt::AfterCommit);
        let elsewhere = house.opened(&alice, GrantKind::Confirmation).await;
        let again = AnsweredChallenge { used: (factor, used), ..house.answer(&elsewhere, &alice) };
        let again = house.store.answer_challenge(again, vec![house.said("passed elsewhere")]).await;
        match at {
            SeveredAt::BeforeCommit => again.unwrap(),
            SeveredAt::AfterCommit | SeveredAt::WhileCommitting => is_used_before(again),
        }
    }
    assert_eq!(house.count_said("passed and severed").await, 1);
    assert_eq!(house.count_said("passed elsewhere").await, 1);
    verify_offline(house).await;
}

pub(crate) async fn an_answer_with_a_totp_step_is_read_again_and_counts_once(house: House) {
    let uses = [FactorUse::Moved(7), FactorUse::Moved(8)];
    counts_once(&house, house.totp(), uses).await;
}

pub(crate) async fn an_answer_with_a_recovery_code_is_read_again_and_counts_once(house: House) {
    let (secret, codes) = house.recovery_codes(3);
    counts_once(&house, secret, [FactorUse::RecoveryCode(codes[0]), FactorUse::RecoveryCode(codes[1])]).await;
}

/// The database may still be at it when the connection is gone. When `Unknown` is
/// said, it is over: what is read then stays so.
pub(crate) async fn what_is_read_again_is_what_stands(house: House) {
    let mut database = AnyConnection::connect(&house.url).await.unwrap();
    // A tenth of a second between the commit's record and its end; new connections have it.
    let name: String =
        sqlx::query_scalar("SELECT CAST(current_database() AS TEXT)").fetch_one(&mut database).await.unwrap();
    for slow in ["commit_delay = 100000", "commit_siblings = 0"] {
        let alter = format!("ALTER DATABASE {name} SET {slow}");
        sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut database).await.unwrap();
    }
    for round in 0..4 {
        let what = format!("round {round}");
        sever(&house, SeveredAt::WhileCommitting, &what);
        let recorded = house.store.record(vec![house.said(&what)]).await;
        assert!(matches!(recorded, Err(StoreError::Unknown(_))), "{recorded:?}");
        let read_again = (house.store.ledger_size().await.unwrap(), house.count_said(&what).await);
        tokio::time::sleep(SLOW_COMMIT * 5).await;
        let later = (house.store.ledger_size().await.unwrap(), house.count_said(&what).await);
        assert_eq!(read_again, later, "in round {round}");
    }
    verify_offline(&house).await;
}

pub(crate) async fn everything_of_the_batch_shares_its_fate(house: House) {
    let house = Arc::new(house);
    for at in BOTH {
        let first = house.store.ledger_size().await.unwrap();
        sever(&house, at, "number 17");
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..50 {
            let house = Arc::clone(&house);
            tasks.spawn(async move {
                let entry = house.said(&format!("{at:?} number {number}"));
                (entry.id.clone(), house.store.record(vec![entry]).await)
            });
        }
        let results = tasks.join_all().await;
        let there: Vec<String> = house.all().await.into_iter().map(|entry| entry.entry.id).collect();
        let mut unknown = 0;
        for (id, result) in &results {
            let is_there = there.contains(id);
            match result {
                Ok(()) => assert!(is_there, "acknowledged and lost"),
                Err(StoreError::Unknown(_)) => {
                    unknown += 1;
                    assert_eq!(is_there, at == SeveredAt::AfterCommit, "a batch is committed whole or not at all");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(unknown > 0, "{at:?}");
        let acknowledged = results.len() - unknown;
        let more = if at == SeveredAt::AfterCommit { results.len() } else { acknowledged };
        assert_eq!(house.store.ledger_size().await.unwrap(), first + more as u64);
    }
    verify_offline(&house).await;
}
