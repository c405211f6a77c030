//! Rows B1 to B16: path, host and target.

use crate::rig::Rig;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n")
}

#[tokio::test]
async fn b01_to_b13_paths_with_two_readings_are_refused() {
    let rig = Rig::start().await;
    for (target, code) in [
        ("/public/../admin/secrets", "dot_segment"),
        ("/public/%2e%2e/user/x", "dot_segment"),
        ("/user/%2e%2e%2fadmin", "dot_segment"),
        ("/api%2e/admin/secret", "dot_segment"),
        ("/api%2e%2e/admin", "dot_segment"),
        ("//admin/secret-endpoint", "empty_segment"),
        ("/a;x=1/..;/admin", "path_parameter"),
        ("/a%2fadmin", "encoded_slash"),
        ("/info/../private", "dot_segment"),
        ("/%41dmin", "unneeded_encoding"),
        ("/a%5cb", "backslash"),
        ("///admin", "empty_segment"),
        ("/a\\b", "backslash"),
        ("/a%00", "control_in_path"),
        ("/a%00%0d%0aX", "control_in_path"),
        ("/%252e%252e/x", "double_encoding"),
        ("/%c0%ae%c0%ae/x", "path_not_utf8"),
        ("/a%u002e", "percent_encoding"),
    ] {
        rig.refuses(get(target), code).await;
    }
}

#[tokio::test]
async fn b05_what_leaves_is_what_was_decided_on_byte_by_byte() {
    let rig = Rig::start().await;
    for target in [
        "/",
        "/a/",
        "/A/b%20c/caf%C3%A9",
        "/a%25b/%5B1%5D",
        "/a+b/c:d@e/~f",
        "/a?",
        "/a?b=/../c&b=%2e%2e%2f&d=;e+f%20g",
        "/a?http://other.test/x",
    ] {
        let recorded = rig.passes(get(target)).await;
        let seen = rig.handler.seen.lock().unwrap().last().unwrap().clone();
        assert_eq!((recorded.target(), seen.target.as_str()), (target, target));
        assert_eq!(seen.path, target.split('?').next().unwrap());
        assert_eq!((recorded.method(), recorded.head.one("host")), (seen.method.as_str(), seen.host.as_str()));
    }
}

#[tokio::test]
async fn b08_b09_a_fragment_is_refused() {
    let rig = Rig::start().await;
    for target in ["/foo/secret#/x/bar", "/admin#x", "/a?b#c", "#", "http://app.test/a#b"] {
        rig.refuses(get(target), "fragment").await;
    }
}

#[tokio::test]
async fn b10_the_query_is_not_the_path() {
    let rig = Rig::start().await;
    let recorded = rig.passes(get("/admin?x=/public/../%2e%2e;a")).await;
    assert_eq!(recorded.target(), "/admin?x=/public/../%2e%2e;a");
    assert_eq!(rig.handler.seen.lock().unwrap()[0].path, "/admin");
}

#[tokio::test]
async fn b11_targets_without_a_path_are_refused() {
    let rig = Rig::start().await;
    for (target, code) in [
        ("admin", "target_form"),
        ("other:80", "target_form"),
        ("*", "target_form"),
        ("http://app.test?x", "target_form"),
        ("ftp://app.test/x", "scheme"),
    ] {
        rig.refuses(get(target), code).await;
    }
    rig.refuses("GET  HTTP/1.1\r\nHost: app.test\r\n\r\n", "request_line").await;
}

#[tokio::test]
async fn b12_b14_b16_hosts_are_compared_in_their_one_form() {
    let rig = Rig::start().await;
    for (sent, forwarded) in [
        ("APP.TEST", "app.test"),
        ("a.B.example.com", "a.b.example.com"),
        ("appXtest", "appxtest"),
        ("[2001:DB8:0::1]:8443", "[2001:db8::1]:8443"),
    ] {
        let recorded = rig.passes(format!("GET /x HTTP/1.1\r\nHost: {sent}\r\n\r\n")).await;
        assert_eq!(recorded.head.one("host"), forwarded);
        assert_eq!(rig.handler.seen.lock().unwrap().last().unwrap().host, forwarded);
    }
}

#[tokio::test]
async fn b15_and_section_3_1_odd_hosts_are_refused() {
    let rig = Rig::start().await;
    for (lines, code) in [
        ("", "no_host"),
        ("Host:\r\n", "host"),
        ("Host: app.test.\r\n", "trailing_dot"),
        ("Host: h/x?y\r\n", "host"),
        ("Host: u:p@app.test\r\n", "user_info"),
        ("Host: app.test, other.test\r\n", "host"),
        ("Host: app.test\r\nHost: app.test\r\n", "two_hosts"),
        ("Host: app.test\r\nHost: other.test\r\n", "two_hosts"),
        ("Host: app.test:\r\n", "host"),
        ("Host: 127.1\r\n", "host"),
    ] {
        rig.refuses(format!("GET /x HTTP/1.1\r\n{lines}\r\n"), code).await;
    }
    rig.refuses("GET /x HTTP/1.0\r\n\r\n", "no_host").await;
}

#[tokio::test]
async fn absolute_targets_name_the_same_host_or_are_refused() {
    let rig = Rig::start().await;
    let recorded = rig.passes("GET http://app.test/x?y HTTP/1.1\r\nHost: APP.test\r\n\r\n").await;
    assert_eq!((recorded.target(), recorded.head.one("host")), ("/x?y", "app.test"));
    let recorded = rig.passes("GET http://app.test HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(recorded.target(), "/");
    for (authority, code) in [
        ("other.test", "host_mismatch"),
        ("app.test:81", "host_mismatch"),
        ("u:p@app.test", "user_info"),
        ("app.test.", "trailing_dot"),
    ] {
        rig.refuses(format!("GET http://{authority}/x HTTP/1.1\r\nHost: app.test\r\n\r\n"), code).await;
    }
}

#[tokio::test]
async fn b35_connect_and_other_methods_are_refused() {
    let rig = Rig::start().await;
    rig.refuses("CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n", "connect").await;
    for method in ["get", "Post", "TRACE", "PROPFIND", "GETT", "M-SEARCH", "PRI"] {
        rig.refuses(format!("{method} /x HTTP/1.1\r\nHost: app.test\r\n\r\n"), "method").await;
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let recorded = rig.passes(format!("{method} /x HTTP/1.1\r\nHost: app.test\r\n\r\n")).await;
        assert_eq!(recorded.method(), method);
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let rig = Rig::start().await;
    let (status, body) = rig.ask(get(&format!("/{}", "a".repeat(17_000)))).await;
    assert_eq!((status, body.as_str()), (414, "target_too_long"));
    let (status, body) = rig.ask(get(&format!("/{}", "a".repeat(66_000)))).await;
    assert_eq!((status, body.as_str()), (414, "target_too_long"));
    let many = "X-A: 1\r\n".repeat(101);
    let (status, body) = rig.ask(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{many}\r\n")).await;
    assert_eq!((status, body.as_str()), (431, "too_many_headers"));
    let endless = format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-A: {}", "a".repeat(70_000));
    let (status, body) = rig.ask(endless).await;
    assert_eq!((status, body.as_str()), (431, "headers_too_large"));
    let large = format!("X-A: {}\r\n", "a".repeat(1_000)).repeat(40);
    let (status, body) = rig.ask(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{large}\r\n")).await;
    assert_eq!((status, body.as_str()), (431, "headers_too_large"));
    assert_eq!(rig.recorder.count(), 0);
}
