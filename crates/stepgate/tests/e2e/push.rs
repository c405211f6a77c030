//! Approving on a device: a phone beside the browser that asks, and what must not work.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use stepgate_core::ports::{EntryQuery, RecordedEntry, Store as _};
use stepgate_evidence::Event;
use stepgate_testkit::{Answer, Page, Person, PushDevice, RecordingUpstream};

use crate::world::{Behind, Member, PASSWORD, Payments, World};

/// Large payments take an approval or a passkey, very large ones a signature.
const POLICIES: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("large-payment")
@reason("Payments over 10,000 need your approval.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.input.amount > 10000 }
unless { context.confirmed.contains("push") || context.confirmed.contains("passkey") };

@id("very-large-payment")
@reason("Payments over 40,000 need a signature.")
forbid (principal, action == Action::"payments.approve", resource in Service::"ledger")
when   { context.input.amount > 40000 }
unless { context.confirmed.contains("phishing_resistant") };

@id("exports-need-a-fresh-signature")
@reason("Exports need a signature from the last five minutes.")
forbid (principal, action == Action::"payments.export", resource in Service::"ledger")
unless { context.age.phishing_resistant <= duration("5m") };
"#;

/// What stands behind the gate, which offers devices with this more of `[push]`.
pub(crate) fn behind(payments: &Payments, more: &str) -> Behind {
    let behind = payments.behind();
    let operations = format!("{}\n[push]\n{more}\n", behind.operations);
    Behind { operations: Box::leak(operations.into_boxed_str()), policies: POLICIES, ..behind }
}

/// Looks like a phone to the gate.
fn phone() -> Person {
    Person::new().with_agent("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/142.0.0.0 Mobile Safari/537.36")
}

/// Whether the device makes a passkey.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signs {
    Yes,
    No,
}

/// The six digits in large print.
fn number_on(page: &Page) -> String {
    let text = page.text();
    let after = text.split("code-big\"><strong>").nth(1).unwrap_or_else(|| panic!("no number: {}", page.told()));
    after.split('<').next().unwrap().chars().filter(char::is_ascii_digit).collect()
}

/// Begins to add a device, in the browser where somebody is signed in; gives the page with the link.
async fn begin(world: &World, member: &Member) -> Page {
    let account = member.person.open(&world.at_gate("/account")).await;
    let add = account.forms().into_iter().find(|form| form.action.path() == "/account/factors" && !form.has("kind"));
    let challenged = member.person.submit(&account, &add.unwrap().press("kind", "push")).await;
    assert!(challenged.url.path().starts_with("/challenges/"), "{}", challenged.told());
    let page = member.person.touch(&challenged).await;
    assert!(page.text().contains("Add an approver device"), "{}", page.told());
    page
}

/// The link on it.
fn link_on(page: &Page) -> String {
    let text = page.text();
    let after = text.split("<p><code>").nth(1).unwrap_or_else(|| panic!("no link: {}", page.told()));
    after.split('<').next().unwrap().to_owned()
}

/// The device's half, up to its number.
async fn follow(phone: &Person, link: &str, signs: Signs) -> Page {
    let invited = phone.open(link).await;
    assert!(invited.text().contains("Approve with this device?"), "{}", invited.told());
    let offered = phone.submit(&invited, &invited.forms()[0]).await;
    let ready = match signs {
        Signs::Yes => phone.touch(&offered).await,
        Signs::No => {
            let form = offered.forms().into_iter().find(|form| form.passkey.is_none()).unwrap();
            phone.submit(&offered, &form).await
        }
    };
    assert!(ready.text().contains("Type this number"), "{}", ready.told());
    ready
}

/// Adds a device of somebody who is signed in.
async fn enrol(world: &World, member: &Member, phone: &Person, signs: Signs) {
    let page = begin(world, member).await;
    let ready = follow(phone, &link_on(&page), signs).await;
    let form = page.form_with("code").fill("code", &number_on(&ready)).fill("name", "Ada’s phone");
    let done = member.person.submit(&page, &form).await;
    assert!(done.text().contains("approver device"), "{}", done.told());
    let idle = phone.open(&world.at_gate("/approver")).await;
    assert!(idle.text().contains("Nothing to approve"), "{}", idle.told());
}

