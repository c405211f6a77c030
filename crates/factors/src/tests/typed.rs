//! Password, authenticator code, recovery code.

use super::*;

async fn enrol(kind: FactorKind, existing: &[EnrolledFactor], typed: &str) -> Result<EnrolledFactor, NotEnrolled> {
    let set = factors();
    let begun = set.of(kind).unwrap().begin_enrolment(&alice(), existing, &SeededRandomness::new(3))?;
    let answer = EnrolmentAnswer::Text(SecretString::from(typed));
    let done = set.of(kind).unwrap().finish_enrolment(&alice(), existing, &begun.state, &answer, NOW).await?;
    Ok(enrolled(done.secret))
}

/// The outcome of an answer in a few words.
fn said(outcome: Result<Proved, NotProved>) -> String {
    match outcome {
        Ok(proved) => format!("{:?}", proved.used),
        Err(error) => error.code().to_owned(),
    }
}

#[tokio::test]
async fn a_password_is_verified_as_it_was_typed() {
    let set = factors();
    let stored = [enrol(FactorKind::Password, &[], "quiet héron at dusk").await.unwrap()];
    let FactorSecret::Password { phc, .. } = &stored[0].secret else { panic!("not a password") };
    assert!(phc.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", phc.expose_secret());
    for (typed, expected) in [
        ("quiet héron at dusk", "Nothing"),
        // The same characters, composed in another way (NFKC).
        ("quiet he\u{301}ron at dusk", "Nothing"),
        ("quiet heron at dusk", "wrong"),
        (" quiet héron at dusk", "wrong"),
        ("quiet héron at dusk ", "wrong"),
        ("Quiet héron at dusk", "wrong"),
        ("quiet héron at dus", "wrong"),
        ("", "malformed"),
        (&"a".repeat(257), "malformed"),
    ] {
        let answer = text(FactorKind::Password, typed);
        let outcome = set.of(FactorKind::Password).unwrap().verify(&stored, &answer, BINDING, NOW).await;
        assert_eq!(said(outcome), expected, "{typed:?}");
    }
    let answer = text(FactorKind::Password, "quiet héron at dusk");
    assert_eq!(said(set.of(FactorKind::Password).unwrap().verify(&[], &answer, BINDING, NOW).await), "not_enrolled");
}

#[tokio::test]
async fn the_whole_of_a_long_password_counts() {
    let set = factors();
    let long: String = "ж".repeat(200).chars().enumerate().map(|(i, c)| if i % 7 == 0 { ' ' } else { c }).collect();
    let long = format!("{long} and then tea");
    let stored = [enrol(FactorKind::Password, &[], &long).await.unwrap()];
    for (typed, expected) in [(long.clone(), "Nothing"), (long[..long.len() - 1].to_owned(), "wrong")] {
        let answer = text(FactorKind::Password, &typed);
        assert_eq!(said(set.of(FactorKind::Password).unwrap().verify(&stored, &answer, BINDING, NOW).await), expected);
    }
}

#[tokio::test]
async fn a_password_may_be_shorter_beside_another_factor() {
    let totp = enrolled(FactorSecret::app(SecretString::from("AA"), None));
    let codes = enrolled(FactorSecret::RecoveryCodes { left: Vec::new() });
    assert!(enrol(FactorKind::Password, &[], "tea at 4 pm").await.is_err());
    assert!(enrol(FactorKind::Password, &[codes], "tea at 4 pm").await.is_err(), "recovery codes are spares");
    let stands = async |existing: &[EnrolledFactor], typed| match enrol(FactorKind::Password, existing, typed).await {
        Ok(EnrolledFactor { secret: FactorSecret::Password { stands, .. }, .. }) => stands,
        other => panic!("{typed}: {other:?}"),
    };
    let beside = std::slice::from_ref(&totp);
    assert_eq!(stands(beside, "tea at 4 pm").await, PasswordStands::BesideAnother);
    assert_eq!(stands(beside, "tea at 4 pm or 5").await, PasswordStands::Alone);
    assert_eq!(stands(&[], "tea at 4 pm or 5").await, PasswordStands::Alone);
    assert!(enrol(FactorKind::Password, &[totp], "tea at4").await.is_err());
}

#[tokio::test]
async fn a_broken_hash_is_a_fault_and_never_a_match() {
    let set = factors();
    let stored = [enrolled(FactorSecret::Password {
        phc: SecretString::from("$argon2id$broken"),
        stands: PasswordStands::Alone,
    })];
    let answer = text(FactorKind::Password, "quiet heron at dusk");
    assert_eq!(said(set.of(FactorKind::Password).unwrap().verify(&stored, &answer, BINDING, NOW).await), "fault");
}

#[tokio::test]
async fn many_passwords_at_once_are_all_answered() {
    let set = factors();
    let stored = [enrol(FactorKind::Password, &[], "quiet heron at dusk").await.unwrap()];
    let right = text(FactorKind::Password, "quiet heron at dusk");
    let wrong = text(FactorKind::Password, "quiet heron at noon");
    let password = set.of(FactorKind::Password).unwrap();
    let answers = (0..12).map(|i| if i % 2 == 0 { &right } else { &wrong });
    let outcomes = answers.map(|answer| password.verify(&stored, answer, BINDING, NOW));
    for (i, outcome) in futures_util::future::join_all(outcomes).await.into_iter().enumerate() {
        assert_eq!(outcome.is_ok(), i % 2 == 0, "{i}");
    }
    password.verify_nobody(&right).await.unwrap();
}

/// RFC 6238's seed of twenty bytes in base32.
const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// The code of SEED at 1111111111 s, RFC 6238 appendix B; its step is 37037037.
const CODE: &str = "050471";
const CODE_STEP: u64 = 37_037_037;

async fn totp(last_step: Option<u64>, typed: &str, at_s: i64) -> String {
    let stored = [enrolled(FactorSecret::app(SecretString::from(SEED), last_step))];
    let answer = text(FactorKind::Totp, typed);
    let at = Timestamp::from_ms(at_s * 1000 + 999);
    said(factors().of(FactorKind::Totp).unwrap().verify(&stored, &answer, BINDING, at).await)
}

#[tokio::test]
async fn b60_a_code_has_one_spelling() {
    assert_eq!(totp(None, CODE, 1_111_111_111).await, format!("Moved({CODE_STEP})"));
    for typed in [
        " 050471",
        "050471 ",
        "05 04 71",
        "050-471",
        "+50471",
        "0504710",
        "50471",
        "",
        "０５０４７１",
        "٠٥٠٤٧١",
        "05047\0",
        "050471\n",
        "0x0471",
    ] {
        assert_eq!(totp(None, typed, 1_111_111_111).await, "malformed", "{typed:?}");
    }
}

#[tokio::test]
async fn a_code_counts_one_step_early_or_late_and_no_more() {
    let step_starts = i64::try_from(CODE_STEP).unwrap() * 30;
    let accepted = format!("Moved({CODE_STEP})");
    for (at, expected) in [
        (step_starts - 31, "wrong"),
        (step_starts - 30, accepted.as_str()),
        (step_starts, accepted.as_str()),
        (step_starts + 59, accepted.as_str()),
        (step_starts + 60, "wrong"),
    ] {
        assert_eq!(totp(None, CODE, at).await, expected, "{}", at - step_starts);
    }
    assert_eq!(totp(None, CODE, -5).await, "fault");
}

#[tokio::test]
async fn b61_a_step_counts_once_and_no_lower_one_after_it() {
    for (last, expected) in [
        (None, format!("Moved({CODE_STEP})")),
        (Some(CODE_STEP - 1), format!("Moved({CODE_STEP})")),
        (Some(CODE_STEP), "used_before".to_owned()),
        (Some(CODE_STEP + 1), "used_before".to_owned()),
    ] {
        assert_eq!(totp(last, CODE, 1_111_111_111).await, expected, "{last:?}");
    }
}

#[tokio::test]
async fn with_two_apps_either_one_counts() {
    let set = factors();
    let other = || enrolled(FactorSecret::app(SecretString::from("A".repeat(32)), None));
    let used = enrolled(FactorSecret::app(SecretString::from(SEED), Some(CODE_STEP)));
    let mut fresh = enrolled(FactorSecret::app(SecretString::from(SEED), None));
    fresh.id = FactorId::from_bytes([5; 16]);
    let answer = text(FactorKind::Totp, CODE);
    let now = Timestamp::from_ms(1_111_111_111_000);
    let verifier = set.of(FactorKind::Totp).unwrap();
    let proved = verifier.verify(&[other(), fresh.clone()], &answer, BINDING, now).await.unwrap();
    assert_eq!(proved.factor, fresh.id);
    assert_eq!(said(verifier.verify(&[used, other()], &answer, BINDING, now).await), "used_before");
    assert_eq!(said(verifier.verify(&[], &answer, BINDING, now).await), "not_enrolled");
    verifier.verify_nobody(&answer).await.unwrap();
}

#[tokio::test]
async fn a_broken_seed_is_a_fault_and_never_a_match() {
    let stored = [enrolled(FactorSecret::app(SecretString::from("AA"), None))];
    let answer = text(FactorKind::Totp, "000000");
    assert_eq!(said(factors().of(FactorKind::Totp).unwrap().verify(&stored, &answer, BINDING, NOW).await), "fault");
}

#[tokio::test]
async fn an_app_is_enrolled_with_its_first_code_which_is_used_up() {
    let set = factors();
    let verifier = set.of(FactorKind::Totp).unwrap();
    let begun = verifier.begin_enrolment(&person(1, "al:ice@example.com"), &[], &SeededRandomness::new(5)).unwrap();
    let EnrolmentOffer::Totp { uri, secret_base32, qr_svg } = &begun.offer else { panic!("not for an app") };
    let base32 = secret_base32.expose_secret();
    assert_eq!(base32.len(), 32, "160 bits");
    let expected = format!("otpauth://totp/Gate:al-ice%40example.com?secret={base32}&issuer=Gate");
    assert_eq!(uri.expose_secret(), expected);
    // With the host of a gate behind the name: prefix and issuer stay equal, as the key URI format wants.
    let named = crate::totp::Totp::new("Stepgate gate.example");
    let begun_there = named.begin_enrolment(&person(1, "alice"), &[], &SeededRandomness::new(5)).unwrap();
    let EnrolmentOffer::Totp { uri: there, .. } = &begun_there.offer else { panic!("not for an app") };
    let expected =
        format!("otpauth://totp/Stepgate%20gate.example:alice?secret={base32}&issuer=Stepgate%20gate.example");
    assert_eq!(there.expose_secret(), expected);
    assert!(qr_svg.expose_secret().starts_with("<svg ") && qr_svg.expose_secret().ends_with("</svg>"));

    let app = totp_rs::Builder::new().with_secret(totp_rs::Secret::try_from_base32(base32).unwrap()).build().unwrap();
    let now_s = u64::try_from(NOW.as_ms()).unwrap() / 1000;
    let code = app.generate(now_s).to_string();
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let finish = async |typed: &str| {
        let answer = EnrolmentAnswer::Text(SecretString::from(typed));
        verifier.finish_enrolment(&person(1, "al:ice@example.com"), &[], &begun.state, &answer, NOW).await
    };
    assert!(matches!(finish(wrong).await, Err(NotEnrolled::Refused(_))));
    assert!(matches!(finish(&format!("{code} ")).await, Err(NotEnrolled::Refused(_))));
    let stored = [enrolled(finish(&code).await.unwrap().secret)];
    let again = text(FactorKind::Totp, &code);
    assert_eq!(said(verifier.verify(&stored, &again, BINDING, NOW).await), "used_before");
    let next = text(FactorKind::Totp, &app.generate(now_s + 30).to_string());
    assert_eq!(said(verifier.verify(&stored, &next, BINDING, NOW).await), format!("Moved({})", now_s / 30 + 1));
}

#[test]
fn after_a_wrong_first_code_the_same_secret_is_shown_again() {
    let set = factors();
    let verifier = set.of(FactorKind::Totp).unwrap();
    let begun = verifier.begin_enrolment(&alice(), &[], &SeededRandomness::new(5)).unwrap();
    let shown = |offer: &EnrolmentOffer| {
        let EnrolmentOffer::Totp { uri, qr_svg, .. } = offer else { panic!("not for an app") };
        format!("{} {}", uri.expose_secret(), qr_svg.expose_secret())
    };
    let again = verifier.offer_again(&alice(), &begun.state).unwrap();
    assert_eq!(shown(&again), shown(&begun.offer));
    assert!(verifier.offer_again(&person(2, "mallory"), &begun.state).is_none());
    for other in [FactorKind::Password, FactorKind::PASSKEY, FactorKind::RecoveryCode] {
        assert!(set.of(other).unwrap().offer_again(&alice(), &begun.state).is_none(), "{other}");
    }
}

async fn recovery_codes() -> (Vec<String>, EnrolledFactor) {
    let set = factors();
    let verifier = set.of(FactorKind::RecoveryCode).unwrap();
    let begun = verifier.begin_enrolment(&alice(), &[], &SeededRandomness::new(6)).unwrap();
    let EnrolmentOffer::RecoveryCodes { codes } = &begun.offer else { panic!("not codes") };
    let codes: Vec<String> = codes.iter().map(|code| code.expose_secret().to_owned()).collect();
    for code in &codes {
        assert!(!begun.state.expose_secret().contains(code.as_str()), "the state holds digests alone");
        assert!(!begun.state.expose_secret().contains(&code.replace('-', "")));
    }
    let kept = EnrolmentAnswer::Text(SecretString::from(""));
    let done = verifier.finish_enrolment(&alice(), &[], &begun.state, &kept, NOW).await.unwrap();
    (codes, enrolled(done.secret))
}

#[tokio::test]
async fn ten_codes_of_eighty_bits_each_good_once() {
    let verifier = RecoveryCodes;
    let (codes, mut stored) = recovery_codes().await;
    assert_eq!(codes.len(), 10);
    assert_eq!(codes.iter().collect::<std::collections::HashSet<_>>().len(), 10);
    for code in &codes {
        let groups: Vec<_> = code.split('-').map(str::len).collect();
        assert_eq!(groups, [4, 4, 4, 4], "{code}");
        let answer = text(FactorKind::RecoveryCode, code);
        let proved = verifier.verify(std::slice::from_ref(&stored), &answer, BINDING, NOW).await.unwrap();
        let FactorUse::RecoveryCode(spent) = proved.used else { panic!("{:?}", proved.used) };
        // What the store does with the use.
        let FactorSecret::RecoveryCodes { left } = &mut stored.secret else { panic!("not codes") };
        left.retain(|digest| *digest != spent);
        let again = verifier.verify(std::slice::from_ref(&stored), &answer, BINDING, NOW).await;
        assert_eq!(said(again), "wrong", "b61: spent");
    }
}

#[tokio::test]
async fn b60_every_spelling_of_a_recovery_code_is_the_same_code() {
    let (codes, stored) = recovery_codes().await;
    let code = &codes[0];
    let plain = code.replace('-', "");
    let spelled_o = plain.replace('0', "O").replace('1', "l");
    let spent = |proved: Proved| proved.used;
    let verify = async |typed: &str| {
        let answer = text(FactorKind::RecoveryCode, typed);
        RecoveryCodes.verify(std::slice::from_ref(&stored), &answer, BINDING, NOW).await
    };
    let expected = spent(verify(code).await.unwrap());
    for typed in [
        plain.clone(),
        code.to_uppercase(),
        format!(" {code} "),
        code.replace('-', " "),
        spelled_o,
        format!("-{plain}-"),
    ] {
        assert_eq!(spent(verify(&typed).await.unwrap()), expected, "{typed}");
    }
    for typed in ["", "----", &plain[..15], &format!("{plain}0"), &format!("{}u", &plain[..15]), &"ｆ".repeat(16)] {
        assert_eq!(said(verify(typed).await), "malformed", "{typed}");
    }
    assert_eq!(said(verify("zzzz-zzzz-zzzz-zzzz").await), "wrong");
    RecoveryCodes.verify_nobody(&text(FactorKind::RecoveryCode, code)).await.unwrap();
}

proptest! {
    #[test]
    fn nothing_that_is_typed_breaks_a_verifier(typed in ".{0,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let codes = enrolled(FactorSecret::RecoveryCodes { left: vec![stepgate_core::factor::CodeDigest([1; 32])] });
        let app = enrolled(FactorSecret::app(SecretString::from(SEED), Some(u64::MAX)));
        for (kind, stored) in [(FactorKind::RecoveryCode, codes), (FactorKind::Totp, app)] {
            let answer = text(kind, &typed);
            let outcome = runtime.block_on(factors().of(kind).unwrap().verify(&[stored], &answer, BINDING, NOW));
            prop_assert!(outcome.is_err());
        }
    }
}

#[test]
fn chance_comes_from_the_hand_that_gives_it() {
    // The same randomness makes the same secrets: none is drawn elsewhere.
    let offer = |kind: FactorKind, seed: u64| {
        let random: &dyn Randomness = &SeededRandomness::new(seed);
        let begun = factors().of(kind).unwrap().begin_enrolment(&alice(), &[], random).unwrap();
        begun.state.expose_secret().to_owned()
    };
    for kind in FactorKind::BUILT_IN {
        assert_eq!(offer(kind, 1), offer(kind, 1), "{kind}");
        assert_ne!(offer(kind, 1), offer(kind, 2), "{kind}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let begun =
        factors().of(FactorKind::Totp).unwrap().begin_enrolment(&alice(), &[], &SeededRandomness::new(5)).unwrap();
    let EnrolmentOffer::Totp { secret_base32, .. } = &begun.offer else { panic!("not for an app") };
    assert!(!format!("{begun:?}").contains(secret_base32.expose_secret()));
}
