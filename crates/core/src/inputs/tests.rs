//! What is read, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::catalogue::{ActionName, Admits, CrossSite, Effect, InputKind, PathTemplate, Title};

fn endpoint(inputs: &[(&str, InputSource, InputKind)]) -> Endpoint {
    let spec = |(name, source, kind): &(&str, InputSource, InputKind)| InputSpec {
        name: (*name).to_owned(),
        source: source.clone(),
        kind: *kind,
    };
    Endpoint {
        resource: "ledger POST /payments/{id}".to_owned(),
        action: ActionName::parse("payments.approve").unwrap(),
        effect: Effect::Write,
        kind: String::new(),
        sensitivity: String::new(),
        title: Title::new(""),
        methods: vec!["POST".to_owned()],
        path: PathTemplate::parse("/payments/{id}").unwrap(),
        inputs: inputs.iter().map(spec).collect(),
        effect_headers: Vec::new(),
        admits: Admits::SignedIn,
        cross_site: CrossSite::Refuse,
        scopes: Vec::new(),
    }
}

fn said(outcome: Result<Inputs, InputError>) -> String {
    match outcome {
        Ok(inputs) => inputs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
        Err(error) => error.code().to_owned(),
    }
}

/// A body of `application/json` with `amount` at `/amount`.
fn json_as(kind: InputKind, body: &str, expected: &str) {
    let endpoint = endpoint(&[("amount", InputSource::Json("/amount".to_owned()), kind)]);
    let read = read(&endpoint, &BTreeMap::new(), None, Some("application/json"), Some(body.as_bytes()));
    assert_eq!(said(read), expected, "{}", body.chars().take(80).collect::<String>());
}

fn json(body: &str, expected: &str) {
    json_as(InputKind::Long, body, expected);
}

#[test]
fn b39_a_body_that_cannot_be_read_as_declared_is_refused() {
    let endpoint = endpoint(&[("amount", InputSource::Json("/amount".to_owned()), InputKind::Long)]);
    let good: &[u8] = br#"{"amount":1}"#;
    for (content_type, body, expected) in [
        (Some("application/json"), Some(good), "amount=1"),
        (Some("application/json"), None, "input_no_body"),
        (Some("application/json"), Some(&b""[..]), "input_not_json"),
        (None, Some(good), "input_content_type"),
        (Some("text/plain"), Some(good), "input_content_type"),
        (Some("application/x-www-form-urlencoded"), Some(&b"amount=1"[..]), "input_content_type"),
        (Some("application/json; charset=utf-16"), Some(good), "input_content_type"),
        (Some("application/json"), Some(&b"\xef\xbb\xbf{\"amount\":1}"[..]), "input_not_json"),
        (Some("application/json"), Some(&b"{\"amount\":1,\"x\":\"\xff\"}"[..]), "input_not_json"),
        (Some("application/json"), Some(&b"{\x00\"\x00a"[..]), "input_not_json"),
    ] {
        let outcome = read(&endpoint, &BTreeMap::new(), None, content_type, body);
        assert_eq!(said(outcome), expected, "{content_type:?} {body:?}");
    }
}

