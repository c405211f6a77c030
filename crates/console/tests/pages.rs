//! What holds for every page, checked on every page of the gallery.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop at once")]

#[path = "../examples/gallery/samples/mod.rs"]
mod samples;

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use http_body_util::BodyExt;
use stepgate_console::page::{ContentPolicy, respond};
use stepgate_core::factor::FactorKind;

async fn html_of(name: &str) -> String {
    let policy = ContentPolicy::for_services([]);
    let response = samples::render(name, &policy).expect(name);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store", "{name}");
    let csp = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(csp.starts_with("default-src 'none'"), "{name}: {csp}");
    text(response).await
}

async fn text(response: axum::response::Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Each tag of a page: its name and the text between the name and `>`.
fn tags(html: &str) -> Vec<(String, String)> {
    html.split('<')
        .skip(1)
        .filter_map(|piece| {
            let (inside, _) = piece.split_once('>')?;
            let (name, attributes) = inside.split_once(|sign: char| sign.is_whitespace()).unwrap_or((inside, ""));
            Some((name.to_owned(), attributes.to_owned()))
        })
        .collect()
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let sought = format!("{name}=\"");
    let start = attributes
        .match_indices(&sought)
        .map(|(start, _)| start)
        .find(|start| *start == 0 || attributes[..*start].ends_with(' '))?
        + sought.len();
    attributes[start..].split('"').next()
}

#[tokio::test]
async fn no_page_needs_what_the_content_policy_refuses() {
    for name in samples::NAMES {
        for (tag, attributes) in tags(&html_of(name).await) {
            assert_ne!(tag, "style", "{name}: inline style");
            if tag == "script" {
                assert!(
                    attribute(&attributes, "src").is_some_and(|src| src.starts_with("/assets/")),
                    "{name}: inline or foreign script"
                );
            }
            // What stands outside the quotes: the attributes' names.
            for piece in attributes.split('"').step_by(2).flat_map(str::split_whitespace) {
                assert!(
                    !piece.starts_with("on") && !piece.starts_with("style="),
                    "{name}: inline handler or style: <{tag} {attributes}>"
                );
            }
        }
    }
}

/// The form for recovery codes named a factor that does not exist, and no code was ever looked at.
#[tokio::test]
async fn every_form_names_a_factor_that_there_is() {
    let mut found = 0;
    for name in samples::NAMES {
        for (tag, attributes) in tags(&html_of(name).await) {
            if tag == "input" && attribute(&attributes, "name") == Some("factor") {
                let value = attribute(&attributes, "value").unwrap();
                assert!(value == "number" || value.parse::<FactorKind>().is_ok(), "{name}: {value}");
                found += 1;
            }
        }
    }
    assert!(found > 5, "{found} forms");
}

#[tokio::test]
async fn every_form_that_posts_carries_the_csrf_token() {
    for name in samples::NAMES {
        let html = html_of(name).await;
        for form in html.split("<form ").skip(1) {
            let (form, _) = form.split_once("</form>").unwrap();
            // A search changes nothing, and its address may be kept and passed on: no token.
            if form.starts_with(r#"method="get""#) {
                assert!(!form.contains("csrf"), "{name}: a token in an address");
                continue;
            }
            assert!(form.contains(r#"method="post""#), "{name}: {form}");
            assert!(form.contains(r#"name="csrf" value="sample""#), "{name}: a form without csrf");
        }
    }
}

#[tokio::test]
async fn every_page_can_be_read_by_a_screen_reader() {
    for name in samples::NAMES {
        let html = html_of(name).await;
        assert!(html.contains(r#"<html lang="en">"#), "{name}");
        assert_eq!(html.matches("<h1").count(), 1, "{name}: one h1");
        assert_eq!(html.matches("<main").count(), 1, "{name}: one main");
        let tags = tags(&html);
        let ids: Vec<String> =
            tags.iter().filter_map(|(_, attributes)| attribute(attributes, "id").map(str::to_owned)).collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "{name}: an id is used twice");
        for (tag, attributes) in &tags {
            for reference in ["for", "aria-labelledby", "aria-describedby"] {
                for id in attribute(attributes, reference).into_iter().flat_map(str::split_whitespace) {
                    assert!(ids.iter().any(|known| known == id), "{name}: <{tag}> refers to no element: {id}");
                }
            }
            let is_shown_input = (tag == "input" || tag == "select")
                && attribute(attributes, "type") != Some("hidden")
                && !attributes.contains("aria-hidden");
            if is_shown_input {
                let id = attribute(attributes, "id").unwrap();
                assert!(html.contains(&format!(r#"<label for="{id}""#)), "{name}: no label for {id}");
            }
            if tag == "img" {
                assert!(attributes.contains("alt="), "{name}: an image without alt");
            }
        }
    }
}

#[tokio::test]
async fn what_others_write_stays_text() {
    let hostile = r#""><script>alert(1)</script>' onfocus='x"#;
    let page = samples::challenges::challenge_with(hostile);
    let html = text(respond(http::StatusCode::OK, &ContentPolicy::for_services([]), &page)).await;
    assert!(!html.contains("<script>"), "markup got through");
    assert!(!html.contains(r#""><"#) || !html.contains("alert(1)</script>"));
    assert!(html.contains("alert(1)"), "the text itself is shown");
}

#[tokio::test]
async fn what_an_entry_says_stays_text() {
    let hostile = r#""><script>alert(1)</script>' onfocus='x"#;
    let mut page = samples::evidence::newest();
    let mut entry = samples::evidence::entry(1, hostile, hostile, Some(hostile), stepgate_console::views::Tone::Bad);
    entry.link = format!("/evidence?index={hostile}");
    entry.links = vec![stepgate_console::views::Way::new(hostile, hostile)];
    page.entries = vec![entry];
    page.form.person = hostile.to_owned();
    page.form.services[0].text = hostile.to_owned();
    page.form.services[0].value = hostile.to_owned();
    page.older = Some(hostile.to_owned());
    let html = text(respond(http::StatusCode::OK, &ContentPolicy::for_services([]), &page)).await;
    assert!(!html.contains("<script>"), "markup got through");
    assert!(!html.contains(hostile), "quotes got through");
    assert!(html.matches("alert(1)").count() >= 9, "the text itself is shown");
}
