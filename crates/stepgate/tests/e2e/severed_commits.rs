//! The wire to the database breaks at a commit: before it arrives, after it was
//! done, or while the database is at it. Nothing is sent twice, nothing that was
//! sent lacks its evidence, and the person is told what is so.

use stepgate_core::challenge::{ChallengeState, SendOutcome};
use stepgate_core::ports::Store as _;
use stepgate_testkit::{Page, Postgres, SeveredAt, SeveredWire};

use crate::main_job::challenge_of;
use crate::world::{Member, Payments, World};

const EVERYWHERE: [SeveredAt; 3] = [SeveredAt::BeforeCommit, SeveredAt::AfterCommit, SeveredAt::WhileCommitting];

/// Somebody signed in at a gate whose wire to the database can be broken.
struct Severed {
    wire: SeveredWire,
    world: World,
    payments: Payments,
    ada: Member,
    list: Page,
}

impl Severed {
    async fn start() -> Self {
        let database = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
        let wire = SeveredWire::start(&database).await;
        let payments = Payments::start().await;
        let world = World::on_store(payments.behind(), &wire.url(&database)).await;
        let ada = world.ada().await;
        let list = ada.sign_in_at(&world.at_service("/payments")).await;
        Self { wire, world, payments, ada, list }
    }

    async fn ask(&self) -> Page {
        self.ada.person.submit(&self.list, &self.list.form_with("large")).await
    }

    /// What became of the request of a challenge; nothing if it was never sent.
    async fn outcome(&self, asked: &Page) -> Option<SendOutcome> {
        match self.world.gate.database.challenge(challenge_of(asked)).await.unwrap().unwrap().state {
            ChallengeState::Spent { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Exactly this many approvals reached the application.
    fn has_sent(&self, approvals: usize, at: SeveredAt) {
        assert_eq!(self.payments.bodies().len(), approvals, "{at:?}");
    }

    /// Every wire that was to break broke, and the evidence is sound.
    fn is_sound(&self) {
        assert_eq!(self.wire.severed(), EVERYWHERE.len());
        self.world.verified_evidence();
    }
}

fn is_not_available(page: &Page, at: SeveredAt) {
    assert_eq!(page.status, 503, "{at:?}: {}", page.told());
}

fn is_approved(page: &Page, at: SeveredAt) {
    assert!(page.text().contains("Approved"), "{at:?}: {}", page.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spending_that_is_durable_is_sent_and_one_that_is_not_can_be_sent_later() {
    let severed = Severed::start().await;
    let mut approvals = 0;
    for at in EVERYWHERE {
        let asked = severed.ask().await;
        severed.wire.sever(at, "operation.sent");
        let answered = severed.ada.person.touch(&asked).await;
        let went_on = answered.status == 200;
        match at {
            // It was done, and the gate finds out before it says anything.
            SeveredAt::AfterCommit => assert!(went_on, "{at:?}: {}", answered.told()),
            SeveredAt::BeforeCommit => assert!(!went_on, "{at:?}: {}", answered.told()),
            SeveredAt::WhileCommitting => {}
        }
        if !went_on {
            is_not_available(&answered, at);
            assert!(answered.text().contains("nothing was forwarded"), "{}", answered.told());
            severed.has_sent(approvals, at);
            assert_eq!(severed.outcome(&asked).await, None, "{at:?}: it is not spent");
            // The same confirmation, once more: it was not spent.
            is_approved(&severed.ada.person.open(asked.url.as_str()).await, at);
        }
        approvals += 1;
        assert_eq!(severed.outcome(&asked).await, Some(SendOutcome::Answered { status: 200 }), "{at:?}");
        severed.has_sent(approvals, at);
    }
    severed.is_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_durable_need_not_be_given_again() {
    let severed = Severed::start().await;
    for (number, at) in EVERYWHERE.into_iter().enumerate() {
        let asked = severed.ask().await;
        severed.wire.sever(at, "challenge.passed");
        is_not_available(&severed.ada.person.touch(&asked).await, at);
        severed.has_sent(number, at);
        let mut page = severed.ada.person.open(asked.url.as_str()).await;
        let is_asked_again = page.url.path().starts_with("/challenges/");
        match at {
            SeveredAt::AfterCommit => assert!(!is_asked_again, "{at:?}: {}", page.told()),
            SeveredAt::BeforeCommit => assert!(is_asked_again, "{at:?}: {}", page.told()),
            SeveredAt::WhileCommitting => {}
        }
        if is_asked_again {
            page = severed.ada.person.touch(&page).await;
        }
        is_approved(&page, at);
        severed.has_sent(number + 1, at);
    }
    severed.is_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_noted_once() {
    let severed = Severed::start().await;
    for (number, at) in EVERYWHERE.into_iter().enumerate() {
        let asked = severed.ask().await;
        severed.wire.sever(at, "operation.finished");
        is_approved(&severed.ada.person.touch(&asked).await, at);
        assert_eq!(severed.outcome(&asked).await, Some(SendOutcome::Answered { status: 200 }), "{at:?}");
        severed.has_sent(number + 1, at);
    }
    severed.is_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_saw_is_asked_again() {
    let severed = Severed::start().await;
    for (number, at) in EVERYWHERE.into_iter().enumerate() {
        severed.wire.sever(at, "challenge.opened");
        is_not_available(&severed.ask().await, at);
        is_approved(&severed.ada.person.touch(&severed.ask().await).await, at);
        severed.has_sent(number + 1, at);
    }
    severed.is_sound();
}