/// Somebody with a device, and their page of payments.
pub(crate) async fn with_device(world: &World, signs: Signs) -> (Member, Person, Page) {
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let phone = phone();
    enrol(world, &ada, &phone, signs).await;
    (ada, phone, list)
}

/// Asks for a payment, and then the devices; gives the page that waits.
pub(crate) async fn ask(member: &Member, list: &Page, which: &str) -> Page {
    let asked = member.person.submit(list, &list.form_with(which)).await;
    press(member, &asked).await
}

async fn press(member: &Member, asked: &Page) -> Page {
    let path = format!("{}/push", asked.url.path());
    member.person.submit(asked, &asked.form_to(&path)).await
}

async fn question(world: &World, phone: &Person) -> Page {
    let question = phone.open(&world.at_gate("/approver")).await;
    assert!(question.text().contains("Number on the screen"), "{}", question.told());
    question
}

/// Types the number and approves, with the passkey where the page asks for one.
async fn approve(phone: &Person, question: &Page, number: &str) -> Page {
    let form = question.form_to("/approver/answer");
    let form = if form.passkey.is_some() { phone.answer_with_passkey(question) } else { form };
    phone.submit(question, &form.fill("number", number)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_payment_goes_on_when_the_phone_signs_it_and_the_evidence_verifies() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let waiting = ask(&ada, &list, "other").await;
    assert!(waiting.text().contains("Ada’s phone"), "{}", waiting.told());
    let number = number_on(&waiting);
    assert_eq!(number.len(), 6);

    let question = question(&world, &phone).await;
    for told in ["Approve payment 44 of 48500", "Ledger", "Payments over 40,000 need a signature", "from 127.0.0.1"] {
        assert!(question.text().contains(told), "{told} is not on {}", question.told());
    }
    assert!(!question.text().contains(&number), "the number is on the other screen alone");
    assert!(payments.approvals().is_empty());
    let done = approve(&phone, &question, &number).await;
    assert!(done.text().contains("It goes on where it was asked"), "{}", done.told());

    // The page that waits finds its way by itself.
    let gone_on = ada.person.open(waiting.url.as_str()).await;
    assert!(gone_on.text().contains("Approved"), "{}", gone_on.told());
    assert_eq!(payments.bodies(), ["other=1&amount=48500"]);
    // Twice counts once.
    let again = approve(&phone, &question, &number).await;
    assert_eq!(again.status, 409, "{}", again.told());
    assert_eq!(payments.approvals().len(), 1);
    let said = world.verified_evidence();
    assert!(said.contains("signature"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_sign_approves_what_needs_no_signature() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "web_push = false")).await;
    let (ada, phone, list) = with_device(&world, Signs::No).await;
    let large = ada.person.submit(&list, &list.form_with("other")).await;
    assert!(large.forms().iter().all(|form| !form.action.path().ends_with("/push")), "{}", large.told());
    let waiting = ask(&ada, &list, "large").await;
    let question = question(&world, &phone).await;
    assert!(question.form_to("/approver/answer").passkey.is_none());
    let done = approve(&phone, &question, &number_on(&waiting)).await;
    assert!(done.text().contains("It goes on"), "{}", done.told());
    ada.person.open(waiting.url.as_str()).await;
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b74_nothing_is_approved_without_the_number_that_the_screen_shows() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let waiting = ask(&ada, &list, "large").await;
    let question = question(&world, &phone).await;
    let right = number_on(&waiting);
    let wrong = if right.starts_with('0') { "100000" } else { "000000" };
    for number in ["", wrong, &right[..5], &right[..2]] {
        let refused = approve(&phone, &question, number).await;
        assert_eq!(refused.status, 422, "{number:?}: {}", refused.told());
        assert!(refused.text().contains("not the number"), "{}", refused.told());
    }
    assert!(payments.approvals().is_empty());
    // The fifth wrong one fails the challenge, whatever follows.
    approve(&phone, &question, wrong).await;
    let late = approve(&phone, &question, &right).await;
    assert_eq!(late.status, 409, "{}", late.told());
    let failed = ada.person.open(waiting.url.as_str()).await;
    assert_eq!(failed.status, 410, "{}", failed.told());
    assert!(payments.approvals().is_empty());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b74_devices_are_asked_one_thing_at_a_time_and_so_often_an_hour() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "per_hour = 5")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let first = ask(&ada, &list, "large").await;
    let other = ada.person.submit(&list, &list.form_with("other")).await;
    let busy = press(&ada, &other).await;
    assert_eq!(busy.status, 409, "{}", busy.told());
    assert!(busy.text().contains("Approve payment 42 of 12000"), "{}", busy.told());
    // The same session withdraws what it asked first.
    let path = format!("{}/push", other.url.path());
    let instead = ada.person.submit(&busy, &busy.form_to(&path)).await;
    assert!(instead.text().contains("code-big"), "{}", instead.told());
    assert!(question(&world, &phone).await.text().contains("Approve payment 44"));
    // Asked again is asked, too: this is the third of this session, and with that its share of the hour.
    assert_eq!(press(&ada, &instead).await.status, 200);
    let too_many = press(&ada, &instead).await;
    assert_eq!(too_many.status, 429, "{}", too_many.told());
    let told = |kind: &str| EntryQuery { kinds: vec![kind.to_owned()], limit: 10, ..EntryQuery::default() };
    for (kind, count) in [("push.sent", 3), ("push.withdrawn", 1), ("push.refused", 2), ("device.followed", 1)] {
        let entries = world.gate.database.entries(told(kind)).await.unwrap();
        assert_eq!(entries.len(), count, "{kind}");
    }
    world.clock.advance(Duration::from_secs(3601));
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    assert_eq!(ask(&ada, &list, "large").await.status, 200, "an hour later");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn b160_who_did_not_ask_ends_the_session_and_locks_approvals_until_they_say_otherwise() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let waiting = ask(&ada, &list, "large").await;
    let question_page = question(&world, &phone).await;
    let refuse = question_page.form_to("/approver/refuse");
    let refused = phone.submit(&question_page, &refuse.press("because", "not-me")).await;
    assert!(refused.text().contains("Refused, and reported"), "{}", refused.told());
    let ended = ada.person.open(waiting.url.as_str()).await;
    assert!(ended.url.path().starts_with("/sign-in"), "{}", ended.told());

    // Whoever has the password comes back, and asks nobody's device.
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let locked = ask(&ada, &list, "large").await;
    assert_eq!(locked.status, 429, "{}", locked.told());
    assert!(locked.text().contains("locked"), "{}", locked.told());
    // The person themselves undoes it, with another factor.
    let account = ada.person.open(&world.at_gate("/account")).await;
    let unlock = account.form_to("/account/approvals/unlock");
    let challenged = ada.person.submit(&account, &unlock).await;
    assert!(challenged.forms().iter().all(|form| !form.action.path().ends_with("/push")), "{}", challenged.told());
    let unlocked = ada.person.touch(&challenged).await;
    assert!(unlocked.status.is_success() && !unlocked.text().contains("Allow approvals again"), "{}", unlocked.told());
    let waiting = ask(&ada, &list, "other").await;
    let done = approve(&phone, &question(&world, &phone).await, &number_on(&waiting)).await;
    assert!(done.text().contains("It goes on"), "{}", done.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_on_the_phone_is_not_done() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let waiting = ask(&ada, &list, "large").await;
    let page = question(&world, &phone).await;
    let refused = phone.submit(&page, &page.form_to("/approver/refuse").press("because", "unwanted")).await;
    assert!(refused.text().contains("Nothing was done"), "{}", refused.told());
    let told = ada.person.open(waiting.url.as_str()).await;
    assert!(told.text().contains("Nothing was done"), "{}", told.told());
    let late = approve(&phone, &page, &number_on(&waiting)).await;
    assert_eq!(late.status, 409, "{}", late.told());
    assert!(payments.approvals().is_empty());
}

/// Ends what was asked, at the screen that asked it.
async fn withdraw(member: &Member, waiting: &Page) {
    let cancel = waiting.forms().into_iter().find(|form| form.action.path().ends_with("/cancel")).unwrap();
    member.person.submit(waiting, &cancel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b120_who_did_not_ask_says_so_though_it_was_withdrawn_or_failed_meanwhile() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, mut list) = with_device(&world, Signs::Yes).await;
    for how in ["withdrawn", "failed"] {
        let waiting = ask(&ada, &list, "large").await;
        let page = question(&world, &phone).await;
        match how {
            "withdrawn" => withdraw(&ada, &waiting).await,
            _ => {
                let wrong = if number_on(&waiting).starts_with('0') { "100000" } else { "000000" };
                for _ in 0..5 {
                    approve(&phone, &page, wrong).await;
                }
            }
        }
        // The page that still shows it, and the one that shows it as asked last, say the same.
        let idle = phone.open(&world.at_gate("/approver")).await;
        assert!(idle.text().contains("Approve payment 42 of 12000"), "{how}: {}", idle.told());
        let from = if how == "failed" { &page } else { &idle };
        let form = from.form_to("/approver/refuse");
        // Where there is one button, the form has it already.
        let form = if form.has("because") { form } else { form.press("because", "not-me") };
        let reported = phone.submit(from, &form).await;
        assert!(reported.text().contains("Refused, and reported"), "{how}: {}", reported.told());
        assert!(!reported.text().contains("Asked last"), "{how}: {}", reported.told());
        let ended = ada.person.open(&world.at_gate("/account")).await;
        assert!(ended.url.path().starts_with("/sign-in"), "{how}: {}", ended.told());
        list = ada.sign_in_at(&world.at_service("/payments")).await;
        assert_eq!(ask(&ada, &list, "other").await.status, 429, "{how}: approvals are locked");
        let account = ada.person.open(&world.at_gate("/account")).await;
        let challenged = ada.person.submit(&account, &account.form_to("/account/approvals/unlock")).await;
        ada.person.touch(&challenged).await;
        world.clock.advance(Duration::from_secs(11 * 60));
        let idle = phone.open(&world.at_gate("/approver")).await;
        assert!(!idle.text().contains("Asked last"), "{how}: {}", idle.told());
        list = ada.person.open(&world.at_service("/payments")).await;
    }
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b118_an_approval_on_a_device_is_worth_a_signature_for_what_was_asked_and_less_for_the_session() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, _) = with_device(&world, Signs::Yes).await;
    let export = world.at_service("/payments.csv");
    for _ in 0..2 {
        // Asked again the second time: the session has nothing that cannot be phished.
        let asked = ada.person.open(&export).await;
        assert!(asked.url.path().starts_with("/challenges/"), "{}", asked.told());
        let waiting = press(&ada, &asked).await;
        let done = approve(&phone, &question(&world, &phone).await, &number_on(&waiting)).await;
        assert!(done.text().contains("It goes on"), "{}", done.told());
        let gone_on = ada.person.open(waiting.url.as_str()).await;
        assert_eq!(gone_on.url.path(), "/payments.csv", "{}", gone_on.told());
    }
    // The passkey in that browser itself makes it fresh.
    let asked = ada.person.open(&export).await;
    let proved = ada.person.touch(&asked).await;
    assert_eq!(proved.url.path(), "/payments.csv", "{}", proved.told());
    assert_eq!(ada.person.open(&export).await.url.path(), "/payments.csv");
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b118_a_passkey_that_answers_from_another_session_leaves_less_there() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    let export = world.at_service("/payments.csv");
    let asked = ada.person.open(&export).await;
    let id = asked.url.path().rsplit('/').next().unwrap().parse().unwrap();
    let number = world.number(id).await;
    // Who relays a sign-in page has the asking session; the person answers in their own.
    let own = Member { person: ada.person.at_another_browser(), login: ada.login.clone(), secret: ada.secret.clone() };
    own.sign_in_at(&world.at_service("/payments")).await;
    let elsewhere = own.person.open(asked.url.as_str()).await;
    let numbered = own.person.submit(&elsewhere, &elsewhere.form_with("number").fill("number", &number)).await;
    let answered = own.person.touch(&numbered).await;
    assert!(answered.status.is_success(), "{}", answered.told());
    let gone_on = ada.person.open(asked.url.as_str()).await;
    assert_eq!(gone_on.url.path(), "/payments.csv", "{}", gone_on.told());
    let again = ada.person.open(&export).await;
    assert!(again.url.path().starts_with("/challenges/"), "{}", again.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn b123_the_browser_that_asks_is_no_device_and_approves_nothing() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, _) = with_device(&world, Signs::Yes).await;
    // Who has a session makes its own browser no device.
    let page = begin(&world, &ada).await;
    let invited = ada.person.open(&link_on(&page)).await;
    let refused = ada.person.submit(&invited, &invited.forms()[0]).await;
    assert_eq!(refused.status, 409, "{}", refused.told());
    assert!(refused.text().contains("another device"), "{}", refused.told());
    // A device that asks does not approve that, though it has the number.
    let form = phone.open(&world.at_service("/payments")).await;
    let signed_in = form.form_with("password").fill("name", &ada.login).fill("password", PASSWORD);
    let list = phone.submit(&form, &signed_in).await;
    let asked = phone.submit(&list, &list.form_with("large")).await;
    let waiting = phone.submit(&asked, &asked.form_to(&format!("{}/push", asked.url.path()))).await;
    let own = approve(&phone, &question(&world, &phone).await, &number_on(&waiting)).await;
    assert_eq!(own.status, 422, "{}", own.told());
    assert!(own.text().contains("This browser cannot approve that"), "{}", own.told());
    assert!(payments.approvals().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn b122_a_push_service_that_wants_to_be_left_alone_is_asked_again_later() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "danger_loopback = true")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let tried = std::sync::atomic::AtomicBool::new(false);
    let service = RecordingUpstream::start(move |_| match tried.swap(true, std::sync::atomic::Ordering::Relaxed) {
        false => Answer::new(429, &[("Retry-After", "1")], ""),
        true => Answer::new(201, &[], ""),
    })
    .await;
    let device = PushDevice::at(&format!("{}/send/one", service.url()));
    assert_eq!(subscribe(&world, &phone, &device).await.status, 200);
    ask(&ada, &list, "large").await;
    assert_eq!(service.wait_for(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn b68_b161_another_persons_device_answers_nothing_of_mine() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, adas_phone, list) = with_device(&world, Signs::Yes).await;
    let mallory = world.member("mallory", &["finance"]).await;
    let mallorys_list = mallory.sign_in_at(&world.at_service("/payments")).await;
    let mallorys_phone = phone();
    enrol(&world, &mallory, &mallorys_phone, Signs::Yes).await;
    let waiting = ask(&ada, &list, "large").await;
    let number = number_on(&waiting);
    let idle = mallorys_phone.open(&world.at_gate("/approver")).await;
    assert!(idle.text().contains("Nothing to approve"), "{}", idle.told());

    // Mallory's own question, sent as an answer to Ada's.
    ask(&mallory, &mallorys_list, "large").await;
    let own = question(&world, &mallorys_phone).await;
    let id = waiting.url.path().rsplit('/').next().unwrap().to_owned();
    let form = mallorys_phone.answer_with_passkey(&own).fill("challenge", &id).fill("number", &number);
    let foreign = mallorys_phone.submit(&own, &form).await;
    assert_eq!(foreign.status, 403, "{}", foreign.told());
    // Her signature from Ada's own device page is none either.
    let adas = question(&world, &adas_phone).await;
    let credential = mallorys_phone.answer_with_passkey(&own);
    let credential = &credential.fields.iter().find(|(name, _)| name == "credential").unwrap().1;
    let form = adas.form_to("/approver/answer").fill("number", &number).fill("credential", credential);
    let wrong = adas_phone.submit(&adas, &form).await;
    assert_eq!(wrong.status, 422, "{}", wrong.told());
    // Nor is it enough to leave the signature out.
    let form = adas.form_to("/approver/answer").fill("number", &number);
    assert_eq!(adas_phone.submit(&adas, &form).await.status, 422);
    assert!(payments.approvals().is_empty());
    assert!(approve(&adas_phone, &adas, &number).await.text().contains("It goes on"));
}

#[tokio::test(flavor = "multi_thread")]
async fn b162_a_link_makes_one_device_and_nobody_who_scanned_it_over_a_shoulder() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    let page = begin(&world, &ada).await;
    let link = link_on(&page);
    // To look spoils nothing; the first who goes on has it.
    let preview = Person::new();
    preview.open(&link).await;
    let thief = phone();
    follow(&thief, &link, Signs::Yes).await;
    let mine = phone();
    let late = mine.open(&link).await;
    assert_eq!(late.status, 410, "{}", late.told());
    // Her own phone shows no number, and whatever she types is not the thief's.
    let guessed = ada.person.submit(&page, &page.form_with("code").fill("code", "123456")).await;
    assert_eq!(guessed.status, 422, "{}", guessed.told());
    let tried = EntryQuery { kinds: vec!["attempt.failed".to_owned()], limit: 10, ..EntryQuery::default() };
    let tried = world.gate.database.entries(tried).await.unwrap();
    let wrong = |one: &RecordedEntry| {
        let text = serde_json::to_string(&one.entry.event).unwrap();
        text.contains("wrong_number") && text.contains("enrolment") && !text.contains("123456")
    };
    assert!(tried.iter().any(wrong), "a wrong number is an entry that does not name it: {tried:?}");
    assert_eq!(thief.open(&world.at_gate("/approver")).await.status, 404, "not enrolled");
    // She begins again: the thief's half is over.
    let anew = ada.person.open(&format!("{}?again", page.url)).await;
    let mine_ready = follow(&mine, &link_on(&anew), Signs::Yes).await;
    assert_eq!(thief.open(&world.at_gate("/approver/enrol")).await.status, 410);
    let form = anew.form_with("code").fill("code", &number_on(&mine_ready));
    assert!(ada.person.submit(&anew, &form).await.text().contains("approver device"));
    assert_eq!(thief.open(&world.at_gate("/approver")).await.status, 404);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b163_a_devices_cookie_opens_its_own_page_alone_and_dies_with_the_device() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let waiting = ask(&ada, &list, "large").await;
    for path in ["/account", waiting.url.path()] {
        let page = phone.open(&world.at_gate(path)).await;
        assert!(page.url.path().starts_with("/sign-in"), "{path}: {}", page.told());
    }
    let service = phone.open(&world.at_service("/payments")).await;
    assert!(service.url.path().starts_with("/sign-in"), "{}", service.told());
    // The cookie is worthless as a session, and a session's as a device.
    let cookie = phone.cookie("localhost", "stepgate-approver").unwrap();
    let stranger = Person::new();
    stranger.plant_cookie("localhost", "stepgate", &cookie);
    assert!(stranger.open(&world.at_gate("/account")).await.url.path().starts_with("/sign-in"));
    stranger.plant_cookie("localhost", "stepgate-approver", &ada.person.cookie("localhost", "stepgate").unwrap());
    assert_eq!(stranger.open(&world.at_gate("/approver")).await.status, 404);

    let page = question(&world, &phone).await;
    let account = ada.person.open(&world.at_gate("/account")).await;
    let remove = account.forms().into_iter().rfind(|form| form.action.path().ends_with("/remove")).unwrap();
    let challenged = ada.person.submit(&account, &remove).await;
    let removed = ada.person.touch(&challenged).await;
    assert!(removed.status.is_success() && !removed.text().contains("tag\">approver device"), "{}", removed.told());
    let dead = approve(&phone, &page, &number_on(&waiting)).await;
    assert_eq!(dead.status, 404, "{}", dead.told());
    assert_eq!(phone.open(&world.at_gate("/approver")).await.status, 404);
    assert!(payments.approvals().is_empty());
    world.verified_evidence();
}

