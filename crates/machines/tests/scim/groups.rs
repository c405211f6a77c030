//! Groups, and who is in them: what policies see.

use serde_json::{Value, json};

use crate::house::{GROUP, House};

async fn groups_of(house: &House, id: &str) -> Vec<String> {
    house.provisioning.flows.store.person(id.parse().unwrap()).await.unwrap().unwrap().groups
}

fn members(body: &Value) -> Vec<&str> {
    body["members"].as_array().into_iter().flatten().map(|one| one["value"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_group_gives_its_members_its_name() {
    let house = House::new().await;
    let (alice, bob) = (house.user("alice").await, house.user("bob").await);
    // RFC 7643, section 8.4, with members of ours.
    let body = json!({
        "schemas": [GROUP], "displayName": "Tour Guides", "externalId": "g-1",
        "members": [{ "value": alice, "$ref": format!("https://example.com/v2/Users/{alice}"), "display": "Babs" }]
    });
    let added = house.send("POST", "/Groups", &body).await.with(201);
    let path = format!("/Groups/{}", added["id"].as_str().unwrap());
    assert_eq!((&added["displayName"], members(&added)), (&json!("Tour Guides"), vec![alice.as_str()]));
    assert_eq!(groups_of(&house, &alice).await, ["Tour Guides"]);
    let user = house.get(&format!("/Users/{alice}")).await.with(200);
    assert_eq!(user["groups"][0]["value"], added["id"]);
    assert_eq!(user["groups"][0]["display"], "Tour Guides");
    house
        .send("POST", "/Groups", &json!({ "schemas": [GROUP], "displayName": "tour guides" }))
        .await
        .error(409, "uniqueness");

    let body = json!({ "schemas": [GROUP], "displayName": "Guides", "members": [{ "value": bob }] });
    let replaced = house.send("PUT", &path, &body).await.with(200);
    assert_eq!((members(&replaced), replaced.get("externalId")), (vec![bob.as_str()], None));
    assert_eq!(groups_of(&house, &alice).await, [""; 0]);
    assert_eq!(groups_of(&house, &bob).await, ["Guides"]);
    let nobody = json!({ "schemas": [GROUP], "displayName": "Guides", "members": [{ "value": "ff".repeat(16) }] });
    house.send("PUT", &path, &nobody).await.error(400, "invalidValue");
    house
        .send("POST", "/Groups", &json!({ "schemas": [GROUP], "displayName": "x", "members": [{ "value": "y" }] }))
        .await
        .error(400, "invalidValue");
    assert_eq!(groups_of(&house, &bob).await, ["Guides"]);
    house.delete(&path).await.with(204);
    assert_eq!(groups_of(&house, &bob).await, [""; 0]);
    assert_eq!(house.count_kind("group.removed").await, 1);
}

#[tokio::test]
async fn groups_are_found() {
    let house = House::new().await;
    let alice = house.user("alice").await;
    let mut ids = Vec::new();
    for (name, members) in
        [("Auditors", json!([{ "value": alice }])), ("Admins", json!([])), ("Finance", json!([{ "value": alice }]))]
    {
        let body = json!({ "schemas": [GROUP], "displayName": name, "members": members });
        ids.push(house.send("POST", "/Groups", &body).await.with(201)["id"].as_str().unwrap().to_owned());
    }
    let found = async |query: &str| {
        let list = house.get(&format!("/Groups?{query}")).await.with(200);
        let all = list["Resources"].as_array().unwrap().clone();
        assert_eq!(list["totalResults"], all.len());
        all.into_iter().map(|one| one["displayName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("").await, ["Admins", "Auditors", "Finance"]);
    assert_eq!(found("filter=displayName eq \"ADMINS\"").await, ["Admins"]);
    assert_eq!(found("filter=displayName sw \"a\"").await, ["Admins", "Auditors"]);
    assert_eq!(found(&format!("filter=members.value eq \"{alice}\"")).await, ["Auditors", "Finance"]);
    assert_eq!(found(&format!("filter=members[value eq \"{alice}\"]")).await, ["Auditors", "Finance"]);
    assert_eq!(found(&format!("filter=id eq \"{}\"", ids[1])).await, ["Admins"]);
    // As Entra ID asks whether one person is in one group.
    let asks = |id: &str| format!("excludedAttributes=members&filter=id eq \"{id}\" and members eq \"{alice}\"");
    assert_eq!(found(&asks(&ids[0])).await, ["Auditors"]);
    assert_eq!(found(&asks(&ids[1])).await, [""; 0]);
    house.get("/Groups?filter=members pr").await.error(400, "invalidFilter");
    let list = house.get(&format!("/Users?filter=groups.value eq \"{}\"", ids[2])).await.with(200);
    assert_eq!(list["Resources"][0]["userName"], "alice");
    let list = house.get(&format!("/Users?filter=groups eq \"{}\" and userName sw \"z\"", ids[2])).await.with(200);
    assert_eq!(list["totalResults"], 0);
    let told = house.get(&format!("/Groups/{}?excludedAttributes=members", ids[0])).await.with(200);
    assert!(told.get("members").is_none());
}

#[tokio::test]
async fn members_come_and_go_one_by_one() {
    let house = House::new().await;
    let (alice, bob, carol) = (house.user("alice").await, house.user("bob").await, house.user("carol").await);
    let body = json!({ "schemas": [GROUP], "displayName": "Staff" });
    let id = house.send("POST", "/Groups", &body).await.with(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/Groups/{id}");
    let now = async || {
        let told = house.get(&path).await.with(200);
        let names: Vec<String> = told["members"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| one["display"].as_str().unwrap().to_owned())
            .collect();
        names.join(" ")
    };
    // RFC 7644, section 3.5.2.1.
    let add =
        json!([{ "op": "add", "path": "members", "value": [{ "display": "Babs", "value": alice }, { "value": bob }] }]);
    house.patch(&path, add.clone()).await.with(204);
    assert_eq!(now().await, "alice bob");
    // Who is there already stays once.
    house.patch(&path, add).await.with(204);
    assert_eq!(now().await, "alice bob");
    // RFC 7644, section 3.5.2.2: one, some, all.
    house.patch(&path, json!([{ "op": "remove", "path": format!("members[value eq \"{alice}\"]") }])).await.with(204);
    assert_eq!(now().await, "bob");
    let both = json!([
        { "op": "remove", "path": format!("members[value eq \"{bob}\"]") },
        { "op": "add", "path": "members", "value": [{ "value": carol }] },
        { "op": "add", "value": { "members": [{ "value": alice }], "displayName": "Crew" } }
    ]);
    let told = house.patch(&format!("{path}?attributes=displayName"), both).await.with(200);
    assert_eq!(told["displayName"], "Crew");
    assert_eq!(now().await, "alice carol");
    house.patch(&path, json!([{ "op": "replace", "path": "members", "value": [{ "value": bob }] }])).await.with(204);
    assert_eq!(now().await, "bob");
    house.patch(&path, json!([{ "op": "remove", "path": "members" }])).await.with(204);
    assert_eq!(now().await, "");
    house
        .patch(&path, json!([{ "op": "remove", "path": "members[display eq \"x\"]" }]))
        .await
        .error(400, "invalidPath");
    house.patch(&path, json!([{ "op": "remove", "path": "displayName" }])).await.error(400, "mutability");
    house
        .patch(&path, json!([{ "op": "add", "path": "members", "value": [{ "value": "ff".repeat(16) }] }]))
        .await
        .error(400, "invalidValue");
    assert_eq!(now().await, "");
}

#[tokio::test]
async fn b105_a_replacement_that_leaves_members_out_empties_no_group() {
    let house = House::new().await;
    let user = json!({ "schemas": [crate::house::USER], "userName": "alice" });
    let alice = house.send("POST", "/Users", &user).await.with(201)["id"].clone();
    let group = json!({ "schemas": [GROUP], "displayName": "suspended", "members": [{ "value": alice }] });
    let added = house.send("POST", "/Groups", &group).await.with(201);
    let path = format!("/Groups/{}", added["id"].as_str().unwrap());
    let renamed = json!({ "schemas": [GROUP], "displayName": "suspended for now" });
    let told = house.send("PUT", &path, &renamed).await.with(200);
    assert_eq!((&told["displayName"], &told["members"][0]["value"]), (&renamed["displayName"], &alice));
    // What is said to be nobody is nobody.
    for nobody in [json!([]), json!(null)] {
        let emptied = json!({ "schemas": [GROUP], "displayName": "suspended", "members": nobody });
        assert!(house.send("PUT", &path, &emptied).await.with(200).get("members").is_none());
        house.send("PUT", &path, &group).await.with(200);
    }
}
