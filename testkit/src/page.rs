//! What a server answered, read as a person's browser would: status, headers, forms.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it came from; what relative links are relative to.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its content.
    pub body: Vec<u8>,
}

/// One form of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Where it is sent.
    pub action: Url,
    /// Names and values that stand in it; a person types over them with [`Self::fill`].
    pub fields: Vec<(String, String)>,
    /// For a form that the page's script answers with a passkey: `get` or `create`, and the options.
    pub passkey: Option<(String, Value)>,
}

impl Form {
    /// The form with `value` typed into the field `name`.
    ///
    /// # Panics
    ///
    /// When it has no such field.
    #[must_use]
    pub fn fill(mut self, name: &str, value: &str) -> Self {
        let field = self.fields.iter_mut().find(|(known, _)| known == name);
        match field {
            Some((_, old)) => value.clone_into(old),
            None => panic!("the form has no field {name}: {self:?}"),
        }
        self
    }

    /// The form as it is sent when a button with this name and value is pressed.
    #[must_use]
    pub fn press(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether it has a field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }
}

impl Page {
    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.told()))
    }

    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
    }

    /// Where it redirects to, if it does.
    pub fn redirect(&self) -> Option<Url> {
        self.status.is_redirection().then(|| self.headers.get("location")).flatten().map(|location| {
            let location = location.to_str().expect("a location is ASCII");
            self.url.join(location).unwrap_or_else(|_| panic!("no URL to go to: {location}"))
        })
    }

    /// Status, place and content, for messages of tests that fail.
    pub fn told(&self) -> String {
        format!("{} at {}\nlocation: {}\n{}", self.status, self.url, self.header("location"), self.text())
    }

    /// All its forms.
    pub fn forms(&self) -> Vec<Form> {
        let html = self.text();
        let mut forms = Vec::new();
        for piece in html.split("<form").skip(1) {
            let inside = piece.split("</form>").next().unwrap_or_default();
            let (attributes, content) = inside.split_once('>').unwrap_or((inside, ""));
            let action = attribute(attributes, "action").unwrap_or_default();
            let passkey = attribute(attributes, "data-passkey").map(|kind| {
                let options = attribute(attributes, "data-options").unwrap_or_default();
                (kind, serde_json::from_str(&options).unwrap_or_else(|_| panic!("no options: {options}")))
            });
            forms.push(Form {
                action: self.url.join(&action).unwrap_or_else(|_| panic!("no URL to post to: {action}")),
                fields: fields(content),
                passkey,
            });
        }
        forms
    }

    /// The only form with a field of this name.
    ///
    /// # Panics
    ///
    /// When there is none, or more than one.
    pub fn form_with(&self, field: &str) -> Form {
        self.only_form(&format!("with a field {field}"), |form| form.has(field) && form.passkey.is_none())
    }

    /// The only form that a passkey answers.
    ///
    /// # Panics
    ///
    /// When there is none, or more than one.
    pub fn passkey_form(&self) -> Form {
        self.only_form("for a passkey", |form| form.passkey.is_some())
    }

    /// The only form that is sent to this path.
    ///
    /// # Panics
    ///
    /// When there is none, or more than one.
    pub fn form_to(&self, path: &str) -> Form {
        self.only_form(&format!("to {path}"), |form| form.action.path() == path)
    }

    fn only_form(&self, which: &str, is_it: impl Fn(&Form) -> bool) -> Form {
        let mut found: Vec<Form> = self.forms().into_iter().filter(is_it).collect();
        assert!(found.len() == 1, "{} forms {which}: {}", found.len(), self.told());
        found.remove(0)
    }

    /// The targets of all links.
    pub fn links(&self) -> Vec<Url> {
        let html = self.text();
        let anchors = html.split("<a").skip(1).filter_map(|piece| attribute(piece.split('>').next()?, "href"));
        anchors.filter_map(|target| self.url.join(&target).ok()).collect()
    }
}

/// Inputs with a name, and buttons with a name and a value, in their order. Of
/// buttons, only one is ever sent: a form with several keeps none.
fn fields(content: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for piece in content.split("<input").skip(1) {
        let attributes = piece.split('>').next().unwrap_or_default();
        if let Some(name) = attribute(attributes, "name") {
            fields.push((name, attribute(attributes, "value").unwrap_or_default()));
        }
    }
    let buttons: Vec<(String, String)> = content
        .split("<button")
        .skip(1)
        .filter_map(|piece| {
            let attributes = piece.split('>').next()?;
            Some((attribute(attributes, "name")?, attribute(attributes, "value")?))
        })
        .collect();
    if let [button] = buttons.as_slice() {
        fields.push(button.clone());
    }
    fields
}

/// The value of an attribute, with its entities resolved.
fn attribute(attributes: &str, name: &str) -> Option<String> {
    let start = attributes.find(&format!(" {name}=\""))? + name.len() + 3;
    let value = attributes[start..].split('"').next()?;
    let pairs = [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&lt;", "<"), ("&#60;", "<")];
    let more = [("&gt;", ">"), ("&#62;", ">"), ("&amp;", "&"), ("&#38;", "&")];
    Some(pairs.iter().chain(&more).fold(value.to_owned(), |text, (entity, sign)| text.replace(entity, sign)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_they_stand() {
        let html = r#"<form method="post" action="/a?b=1&amp;c=2" data-passkey="get" data-options="{&#34;rpId&#34;:&#34;x&#34;}">
            <input type="hidden" name="csrf" value="t&#38;&quot;"><input name="credential" value=""></form>
            <form action="answers"><input class="away" name="code"><button name="one" value="1">One</button></form>"#;
        let page = Page {
            url: Url::parse("http://localhost:1/challenges/7").unwrap(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: html.into(),
        };
        let passkey = page.passkey_form();
        assert_eq!(passkey.action.as_str(), "http://localhost:1/a?b=1&c=2");
        assert_eq!(passkey.fields[0], ("csrf".into(), "t&\"".into()));
        assert_eq!(passkey.passkey.unwrap().1["rpId"], "x");
        let code = page.form_with("code").fill("code", "123456");
        assert_eq!(code.action.path(), "/challenges/answers");
        assert_eq!(code.fields, [("code".into(), "123456".into()), ("one".into(), "1".into())]);
    }
}
