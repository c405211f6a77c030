//! Every limit, at it and one beyond.

use bytes::Bytes;
use serde_json::{Value, json};
use stepgate_core::machine::Scope;

use crate::house::{GROUP, Got, House, USER};

/// A query as it stands in a URL.
fn filter(text: &str) -> String {
    let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    format!("/Users?filter={text}")
}

impl House {
    async fn new_group(&self, members: &[String]) -> Got {
        let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
        let schemas = ["urn:ietf:params:scim:schemas:core:2.0:Group"];
        self.send("POST", "/Groups", &json!({ "schemas": schemas, "displayName": "many", "members": members })).await
    }
}

#[tokio::test]
async fn a_filter_is_as_long_as_deep_and_as_wide_as_it_may_be_and_no_more() {
    let house = House::new().await;
    let long = |bytes: usize| {
        let frame = r#"displayName eq """#;
        format!(r#"displayName eq "{}""#, "x".repeat(bytes - frame.len()))
    };
    // One level is the comparison's own.
    let deep = |levels: usize| format!("{}active eq true{}", "(".repeat(levels - 1), ")".repeat(levels - 1));
    let wide = |terms: usize| vec!["active pr"; terms].join(" or ");
    for (name, at, beyond) in
        [("bytes", long(2_048), long(2_049)), ("levels", deep(10), deep(11)), ("comparisons", wide(40), wide(41))]
    {
        let got = house.get(&filter(&at)).await;
        assert_eq!(got.status, 200, "{name}: {got:?}");
        let got = house.get(&filter(&beyond)).await;
        assert_eq!(got.status, 400, "{name}");
        got.error(400, "invalidFilter");
    }
}

#[tokio::test]
async fn a_patch_has_as_many_operations_as_it_may_and_no_more() {
    let house = House::new().await;
    let path = format!("/Users/{}", house.user("ada").await);
    let one = json!({ "op": "replace", "path": "displayName", "value": "Ada" });
    house.patch(&path, vec![one.clone(); 100].into()).await.with(200);
    house.patch(&path, vec![one; 101].into()).await.error(400, "invalidSyntax");
    house.patch(&path, json!([])).await.error(400, "invalidSyntax");
    // A path is bounded as a filter is.
    let long = format!(r#"emails[value eq "{}"].type"#, "x".repeat(2_048));
    house.patch(&path, json!([{ "op": "replace", "path": long, "value": "work" }])).await.error(400, "invalidPath");
}

#[tokio::test]
async fn one_request_names_as_many_members_as_it_may_and_no_more() {
    let house = House::new().await;
    let ada = house.user("ada").await;
    house.new_group(&vec![ada.clone(); 20_001]).await.error(400, "tooMany");
    let group = house.new_group(&vec![ada; 20_000]).await.with(201);
    assert_eq!(group["members"].as_array().unwrap().len(), 1, "named often, and in it once");
}

#[tokio::test]
async fn the_groups_of_a_page_have_as_many_members_as_one_may_and_no_more() {
    let house = House::new().await;
    let (mut members, each, fit) = (Vec::new(), 400, 50);
    for number in 0..each {
        members.push(json!({ "value": house.user(&format!("p{number}")).await }));
    }
    for number in 0..=fit {
        let group = json!({ "schemas": [GROUP], "displayName": format!("g{number:02}"), "members": members });
        house.send("POST", "/Groups?attributes=id", &group).await.with(201);
    }
    let told = async |query: &str| {
        let list = house.get(&format!("/Groups?count=200{query}")).await.with(200);
        assert_eq!(
            (&list["totalResults"], &list["itemsPerPage"]),
            (&json!(fit + 1), &json!(list["Resources"].as_array().unwrap().len()))
        );
        list["Resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| group["members"].as_array().map_or(0, Vec::len))
            .collect::<Vec<_>>()
    };
    assert_eq!(told("").await, vec![each; fit], "20,000 in all");
    assert_eq!(told(&format!("&startIndex={}", fit + 1)).await, [each], "the rest comes when it is asked for");
    assert_eq!(told("&excludedAttributes=members").await.len(), fit + 1);
}

#[tokio::test]
async fn a_page_an_external_id_and_a_body_are_no_larger_than_they_may_be() {
    let house = House::new().await;
    let add = async |external_id: String| {
        let body = json!({ "schemas": [USER], "userName": "ada", "externalId": external_id });
        house.send("POST", "/Users", &body).await
    };
    add("x".repeat(256)).await.error(400, "invalidValue");
    add("x".repeat(255)).await.with(201);
    for number in 0..201 {
        house.user(&format!("p{number}")).await;
    }
    for (asked, told) in [("200", 200), ("201", 200), ("1000000", 200), ("-1", 0)] {
        let list = house.get(&format!("/Users?count={asked}")).await.with(200);
        assert_eq!(list["Resources"].as_array().unwrap().len(), told, "{asked}");
    }
    let unsaid = house.get("/Users").await.with(200);
    assert_eq!(unsaid["Resources"].as_array().unwrap().len(), 100);
    // Where a body is of no use, little of it is read.
    let body = |bytes: usize| house.request("GET", "/Users").body(Bytes::from(vec![b' '; bytes])).unwrap();
    assert_eq!(house.call(body(4 << 10)).await.status, 200);
    house.call(body((4 << 10) + 1)).await.error(413, "");
    let other = house.machine("other", &[Scope::SignalsPush]).await;
    assert_eq!(house.reads("POST", "/signals/events", &other).await, Err(404), "nothing else is served here");
}
