//! What each of the provider's paths does.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Client, ClientProof, Grant, State};
use crate::{Answer, RecordedRequest};

type Fields = BTreeMap<String, String>;

fn fields(text: &[u8]) -> Fields {
    url::form_urlencoded::parse(text).into_owned().collect()
}

fn json(status: u16, value: &Value) -> Answer {
    Answer::new(status, &[("Content-Type", "application/json"), ("Cache-Control", "no-store")], value.to_string())
}

fn error(status: u16, code: &str) -> Answer {
    json(status, &json!({ "error": code }))
}

fn half(hash: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
}

pub(super) fn half_hash(algorithm: &str, text: &str) -> String {
    let by = match algorithm {
        "ES384" => &SHA384,
        "EdDSA" => &SHA512,
        _ => &SHA256,
    };
    half(digest(by, text.as_bytes()).as_ref())
}

impl State {
    pub(super) fn answer(&mut self, request: &RecordedRequest) -> Answer {
        let target = request.target();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        if let Some(instead) = self.instead.get(path) {
            return instead(request);
        }
        match (request.method().as_str(), path) {
            ("GET", "/.well-known/openid-configuration") => json(200, &self.metadata()),
            ("GET", "/jwks") => {
                let keys: Vec<Value> = self.keys.iter().map(|key| key.jwk()).collect();
                json(200, &json!({ "keys": keys }))
            }
            ("GET", "/authorize") => self.authorize(fields(query.as_bytes())),
            ("POST", "/par") => self.push(request),
            ("POST", "/token") => self.token(request),
            ("GET", "/logout") => self.log_out(&fields(query.as_bytes())),
            // Who asks here believes what nobody signed.
            (_, "/userinfo") => json(200, &json!({ "sub": "somebody-else", "groups": ["administrators"] })),
            _ => Answer::new(404, &[], ""),
        }
    }

    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let mut metadata = json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "userinfo_endpoint": at("/userinfo"),
            "jwks_uri": at("/jwks"),
            "end_session_endpoint": at("/logout"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "PS256", "ES256", "ES384", "EdDSA"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
            "claims_parameter_supported": true,
            "authorization_response_iss_parameter_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
        });
        if let Some(change) = &self.change_metadata {
            change(&mut metadata);
        }
        metadata
    }

    fn client(&self, id: Option<&String>) -> Option<Client> {
        self.clients.iter().find(|client| Some(&client.id) == id).cloned()
    }

    fn authorize(&mut self, query: Fields) -> Answer {
        let asked = match query.get("request_uri").and_then(|uri| self.pushed.remove(uri)) {
            Some(pushed) => pushed,
            None if query.contains_key("request_uri") => return Answer::new(400, &[], "no such request"),
            None => query,
        };
        self.asked.push(asked.clone());
        let (client, redirect_uri) = (self.client(asked.get("client_id")), asked.get("redirect_uri").cloned());
        let (Some(client), Some(redirect_uri)) = (client, redirect_uri) else {
            return Answer::new(400, &[], "no such client, or no redirect URI");
        };
        if !client.redirect_uris.contains(&redirect_uri) {
            return Answer::new(400, &[], "the redirect URI is not registered");
        }
        let mut back: Vec<(String, String)> = Vec::new();
        match self.grant(&client, &redirect_uri, &asked) {
            Ok(code) => back.push(("code".into(), code)),
            Err(error) => back.push(("error".into(), error)),
        }
        if let Some(state) = asked.get("state") {
            back.push(("state".into(), state.clone()));
        }
        back.push(("iss".into(), self.issuer.clone()));
        if let Some(change) = &self.change_answer {
            change(&mut back);
        }
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(back).finish();
        let separator = if redirect_uri.contains('?') { '&' } else { '?' };
        Answer::new(302, &[("Location", &format!("{redirect_uri}{separator}{query}"))], "")
    }

    fn grant(&mut self, client: &Client, redirect_uri: &str, asked: &Fields) -> Result<String, String> {
        let refused = |code: &str| Err(code.to_owned());
        if let Some(error) = &self.refuses {
            return refused(error);
        }
        let scope = asked.get("scope").cloned().unwrap_or_default();
        if asked.get("response_type").map(String::as_str) != Some("code")
            || !scope.split(' ').any(|one| one == "openid")
        {
            return refused("invalid_request");
        }
        let is_s256 = asked.get("code_challenge_method").map(String::as_str) == Some("S256");
        if !is_s256 || asked.get("code_challenge").is_none_or(|challenge| challenge.len() != 43) {
            return refused("invalid_request");
        }
        self.log_in_again(asked);
        self.reach(asked).map_err(String::from)?;
        let code = self.next("code");
        let grant = Grant {
            client: client.id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            challenge: asked.get("code_challenge").cloned(),
            nonce: asked.get("nonce").cloned(),
            somebody: self.somebody.clone(),
            scope,
        };
        self.grants.insert(code.clone(), grant);
        Ok(code)
    }

    /// The class that is asked for, if the person reaches it.
    fn reach(&mut self, asked: &Fields) -> Result<(), &'static str> {
        let claims: Value = asked.get("claims").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let somebody = &mut self.somebody;
        if let Some(context) = claims.pointer("/id_token/acrs/value").and_then(Value::as_str) {
            if !somebody.can.iter().any(|one| one == context) {
                return Err("interaction_required");
            }
            somebody.acrs = vec![context.to_owned()];
        }
        let listed = claims.pointer("/id_token/acr/values").and_then(Value::as_array).into_iter().flatten();
        let essential: Vec<&str> = listed.filter_map(Value::as_str).collect();
        let voluntary = asked.get("acr_values").into_iter().flat_map(|values| values.split(' '));
        let wanted: Vec<&str> = essential.iter().copied().chain(voluntary).filter(|one| !one.is_empty()).collect();
        if let Some(reached) = wanted.iter().find(|one| somebody.can.iter().any(|can| can == *one)) {
            somebody.acr = Some((*reached).to_owned());
            if !somebody.amr.iter().any(|method| method == "mfa") {
                somebody.amr.extend(["otp", "mfa"].map(String::from));
            }
        } else if !essential.is_empty() {
            return Err("unmet_authentication_requirements");
        }
        Ok(())
    }

    fn push(&mut self, request: &RecordedRequest) -> Answer {
        let pushed = fields(&request.body);
        let Some(client) = self.authenticated(request, &pushed) else { return error(401, "invalid_client") };
        if pushed.get("client_id") != Some(&client.id) || pushed.contains_key("request_uri") {
            return error(400, "invalid_request");
        }
        let uri = self.next("urn:ietf:params:oauth:request_uri:pushed");
        self.pushed.insert(uri.clone(), pushed);
        json(201, &json!({ "request_uri": uri, "expires_in": 60 }))
    }

    fn token(&mut self, request: &RecordedRequest) -> Answer {
        let asked = fields(&request.body);
        let Some(client) = self.authenticated(request, &asked) else { return error(401, "invalid_client") };
        match asked.get("grant_type").map(String::as_str) {
            Some("authorization_code") => {
                // Taken, so a second time it is gone.
                let grant = asked.get("code").and_then(|code| self.grants.remove(code));
                let verifier = asked.get("code_verifier").cloned().unwrap_or_default();
                let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref());
                match grant {
                    Some(grant)
                        if grant.client == client.id
                            && Some(&grant.redirect_uri) == asked.get("redirect_uri")
                            && grant.challenge.as_ref() == Some(&challenge) =>
                    {
                        self.tokens(grant, true)
                    }
                    _ => error(400, "invalid_grant"),
                }
            }
            Some("refresh_token") => {
                let grant = asked.get("refresh_token").and_then(|token| self.refreshes.remove(token));
                match grant {
                    Some(grant) if grant.client == client.id => self.tokens(grant, false),
                    _ => error(400, "invalid_grant"),
                }
            }
            _ => error(400, "unsupported_grant_type"),
        }
    }

    fn tokens(&mut self, grant: Grant, is_first: bool) -> Answer {
        let access_token = self.next("access");
        let nonce = grant.nonce.clone().filter(|_| is_first);
        let mut tokens = json!({
            "token_type": "Bearer",
            "expires_in": 60,
            "access_token": access_token,
            "id_token": self.id_token(&grant, nonce.as_deref(), &access_token),
        });
        if grant.scope.split(' ').any(|one| one == "offline_access") {
            let refresh = self.next("refresh");
            tokens["refresh_token"] = json!(refresh);
            self.refreshes.insert(refresh, grant);
        }
        json(200, &tokens)
    }

    fn log_out(&mut self, query: &Fields) -> Answer {
        let client = self.client(query.get("client_id"));
        let uri = query.get("post_logout_redirect_uri");
        match (client, uri) {
            (Some(client), Some(uri)) if client.post_logout_redirect_uris.contains(uri) => {
                Answer::new(302, &[("Location", uri)], "")
            }
            _ => Answer::page("<!doctype html><title>Signed out</title><h1>You are signed out of the provider</h1>"),
        }
    }

    /// The client that sent this, if it proved it, and only in the way that is registered.
    fn authenticated(&self, request: &RecordedRequest, form: &Fields) -> Option<Client> {
        if let Some(header) = request.value("authorization") {
            let pair = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
            let pair = String::from_utf8(pair).ok()?;
            let (id, secret) = pair.split_once(':')?;
            let decoded = |text: &str| fields(format!("x={text}").as_bytes()).remove("x");
            let client = self.client(decoded(id).as_ref())?;
            let is_right =
                matches!(&client.proof, ClientProof::Basic(right) if Some(right) == decoded(secret).as_ref());
            return is_right.then_some(client);
        }
        let client = self.client(form.get("client_id"))?;
        let is_right = match &client.proof {
            ClientProof::Basic(_) => false,
            ClientProof::Post(right) => form.get("client_secret") == Some(right),
            ClientProof::Key(point) => self.is_signed(form, &client.id, point),
            ClientProof::Public => !form.contains_key("client_secret"),
        };
        is_right.then_some(client)
    }

    /// RFC 7523: signed by the key, by and about the client, for this issuer, now.
    fn is_signed(&self, form: &Fields, id: &str, point: &[u8]) -> bool {
        let is_type = form.get("client_assertion_type").map(String::as_str)
            == Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let Some((message, signature)) = form.get("client_assertion").and_then(|text| text.rsplit_once('.')) else {
            return false;
        };
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let claims: Value = message
            .split_once('.')
            .and_then(|(_, claims)| serde_json::from_slice(&decoded(claims)).ok())
            .unwrap_or_default();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        is_type
            && key.verify(message.as_bytes(), &decoded(signature)).is_ok()
            && claims["iss"] == id
            && claims["sub"] == id
            && claims["aud"] == self.issuer
            && claims["exp"].as_i64().is_some_and(|exp| exp > self.now_s() && exp <= self.now_s() + 300)
            && claims["jti"].as_str().is_some_and(|jti| jti.len() >= 20)
    }
}