#[test]
fn a_wrong_content_type_is_415_and_all_else_400() {
    assert_eq!(InputError::ContentType { expected: "" }.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(InputError::TooDeep.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn b41_a_key_twice_anywhere_is_refused() {
    json(r#"{"amount":1,"amount":100000}"#, "input_duplicate_key");
    json(r#"{"amount":1,"\u0061mount":100000}"#, "input_duplicate_key");
    json(r#"{"amount":1,"x":{"y":1,"y":2}}"#, "input_duplicate_key");
    json(r#"{"amount":1,"x":[{"y":1,"y":2}]}"#, "input_duplicate_key");
    json(r#"{"amount":1,"":1,"":2}"#, "input_duplicate_key");
    json(r#"{"amount":1,"x":{"amount":2}}"#, "amount=1");
}

#[test]
fn b41_a_key_that_some_reader_takes_for_a_declared_one_is_refused() {
    json(r#"{"amount":1,"Amount":100000}"#, "input_other_spelling");
    json(r#"{"AMOUNT":100000}"#, "input_other_spelling");
    json(r#"{"Amount":100000,"amount":1}"#, "input_other_spelling");
    json(r#"{"amount":1,"x":{"Amount":2}}"#, "amount=1");
    // The long s is an s to whoever folds by Unicode; no other input is meant here.
    let endpoint = endpoint(&[("s", InputSource::Json("/sum".to_owned()), InputKind::Long)]);
    let outcome =
        |body: &str| said(read(&endpoint, &BTreeMap::new(), None, Some("application/json"), Some(body.as_bytes())));
    assert_eq!(outcome(r#"{"sum":1,"ſum":2}"#), "input_other_spelling");
    assert_eq!(outcome(r#"{"sum":1,"sums":2}"#), "s=1");
}

#[test]
fn b44_depth_is_limited() {
    let nested = |depth: usize| format!(r#"{{"amount":1,"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    json(&nested(DEPTH_MAX - 1), "amount=1");
    json(&nested(DEPTH_MAX), "input_too_deep");
    json(&"[".repeat(100_000), "input_too_deep");
    json(&r#"{"a":"#.repeat(100_000), "input_too_deep");
}

#[test]
fn a_long_is_an_integer_and_nothing_that_could_be_one() {
    json(r#"{"amount":12000}"#, "amount=12000");
    json(r#"{"amount":-1}"#, "amount=-1");
    json(r#" { "amount" : 9223372036854775807 } "#, "amount=9223372036854775807");
    for wrong in [
        "9223372036854775808",
        "1e3",
        "12.0",
        "1E0",
        "-0",
        "\"12\"",
        "true",
        "null",
        "[12]",
        "{\"a\":1}",
        "18446744073709551617",
    ] {
        json(&format!(r#"{{"amount":{wrong}}}"#), "input_wrong_type");
    }
    for wrong in ["01", "+1", ".5", "1.", "0x10", "NaN", "Infinity", "1_0", "--1", "1e", "-"] {
        json(&format!(r#"{{"amount":{wrong}}}"#), "input_not_json");
    }
}

#[test]
fn a_decimal_is_read_from_its_text() {
    let check =
        |number: &str, expected: &str| json_as(InputKind::Decimal, &format!(r#"{{"amount":{number}}}"#), expected);
    check("12000.05", "amount=12000.0500");
    check("\"12000.05\"", "amount=12000.0500");
    check("0.1", "amount=0.1000");
    check("922337203685477.5807", "amount=922337203685477.5807");
    // As binary fractions these would be 12.34, 9007199254740992 and 10000.
    check("12.3400000000000000001", "input_wrong_type");
    check("9007199254740993", "input_wrong_type");
    check("900719925474099.3", "amount=900719925474099.3000");
    check("1e4", "input_wrong_type");
    check("\" 1\"", "input_wrong_type");
    check("true", "input_wrong_type");
}

#[test]
fn text_and_truth_are_what_json_says() {
    let text = |value: &str, expected: &str| json_as(InputKind::String, &format!(r#"{{"amount":{value}}}"#), expected);
    text(r#""a\u00e9\ud83d\ude00\n\/b""#, "amount=aé😀\n/b");
    text(r#""""#, "amount=");
    text("12", "input_wrong_type");
    text(r#""\ud83d""#, "input_not_json");
    text(r#""\ude00""#, "input_not_json");
    text(r#""\ud83d\u0041""#, "input_not_json");
    text(r#""\x41""#, "input_not_json");
    text("\"a\nb\"", "input_not_json");
    text(&format!("\"{}\"", "a".repeat(STRING_LEN_MAX)), &format!("amount={}", "a".repeat(STRING_LEN_MAX)));
    text(&format!("\"{}\"", "a".repeat(STRING_LEN_MAX + 1)), "input_too_long");
    let truth = |value: &str, expected: &str| json_as(InputKind::Bool, &format!(r#"{{"amount":{value}}}"#), expected);
    truth("true", "amount=true");
    truth("false", "amount=false");
    truth("1", "input_wrong_type");
    truth("\"true\"", "input_wrong_type");
    truth("True", "input_not_json");
}

#[test]
fn the_document_ends_where_it_ends() {
    for body in [
        r#"{"amount":1} {"amount":2}"#,
        r#"{"amount":1}x"#,
        r#"{"amount":1},"#,
        r#"{"amount":1"#,
        r#"{"amount":1,}"#,
        r#"{"amount" 1}"#,
        r#"{amount:1}"#,
        r#"{'amount':1}"#,
        r#"{"amount":1/**/}"#,
        "{\"amount\":1}\u{0}",
        "\u{feff}{\"amount\":1}",
        "{\"amount\":\u{a0}1}",
        r#"[1,]"#,
        "tru",
        "nul",
        "",
    ] {
        json(body, "input_not_json");
    }
    json("1", "input_missing");
    json("[]", "input_missing");
    json("{}", "input_missing");
    json(r#"{"x":{"amount":1}}"#, "input_missing");
}

#[test]
fn pointers_lead_where_rfc_6901_says() {
    let document = r#"{"a/b":1,"m~n":2,"o":{"p":[10,20,{"q":30}]},"":4," ":5,"0":6,"~1":7}"#;
    for (pointer, expected) in [
        ("/a~1b", "v=1"),
        ("/m~0n", "v=2"),
        ("/o/p/1", "v=20"),
        ("/o/p/2/q", "v=30"),
        ("/", "v=4"),
        ("/ ", "v=5"),
        ("/0", "v=6"),
        ("/~01", "v=7"),
        ("/o/p/01", "input_missing"),
        ("/o/p/-", "input_missing"),
        ("/o/p/3", "input_missing"),
        ("/o/p", "input_wrong_type"),
        ("", "input_wrong_type"),
    ] {
        let endpoint = endpoint(&[("v", InputSource::Json(pointer.to_owned()), InputKind::Long)]);
        let outcome = read(&endpoint, &BTreeMap::new(), None, Some("application/json"), Some(document.as_bytes()));
        assert_eq!(said(outcome), expected, "{pointer:?}");
    }
    for bad in ["a", "a/b", "/~", "/~2", "/a~", "#/a"] {
        assert_eq!(Pointer::parse(bad), Err(NotAPointer), "{bad}");
    }
}

#[test]
fn several_inputs_are_read_at_once_or_not_at_all() {
    let endpoint = endpoint(&[
        ("id", InputSource::Path("id".to_owned()), InputKind::String),
        ("dry", InputSource::Query("dry".to_owned()), InputKind::Bool),
        ("amount", InputSource::Json("/p/amount".to_owned()), InputKind::Long),
        ("to", InputSource::Json("/p/to".to_owned()), InputKind::String),
    ]);
    let path = BTreeMap::from([("id".to_owned(), "42".to_owned())]);
    let body = Some(&br#"{"p":{"to":"acme","amount":7}}"#[..]);
    let json = Some("application/json");
    assert_eq!(said(read(&endpoint, &path, Some("dry=true"), json, body)), "amount=7 dry=true id=42 to=acme");
    assert_eq!(said(read(&endpoint, &path, None, json, body)), "input_missing");
    assert_eq!(said(read(&endpoint, &BTreeMap::new(), Some("dry=true"), json, body)), "input_missing");
    assert_eq!(said(read(&endpoint, &path, Some("dry=1"), json, body)), "input_wrong_type");
}

#[test]
fn what_is_not_declared_is_not_read() {
    let endpoint = endpoint(&[("id", InputSource::Path("id".to_owned()), InputKind::Long)]);
    let path = BTreeMap::from([("id".to_owned(), "42".to_owned())]);
    let outcome = read(&endpoint, &path, Some("%zz;&=&"), Some("image/png"), Some(b"\xff"));
    assert_eq!(said(outcome), "id=42");
}

fn query_and_form(text: &str, expected: &str) {
    let asked = |source: fn(String) -> InputSource| endpoint(&[("v", source("pay_id".to_owned()), InputKind::String)]);
    let query = read(&asked(InputSource::Query), &BTreeMap::new(), Some(text), None, None);
    assert_eq!(said(query), expected, "query {text:?}");
    let form = Some("application/x-www-form-urlencoded");
    let form = read(&asked(InputSource::Form), &BTreeMap::new(), None, form, Some(text.as_bytes()));
    assert_eq!(said(form), expected, "form {text:?}");
}

#[test]
fn a_parameter_occurs_once_in_its_one_spelling() {
    query_and_form("pay_id=42", "v=42");
    query_and_form("&a=1&&pay_id=42&b", "v=42");
    query_and_form("pay%5Fid=4+2%20%C3%A9", "v=4 2 é");
    query_and_form("pay_id=a=b", "v=a=b");
    query_and_form("pay_id=", "v=");
    query_and_form("pay_id", "v=");
    query_and_form("", "input_missing");
    query_and_form("payid=1&my_pay_id=2", "input_missing");
    query_and_form("pay_id=1&pay_id=2", "input_repeated");
    query_and_form("pay_id=1&pay%5fid=1", "input_repeated");
    for other in [
        "PAY_ID=2",
        "pay_id[]=2",
        "pay_id%5B0%5D=2",
        "pay.id=2",
        "pay%20id=2",
        "+pay_id=2",
        "pay_id%00x=2",
        "pay_id+=2",
        "pay_%C4%B0d=2",
    ] {
        // The dotted capital I folds to an i and a combining dot: that is another name.
        let expected = if other.contains("%C4") { "v=1" } else { "input_other_spelling" };
        query_and_form(&format!("pay_id=1&{other}"), expected);
        query_and_form(&format!("{other}&pay_id=1"), expected);
        query_and_form(other, if other.contains("%C4") { "input_missing" } else { "input_other_spelling" });
    }
    for broken in
        ["pay_id=%", "pay_id=%4", "pay_id=%zz", "pay_id=%ff", "pay_id=1;x=2", "pay_id=1&x=%80", "pay_id=\u{1}"]
    {
        query_and_form(broken, "input_not_a_form");
    }
    query_and_form(&format!("{}pay_id=1", "a=1&".repeat(PARAMETERS_MAX - 1)), "v=1");
    query_and_form(&format!("{}pay_id=1", "a=1&".repeat(PARAMETERS_MAX)), "input_too_many_parameters");
}

#[test]
fn a_name_with_brackets_may_be_declared() {
    let endpoint = endpoint(&[("v", InputSource::Form("pay[id]".to_owned()), InputKind::Long)]);
    let form = Some("application/x-www-form-urlencoded");
    let outcome = |body: &str| said(read(&endpoint, &BTreeMap::new(), None, form, Some(body.as_bytes())));
    assert_eq!(outcome("pay[id]=1&pay[to]=2"), "v=1");
    assert_eq!(outcome("pay%5Bid%5D=1"), "v=1");
    assert_eq!(outcome("pay[id]=1&pay[ID]=2"), "input_other_spelling");
}

proptest! {
    #[test]
    fn whatever_is_accepted_an_ordinary_reader_reads_alike(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
    }

    /// A document that is accepted, changed in up to three places.
    #[test]
    fn whatever_comes_of_a_good_document_too(
        changes in proptest::collection::vec((0..90_usize, 0..2_usize, r#"[ \{\}\[\]:,"nsobaN0-9eE.+\\utrfl-]{0,3}"#), 0..4),
    ) {
        let mut text: Vec<char> = r#"{"n":12,"s":"a\u00e9\"b","o":{"b":true,"x":[]},"a":["12.5",{"n":1e3}],"z":null}"#.chars().collect();
        for (at, removed, put) in changes {
            let at = at.min(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, put.chars());
        }
        fuzz(text.iter().collect::<String>().as_bytes());
    }

    #[test]
    fn a_written_document_is_read_back(
        number in any::<i64>(),
        text in any::<String>().prop_filter("short enough", |text| text.len() <= STRING_LEN_MAX),
        truth in any::<bool>(),
    ) {
        let document = serde_json::json!({ "z": [null, { "n": 1.5e300 }], "n": number, "s": text, "o": { "b": truth } });
        let endpoint = endpoint(&[
            ("n", InputSource::Json("/n".to_owned()), InputKind::Long),
            ("s", InputSource::Json("/s".to_owned()), InputKind::String),
            ("b", InputSource::Json("/o/b".to_owned()), InputKind::Bool),
        ]);
        let body = document.to_string();
        let inputs = read(&endpoint, &BTreeMap::new(), None, Some("application/json"), Some(body.as_bytes())).unwrap();
        let expected = Inputs::from([
            ("n".to_owned(), InputValue::Long(number)),
            ("s".to_owned(), InputValue::String(text)),
            ("b".to_owned(), InputValue::Bool(truth)),
        ]);
        prop_assert_eq!(inputs, expected);
    }
}