fn is_gone(entries: &[RecordedEntry]) -> bool {
    entries.iter().any(|one| matches!(&one.entry.event, Event::DeviceSubscription { change, .. } if change == "gone"))
}

/// What the page's script does once the person allowed notifications.
pub(crate) async fn subscribe(world: &World, phone: &Person, device: &PushDevice) -> Page {
    let page = world.at_gate("/approver");
    let body = json!({ "subscription": device.subscription() });
    phone.fetch_json(&page, Method::POST, &world.at_gate("/approver/subscription"), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_woken_by_a_message_that_says_nothing_and_is_signed() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "danger_loopback = true\ncontact = \"mailto:gate@example.test\"")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let service = RecordingUpstream::start(|_| Answer::new(201, &[], "")).await;
    let device = PushDevice::at(&format!("{}/send/one", service.url()));
    assert_eq!(subscribe(&world, &phone, &device).await.status, 200);
    let waiting = ask(&ada, &list, "large").await;
    let woken = service.wait_for(1).await.remove(0);
    assert_eq!((woken.method().as_str(), woken.target().as_str()), ("POST", "/send/one"));
    assert_eq!(device.decrypt(&woken.body), b"{}", "nothing of the request, and no number");
    let header = |name: &str| woken.value(name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!((header("content-encoding").as_str(), header("urgency").as_str()), ("aes128gcm", "high"));
    assert_eq!(header("topic"), waiting.url.path().rsplit('/').next().unwrap());
    assert_eq!(header("ttl"), "600");
    let vapid = PushDevice::vapid(&woken);
    assert_eq!(vapid.claims["aud"], service.url());
    assert_eq!(vapid.claims["sub"], "mailto:gate@example.test");
    let now_s = world.now().as_ms() / 1000;
    let left = vapid.claims["exp"].as_i64().unwrap() - now_s;
    assert!((1..=24 * 3600).contains(&left), "{left} s");
    let idle = phone.open(&world.at_gate("/approver")).await;
    assert!(!idle.text().contains(&number_on(&waiting)));
}

/// Asks, gives by which key the device was woken for it, and withdraws it.
async fn woken_by(member: &Member, list: &Page, service: &RecordingUpstream, count: usize) -> String {
    let waiting = ask(member, list, "large").await;
    let woken = service.wait_for(count).await;
    withdraw(member, &waiting).await;
    PushDevice::vapid(&woken[count - 1]).key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_woken_by_the_key_that_it_subscribed_for_until_that_is_compromised() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "danger_loopback = true\nper_hour = 40")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let service = RecordingUpstream::start(|_| Answer::new(201, &[], "")).await;
    let device = PushDevice::at(&format!("{}/send/one", service.url()));
    assert_eq!(subscribe(&world, &phone, &device).await.status, 200);
    let first = woken_by(&ada, &list, &service, 1).await;
    let rotate = |world: &World, more: &[&str]| {
        let rotated = world.command(&[&["keys", "rotate", "push"], more].concat());
        assert!(rotated.status.success(), "{}", crate::world::said(&rotated));
    };
    rotate(&world, &[]);
    let world = world.restart().await;
    assert_eq!(woken_by(&ada, &list, &service, 2).await, first, "its subscription takes messages by no other");
    // Its page subscribes anew, for the newest.
    assert_eq!(subscribe(&world, &phone, &device).await.status, 200);
    let second = woken_by(&ada, &list, &service, 3).await;
    assert_ne!(second, first);
    rotate(&world, &["--compromised"]);
    let world = world.restart().await;
    let waiting = ask(&ada, &list, "large").await;
    let query = EntryQuery { kinds: vec!["device.subscription".to_owned()], limit: 10, ..EntryQuery::default() };
    let mut looks = 0;
    while !is_gone(&world.gate.database.entries(query.clone()).await.unwrap()) {
        looks += 1;
        assert!(looks < 300, "what no key can wake was not dropped");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(service.requests().len(), 3, "nothing is signed by a key that somebody else has");
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn b73_a_subscription_that_is_gone_is_dropped_and_a_redirect_is_not_followed() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "danger_loopback = true\nper_hour = 20")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let inside = RecordingUpstream::start(|_| Answer::text("internal")).await;
    let away = format!("{}/admin", inside.url());
    let service = RecordingUpstream::start(move |request| match request.target().as_str() {
        "/redirects" => Answer::new(307, &[("Location", &away)], ""),
        "/endless" => Answer::BytesThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx".to_vec()),
        _ => Answer::new(410, &[], ""),
    })
    .await;
    let at = |path: &str| PushDevice::at(&format!("{}{path}", service.url()));
    let waiting = ask(&ada, &list, "large").await;
    for (count, path) in [(1, "/redirects"), (2, "/gone")] {
        assert_eq!(subscribe(&world, &phone, &at(path)).await.status, 200);
        press(&ada, &waiting).await;
        service.wait_for(count).await;
    }
    assert!(inside.requests().is_empty(), "nobody follows");
    // It is dropped with an entry, and nobody is called any more.
    let query = EntryQuery { kinds: vec!["device.subscription".to_owned()], limit: 10, ..EntryQuery::default() };
    let mut looks = 0;
    while !is_gone(&world.gate.database.entries(query.clone()).await.unwrap()) {
        looks += 1;
        assert!(looks < 300, "the subscription was not dropped");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    press(&ada, &waiting).await;
    assert_eq!(service.requests().len(), 2);
    // What announces more than anybody reads keeps nobody.
    subscribe(&world, &phone, &at("/endless")).await;
    press(&ada, &waiting).await;
    service.wait_for(3).await;
    let done = approve(&phone, &question(&world, &phone).await, &number_on(&waiting)).await;
    assert!(done.text().contains("It goes on"), "{}", done.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b73_no_device_makes_the_gate_call_where_it_should_not() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let inside = RecordingUpstream::start(|_| Answer::text("internal")).await;
    let port = inside.address().port();
    for endpoint in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://2130706433:{port}/"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "http://push.example/".to_owned(),
        "https://user:word@push.example/".to_owned(),
        "ftp://push.example/".to_owned(),
    ] {
        let refused = subscribe(&world, &phone, &PushDevice::at(&endpoint)).await;
        assert_eq!(refused.status, 422, "{endpoint}: {}", refused.told());
    }
    // A name is judged each time it is called, whatever it was when it was given: this one leads nowhere.
    let rebound = PushDevice::at(&format!("https://rebound.localtest.invalid:{port}/"));
    assert_eq!(subscribe(&world, &phone, &rebound).await.status, 200);
    ask(&ada, &list, "large").await;
    assert!(inside.requests().is_empty());
    // Somebody who is no device subscribes nothing.
    let stranger = Person::new();
    assert_eq!(subscribe(&world, &stranger, &PushDevice::at("https://push.example/")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_digits_do_where_the_configuration_says_so_and_every_device_signs() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "short_number_when_signed = true")).await;
    let (ada, phone, list) = with_device(&world, Signs::Yes).await;
    let waiting = ask(&ada, &list, "large").await;
    let number = number_on(&waiting);
    assert_eq!(number.len(), 2, "{}", waiting.told());
    let done = approve(&phone, &question(&world, &phone).await, &number).await;
    assert!(done.text().contains("It goes on"), "{}", done.told());
    // One that does not sign makes it six for all.
    let second = self::phone();
    enrol(&world, &ada, &second, Signs::No).await;
    let waiting = ask(&ada, &list, "large").await;
    assert_eq!(number_on(&waiting).len(), 6, "{}", waiting.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn b164_an_approval_from_fifty_connections_counts_once() {
    let payments = Payments::start().await;
    let world = World::start(behind(&payments, "")).await;
    let (ada, phone, list) = with_device(&world, Signs::No).await;
    let waiting = ask(&ada, &list, "large").await;
    let question = question(&world, &phone).await;
    let form = question.form_to("/approver/answer").fill("number", &number_on(&waiting));
    let mut all = Vec::new();
    for _ in 0..50 {
        all.push(phone.submit_once(&question, &form));
    }
    let answers = futures_util::future::join_all(all).await;
    let approved = answers.iter().filter(|answer| answer.text().contains("It goes on")).count();
    assert_eq!(approved, 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    ada.person.open(waiting.url.as_str()).await;
    assert_eq!(payments.approvals().len(), 1);
    let said = world.verified_evidence();
    assert!(!said.is_empty());
}
