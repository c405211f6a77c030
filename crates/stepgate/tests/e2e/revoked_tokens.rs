//! Access tokens of whoever left or was signed out elsewhere: they end with the sessions.

use std::time::Duration;

use serde_json::json;

use crate::access_tokens::Api;
use crate::machines::{Corp, MACHINES, System, added, replace};

/// The longest time between what another system was told and its effect.
const AT_MOST: Duration = Duration::from_secs(1);

/// Somebody in the group `finance` whom the directory added, by their subject at the provider.
async fn provisioned(directory: &System) -> String {
    let id = added(directory, "ada", "00u1").await;
    let group = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "finance",
        "members": [{ "value": id }] });
    assert_eq!(directory.call("POST", "/scim/v2/Groups", &group).await.0, 201);
    id
}

impl Api {
    async fn refused(&self, token: &str, what: &str) {
        let said = tokio::time::timeout(AT_MOST, self.export(token)).await.expect("it is told within a second");
        assert_eq!((said.status, said.json["what"].as_str()), (401, Some(what)), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebody_who_left_is_worth_nothing_and_stays_so_when_they_come_back() {
    let api = Api::with(&format!("{MACHINES}provider = \"corp\"\n")).await;
    let directory = System::new(&api.world, "hr", &["scim"], &[]);
    let id = provisioned(&directory).await;
    let token = api.token(&json!({}));
    assert_eq!(api.export(&token).await.status, 200);
    api.world.clock.advance(Duration::from_secs(5));
    replace(&directory, &id, "active", json!(false)).await;
    api.refused(&token, "token_of_nobody_here").await;
    replace(&directory, &id, "active", json!(true)).await;
    api.refused(&token, "token_issued_before_revocation").await;
    api.world.clock.advance(Duration::from_secs(1));
    assert_eq!(api.export(&api.token(&json!({}))).await.status, 200);
    api.world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_system_revokes_ends_tokens_too_and_a_newer_one_goes_on() {
    let corp = Corp::start().await;
    let machines = corp.configured().replace("emails = true", "subject_issuers = [\"ISSUER\"]");
    let machines = machines.replace("[machines.scim]\n", "[machines.scim]\nprovider = \"corp\"\n");
    let api = Api::with(&machines).await;
    let directory = System::new(&api.world, "hr", &["scim"], &[]);
    let pusher = System::new(&api.world, "idp", &["signals.push"], &["--transmitter", "corp"]);
    provisioned(&directory).await;
    let issuer = api.provider.issuer();
    for (number, kind) in ["session-revoked", "credential-change", "assurance-level-change"].iter().enumerate() {
        let (person, agent) = (json!({}), json!({ "client_id": "robot", "owner": "00u1" }));
        let (token, robot) = (api.token(&person), api.token(&agent));
        assert_eq!(api.export(&token).await.status, 200, "{kind}");
        assert_eq!(api.export(&robot).await.status, 200, "{kind}");
        api.world.clock.advance(Duration::from_secs(5));
        let set = corp.told_of(&api.world, &number.to_string(), (&issuer, "00u1"), kind);
        assert_eq!(pusher.push(&set).await.0, 202, "{kind}");
        api.refused(&token, "token_issued_before_revocation").await;
        // What an agent does in somebody's name ends with it.
        api.refused(&robot, "token_issued_before_revocation").await;
        api.world.clock.advance(Duration::from_secs(1));
        assert_eq!(api.export(&api.token(&person)).await.status, 200, "{kind}");
    }
    api.world.verified_evidence();
}
