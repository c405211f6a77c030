//! People: added, read, found, changed, removed.

use serde_json::{Value, json};
use stepgate_core::person::Login;
use stepgate_evidence::Event;

use crate::house::{House, ORIGIN, USER};

/// RFC 7643, section 8.2, as far as another system sends it.
fn barbara() -> Value {
    json!({
        "schemas": [USER],
        "externalId": "701984",
        "userName": "BJensen@example.com",
        "name": {
            "formatted": "Ms. Barbara J Jensen, III", "familyName": "Jensen", "givenName": "Barbara",
            "middleName": "Jane", "honorificPrefix": "Ms.", "honorificSuffix": "III"
        },
        "displayName": "Babs Jensen",
        "nickName": "Babs",
        "profileUrl": "https://login.example.com/bjensen",
        "emails": [
            { "value": "babs@jensen.org", "type": "home" },
            { "value": "bjensen@example.com", "type": "work", "primary": true }
        ],
        "phoneNumbers": [{ "value": "555-555-5555", "type": "work" }],
        "userType": "Employee",
        "title": "Tour Guide",
        "active": true,
        "password": "t1meMa$heen",
        "roles": [],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "employeeNumber": "701984" }
    })
}

#[tokio::test]
async fn somebody_is_added_read_and_found_again() {
    let house = House::new().await;
    let got = house.send("POST", "/Users", &barbara()).await;
    assert_eq!(got.header("content-type"), "application/scim+json");
    assert_eq!(got.header("etag"), "W/\"1\"");
    let location = got.header("location").to_owned();
    let added = got.with(201);
    let id = added["id"].as_str().unwrap();
    assert_eq!(location, format!("{ORIGIN}/scim/v2/Users/{id}"));
    assert_eq!(added["meta"]["location"], location);
    assert_eq!(added["userName"], "bjensen@example.com");
    assert_eq!(added["displayName"], "Babs Jensen");
    assert_eq!(added["name"], json!({ "givenName": "Barbara", "familyName": "Jensen" }));
    assert_eq!(added["emails"], json!([{ "value": "bjensen@example.com", "type": "work", "primary": true }]));
    assert_eq!((&added["active"], &added["externalId"]), (&json!(true), &json!("701984")));
    // What is not kept is not said to be.
    for absent in ["password", "title", "nickName", "groups"] {
        assert!(added.get(absent).is_none(), "{absent}");
    }
    assert_eq!(house.get(&format!("/Users/{id}")).await.with(200), added);
    for filter in ["userName eq \"BJENSEN@example.com\"", "externalId eq \"701984\"", &format!("id eq \"{id}\"")] {
        let list = house.get(&format!("/Users?filter={filter}")).await.with(200);
        assert_eq!((&list["totalResults"], &list["Resources"][0]), (&json!(1), &added), "{filter}");
    }
    assert_eq!(house.get("/Users?filter=userName eq \"nobody\"").await.with(200)["totalResults"], 0);

    // Names and addresses lie beside the tree; who did it stands in it.
    let entries = house.entries().await;
    let entry = entries.iter().find(|entry| matches!(entry.entry.event, Event::PersonAdded { .. })).unwrap();
    assert!(matches!(&entry.entry.event, Event::PersonAdded { by, .. } if by == "machine:hr"));
    assert_eq!(entry.entry.details.as_ref().unwrap().body["login"], "bjensen@example.com");
}

