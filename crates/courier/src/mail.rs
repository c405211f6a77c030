//! Mail, by SMTP.

use std::time::{Duration, SystemTime};

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::ports::Message;

use crate::NotSent;
use crate::words::words;

/// How long a server may take for each of its answers.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a mail may take altogether.
const MAIL_MAX: Duration = Duration::from_secs(30);

/// Where mail is sent, and as whom.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// The server's name, which its certificate has to bear.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub security: Security,
    /// Certificates (PEM) that alone are believed; otherwise the platform's.
    pub certificates: Option<Vec<u8>>,
    /// The account there, if it wants one.
    pub account: Option<(String, SecretString)>,
    /// The sender: `Stepgate <no-reply@example.com>`.
    pub from: String,
    /// What the gate is called in mails, and greets the server with: its host.
    pub gate: String,
}

/// How a connection to the server is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314, section 3.3).
    Tls,
    /// TLS after STARTTLS (RFC 3207). A server that does not offer it gets nothing.
    StartTls,
    /// None.
    DangerPlain,
}

/// Mail cannot be sent as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailUnusable {
    /// The sender is no address.
    #[error("{0:?} is no sender like \"Stepgate <no-reply@example.com>\"")]
    From(String),
    /// The certificates, or TLS with them.
    #[error("TLS to the mail server cannot be set up: {0}")]
    Tls(String),
}

/// Sends mail.
#[derive(Clone, Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    gate: String,
}

/// That no person wrote it, so that no machine answers it (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Mailer {
    /// Sends as configured. No connection is made yet.
    ///
    /// # Errors
    ///
    /// [`MailUnusable`] says what of it cannot be used.
    pub fn new(settings: &MailSettings) -> Result<Self, MailUnusable> {
        let from: Mailbox = settings.from.parse().map_err(|_| MailUnusable::From(settings.from.clone()))?;
        let tls = |error: lettre::transport::smtp::Error| MailUnusable::Tls(error.to_string());
        let mut parameters = TlsParameters::builder(settings.server.clone());
        if let Some(pem) = &settings.certificates {
            parameters = parameters.certificate_store(CertificateStore::None);
            parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(tls)?);
        }
        let parameters = parameters.build_rustls().map_err(tls)?;
        let kept = match settings.security {
            Security::Tls => Tls::Wrapper(parameters),
            Security::StartTls => Tls::Required(parameters),
            Security::DangerPlain => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.server.clone())
            .port(settings.port)
            .hello_name(ClientId::Domain(settings.gate.clone()))
            .timeout(Some(ANSWER_MAX))
            .tls(kept);
        if let Some((name, password)) = &settings.account {
            builder = builder.credentials(Credentials::new(name.clone(), password.expose_secret().to_owned()));
        }
        Ok(Self { transport: builder.build(), from, gate: settings.gate.clone() })
    }

    /// Sends one mail.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), NotSent> {
        let mail = self.compose(message).map_err(NotSent::Final)?;
        let sent = tokio::time::timeout(MAIL_MAX, self.transport.send(mail)).await;
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(NotSent::Final(told(&error))),
            Ok(Err(error)) => Err(NotSent::passing(told(&error))),
            Err(_) => Err(NotSent::passing("the mail server took too long".to_owned())),
        }
    }

    /// The whole mail. Addresses are parsed and headers encoded by the library, so nothing that a message
    /// says becomes a header.
    fn compose(&self, message: &Message) -> Result<lettre::Message, String> {
        let to: Address = message.to.expose().parse().map_err(|_| "the address is none".to_owned())?;
        let words = words(message, &self.gate)?;
        let at = u64::try_from(message.at.as_ms()).map_err(|_| "the clock stands before 1970".to_owned())?;
        lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(words.subject)
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at))
            // The same each time it is tried: a server that took it twice can tell.
            .message_id(Some(format!("<{}@{}>", message.id, self.gate)))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(words.text, words.html))
            .map_err(|error| error.to_string())
    }
}

/// What went wrong, without what the server said: it repeats addresses.
fn told(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None if error.is_tls() => "TLS to the mail server failed".to_owned(),
        None => "the mail server cannot be reached, or does not speak as expected".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::tests::message;

    fn mailer() -> Mailer {
        Mailer::new(&MailSettings {
            server: "mail.example.com".to_owned(),
            port: 587,
            security: Security::StartTls,
            certificates: None,
            account: None,
            from: "Stepgate <no-reply@example.com>".to_owned(),
            gate: "gate.example.com".to_owned(),
        })
        .unwrap()
    }

    #[tokio::test]
    async fn b146_nothing_that_is_confirmed_becomes_a_header() {
        let evil = "x\r\nBcc: mallory@example.com\r\n\r\nyour code: 1";
        let mail = mailer().compose(&message(evil, evil)).unwrap();
        let text = String::from_utf8(mail.formatted()).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_ascii_lowercase().contains("\nbcc"), "{head}");
        assert_eq!(mail.envelope().to().len(), 1);
        for header in
            ["From: Stepgate <no-reply@example.com>", "To: alice@example.com", "Auto-Submitted: auto-generated"]
        {
            assert!(head.contains(header), "{header} in {head}");
        }
        assert!(!head.contains("0123"), "the code is not in the head");
    }
}
