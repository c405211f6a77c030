use std::time::Duration;

use stepgate_core::ports::{NewCode, Store as _};
use stepgate_core::secret::{Purpose, Token, TokenDigest};
use stepgate_core::session::{Audience, OLD_TOKEN_GRACE};

use crate::house::{House, MINUTE, SignedIn, host, is_conflict};

async fn redeem(house: &House, code: TokenDigest, audience: &Audience, token: TokenDigest) -> Option<NewCode> {
    house.store.redeem_code(code, audience, None, token, house.now()).await.unwrap()
}

/// A token for this host, by way of a code.
async fn token_at(house: &House, who: &SignedIn, audience: &Audience) -> TokenDigest {
    let code = house.code(who.session, Purpose::HandOff, audience.clone());
    house.store.put_code(code.clone()).await.unwrap();
    let token = house.digest();
    assert!(redeem(house, code.digest, audience, token).await.is_some());
    token
}

pub(crate) async fn a_code_gives_a_token_once(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let challenge = Some(house.id());
    let code = NewCode { challenge, ..house.code(alice.session, Purpose::HandBack, pay.clone()) };
    house.store.put_code(code.clone()).await.unwrap();
    let (token, second) = (house.digest(), house.digest());
    let redeemed = redeem(&house, code.digest, &pay, token).await.unwrap();
    assert_eq!((redeemed.session, redeemed.challenge, redeemed.purpose), (alice.session, challenge, Purpose::HandBack));
    assert!(redeem(&house, code.digest, &pay, second).await.is_none());
    let view = house.look_at(token, &pay).await.unwrap();
    assert_eq!((view.id, view.generation), (alice.session, 1));
    assert!(house.look_at(second, &pay).await.is_none());
    assert!(house.look(token).await.is_none(), "a token for a service's host is worthless at the gate");
}

pub(crate) async fn a_code_is_bound_to_host_browser_and_time(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let browser = house.digest();
    let code = NewCode { browser: Some(browser), ..house.code(alice.session, Purpose::HandOff, pay.clone()) };
    house.store.put_code(code.clone()).await.unwrap();
    let attempts = [
        (host("hr.example.com"), Some(browser), house.now()),
        (pay.clone(), None, house.now()),
        (pay.clone(), Some(house.digest()), house.now()),
        (pay.clone(), Some(browser), code.expires_at),
    ];
    for (audience, browser, at) in attempts {
        let redeemed = house.store.redeem_code(code.digest, &audience, browser, house.digest(), at).await.unwrap();
        assert!(redeemed.is_none(), "{audience:?}");
    }
    let token = house.digest();
    let redeemed = house.store.redeem_code(code.digest, &pay, Some(browser), token, house.now()).await.unwrap();
    assert!(redeemed.is_some(), "refused attempts of others do not use it up");
    assert_eq!(house.look_at(token, &pay).await.unwrap().browser, Some(browser));
}

pub(crate) async fn a_code_of_an_ended_session_gives_nothing(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let code = house.code(alice.session, Purpose::HandOff, pay.clone());
    house.store.put_code(code.clone()).await.unwrap();
    house.end(&alice).await;
    let token = house.digest();
    assert!(redeem(&house, code.digest, &pay, token).await.is_none());
    assert!(house.look_at(token, &pay).await.is_none());
}

pub(crate) async fn a_resume_code_gives_no_token(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let code = house.code(alice.session, Purpose::Resume, pay.clone());
    house.store.put_code(code.clone()).await.unwrap();
    assert!(redeem(&house, code.digest, &pay, house.digest()).await.is_none());
}

pub(crate) async fn b46_a_code_of_another_purpose_is_not_found(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let token = Token::random(house.random.as_ref());
    let digest = token.digest(Purpose::HandOff);
    house.store.put_code(NewCode { digest, ..house.code(alice.session, Purpose::HandOff, pay.clone()) }).await.unwrap();
    for purpose in [Purpose::Resume, Purpose::HandBack, Purpose::ServiceSession, Purpose::EnrolmentTicket] {
        assert!(redeem(&house, token.digest(purpose), &pay, house.digest()).await.is_none());
        assert!(house.look_at(token.digest(purpose), &pay).await.is_none());
    }
    assert!(redeem(&house, digest, &pay, house.digest()).await.is_some());
}

pub(crate) async fn the_first_look_at_a_new_token_ends_its_predecessors(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let first = token_at(&house, &alice, &pay).await;
    assert!(house.look_at(first, &pay).await.is_some());
    let second = token_at(&house, &alice, &pay).await;
    let third = token_at(&house, &alice, &pay).await;
    assert!(house.look_at(first, &pay).await.is_some(), "parallel tabs live on");
    assert!(house.look_at(second, &pay).await.is_some());
    assert!(house.look_at(first, &pay).await.is_none());
    assert!(house.look_at(third, &pay).await.is_some());
    assert!(house.look_at(second, &pay).await.is_none());
    assert!(house.look_at(third, &pay).await.is_some());
}

