//! A mail server that nobody here wrote (`smtp-server`), which keeps what it gets.

use std::fs;

use serde_json::{Value, json};

use crate::leash::{Leash, Stop};
use crate::programs::Program;

const SERVER: &str = include_str!("../smtp-server/server.mjs");

/// A mail server that runs. Dropping it stops it.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    program: Leash,
    certificate: String,
}

/// A mail that it took.
#[derive(Clone, Debug)]
pub struct Mail(Value);

impl MailServer {
    /// One that offers STARTTLS, with a certificate of its own making for `localhost`. `more` is said to it as
    /// `server.mjs` reads it.
    pub fn start(more: &Value) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = made.cert.pem();
        let mut told = json!({ "key": made.signing_key.serialize_pem(), "cert": certificate, "offers": true });
        if let (Some(told), Some(more)) = (told.as_object_mut(), more.as_object()) {
            told.extend(more.clone());
        }
        let folder = tempfile::Builder::new().prefix("stepgate-smtp-").tempdir().unwrap().keep();
        let script = folder.join("server.mjs");
        fs::write(&script, SERVER).unwrap();
        let arguments = [script.into_os_string(), Program::SmtpServer.path().into(), told.to_string().into()];
        let program = Leash::start(&Program::Node.path(), arguments, Stop::Terminate, Some(&folder), None, |command| {
            command.env("HOME", &folder);
        });
        let line = program.wait_for_line("smtp ");
        let port = line.trim_start_matches("smtp ").trim().parse().expect("a port");
        Self { port, program, certificate }
    }

    /// The port of loopback that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its certificate, PEM: it vouches for itself.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Waits for the next mail.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn next_mail(&self) -> Mail {
        let line = self.program.wait_for_line("mail ");
        Mail(serde_json::from_str(line.trim_start_matches("mail ")).expect("JSON"))
    }

    /// How many it took so far.
    pub fn taken(&self) -> usize {
        self.program.said().iter().filter(|line| line.starts_with("mail ")).count()
    }
}

impl Mail {
    /// Whom the envelope names.
    pub fn to(&self) -> Vec<&str> {
        self.0["to"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether it came over TLS.
    pub fn is_secure(&self) -> bool {
        self.0["secure"] == true
    }

    /// The account that sent it.
    pub fn user(&self) -> &str {
        self.0["user"].as_str().unwrap_or_default()
    }

    /// Head and body as they came, where soft line ends of quoted-printable are joined.
    pub fn text(&self) -> String {
        self.0["text"].as_str().unwrap_or_default().replace("=\r\n", "")
    }

    /// The eight digits in it.
    pub fn code(&self) -> String {
        let text = self.text();
        let after = text.split("Your code:").nth(1).unwrap_or_else(|| panic!("no code in {text}"));
        after.chars().filter(char::is_ascii_digit).take(8).collect()
    }
}
