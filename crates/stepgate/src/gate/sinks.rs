//! The evidence, told to other systems: one pump for each sink of the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use stepgate_core::flows::Flows;
use stepgate_identity::http::{Http, WebhookKey};
use stepgate_monitor::{
    Elasticsearch, File, Format, Otlp, Pump, PumpParts, RefusedFile, Sink, Splunk, Stdout, Syslog, SyslogTransport,
    Webhook,
};
use stepgate_store::Database;
use url::Url;
use zeroize::Zeroizing;

use super::error::StartError;
use crate::config::{HttpKind, SinkPlace, SinkSettings, SyslogWay};

/// What a sink is refused for when the gate starts: it would not work later either.
#[derive(Debug, thiserror::Error)]
pub enum SinkUnusable {
    /// A file that it names cannot be read or written.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no text.
    #[error("{} is not text", .0.display())]
    Text(PathBuf),
    /// The key signs nothing.
    #[error("its key")]
    Key(#[source] stepgate_identity::http::NotAWebhookKey),
    /// Certificates.
    #[error("its certificates")]
    Http(#[source] stepgate_identity::http::HttpUnusable),
    /// Certificates of syslog.
    #[error("its certificates")]
    Tls(#[source] stepgate_monitor::NoTls),
    /// The URL has no place for a path.
    #[error("its URL")]
    Url(#[source] url::ParseError),
}

/// The pumps of what is configured.
pub(super) fn pumps(
    settings: &[SinkSettings],
    gate: &str,
    flows: &Arc<Flows>,
    database: &Arc<Database>,
) -> Result<Vec<Pump>, StartError> {
    let pump = |one: &SinkSettings| {
        let named = |source| StartError::Sink { name: one.name.to_string(), source: Box::new(source) };
        let sink = sink(one, gate, flows).map_err(named)?;
        let refused = RefusedFile::new(one.refused_file.clone());
        let unusable = |source| SinkUnusable::File { path: one.refused_file.clone(), source };
        refused.try_it().map_err(unusable).map_err(named)?;
        Ok(Pump::new(PumpParts {
            name: one.name.clone(),
            sink,
            format: one.format,
            personal: one.personal,
            begin: one.begin,
            late_after: one.late_after,
            refused,
            document_len_max: one.to.document_len_max(),
            gate: gate.to_owned(),
            store: Arc::clone(&flows.store),
            clock: Arc::clone(&flows.clock),
            random: Arc::clone(&flows.random),
            sinks: Arc::clone(database) as _,
        }))
    };
    settings.iter().map(pump).collect()
}

fn sink(settings: &SinkSettings, gate: &str, flows: &Arc<Flows>) -> Result<Box<dyn Sink>, SinkUnusable> {
    Ok(match &settings.to {
        SinkPlace::Stdout => Box::new(Stdout),
        SinkPlace::File { path, rotation } => Box::new(File::new(path.clone(), *rotation)),
        SinkPlace::Syslog { address, host, transport, ca } => {
            let transport = match transport {
                SyslogWay::Tls => SyslogTransport::tls(host, ca.as_deref()).map_err(SinkUnusable::Tls)?,
                SyslogWay::Tcp => SyslogTransport::Tcp,
                SyslogWay::Udp => SyslogTransport::Udp,
            };
            Box::new(Syslog::new(address.clone(), transport, gate.to_owned()))
        }
        SinkPlace::Http { kind, url, reach, ca, secret: file, index } => {
            let ca = ca.as_ref().map(read).transpose()?;
            let http = Http::new(*reach, ca.as_ref().map(|pem| pem.as_slice())).map_err(SinkUnusable::Http)?;
            let secret = file.as_ref().map(secret).transpose()?;
            called(Called { kind: *kind, http, url, secret, index: index.clone() }, settings, gate, flows)?
        }
    })
}

/// Something that is called over HTTP.
struct Called<'s> {
    kind: HttpKind,
    http: Http,
    url: &'s Url,
    secret: Option<SecretString>,
    index: Option<String>,
}

fn called(
    called: Called<'_>,
    settings: &SinkSettings,
    gate: &str,
    flows: &Arc<Flows>,
) -> Result<Box<dyn Sink>, SinkUnusable> {
    let Called { kind, http, url, secret, index } = called;
    let (gate, clock) = (gate.to_owned(), Arc::clone(&flows.clock));
    Ok(match kind {
        HttpKind::Webhook => {
            let key = WebhookKey::parse(&secret.unwrap_or_default()).map_err(SinkUnusable::Key)?;
            Box::new(Webhook::new(http, url.clone(), key, clock))
        }
        HttpKind::Splunk => {
            let channel = channel(&gate, settings.name.as_str());
            let source_type = if settings.format == Format::Cef { "cefevents" } else { "_json" };
            let token = secret.unwrap_or_default();
            Box::new(Splunk::new(http, url, token, index, channel, gate, source_type).map_err(SinkUnusable::Url)?)
        }
        HttpKind::Elasticsearch => {
            Box::new(Elasticsearch::new(http, url, index.unwrap_or_default(), secret).map_err(SinkUnusable::Url)?)
        }
        HttpKind::Otlp => Box::new(Otlp::new(http, url, secret, gate, clock).map_err(SinkUnusable::Url)?),
    })
}

fn read(path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, SinkUnusable> {
    std::fs::read(path).map(Zeroizing::new).map_err(|source| SinkUnusable::File { path: path.clone(), source })
}

fn secret(path: &PathBuf) -> Result<SecretString, SinkUnusable> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| SinkUnusable::Text(path.clone()))?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

/// The channel of a sink: a UUID that is the same each time and that no other sink has (RFC 9562, version 8).
fn channel(gate: &str, name: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(format!("stepgate/sink/v1\0{gate}\0{name}")).into();
    let mut id: [u8; 16] = digest.first_chunk().copied().unwrap_or_default();
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = hex::encode(id);
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
