use stepgate_testkit::{Answer as Said, RecordingUpstream};

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn here() -> Http {
    Http::new(Reach::DangerLoopback, None).unwrap()
}

#[tokio::test]
async fn a_call_says_what_it_was_told_to_say() {
    let there = RecordingUpstream::start(|_| Said::new(401, &[("X-A", "b")], r#"{"error":"x"}"#)).await;
    let secret = SecretString::from("a:b+c%");
    let called = here().post(&url(&there.url())).basic("client id", &secret).form([("grant_type", "a b"), ("c", "&")]);
    let answer = called.send().await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.headers["x-a"], "b");
    assert_eq!(answer.object().unwrap()["error"], "x");
    let [asked] = there.requests().try_into().unwrap();
    assert_eq!(asked.body, b"grant_type=a+b&c=%26");
    assert_eq!(asked.value("authorization").as_deref(), Some("Basic Y2xpZW50K2lkOmElM0FiJTJCYyUyNQ=="));
    assert_eq!(asked.value("accept").as_deref(), Some("application/json"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = RecordingUpstream::plain().await;
    let to = other.url();
    let there = RecordingUpstream::start(move |_| Said::new(307, &[("Location", &to)], "")).await;
    let error = here().get(&url(&there.url())).send().await.unwrap_err();
    assert!(matches!(error, HttpError::Redirect { status: 307, .. }), "{error}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn an_answer_has_a_greatest_size_with_or_without_its_length() {
    let there = RecordingUpstream::start(|asked| match asked.target().as_str() {
        "/length" => Said::new(200, &[], vec![b'x'; 1001]),
        "/just" => Said::new(200, &[], vec![b'x'; 1000]),
        _ => {
            Said::BytesThenClose([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), vec![b'x'; 5000]].concat())
        }
    })
    .await;
    for (path, is_read) in [("length", false), ("just", true), ("endless", false)] {
        let answer = here().get(&url(&format!("{}/{path}", there.url()))).at_most(1000).send().await;
        match answer {
            Ok(answer) => assert!(is_read && answer.body.len() == 1000, "{path}"),
            Err(error) => {
                assert!(!is_read && matches!(error, HttpError::TooLarge { max: 1000, .. }), "{path}: {error}")
            }
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_ever_and_no_query_is_told() {
    let there = RecordingUpstream::start(|_| Said::Silence).await;
    let target = url(&format!("{}/slow?code=secret", there.url()));
    let error = here().get(&target).within(Duration::from_millis(50)).send().await.unwrap_err();
    assert_eq!(error, HttpError::TooSlow { url: format!("{}/slow", there.url()) });
    there.stop().await;
    let error = here().get(&target).send().await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn this_machine_is_not_called_unless_that_is_allowed() {
    let there = RecordingUpstream::plain().await;
    for reach in [Reach::Public, Reach::Network] {
        let http = Http::new(reach, None).unwrap();
        let error = http.get(&url(&there.url())).send().await.unwrap_err();
        assert!(matches!(error, HttpError::NotAllowed(NotAllowed::Place { place: Place::Loopback, .. })), "{error}");
    }
    assert!(there.requests().is_empty());
}

/// The name passes as a URL; what it stands for at the moment of the connection does not.
#[tokio::test]
async fn b73_a_name_that_is_pointed_at_this_machine_leads_nowhere() {
    let there = RecordingUpstream::plain().await;
    let port = there.address().port();
    for reach in [Reach::Public, Reach::Network] {
        let http = Http::new(reach, None).unwrap();
        // Past the look at the URL, as a name would be that was pointed elsewhere since.
        let error = http.client.get(format!("https://localhost:{port}/")).send().await.unwrap_err();
        assert_eq!(
            failed("", &error),
            HttpError::NotAllowed(NotAllowed::Place { host: "localhost".into(), place: Place::Loopback })
        );
    }
    let answer = here().get(&url(&format!("http://localhost:{port}/"))).send().await.unwrap();
    assert_eq!(answer.body, "upstream");
    assert_eq!(there.requests().len(), 1);
}

#[test]
fn root_certificates_are_read_or_refused() {
    for bad in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Http::new(Reach::Network, Some(bad.as_bytes())).is_err(), "{bad:?}");
    }
}
