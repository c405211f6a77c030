use async_trait::async_trait;
use http::{HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use stepgate_identity::http::Http;
use url::Url;

use super::{Reason, Sink, Undelivered, call, secret_header};
use crate::format::{Body, Document};

/// The most characters of a receiver's reason that are kept.
const REASON_MAX: usize = 200;

/// The bulk interface of Elasticsearch and OpenSearch. Each document is created under its own id, so a repeat is none.
#[derive(Debug)]
pub struct Elasticsearch {
    http: Http,
    bulk: Url,
    index: String,
    authorization: Option<SecretString>,
}

impl Elasticsearch {
    /// Sends to the cluster at `url` into this index or data stream. `authorization` is the whole value of that field.
    ///
    /// # Errors
    ///
    /// `url` has no place for a path.
    pub fn new(
        http: Http,
        url: &Url,
        index: String,
        authorization: Option<SecretString>,
    ) -> Result<Self, url::ParseError> {
        Ok(Self { http, bulk: url.join("/_bulk")?, index, authorization })
    }
}

#[async_trait]
impl Sink for Elasticsearch {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        let mut body = String::new();
        for document in batch {
            body.push_str(&json!({ "create": { "_index": self.index, "_id": document.id } }).to_string());
            body.push('\n');
            match &document.body {
                Body::Json(value) => body.push_str(&value.to_string()),
                Body::Line(line) => body.push_str(&json!({ "message": line }).to_string()),
            }
            body.push('\n');
        }
        let mut post = self.http.post(&self.bulk);
        if let Some(authorization) = &self.authorization {
            post = post.header(header::AUTHORIZATION, secret_header(authorization.expose_secret())?);
        }
        let answer = call(post.body(HeaderValue::from_static("application/x-ndjson"), body.into())).await?;
        let answer = answer
            .object()
            .map_err(|error| Undelivered::passing(Reason::Unintelligible, format!("the cluster: {error}")))?;
        judge(answer.get("items"), batch.len())
    }
}

/// What became of each document. One that was created before is there: that is a repeat.
fn judge(items: Option<&Value>, sent: usize) -> Result<(), Undelivered> {
    let items = items.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if items.len() != sent {
        return Err(Undelivered::passing(
            Reason::Unintelligible,
            format!("the cluster told of {} documents of {sent}", items.len()),
        ));
    }
    let mut refused = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let item = item.get("create");
        let status = item.and_then(|item| item.get("status")).and_then(Value::as_u64);
        match status {
            Some(200 | 201 | 409) => {}
            Some(400) => refused.push((place, reason(item))),
            Some(status) => {
                return Err(Undelivered::passing(
                    Reason::Busy,
                    format!("the cluster answered {status}: {}", reason(item)),
                ));
            }
            None => {
                return Err(Undelivered::passing(
                    Reason::Unintelligible,
                    "the cluster told of a document without its status",
                ));
            }
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Undelivered::Refused(refused)) }
}

fn reason(item: Option<&Value>) -> String {
    let kind = item.and_then(|item| item.pointer("/error/type")).and_then(Value::as_str).unwrap_or("no reason");
    kind.chars().filter(|c| !crate::format::obeyed(*c)).take(REASON_MAX).collect()
}
