//! Who somebody is at the identity provider, as provisioning says.

use serde_json::{Value, json};
use stepgate_core::factor::identity_digest;
use stepgate_core::flows::SubjectIs;
use stepgate_core::person::Login;

use crate::house::{House, ISSUER, USER, corp};

impl House {
    async fn add(&self, login: &str, external_id: &str) -> Value {
        let body = json!({ "schemas": [USER], "userName": login, "externalId": external_id });
        self.send("POST", "/Users", &body).await.with(201)
    }

    /// Who comes in as this subject of the provider.
    async fn who(&self, subject: &str) -> Option<String> {
        let found = self.provisioning.flows.store.person_by_identity(identity_digest(ISSUER, subject)).await.unwrap();
        found.map(|(person, _)| person.to_string())
    }

    async fn set(&self, id: &Value, path: &str, value: Value) -> Value {
        let path = json!([{ "op": "replace", "path": path, "value": value }]);
        self.patch(&format!("/Users/{}", id.as_str().unwrap()), path).await.with(200)
    }
}

#[tokio::test]
async fn who_is_provisioned_is_known_at_the_provider_at_once_and_by_nothing_else() {
    let house = House::linked_by(SubjectIs::ExternalId).await;
    let ada = house.add("ada", "00u1").await;
    assert_eq!(house.who("00u1").await.as_deref(), ada["id"].as_str());
    assert_eq!(house.who("00U1").await, None, "a subject is compared letter for letter");
    assert_eq!((house.who("ada").await, house.count_kind("factor.enrolled").await), (None, 1));
    // Without an externalId there is no link, and none is guessed.
    let body = json!({ "schemas": [USER], "userName": "bob" });
    let bob = house.send("POST", "/Users", &body).await.with(201);
    assert_eq!(house.count_kind("factor.enrolled").await, 1);
    house.set(&bob["id"], "externalId", json!("00u2")).await;
    assert_eq!(house.who("00u2").await.as_deref(), bob["id"].as_str());
    assert_eq!(house.count_kind("factor.removed").await, 0);
    // What is so already is no change.
    let before = house.entries().await.len();
    let told = house.set(&ada["id"], "externalId", json!("00u1")).await;
    assert_eq!((told["meta"]["version"].as_str(), house.entries().await.len()), (Some("W/\"1\""), before));
}

#[tokio::test]
async fn without_a_provider_nobody_is_linked_and_a_link_stays_as_it_was() {
    let house = House::new().await;
    house.add("ada", "00u1").await;
    assert_eq!((house.who("00u1").await, house.count_kind("factor.enrolled").await), (None, 0));
}

#[tokio::test]
async fn a_changed_subject_is_another_link_and_a_removed_one_is_none() {
    let house = House::linked_by(SubjectIs::ExternalId).await;
    let ada = house.add("ada", "00u1").await;
    house.set(&ada["id"], "externalId", json!("00u9")).await;
    assert_eq!(house.who("00u1").await, None);
    assert_eq!(house.who("00u9").await.as_deref(), ada["id"].as_str());
    assert_eq!((house.count_kind("factor.removed").await, house.count_kind("factor.enrolled").await), (1, 2));
    let gone = json!([{ "op": "remove", "path": "externalId" }]);
    house.patch(&format!("/Users/{}", ada["id"].as_str().unwrap()), gone).await.with(200);
    assert_eq!((house.who("00u9").await, house.count_kind("factor.removed").await), (None, 2));
    // Free again, for whoever it is given to.
    let bob = house.add("bob", "00u9").await;
    assert_eq!(house.who("00u9").await.as_deref(), bob["id"].as_str());
}

