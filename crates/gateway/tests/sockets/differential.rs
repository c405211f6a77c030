//! What the gate read is what the upstream received, over thousands of generated
//! requests, most of them odd.

use crate::rig::Rig;
use crate::rig::raw::Connection;

const REQUESTS: u64 = 5_000;

/// A small generator with a fixed seed (xorshift64*), so that a failure repeats.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[self.below(all.len() as u64) as usize]
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

struct Generated {
    bytes: Vec<u8>,
    body: Vec<u8>,
}

fn generate(chance: &mut Chance) -> Generated {
    let method = chance.one_of(&["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "POST", "GET", "get", "TRACE"]);
    let mut target = String::new();
    if chance.once_in(12) {
        target.push_str(chance.one_of(&["http://app.test", "http://other.test", "HTTP://APP.TEST:80", "app.test"]));
    }
    for _ in 0..=chance.below(4) {
        target.push('/');
        target.push_str(chance.one_of(&[
            "a",
            "payments",
            "42",
            "%20",
            "caf%C3%A9",
            "%c3%a9",
            "~x",
            "x%25",
            "a:b@c",
            "[1]",
            "a|b^",
            "%3B",
            "%3f",
            "%23",
            "..",
            ".",
            "%2e%2e",
            "%2F",
            "a;x=1",
            "\\",
            "%00",
            "%zz",
            "%252e",
            "",
            "#f",
            "x\u{7f}",
            "..;",
            "%5c",
        ]));
    }
    if chance.once_in(3) {
        target.push('?');
        target
            .push_str(chance.one_of(&[
                "a=1", "a=1&a=2", "q=%zz", "x=/../y", "?", "a=b;c=d", "%00", "u=//evil", "a=1#f", "'\"", "",
            ]));
    }
    let version = chance.one_of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2"]);
    let mut head = format!("{method} {target} {version}\r\n");
    let host = chance.one_of(&["app.test", "APP.test", "app.test:8080", "app.test", "app.test.", "a b", "[::1]:80"]);
    if !chance.once_in(15) {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    for _ in 0..chance.below(4) {
        head.push_str(chance.one_of(&[
            "X-Own: 1",
            "X-Own: 2",
            "Cookie: a=1; stepgate=secret",
            "Cookie: b=2",
            "Stepgate-Principal: root",
            "stepgate_principal: root",
            "X-Forwarded-For: 192.0.2.1",
            "X_Forwarded_Proto: https",
            "Connection: close, x-own",
            "Connection: keep-alive",
            "Connection: content-length",
            "Content_Length: 4",
            "X-HTTP-Method-Override: DELETE",
            "Authorization: Bearer x",
            "Accept: */*",
            "Upgrade: h2c",
            "Expect: 100-continue",
            "Host: other.test",
            "Transfer-Encoding: identity",
            "X-Tab:\ta\tb",
            "X-High: caf\u{e9}",
            "Bad Name: x",
            " folded: x",
            "Trailer: X-Auth-User",
            "TE: trailers",
        ]));
        head.push_str(if chance.once_in(20) { "\n" } else { "\r\n" });
    }
    let body: Vec<u8> = (0..chance.below(40)).map(|_| chance.next() as u8).collect();
    let mut bytes;
    let wants_body = !matches!(method, "GET" | "TRACE" | "get") || chance.once_in(10);
    match (wants_body, chance.below(5)) {
        (true, 0 | 1) => {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            bytes = head.into_bytes();
            bytes.extend(&body);
        }
        (true, 2 | 3) => {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            bytes = head.into_bytes();
            for chunk in body.chunks(7) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n");
            if chance.once_in(2) {
                bytes.extend(b"X-Auth-User: root\r\n");
            }
            bytes.extend(b"\r\n");
        }
        _ => {
            head.push_str("\r\n");
            return Generated { bytes: head.into_bytes(), body: Vec::new() };
        }
    }
    Generated { bytes, body }
}

#[tokio::test]
async fn what_was_decided_on_is_what_arrived() {
    let rig = Rig::start().await;
    let mut chance = Chance(0x5eed_0f57_e9ca_7e11);
    let mut passed = 0;
    for number in 0..REQUESTS {
        let generated = generate(&mut chance);
        let shown = String::from_utf8_lossy(&generated.bytes).into_owned();
        let (seen, arrived) = (rig.handler.seen.lock().unwrap().len(), rig.recorder.count());
        let mut connection = Connection::open(rig.gate).await;
        connection.send(&generated.bytes).await;
        let mut answer = connection.head().await;
        while answer.as_ref().is_some_and(|head| head.status() == 100) {
            answer = connection.head().await;
        }
        let status = answer.expect("an answer").status();
        if status != 200 {
            assert_eq!(rig.recorder.count(), arrived, "{number}: {status} but forwarded: {shown}");
            continue;
        }
        passed += 1;
        assert_eq!(rig.recorder.count(), arrived + 1, "{number}: {shown}");
        let recorded = rig.recorder.last();
        let seen = rig.handler.seen.lock().unwrap()[seen].clone();
        assert_eq!(recorded.method(), seen.method, "{shown}");
        assert_eq!(recorded.target(), seen.target, "{shown}");
        assert!(seen.target.starts_with(&seen.path), "{shown}");
        assert_eq!(recorded.head.one("host"), seen.host, "{shown}");
        assert_eq!(recorded.body, generated.body, "{shown}");
        assert!(recorded.whole && recorded.trailers.is_empty(), "{shown}");
        assert!(shown.contains(seen.path.as_str()), "{shown}");
        let names: Vec<String> = recorded.head.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        assert!(!names.iter().any(|name| name.starts_with("stepgate") || name.contains('_')), "{shown}");
        assert_eq!(recorded.head.one("x-forwarded-for"), "127.0.0.1", "{shown}");
        assert!(!recorded.head.values("cookie").iter().any(|cookie| cookie.contains("stepgate")), "{shown}");
        let framings = recorded.head.values("content-length").len() + recorded.head.values("transfer-encoding").len();
        assert!(framings <= 1, "{shown}");
    }
    assert!(passed > REQUESTS / 20, "too few to mean anything: {passed}");
}
