use stepgate_core::id::Id;

use super::*;

/// RFC 4226, appendix D: the codes of the counters from 0 on.
const RFC_4226: [&str; 10] =
    ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
/// `12345678901234567890` in base32.
const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn key(digits: u8) -> OathKey {
    OathKey { seed: SEED.into(), hash: OathHash::Sha1, digits, moves: Moves::Counts }
}

fn token(id: u8, key: OathKey, last: Option<u64>) -> EnrolledFactor {
    EnrolledFactor {
        id: Id::from_bytes([id; 16]),
        name: "Token".to_owned(),
        enrolled_at: Timestamp::from_ms(0),
        last_used_at: None,
        last_used_from: None,
        secret: FactorSecret::Oath { key, last, token: None },
    }
}

async fn said(enrolled: &[EnrolledFactor], typed: &str) -> String {
    let answer = Answer::Text { kind: FactorKind::Hotp, text: typed.into() };
    let hotp = Hotp::new(LookAhead { codes: 3, resync: 6 });
    match hotp.verify(enrolled, &answer, Binding([0; 32]), Timestamp::from_ms(0)).await {
        Ok(proved) => format!("{:?}", proved.used),
        Err(why) => why.code().to_owned(),
    }
}

/// `typed` at a token whose last accepted counter is `last`.
async fn at(last: Option<u64>, typed: &str) -> String {
    said(&[token(1, key(6), last)], typed).await
}

#[test]
fn the_codes_of_rfc_4226() {
    let codes = Codes::of(&key(6)).unwrap();
    for (counter, code) in (0..).zip(RFC_4226) {
        assert_eq!(codes.code(counter).expose_secret(), code, "{counter}");
    }
    // The same with eight digits: the last six are the same.
    let codes = Codes::of(&key(8)).unwrap();
    for (counter, code) in (0..).zip(RFC_4226) {
        let eight = codes.code(counter);
        assert!(eight.expose_secret().len() == 8 && eight.expose_secret().ends_with(code), "{counter}");
    }
}

#[tokio::test]
async fn a_token_may_be_ahead_by_as_many_codes_as_the_window_and_no_more() {
    assert_eq!(at(None, RFC_4226[0]).await, "Moved(0)");
    assert_eq!(at(None, RFC_4226[2]).await, "Moved(2)");
    assert_eq!(at(None, RFC_4226[3]).await, "wrong", "the window is three codes");
    assert_eq!(at(Some(2), RFC_4226[5]).await, "Moved(5)");
    assert_eq!(at(Some(2), RFC_4226[6]).await, "wrong");
}

#[tokio::test]
async fn b150_no_code_counts_that_is_not_ahead_of_the_last_one() {
    for (counter, code) in RFC_4226.iter().enumerate().take(5) {
        let expected = if counter == 4 { "used_before" } else { "wrong" };
        assert_eq!(at(Some(4), code).await, expected, "{counter}");
    }
    assert_eq!(at(Some(4), &RFC_4226[3..=4].concat()).await, "used_before", "what brought it back, once more");
    assert_eq!(at(Some(4), &RFC_4226[2..=3].concat()).await, "wrong");
    assert_eq!(at(Some(4), &RFC_4226[4..=5].concat()).await, "wrong", "the first of them was used");
    assert_eq!(at(Some(u64::MAX), RFC_4226[0]).await, "wrong", "a counter at its end goes nowhere");
}

#[tokio::test]
async fn two_codes_in_a_row_bring_a_token_back_from_further_ahead() {
    let row = |first: usize| RFC_4226[first..first + 2].concat();
    assert_eq!(at(None, RFC_4226[5]).await, "wrong", "one alone does not");
    assert_eq!(at(None, &row(5)).await, "Moved(6)");
    assert_eq!(at(None, &row(6)).await, "wrong", "the row begins beyond the larger window");
    assert_eq!(at(None, &row(0)).await, "Moved(1)", "near by, too");
    let other = [RFC_4226[5], RFC_4226[7]].concat();
    assert_eq!(at(None, &other).await, "wrong", "they do not follow each other");
    let turned = [RFC_4226[6], RFC_4226[5]].concat();
    assert_eq!(at(None, &turned).await, "wrong");
}

/// A second code beside a right one makes no more of the first: the row as a whole is right, or nothing is.
#[tokio::test]
async fn b150_a_row_of_codes_gives_no_second_chance_at_one() {
    let guess = [RFC_4226[0], "000000"].concat();
    assert_eq!(at(None, &guess).await, "wrong");
    let guess = ["000000", RFC_4226[1]].concat();
    assert_eq!(at(None, &guess).await, "wrong");
}

#[tokio::test]
async fn b60_a_hardware_code_has_one_spelling() {
    for bad in ["", " 755224", "755224 ", "755 224", "75522", "7552240", "+55224", "７５５２２４", "755224 287082"]
    {
        assert_eq!(at(None, bad).await, "malformed", "{bad:?}");
    }
}

#[tokio::test]
async fn of_several_tokens_each_has_its_own_counter_and_digits() {
    let eight = Codes::of(&key(8)).unwrap().code(7);
    let both = [token(1, key(6), Some(9)), token(2, key(8), Some(5))];
    assert_eq!(said(&both, eight.expose_secret()).await, "Moved(7)");
    assert_eq!(said(&both, RFC_4226[9]).await, "used_before");
    assert_eq!(said(&both, RFC_4226[0]).await, "wrong");
    let app = EnrolledFactor { secret: FactorSecret::app(SEED.into(), None), ..token(3, key(6), None) };
    assert_eq!(said(&[app], RFC_4226[0]).await, "not_enrolled", "an app's seed is no counter's");
}