#[tokio::test]
async fn two_people_are_never_one_identity_and_nobody_is_kept_from_leaving_by_that() {
    let house = House::linked_by(SubjectIs::ExternalId).await;
    let ada = house.add("ada", "00u1").await;
    let body = json!({ "schemas": [USER], "userName": "eve", "externalId": "00u1" });
    house.send("POST", "/Users", &body).await.error(409, "uniqueness");
    let eve = house.add("eve", "00u2").await;
    let steal = json!([{ "op": "replace", "path": "externalId", "value": "00u1" }]);
    house.patch(&format!("/Users/{}", eve["id"].as_str().unwrap()), steal).await.error(409, "uniqueness");
    assert_eq!(house.who("00u1").await.as_deref(), ada["id"].as_str());
    assert_eq!(house.who("00u2").await.as_deref(), eve["id"].as_str(), "nothing of a refused change is done");
    let leaves = json!([{ "op": "replace", "value": { "active": false, "externalId": "00u1" } }]);
    let told = house.patch(&format!("/Users/{}", eve["id"].as_str().unwrap()), leaves).await.with(200);
    assert_eq!(told["active"], false);
    assert_eq!(house.who("00u1").await.as_deref(), ada["id"].as_str());
    assert_eq!(house.who("00u2").await, None);
}

#[tokio::test]
async fn a_link_that_was_made_by_hand_is_nobodys_to_take_or_to_double() {
    let house = House::linked_by(SubjectIs::ExternalId).await;
    let flows = &house.provisioning.flows;
    let live = flows.live.load_full();
    let corp = live.providers.named(&corp()).unwrap();
    let root = flows.add_person(Login::parse("root").unwrap(), "Root", "", Vec::new(), "cli").await.unwrap();
    flows.add_identity(&root, corp, "00u1", "cli").await.unwrap();
    // The directory cannot come in as somebody local by naming their subject.
    let body = json!({ "schemas": [USER], "userName": "eve", "externalId": "00u1" });
    house.send("POST", "/Users", &body).await.error(409, "uniqueness");
    assert_eq!(house.who("00u1").await, Some(root.id.to_string()));
    // Handed over, they keep what was made by hand, and get no second one beside it.
    house.provisioning.govern(root.id, true, "cli").await.unwrap();
    house.set(&json!(root.id.to_string()), "externalId", json!("00u7")).await;
    assert_eq!(house.who("00u1").await, Some(root.id.to_string()));
    assert_eq!(house.who("00u7").await, None);
    house.set(&json!(root.id.to_string()), "externalId", json!("00u1")).await;
    let gone = json!([{ "op": "remove", "path": "externalId" }]);
    house.patch(&format!("/Users/{}", root.id), gone).await.with(200);
    assert_eq!(house.who("00u1").await, Some(root.id.to_string()));
    assert_eq!((house.count_kind("factor.enrolled").await, house.count_kind("factor.removed").await), (1, 0));
}

#[tokio::test]
async fn the_subject_may_be_the_user_name() {
    let house = House::linked_by(SubjectIs::UserName).await;
    let ada = house.add("Ada@Example.com", "00u1").await;
    assert_eq!(house.who("ada@example.com").await.as_deref(), ada["id"].as_str());
    assert_eq!(house.who("00u1").await, None);
    house.set(&ada["id"], "userName", json!("lovelace")).await;
    assert_eq!(house.who("lovelace").await.as_deref(), ada["id"].as_str());
    assert_eq!(house.who("ada@example.com").await, None);
}

#[tokio::test]
async fn who_was_provisioned_before_is_linked_with_the_next_word_of_the_directory() {
    let mut house = House::new().await;
    let ada = house.add("ada", "00u1").await;
    house.link_by(SubjectIs::ExternalId);
    house.set(&ada["id"], "active", json!(true)).await;
    assert_eq!(house.who("00u1").await.as_deref(), ada["id"].as_str());
    // Taken back by an administrator, the link is theirs.
    house.provisioning.govern(ada["id"].as_str().unwrap().parse().unwrap(), false, "cli").await.unwrap();
    house.provisioning.govern(ada["id"].as_str().unwrap().parse().unwrap(), true, "cli").await.unwrap();
    house.set(&ada["id"], "externalId", json!("00u3")).await;
    assert_eq!(house.who("00u1").await.as_deref(), ada["id"].as_str());
}
