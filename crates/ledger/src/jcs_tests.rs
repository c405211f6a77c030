//! Examples of RFC 8785, and what this crate refuses beyond it.

use proptest::prelude::*;

use super::*;

fn check(json: &str, canonical_form: &str) {
    let value: Value = serde_json::from_str(json).unwrap();
    let bytes = canonical(&value).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), canonical_form);
}

#[test]
fn the_example_of_rfc_8785_section_3_2_2() {
    let input = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    check(
        input,
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
    );
}

#[test]
fn members_are_sorted_by_utf_16_units_as_in_rfc_8785_section_3_2_3() {
    let input = r#"{
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\ud83d\ude00": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let value: Value = serde_json::from_str(input).unwrap();
    let text = String::from_utf8(canonical(&value).unwrap()).unwrap();
    let order = [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ];
    let positions: Vec<_> = order.iter().map(|name| text.find(name).unwrap()).collect();
    assert!(positions.is_sorted(), "{text}");
}

#[test]
fn numbers_as_in_rfc_8785_appendix_b() {
    for (bits, expected) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        let value = Value::from(f64::from_bits(bits));
        assert_eq!(canonical(&value).unwrap(), expected.as_bytes(), "{bits:016x}");
    }
}

#[test]
fn integers_that_json_readers_round_are_refused() {
    for json in ["9007199254740991", "-9007199254740991"] {
        check(json, json);
        assert!(parse_strict(json.as_bytes()).is_ok());
    }
    for json in ["9007199254740992", "-9007199254740992", "18446744073709551615"] {
        let value: Value = serde_json::from_str(json).unwrap();
        assert!(matches!(canonical(&value), Err(NotCanonical::IntegerTooLarge(_))), "{json}");
        assert!(parse_strict(json.as_bytes()).is_err(), "{json}");
    }
    assert!(parse_strict(b"100000000000000000000000").is_err());
}

#[test]
fn what_nests_too_deep_is_refused() {
    let mut value = Value::Null;
    for _ in 0..MAX_DEPTH {
        value = Value::Array(vec![value]);
    }
    assert!(canonical(&value).is_ok());
    assert!(matches!(canonical(&Value::Array(vec![value])), Err(NotCanonical::TooDeep)));
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    for json in [r#"{"amount":"1","amount":"12000"}"#, r#"{"a":[{"b":1,"b":1}]}"#, r#"{"a":1,"\u0061":2}"#] {
        assert!(parse_strict(json.as_bytes()).is_err(), "{json}");
    }
    let json = r#"{"a":[1,-2,0.5,"x",null,true],"b":{"a":1}}"#;
    let expected: Value = serde_json::from_str(json).unwrap();
    assert_eq!(parse_strict(json.as_bytes()).unwrap(), expected);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53) + 1..1_i64 << 53).prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |number| Number::from_f64(number).map(Value::from)),
        any::<String>().prop_map(Value::from),
    ];
    let name = prop_oneof![any::<String>(), "[a-c]{0,2}", "[\u{e000}-\u{e00f}\u{10000}-\u{1000f}]{1,2}"];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_form_is_that_of_the_reference_canonicaliser(value in values()) {
        let expected = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(canonical(&value).unwrap(), expected);
    }
}
