//! What Entra ID and Okta send. Restated from Microsoft's "Develop and plan provisioning for a SCIM
//! endpoint in Microsoft Entra ID" and Okta's "SCIM 2.0 protocol reference", with people of ours.

use serde_json::json;

use crate::house::{GROUP, House, USER};

#[tokio::test]
async fn entra_deactivates_with_a_text_and_an_op_in_capitals() {
    let house = House::new().await;
    for (login, value) in [("alice", json!("False")), ("bob", json!(false))] {
        let path = format!("/Users/{}", house.user(login).await);
        let off = json!([{ "op": "Replace", "path": "active", "value": value }]);
        assert_eq!(house.patch(&path, off).await.with(200)["active"], false);
        let on = json!([{ "op": "Replace", "path": "active", "value": "True" }]);
        assert_eq!(house.patch(&path, on).await.with(200)["active"], true);
    }
    assert_eq!(house.count_kind("person.deactivated").await, 2);
    assert_eq!(house.count_kind("person.activated").await, 2);
}

#[tokio::test]
async fn entra_adds_somebody_and_changes_what_is_not_there_yet() {
    let house = House::new().await;
    let body = json!({
        "schemas": [USER, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
        "userName": "Test_User_ab6490ee-1e48-479e-a20b-2d77186b5dd1",
        "active": true,
        "meta": { "resourceType": "User" },
        "name": { "formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName" },
        "roles": []
    });
    let added = house.send("POST", "/Users", &body).await.with(201);
    assert_eq!(added["displayName"], "givenName familyName");
    let path = format!("/Users/{}", added["id"].as_str().unwrap());
    let changed = house.patch(&path, json!([
        { "op": "Replace", "path": "emails[type eq \"work\"].value", "value": "updatedEmail@microsoft.com" },
        { "op": "Replace", "path": "name.familyName", "value": "updatedFamilyName" },
        { "op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "x" },
        { "op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "8005551212" },
        { "op": "Replace", "path": "displayName", "value": "Updated Name" }
    ])).await.with(200);
    assert_eq!(changed["emails"][0]["value"], "updatedEmail@microsoft.com");
    assert_eq!(changed["name"]["familyName"], "updatedFamilyName");
    assert_eq!(changed["displayName"], "Updated Name");
    // Without paths, and with paths as names.
    let changed = house
        .patch(
            &path,
            json!([{ "op": "Add", "value": {
        "displayName": "Again", "name.givenName": "New", "emails[type eq \"work\"].value": "new@example.com",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department": "y"
    } }]),
        )
        .await
        .with(200);
    assert_eq!((&changed["displayName"], &changed["name"]["givenName"]), (&json!("Again"), &json!("New")));
    assert_eq!(changed["emails"][0]["value"], "new@example.com");
    let gone = house.patch(&path, json!([{ "op": "Remove", "path": "emails[type eq \"work\"]" }])).await.with(200);
    assert!(gone.get("emails").is_none());
}

#[tokio::test]
async fn entra_names_who_leaves_a_group_in_the_value() {
    let house = House::new().await;
    let (alice, bob) = (house.user("alice").await, house.user("bob").await);
    let body = json!({ "schemas": [GROUP], "displayName": "Group1DisplayName", "externalId": "8aa1a0c0-c4c3" });
    let added = house.send("POST", "/Groups", &body).await.with(201);
    let path = format!("/Groups/{}", added["id"].as_str().unwrap());
    let add = json!([{ "op": "Add", "path": "members",
        "value": [{ "$ref": null, "value": alice }, { "$ref": null, "value": bob }] }]);
    house.patch(&path, add).await.with(204);
    house
        .patch(&path, json!([{ "op": "Remove", "path": "members", "value": [{ "$ref": null, "value": alice }] }]))
        .await
        .with(204);
    let told = house.get(&path).await.with(200);
    assert_eq!(told["members"].as_array().unwrap().len(), 1);
    assert_eq!(told["members"][0]["value"], bob.as_str());
    house.patch(&path, json!([{ "op": "Replace", "path": "displayName", "value": "1879db59" }])).await.with(204);
    assert_eq!(house.get(&path).await.with(200)["displayName"], "1879db59");
}

#[tokio::test]
async fn okta_deactivates_without_a_path_and_replaces_the_whole() {
    let house = House::new().await;
    let found = house.get("/Users?filter=userName eq \"test.user@okta.local\"&startIndex=1&count=100").await.with(200);
    assert_eq!(found["totalResults"], 0);
    let body = json!({
        "schemas": [USER], "userName": "test.user@okta.local",
        "name": { "givenName": "Test", "familyName": "User" },
        "emails": [{ "primary": true, "value": "test.user@okta.local", "type": "work" }],
        "displayName": "Test User", "locale": "en-US", "externalId": "00ujl29u0le5T6Aj10h7",
        "groups": [], "password": "1mz050nq", "active": true
    });
    let mut added = house.send("POST", "/Users", &body).await.with(201);
    let path = format!("/Users/{}", added["id"].as_str().unwrap());
    let off = house.patch(&path, json!([{ "op": "replace", "value": { "active": false } }])).await.with(200);
    assert_eq!(off["active"], false);
    added["active"] = json!(true);
    added["name"]["familyName"] = json!("Another");
    added["groups"] = json!([]);
    let back = house.send("PUT", &path, &added).await.with(200);
    assert_eq!((&back["active"], &back["name"]["familyName"]), (&json!(true), &json!("Another")));
    // A group's name comes with its id in the value.
    let group = house
        .send(
            "POST",
            "/Groups",
            &json!({ "schemas": [GROUP], "displayName": "Test SCIMv2",
        "members": [] }),
        )
        .await
        .with(201);
    let id = group["id"].as_str().unwrap();
    house
        .patch(&format!("/Groups/{id}"), json!([{ "op": "replace", "value": { "id": id, "displayName": "Renamed" } }]))
        .await
        .with(204);
    assert_eq!(house.get(&format!("/Groups/{id}")).await.with(200)["displayName"], "Renamed");
}

#[tokio::test]
async fn what_no_path_names_is_refused_and_changes_nothing() {
    let house = House::new().await;
    let path = format!("/Users/{}", house.user("alice").await);
    let refused = async |operation: serde_json::Value, kind: &str| {
        let named = json!({ "op": "replace", "path": "displayName", "value": "changed" });
        house.patch(&path, json!([named, operation])).await.error(400, kind);
    };
    refused(json!({ "op": "replace", "path": "favouriteColour", "value": "x" }), "invalidPath").await;
    refused(json!({ "op": "replace", "path": "emails[type eq", "value": "x" }), "invalidPath").await;
    refused(json!({ "op": "replace", "path": "emails[colour eq \"x\"].value", "value": "x" }), "invalidPath").await;
    refused(json!({ "op": "remove", "path": "emails[type eq \"home\"]" }), "noTarget").await;
    refused(json!({ "op": "remove" }), "noTarget").await;
    refused(json!({ "op": "replace", "path": "id", "value": "x" }), "mutability").await;
    refused(json!({ "op": "replace", "path": "groups", "value": [] }), "mutability").await;
    refused(json!({ "op": "remove", "path": "userName" }), "mutability").await;
    refused(json!({ "op": "move", "path": "displayName" }), "invalidSyntax").await;
    refused(json!({ "op": "replace", "path": "active", "value": "perhaps" }), "invalidValue").await;
    assert_eq!(house.get(&path).await.with(200).get("displayName"), None);
    assert_eq!(house.count_kind("person.changed").await, 0);
}
