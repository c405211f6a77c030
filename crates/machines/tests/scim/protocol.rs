//! Who may call, what is told of the service, and what is no request.

use bytes::Bytes;
use serde_json::json;
use stepgate_core::machine::{MachineName, Scope};

use crate::house::{House, USER};

#[tokio::test]
async fn only_a_machine_with_a_token_for_it_is_heard() {
    let house = House::new().await;
    let other = house.machine("signals", &[Scope::SignalsPush]).await;
    let gone = house.machine("gone", &[Scope::Scim]).await;
    house.provisioning.remove_machine(&MachineName::parse("gone").unwrap(), "test").await.unwrap();
    let call = async |authorization: &[&str]| {
        let mut request = http::Request::builder().method("GET").uri("/scim/v2/Users");
        for value in authorization {
            request = request.header("authorization", *value);
        }
        house.call(request.body(Bytes::new()).unwrap()).await
    };
    let bearer = |token: &str| format!("Bearer {token}");
    for (given, status, says) in [
        (vec![], 401, "realm="),
        (vec!["Basic dXNlcjpwYXNz".to_owned()], 401, "realm="),
        (vec![bearer("nonsense")], 401, "invalid_token"),
        (vec![bearer(&"A".repeat(43))], 401, "invalid_token"),
        (vec![bearer(&gone)], 401, "invalid_token"),
        (vec![bearer(&other)], 403, "insufficient_scope"),
        (vec!["Bearer".to_owned()], 400, "invalid_request"),
        (vec![bearer("")], 400, "invalid_request"),
        (vec![bearer("a b")], 400, "invalid_request"),
        (vec![bearer(&"A".repeat(5_000))], 400, "invalid_request"),
        (vec![bearer(&house.token), bearer(&house.token)], 400, "invalid_request"),
    ] {
        let got = call(&given.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert!(got.header("www-authenticate").contains(says), "{given:?}: {got:?}");
        got.error(status, "");
    }
    assert_eq!(call(&[&format!("bearer {}", house.token)]).await.status, 200);
    assert!(house.count_kind("request.refused").await >= 3);
}

#[tokio::test]
async fn a_token_ends_at_its_time() {
    let house = House::new().await;
    let provisioning = &house.provisioning;
    let until = provisioning.flows.clock.now().plus(std::time::Duration::from_secs(60));
    let name = MachineName::parse("short").unwrap();
    let token = provisioning.add_machine(name, vec![Scope::Scim], String::new(), Some(until), "test").await.unwrap();
    assert!(provisioning.machine(&token).await.unwrap().is_some());
    house.clock.advance(std::time::Duration::from_secs(60));
    assert!(provisioning.machine(&token).await.unwrap().is_none());
}

#[tokio::test]
async fn the_service_says_what_it_can() {
    let house = House::new().await;
    let config = house.get("/ServiceProviderConfig").await.with(200);
    assert_eq!(config["patch"]["supported"], true);
    assert_eq!((&config["bulk"]["supported"], &config["sort"]["supported"]), (&json!(false), &json!(false)));
    assert_eq!(config["authenticationSchemes"][0]["type"], "oauthbearertoken");
    let types = house.get("/ResourceTypes").await.with(200);
    assert_eq!(types["totalResults"], 2);
    assert_eq!(house.get("/ResourceTypes/User").await.with(200), types["Resources"][0]);
    let schemas = house.get("/Schemas").await.with(200);
    let user = house.get(&format!("/Schemas/{USER}")).await.with(200);
    assert_eq!(user, schemas["Resources"][0]);
    let name = user["attributes"].as_array().unwrap().iter().find(|one| one["name"] == "userName").unwrap();
    assert_eq!((&name["required"], &name["uniqueness"]), (&json!(true), &json!("server")));
    house.get("/Schemas/urn:x").await.error(404, "");
    house.get("/ResourceTypes/Device").await.error(404, "");
}

#[tokio::test]
async fn what_is_not_here_is_said() {
    let house = House::new().await;
    house.send("POST", "/Bulk", &json!({})).await.error(501, "");
    house.get("/Me").await.error(501, "");
    house.get("/Devices").await.error(404, "");
    house.get("/Users/not-an-id").await.error(404, "");
    house.delete("/Users").await.error(405, "");
    house.send("PUT", "/Schemas", &json!({})).await.error(405, "");
}

#[tokio::test]
async fn bodies_are_json_objects_of_bounded_size() {
    let house = House::new().await;
    let post = async |kind: &str, body: String| {
        let request = house.request("POST", "/Users").header("content-type", kind);
        house.call(request.body(body.into()).unwrap()).await
    };
    let good = json!({ "schemas": [USER], "userName": "alice" }).to_string();
    post("text/plain", good.clone()).await.error(415, "");
    post("application/json; charset=utf-8", good).await.with(201);
    post("application/scim+json", "{".to_owned()).await.error(400, "invalidSyntax");
    post("application/scim+json", "[]".to_owned()).await.error(400, "invalidSyntax");
    post("application/scim+json", "[".repeat(100_000)).await.error(400, "invalidSyntax");
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(2 << 20));
    post("application/scim+json", large).await.error(413, "");
}

#[tokio::test]
async fn b99_no_body_is_read_of_who_may_not_call() {
    let house = House::new().await;
    let other = house.machine("signals", &[Scope::SignalsPush]).await;
    for (token, refused) in [("", 400), ("nonsense", 401), (&"A".repeat(43), 401), (&other, 403)] {
        assert_eq!(house.reads("POST", "/scim/v2/Users", token).await, Err(refused), "{token}");
    }
    assert_eq!(house.reads("POST", "/elsewhere", &house.token).await, Err(404));
    // And of who may, as much as is of use there.
    assert_eq!(house.reads("POST", "/scim/v2/Users", &house.token).await, Ok(2 << 20));
    assert_eq!(house.reads("GET", "/scim/v2/Users", &house.token).await, Ok(4 << 10));
}
