//! A receiver of syslog that nobody here wrote (rsyslog), which writes what it gets into a file.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use crate::leash::{Leash, Stop};
use crate::programs::Program;

/// A receiver that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Rsyslog {
    port: u16,
    received: PathBuf,
    _program: Leash,
}

impl Rsyslog {
    /// One that takes messages over TCP (RFC 6587) and writes of each its parts as it understood them, one on each line:
    /// facility, severity, time, host, name, id, structured data and text, with a bar between them.
    ///
    /// # Panics
    ///
    /// If it is not installed, or does not listen.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("stepgate-rsyslog-").tempdir().unwrap().keep();
        let received = folder.join("received");
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let template = "%syslogfacility-text%|%syslogseverity-text%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%\\n";
        let configuration = format!(
            "global(workDirectory=\"{0}\" maxMessageSize=\"256k\" parser.escapeControlCharactersOnReceive=\"off\")\n\
             module(load=\"imtcp\")\n\
             template(name=\"parts\" type=\"string\" string=\"{template}\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{1}\" template=\"parts\" asyncWriting=\"off\")\n",
            folder.display(),
            received.display(),
        );
        let file = folder.join("rsyslog.conf");
        fs::write(&file, configuration).unwrap();
        let pid = folder.join("pid");
        let arguments: [std::ffi::OsString; 5] = ["-n".into(), "-f".into(), file.into(), "-i".into(), pid.into()];
        let program = Leash::start(&Program::Rsyslogd.path(), arguments, Stop::Terminate, Some(&folder), None, |_| {});
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { port, received, _program: program };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("rsyslog does not listen: {}", program.said().join("\n"));
    }

    /// The port of loopback that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has written until now, one message on each line.
    pub fn received(&self) -> String {
        fs::read_to_string(&self.received).unwrap_or_default()
    }
}
