use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::scim::schema::{GROUP, USER};

/// The person of RFC 7643, section 8.2, as far as it is kept here.
fn barbara() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": "2819c223-7f76-453a-919d-413861904646",
        "externalId": "701984",
        "userName": "bjensen@example.com",
        "name": { "formatted": "Ms. Barbara J Jensen, III", "familyName": "Jensen", "givenName": "Barbara" },
        "displayName": "Babs Jensen",
        "emails": [
            { "value": "bjensen@example.com", "type": "work", "primary": true },
            { "value": "babs@jensen.org", "type": "home" }
        ],
        "active": true,
        "groups": [],
        "meta": { "resourceType": "User", "created": "2010-01-23T04:56:22Z", "lastModified": "2011-05-13T04:42:34Z" }
    })
}

fn check(text: &str, holds: bool) {
    match parse(text, &USER) {
        Ok(filter) => assert_eq!(filter.holds(&barbara()), holds, "{text}: {filter:?}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

fn refused(text: &str, why: &str) {
    let error = parse(text, &USER).expect_err(text);
    assert!(error.contains(why), "{text}: {error}");
}

/// The filters that RFC 7644, section 3.4.2.2, gives as examples, on attributes that are here.
#[test]
fn the_examples_of_rfc_7644_mean_what_it_says() {
    check(r#"userName eq "bjensen@example.com""#, true);
    check(r#"userName Eq "john""#, false);
    check(r#"Username eq "BJENSEN@example.com""#, true);
    check(r#"name.familyName co "O'Malley""#, false);
    check(r#"name.familyName co "ense""#, true);
    check(r#"userName sw "B""#, true);
    check(r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J""#, false);
    check(r#"urn:ietf:params:scim:schemas:core:2.0:user:USERNAME sw "b""#, true);
    check("displayName pr", true);
    check("groups pr", false);
    check(r#"meta.lastModified gt "2011-05-13T04:42:34Z""#, false);
    check(r#"meta.lastModified ge "2011-05-13T04:42:34Z""#, true);
    check(r#"meta.lastModified lt "2011-05-13T06:42:35+02:00""#, true);
    check(r#"displayName pr and userName sw "x""#, false);
    check(r#"groups pr or userName sw "b""#, true);
    check(r#"userName pr and (emails co "example.com" or emails.value co "example.org")"#, true);
    check(r#"userName ne "x" and not (emails co "example.com" or emails.value co "example.org")"#, false);
    check(r#"active eq true and (emails.type eq "work")"#, true);
    check(r#"userName pr and emails[type eq "work" and value co "@example.com"]"#, true);
    check(r#"emails[type eq "home" and value co "@example.com"]"#, false);
    check(r#"emails[type eq "work" and value co "@example.com"] or emails[type eq "x"]"#, true);
}

#[test]
fn and_binds_closer_than_or_and_not_closest() {
    check(r#"userName eq "x" and userName eq "y" or displayName pr"#, true);
    check(r#"displayName pr or userName eq "x" and userName eq "y""#, true);
    check(r#"not (userName eq "x") and displayName pr"#, true);
    check(r#"not (displayName pr or userName eq "x")"#, false);
    check(r#"(displayName pr or displayName pr) and userName eq "x""#, false);
}

#[test]
fn absent_is_null_and_differs_from_everything() {
    check("externalId ne null", true);
    check("name.givenName eq null", false);
    check(r#"emails.primary eq true"#, true);
    check(r#"active ne "False""#, true);
    check(r#"ACTIVE EQ "True""#, true);
    check(r#"externalId eq "701984""#, true);
    // An identifier's case matters.
    check(r#"id eq "2819C223-7F76-453A-919D-413861904646""#, false);
}

#[test]
fn what_makes_no_sense_is_said() {
    refused("", "an attribute is expected");
    refused("userName", "a space and an operator");
    refused("userName eq", "a space and a value");
    refused("userName is \"x\"", "an operator");
    refused("userName eq x", "a value");
    refused("userName eq [1]", "a value");
    refused("nickName eq \"x\"", "no attribute \"nickName\"");
    refused("name.middleName eq \"x\"", "no attribute");
    refused("userName.x eq \"x\"", "no attribute");
    refused("userName[x eq \"y\"]", "has no parts");
    refused("(userName pr", "`)` is expected");
    refused("emails[type eq \"work\"", "`]` is expected");
    refused("emails[display eq \"work\"]", "no attribute \"display\"");
    refused("userName pr userName pr", "nothing more");
    refused("not userName pr", "`not (`");
    refused("active gt true", "true or false");
    refused("active eq 1", "true or false");
    refused("userName gt 3", "is a text");
    refused("meta.created co \"2010\"", "is a time");
    refused("meta.created gt \"yesterday\"", "is a time like");
    refused("name eq \"x\"", "has parts");
    refused("userName gt null", "cannot be compared with null");
    refused(&format!("{}userName pr{}", "(".repeat(11), ")".repeat(11)), "nested");
    refused(&vec!["userName pr"; 41].join(" or "), "more than 40");
    refused(&format!("userName eq \"{}\"", "x".repeat(3_000)), "longer");
}

#[test]
fn what_must_hold_can_be_looked_up() {
    let demands =
        |text: &str, attribute: &str, part| parse(text, &USER).unwrap().demands(attribute, part).map(ToOwned::to_owned);
    assert_eq!(demands(r#"active eq true and userName eq "b""#, "userName", None).as_deref(), Some("b"));
    assert_eq!(demands(r#"active eq true or userName eq "b""#, "userName", None), None);
    assert_eq!(demands(r#"not (userName eq "b")"#, "userName", None), None);
    assert_eq!(demands(r#"userName sw "b""#, "userName", None), None);
    assert_eq!(demands(r#"groups eq "g""#, "groups", Some("value")).as_deref(), Some("g"));
    let group = parse(r#"members[value eq "p"]"#, &GROUP).unwrap();
    assert_eq!(group.demands("members", Some("value")), Some("p"));
    assert!(group.is_one_comparison());
    assert_eq!(parse(r#"members eq "a" or members eq "b""#, &GROUP).unwrap().looks_at("members"), 2);
}

proptest! {
    #[test]
    fn nothing_that_comes_breaks_it(text in ".{0,200}") {
        let _ = parse(&text, &USER);
    }

    #[test]
    fn nothing_that_looks_like_a_filter_breaks_it(
        words in proptest::collection::vec(
            prop_oneof![
                Just("userName"), Just("eq"), Just("\"x\""), Just("and"), Just("or"), Just("not"), Just("("),
                Just(")"), Just("emails"), Just("["), Just("]"), Just("pr"), Just(".value"), Just("é"), Just("null")
            ],
            0..30,
        )
    ) {
        if let Ok(filter) = parse(&words.join(" "), &USER) {
            let _ = filter.holds(&barbara());
        }
    }
}

#[test]
fn a_value_ends_at_a_bracket_too() {
    for text in [
        "(active eq true)",
        "not (active eq false)",
        "((active eq true) and active ne null)",
        "emails[primary eq true]",
    ] {
        assert!(parse(text, &USER).is_ok(), "{text}");
    }
    for text in ["(active eq true", "active eq true)", "active eq truely", "(active eq )", "active eq true]"] {
        assert!(parse(text, &USER).is_err(), "{text}");
    }
}