#[tokio::test]
async fn a_name_to_sign_in_with_is_one_persons() {
    let house = House::new().await;
    let id = house.user("alice").await;
    house.send("POST", "/Users", &json!({ "schemas": [USER], "userName": "ALICE" })).await.error(409, "uniqueness");
    // Also somebody's whom provisioning does not govern, and cannot see.
    let flows = &house.provisioning.flows;
    let root = flows.add_person(Login::parse("root").unwrap(), "Root", "", Vec::new(), "cli").await.unwrap();
    house.send("POST", "/Users", &json!({ "schemas": [USER], "userName": "root" })).await.error(409, "uniqueness");
    house
        .patch(&format!("/Users/{id}"), json!([{ "op": "replace", "path": "userName", "value": "root" }]))
        .await
        .error(409, "uniqueness");
    house.get(&format!("/Users/{}", root.id)).await.error(404, "");
    house.delete(&format!("/Users/{}", root.id)).await.error(404, "");
    assert_eq!(house.get("/Users").await.with(200)["totalResults"], 1);
    assert!(flows.store.person(root.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_replacement_leaves_nothing_of_what_was_but_whether_they_are_active() {
    let house = House::new().await;
    let added = house.send("POST", "/Users", &barbara()).await.with(201);
    let path = format!("/Users/{}", added["id"].as_str().unwrap());
    let body = json!({ "schemas": [USER], "userName": "babs", "active": false, "id": "another", "groups": [] });
    let replaced = house.send("PUT", &path, &body).await.with(200);
    assert_eq!(replaced["id"], added["id"]);
    assert_eq!((&replaced["userName"], &replaced["displayName"]), (&json!("babs"), &Value::Null));
    assert_eq!(replaced["active"], false);
    for gone in ["emails", "externalId"] {
        assert!(replaced.get(gone).is_none(), "{gone}");
    }
    let body = json!({ "schemas": [USER], "userName": "babs" });
    assert_eq!(house.send("PUT", &path, &body).await.with(200)["active"], false);
    // The same again changes nothing and is no entry.
    let before = house.count_kind("person.changed").await;
    let again = house.send("PUT", &path, &body).await.with(200);
    assert_eq!(again["meta"]["version"], "W/\"2\"");
    assert_eq!(house.count_kind("person.changed").await, before);
}

#[tokio::test]
async fn a_change_may_insist_on_the_version_that_was_read() {
    let house = House::new().await;
    let path = format!("/Users/{}", house.user("alice").await);
    let put = async |tag: &str| {
        let body = json!({ "schemas": [USER], "userName": "alice", "displayName": tag });
        let request = house.request("PUT", &path).header("content-type", "application/json").header("if-match", tag);
        house.call(request.body(body.to_string().into()).unwrap()).await
    };
    put("W/\"7\"").await.error(412, "");
    put("W/\"1\"").await.with(200);
    put("W/\"1\"").await.error(412, "");
    put("\"9\", W/\"2\"").await.with(200);
    put("*").await.with(200);
    let read = |tag: &str| house.request("GET", &path).header("if-none-match", tag).body(bytes::Bytes::new()).unwrap();
    assert_eq!(house.call(read("W/\"4\"")).await.status, 304);
    assert_eq!(house.call(read("W/\"3\"")).await.status, 200);
}

#[tokio::test]
async fn who_is_removed_is_gone() {
    let house = House::new().await;
    let path = format!("/Users/{}", house.user("alice").await);
    let got = house.delete(&path).await;
    assert_eq!((got.status.as_u16(), got.body), (204, Value::Null));
    house.get(&path).await.error(404, "");
    house.delete(&path).await.error(404, "");
    assert_eq!(house.count_kind("person.removed").await, 1);
}

#[tokio::test]
async fn lists_come_in_pages_and_parts() {
    let house = House::new().await;
    for number in 0..7 {
        house.user(&format!("u{number}")).await;
    }
    let list = house.get("/Users?startIndex=3&count=2&attributes=userName").await.with(200);
    assert_eq!((&list["totalResults"], &list["startIndex"], &list["itemsPerPage"]), (&json!(7), &json!(3), &json!(2)));
    let names: Vec<_> = list["Resources"].as_array().unwrap().iter().map(|one| one["userName"].clone()).collect();
    assert_eq!(names, ["u2", "u3"]);
    assert_eq!(list["Resources"][0].as_object().unwrap().len(), 3, "schemas, id and what was asked for");
    let filtered =
        house.get("/Users?filter=userName gt \"u1\" and active eq true&startIndex=2&count=3").await.with(200);
    let names: Vec<_> = filtered["Resources"].as_array().unwrap().iter().map(|one| one["userName"].clone()).collect();
    assert_eq!((&filtered["totalResults"], names), (&json!(5), vec![json!("u3"), json!("u4"), json!("u5")]));
    let counted = house.get("/Users?count=0").await.with(200);
    assert_eq!((&counted["totalResults"], &counted["Resources"]), (&json!(7), &json!([])));
    assert_eq!(house.get("/Users?startIndex=-5&count=-1").await.with(200)["startIndex"], 1);
    assert_eq!(house.get("/Users?startIndex=100").await.with(200)["Resources"], json!([]));
    let without = house.get("/Users?excludedAttributes=meta,emails.type,active").await.with(200);
    let one = &without["Resources"][0];
    assert!(one.get("meta").is_none() && one.get("active").is_none() && one["userName"] == "u0", "{one}");
    house.get("/Users?count=many").await.error(400, "invalidValue");
    house.get("/Users?count=1&count=2").await.error(400, "invalidValue");
    house.get("/Users?filter=nickName eq \"x\"").await.error(400, "invalidFilter");
    house.get("/Users?filter=userName eq").await.error(400, "invalidFilter");
    let search = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "filter": "userName sw \"u\"", "count": 1, "attributes": ["userName"] });
    let found = house.send("POST", "/Users/.search", &search).await.with(200);
    assert_eq!((&found["totalResults"], found["Resources"].as_array().unwrap().len()), (&json!(7), 1));
}

#[tokio::test]
async fn what_cannot_be_a_person_is_refused_and_said() {
    let house = House::new().await;
    let refused = async |name: &str, value: Value| {
        let mut body = json!({ "schemas": [USER], "userName": "alice" });
        body[name] = value;
        let answer = house.send("POST", "/Users", &body).await;
        let detail = answer.body["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.starts_with(name), "{detail} does not name {name}");
        answer.error(400, "invalidValue");
    };
    refused("userName", json!("")).await;
    refused("userName", json!("al ice")).await;
    refused("userName", json!("a".repeat(300))).await;
    refused("userName", json!(7)).await;
    refused("displayName", json!("a".repeat(101))).await;
    refused("displayName", json!("a\u{202e}b")).await;
    refused("externalId", json!("x".repeat(2_000))).await;
    refused("emails", json!([{ "value": "a@b@c" }])).await;
    refused("emails", json!([{ "value": format!("{}@example.com", "a".repeat(300)) }])).await;
    refused("emails", json!("a@b")).await;
    refused("active", json!("maybe")).await;
    refused("name", json!("Alice")).await;
    let body = json!({ "userName": "alice" });
    house.send("POST", "/Users", &body).await.error(400, "invalidSyntax");
    assert_eq!(house.get("/Users").await.with(200)["totalResults"], 0);
}

#[tokio::test]
async fn b103_whom_a_hand_blocked_no_directory_brings_back() {
    let house = House::new().await;
    let added = house.send("POST", "/Users", &barbara()).await.with(201);
    let path = format!("/Users/{}", added["id"].as_str().unwrap());
    let id = added["id"].as_str().unwrap().parse().unwrap();
    house.provisioning.set_blocked(id, true, "cli:root").await.unwrap();
    let active = async || house.provisioning.flows.store.person(id).await.unwrap().is_some_and(|person| person.active);
    // Okta sends the whole user, and deletes and adds.
    let mut told = house.send("PUT", &path, &barbara()).await.with(200);
    assert_eq!(told["active"], true, "what it said itself is told back");
    told["active"] = json!(false);
    house.send("PUT", &path, &told).await.with(200);
    let on = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "Replace", "path": "active", "value": "True" }] });
    assert_eq!(house.send("PATCH", &path, &on).await.with(200)["active"], true);
    house.delete(&path).await.error(403, "");
    house.send("POST", "/Users", &barbara()).await.error(409, "uniqueness");
    assert!(!active().await);
    house.provisioning.set_blocked(id, false, "cli:root").await.unwrap();
    assert!(active().await);
    assert_eq!(house.delete(&path).await.status, 204);
}
