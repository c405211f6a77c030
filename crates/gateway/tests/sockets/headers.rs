//! Rows B17 to B28, B34 and B40: whom to believe, and what goes on.

use http::HeaderName;
use stepgate_gateway::canonical::{HopTells, TrustedHops};
use stepgate_gateway::upstream::HostHeader;

use crate::rig::recorder::Recorder;
use crate::rig::{Rig, Setup, raw};

fn with(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n")
}

#[tokio::test]
async fn b17_b21_b25_forwarding_headers_of_strangers_are_removed() {
    let rig = Rig::start().await;
    let recorded = rig
        .passes(with(
            "X-Forwarded-Uri: /public\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1;host=evil\r\nX-Real-IP: 192.0.2.1\r\n\
             X-Original-URL: /public\r\nX-Rewrite-URL: /public\r\nX_Forwarded_Host: evil\r\n\
             X-Forwarded-User: root\r\nX-Forwarded-Prefix: /p\r\nProxy: http://evil\r\n",
        ))
        .await;
    assert_eq!(recorded.head.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(recorded.head.one("x-forwarded-proto"), "http");
    assert_eq!(recorded.head.one("x-forwarded-host"), "app.test");
    let mut names: Vec<_> = recorded.head.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
}

#[tokio::test]
async fn b21_b22_a_trusted_hop_is_read_strictly() {
    let hops =
        TrustedHops::new(vec!["127.0.0.0/8".parse().unwrap()], vec![HopTells::ClientAddress, HopTells::ClientScheme]);
    let rig = Setup { hops, ..Setup::default() }.start().await;
    let recorded = rig.passes(with("X-Forwarded-For: 10.9.9.9, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n")).await;
    assert_eq!(recorded.head.one("x-forwarded-for"), "192.0.2.1");
    assert_eq!(recorded.head.one("x-forwarded-proto"), "https");
    assert_eq!(rig.handler.seen.lock().unwrap()[0].client, "192.0.2.1");
    rig.refuses(with("X-Forwarded-For: a\r\n"), "forwarded").await;
    rig.refuses(with("X-Forwarded-Proto: gopher\r\n"), "forwarded").await;
}

#[tokio::test]
async fn b18_b19_b28_our_names_are_removed_in_every_spelling() {
    let rig = Rig::start().await;
    let recorded = rig
        .passes(with(
            "Stepgate-Principal: root\r\nSTEPGATE_PRINCIPAL: root\r\nStepgate_Email: r@x\r\n\
             stepgate.groups: admin\r\nStepgate-Assertion: e30\r\nStepgate-Anything: 1\r\nX-Kept: 1\r\n",
        ))
        .await;
    assert_eq!(recorded.head.one("x-kept"), "1");
    let ours = recorded.head.headers.iter().filter(|(name, _)| name.to_lowercase().starts_with("stepgate")).count();
    assert_eq!(ours, 0);
}

#[tokio::test]
async fn b20_nobody_names_our_headers_away() {
    let rig = Setup { identity: true, ..Setup::default() }.start().await;
    let recorded = rig.passes(with("Connection: close, Stepgate-Principal, X-Gone\r\nX-Gone: 1\r\n")).await;
    assert_eq!(recorded.head.one("stepgate-principal"), "ada");
    assert!(recorded.head.values("x-gone").is_empty());
    for name in ["Host", "Content-Length", "Cookie", "Authorization", "X-Forwarded-For", "cookie "] {
        rig.refuses(with(&format!("Connection: {name}\r\n")), "connection_header").await;
    }
}

#[tokio::test]
async fn b20_hop_by_hop_headers_stay_here() {
    let rig = Rig::start().await;
    let recorded = rig
        .passes(with(
            "Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\n\
             TE: trailers\r\nTrailer: X-Auth-User\r\n",
        ))
        .await;
    for name in ["connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer"] {
        assert!(recorded.head.values(name).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn b24_what_may_stand_once_stands_once() {
    let rig = Rig::start().await;
    for name in ["Authorization", "Content-Type", "Content-Encoding", "Origin", "Referer", "User-Agent"] {
        rig.refuses(with(&format!("{name}: a\r\n{name}: b\r\n")), "duplicate_header").await;
        rig.refuses(with(&format!("{name}: a\r\nX-Between: 1\r\n{name}: a\r\n")), "duplicate_header").await;
    }
    rig.refuses(with("Stepgate-Challenge: a\r\nStepgate-Challenge: b\r\n"), "duplicate_header").await;
    for twin in ["Content_Length: 5", "Transfer_Encoding: chunked", "Content_Type: text/plain", "X_Csrf_Token: x"] {
        rig.refuses(with(&format!("{twin}\r\n")), "header_twin").await;
    }
    // Lists may stand twice; who decides on one reads it with `one_header`.
    let recorded = rig.passes(with("X-Role: user\r\nX-Role: admin\r\n")).await;
    assert_eq!(recorded.head.values("x-role"), ["user", "admin"]);
}

#[tokio::test]
async fn b24_a_header_that_is_decided_on_has_one_value_and_no_twin() {
    use std::net::{Ipv4Addr, SocketAddr};
    use stepgate_gateway::canonical::{AfterHead, Ambiguous, CanonicalRequest, Listener, Peer, Scheme};
    let read = |lines: &[(&str, &str)]| {
        let mut builder = http::Request::get("/x").header("host", "app.test");
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let listener = Listener { scheme: Scheme::Http, hops: TrustedHops::default() };
        let peer = Peer::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        CanonicalRequest::read(parts, AfterHead::Nothing, &peer, &listener).unwrap()
    };
    let name = HeaderName::from_static("x-mode");
    assert_eq!(read(&[]).one_header(&name), Ok(None));
    assert_eq!(read(&[("x-mode", "a")]).one_header(&name).unwrap().unwrap(), "a");
    assert_eq!(read(&[("x-mode", "a"), ("x-mode", "a")]).one_header(&name), Err(Ambiguous::DuplicateHeader));
    assert_eq!(read(&[("x_mode", "a")]).one_header(&name), Err(Ambiguous::HeaderTwin));
    assert_eq!(read(&[("x-mode", "a"), ("x.mode", "b")]).one_header(&name), Err(Ambiguous::HeaderTwin));
}

#[tokio::test]
async fn b40_unreadable_values_are_refused() {
    let rig = Rig::start().await;
    rig.refuses(b"GET /x HTTP/1.1\r\nHost: app.test\r\nX-A: \xff\r\n\r\n", "header_value").await;
    rig.refuses(b"GET /x HTTP/1.1\r\nHost: app.test\r\nX-A: \xc2\x85\r\n\r\n", "header_value").await;
    rig.passes("GET /x HTTP/1.1\r\nHost: app.test\r\nX-A: caf\u{e9}\tx\r\n\r\n").await;
    rig.refuses(b"GET /x HTTP/1.1\r\nHost: app.test\r\nX-A: a\x00b\r\n\r\n", "header_value").await;
}

#[tokio::test]
async fn b42_method_overrides_are_refused() {
    let rig = Rig::start().await;
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method_override"] {
        rig.refuses(with(&format!("{name}: DELETE\r\n")), "method_override").await;
    }
    for query in ["_method=DELETE", "a=1&_METHOD=put", "%5fmethod=x", "a;_method=x", "_method[]=x"] {
        rig.refuses(format!("POST /x?{query} HTTP/1.1\r\nHost: app.test\r\n\r\n"), "method_override").await;
    }
    rig.passes("POST /x?pay_method=card HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
}

#[tokio::test]
async fn our_cookies_do_not_go_up_and_do_not_come_down() {
    let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: __Host-stepgate-session=evil; Secure; Path=/\r\n\
                  Set-Cookie: STEPGATE-SESSION=evil\r\nSet-Cookie: =stepgate-session=evil\r\nSet-Cookie: b=2\r\n\
                  Stepgate-Request-Id: forged\r\nAlt-Svc: h3=\":443\"\r\nConnection: X-Gone\r\nX-Gone: 1\r\n\
                  Content-Length: 2\r\n\r\nok";
    let rig = Setup::default().start_before(Recorder::answering(answer).await).await;
    let mut connection = raw::Connection::open(rig.gate).await;
    connection
        .send(with("Cookie: a=1; __Host-stepgate-session=secret\r\nCookie: b=2;stepgate-session=x\r\n").as_bytes())
        .await;
    let (head, _) = connection.response().await.unwrap();
    assert_eq!(head.values("set-cookie"), ["a=1; Path=/", "b=2"]);
    for name in ["stepgate-request-id", "alt-svc", "x-gone"] {
        assert!(head.values(name).is_empty(), "{name}");
    }
    assert_eq!(rig.recorder.last().head.one("cookie"), "a=1; b=2");
    rig.ask(with("Cookie: stepgate-session=secret\r\n")).await;
    assert!(rig.recorder.last().head.values("cookie").is_empty());
}

#[tokio::test]
async fn the_host_header_is_the_original_or_the_upstreams() {
    let rig = Setup { host_header: HostHeader::Upstream, ..Setup::default() }.start().await;
    let recorded = rig.passes(with("")).await;
    assert_eq!(recorded.head.one("host"), rig.recorder.address.to_string());
    assert_eq!(recorded.head.one("x-forwarded-host"), "app.test");
}

#[tokio::test]
async fn expectations_are_answered_here() {
    let rig = Rig::start().await;
    rig.refuses(with("Expect: magic\r\n"), "expectation").await;
    let mut connection = raw::Connection::open(rig.gate).await;
    let head = "POST /x HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    connection.send(head.as_bytes()).await;
    assert_eq!(connection.head().await.unwrap().status(), 100);
    connection.send(b"abc").await;
    assert_eq!(connection.response().await.unwrap().0.status(), 200);
    let recorded = rig.recorder.last();
    assert!(recorded.head.values("expect").is_empty());
    assert_eq!(recorded.body, b"abc");
}