/// A token for this host and browser, by way of a hand-off.
pub(crate) async fn handed_off(
    house: &House,
    who: &SignedIn,
    audience: &Audience,
    browser: TokenDigest,
) -> TokenDigest {
    let code = NewCode { browser: Some(browser), ..house.code(who.session, Purpose::HandOff, audience.clone()) };
    house.store.put_code(code.clone()).await.unwrap();
    let token = house.digest();
    let redeemed = house.store.redeem_code(code.digest, audience, Some(browser), token, house.now()).await.unwrap();
    assert!(redeemed.is_some());
    token
}

pub(crate) async fn b58_a_hand_off_ends_no_token_of_another_browser(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let (hers, thiefs) = (house.digest(), house.digest());
    let old = handed_off(&house, &alice, &pay, hers).await;
    let copied = handed_off(&house, &alice, &pay, thiefs).await;
    assert!(house.look_at(copied, &pay).await.is_some());
    assert!(house.look_at(old, &pay).await.is_some(), "the first use of another browser's ends nothing");
    house.clock.advance(OLD_TOKEN_GRACE);
    assert!(house.look_at(old, &pay).await.is_some(), "nor does its grace");
    let new = handed_off(&house, &alice, &pay, hers).await;
    assert!(house.look_at(old, &pay).await.is_some());
    assert!(house.look_at(copied, &pay).await.is_some());
    assert!(house.look_at(old, &pay).await.is_some(), "only its own successor's first use");
    assert!(house.look_at(new, &pay).await.is_some());
    assert!(house.look_at(old, &pay).await.is_none());
}

pub(crate) async fn a_passed_challenge_ends_the_tokens_of_every_browser_within_the_grace(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let back = async |token| {
        let code = house.code(alice.session, Purpose::HandBack, pay.clone());
        house.store.put_code(code.clone()).await.unwrap();
        assert!(redeem(&house, code.digest, &pay, token).await.is_some());
    };
    let rotate = async |old, new| house.store.rotate_token(old, &pay, new, house.now()).await.unwrap();
    for by_hand_back in [true, false] {
        let (hers, copied) = (token_at(&house, &alice, &pay).await, house.digest());
        let copied_to = handed_off(&house, &alice, &pay, copied).await;
        let new = house.digest();
        if by_hand_back {
            back(new).await
        } else {
            rotate(hers, new).await
        }
        assert!(house.look_at(new, &pay).await.is_some());
        assert!(house.look_at(hers, &pay).await.is_none());
        assert!(house.look_at(copied_to, &pay).await.is_some(), "its grace");
        house.clock.advance(OLD_TOKEN_GRACE);
        assert!(house.look_at(copied_to, &pay).await.is_none());
        assert!(house.look_at(new, &pay).await.is_some());
    }
}

pub(crate) async fn of_too_many_browsers_the_oldest_goes(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let mut tokens = Vec::new();
    for _ in 0..17 {
        tokens.push(handed_off(&house, &alice, &pay, house.digest()).await);
    }
    house.clock.advance(OLD_TOKEN_GRACE);
    assert!(house.look_at(tokens[0], &pay).await.is_none());
    for token in &tokens[1..] {
        assert!(house.look_at(*token, &pay).await.is_some());
    }
}

pub(crate) async fn an_old_token_lives_for_the_grace_and_no_longer(house: House) {
    let alice = house.signed_in("alice").await;
    let new = house.digest();
    house.store.rotate_token(alice.token, &Audience::Gate, new, house.now()).await.unwrap();
    house.clock.advance(OLD_TOKEN_GRACE - Duration::from_millis(1));
    assert!(house.look(alice.token).await.is_some());
    house.clock.advance(Duration::from_millis(1));
    assert!(house.look(alice.token).await.is_none());
    assert!(house.look(new).await.is_some());
}

pub(crate) async fn tokens_of_other_hosts_live_on(house: House) {
    let alice = house.signed_in("alice").await;
    let (pay, hr) = (host("pay.example.com"), host("hr.example.com"));
    let at_pay = token_at(&house, &alice, &pay).await;
    let at_hr = token_at(&house, &alice, &hr).await;
    house.clock.advance(MINUTE * 2);
    assert!(house.look(alice.token).await.is_some());
    assert!(house.look_at(at_pay, &pay).await.is_some());
    assert!(house.look_at(at_hr, &hr).await.is_some());
}

pub(crate) async fn rotating_needs_a_live_token(house: House) {
    let alice = house.signed_in("alice").await;
    let rotate = |old, audience: Audience| {
        let (new, now, store) = (house.digest(), house.now(), &house.store);
        async move { store.rotate_token(old, &audience, new, now).await }
    };
    is_conflict(rotate(house.digest(), Audience::Gate).await);
    is_conflict(rotate(alice.token, host("pay.example.com")).await);
    rotate(alice.token, Audience::Gate).await.unwrap();
    house.clock.advance(OLD_TOKEN_GRACE);
    is_conflict(rotate(alice.token, Audience::Gate).await);
    house.end(&alice).await;
    is_conflict(rotate(alice.token, Audience::Gate).await);
}
