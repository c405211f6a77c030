//! `[[sink]]`: the systems that are told the evidence.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stepgate_core::ports::SinkName;
use stepgate_identity::http::Reach;
use stepgate_monitor::{Begin, Format, Personal, Rotation};
use url::Url;

use super::read::{At, Table};

const MIB: u64 = 1024 * 1024;

/// A system that is told the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// Its name in entries and commands.
    pub name: SinkName,
    /// The shape of what it is told.
    pub format: Format,
    /// Whether it is told what is personal.
    pub personal: Personal,
    /// Where it begins.
    pub begin: Begin,
    /// After how long without success there is an entry that says so.
    pub late_after: Duration,
    /// Where what it refuses for good is kept.
    pub refused_file: PathBuf,
    /// Where it is.
    pub to: SinkPlace,
}

impl SinkSettings {
    /// The files that it writes.
    fn keeps(&self) -> impl Iterator<Item = &Path> {
        let file = match &self.to {
            SinkPlace::File { path, .. } => Some(path.as_path()),
            _ => None,
        };
        file.into_iter().chain([self.refused_file.as_path()])
    }
}

/// Where a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkPlace {
    /// Standard output.
    Stdout,
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// When it is put aside.
        rotation: Option<Rotation>,
    },
    /// A receiver of syslog.
    Syslog {
        /// Host and port.
        address: String,
        /// The host alone.
        host: String,
        /// How it travels.
        transport: SyslogWay,
        /// The file with the certificates that alone are believed.
        ca: Option<PathBuf>,
    },
    /// Something that is called over HTTP.
    Http {
        /// Which.
        kind: HttpKind,
        /// Where.
        url: Url,
        /// How far it may be.
        reach: Reach,
        /// The file with the certificates that alone are believed.
        ca: Option<PathBuf>,
        /// The file with the secret that it is called with.
        secret: Option<PathBuf>,
        /// The index that it writes to.
        index: Option<String>,
    },
}

impl SinkPlace {
    /// The most bytes of a document: what fits into a datagram, or what any receiver takes.
    pub fn document_len_max(&self) -> usize {
        match self {
            Self::Syslog { transport: SyslogWay::Udp, .. } => stepgate_monitor::DATAGRAM_DOCUMENT_LEN_MAX,
            _ => stepgate_monitor::DOCUMENT_LEN_MAX,
        }
    }
}

/// How syslog travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogWay {
    /// With the receiver's certificate verified.
    Tls,
    /// Readable by the network.
    Tcp,
    /// And lost without a word.
    Udp,
}

/// What is called over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpKind {
    /// A signed webhook.
    Webhook,
    /// Splunk's HTTP Event Collector.
    Splunk,
    /// Elasticsearch or OpenSearch.
    Elasticsearch,
    /// An OpenTelemetry collector.
    Otlp,
}

/// Reads `[[sink]]`.
pub(super) fn sinks(tables: Vec<Table<'_>>, base: &Path) -> Vec<SinkSettings> {
    let mut sinks: Vec<SinkSettings> = Vec::new();
    for table in tables {
        let (span, notes) = (table.span(), table.notes());
        if let Some(read) = sink(table, base) {
            if sinks.iter().any(|other| other.keeps().any(|file| read.keeps().any(|own| own == file))) {
                notes.add(span.clone(), "two files of sinks are the same");
            }
            if sinks.iter().any(|other| other.name == read.name) {
                notes.add(span, format!("each sink has a name of its own, and `{}` is taken", read.name));
            }
            sinks.push(read);
        }
    }
    sinks
}

fn sink(table: Table<'_>, base: &Path) -> Option<SinkSettings> {
    let _ = (table.required("name"), table.required("to"));
    let name = table.parsed("name", "a name of a-z, 0-9 and -", SinkName::parse);
    let format = table.parsed("format", "`native`, `ocsf`, `ecs` or `cef`", str::parse::<Format>);
    let personal = if table.flag("withhold_personal") { Personal::Withheld } else { Personal::Told };
    let begin = |text: &str| match text {
        "first" => Ok(Begin::AtFirst),
        "now" => Ok(Begin::Now),
        _ => Err("no such beginning"),
    };
    let begin = table.parsed("begin", "`first` or `now`", begin).map_or(Begin::AtFirst, |at| at.value);
    let late_after = table.duration("late_after", Duration::from_secs(10)..=Duration::from_secs(86_400));
    let refused = table.text("refused_file").map(|at| base.join(at.value));
    let to = place(&table, base);
    // Its index gives each field one type, which only this format keeps to.
    let is_search = matches!(&to, Some(SinkPlace::Http { kind: HttpKind::Elasticsearch, .. }));
    let format = match format {
        None if is_search => Format::Ecs,
        None => Format::Native,
        Some(At { value, span }) => {
            if is_search && value != Format::Ecs {
                table.mistake(span, "an index gives each field one type: only `ecs` is told to elasticsearch");
            }
            value
        }
    };
    table.finish();
    let name = name?.value;
    Some(SinkSettings {
        refused_file: refused.unwrap_or_else(|| base.join(format!("refused-by-{name}.jsonl"))),
        name,
        format,
        personal,
        begin,
        late_after: late_after.unwrap_or(Duration::from_secs(300)),
        to: to?,
    })
}

fn place(table: &Table<'_>, base: &Path) -> Option<SinkPlace> {
    let to = table.text("to")?;
    match to.value.as_str() {
        "stdout" => Some(SinkPlace::Stdout),
        "file" => file(table, base),
        "syslog" => syslog(table, base),
        "webhook" => http(table, base, HttpKind::Webhook),
        "splunk" => http(table, base, HttpKind::Splunk),
        "elasticsearch" => http(table, base, HttpKind::Elasticsearch),
        "otlp" => http(table, base, HttpKind::Otlp),
        other => {
            let known = "file, stdout, syslog, webhook, splunk, elasticsearch or otlp is expected";
            table.mistake(to.span, format!("nothing is told to \"{other}\": {known}"));
            None
        }
    }
}

fn file(table: &Table<'_>, base: &Path) -> Option<SinkPlace> {
    let path = table.required("path");
    let at_len = table.size("rotate_at", MIB..=1024 * 1024 * MIB).and_then(|len| u64::try_from(len).ok());
    let keep = table.value("keep").map(|value| value.span());
    let kept = table.number("keep", 1..=1_000).and_then(|keep| u32::try_from(keep).ok());
    if let (None, Some(span)) = (at_len, keep) {
        table.mistake(span, "`keep` is for `rotate_at`, which is not there");
    }
    let rotation = at_len.map(|at_len| Rotation { at_len, keep: kept.unwrap_or(10) });
    Some(SinkPlace::File { path: base.join(path?.value), rotation })
}

fn syslog(table: &Table<'_>, base: &Path) -> Option<SinkPlace> {
    let _ = table.required("address");
    let address = table.parsed("address", "a host and a port like \"siem.example:6514\"", host_and_port);
    let way = |text: &str| match text {
        "tls" => Ok(SyslogWay::Tls),
        "tcp" => Ok(SyslogWay::Tcp),
        "udp" => Ok(SyslogWay::Udp),
        _ => Err("no such transport"),
    };
    let transport = table.parsed("transport", "`tls`, `tcp` or `udp`", way).map_or(SyslogWay::Tls, |at| at.value);
    let danger_plaintext = table.flag("danger_plaintext");
    let At { value: (host, port), span } = address?;
    let is_here = ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
    if transport != SyslogWay::Tls && !is_here && !danger_plaintext {
        table.mistake(span, "the network reads what goes there: set transport = \"tls\", or danger_plaintext = true");
    }
    let ca = table.text("ca").map(|at| base.join(at.value));
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Some(SinkPlace::Syslog { address, host, transport, ca })
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("no port")?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte);
    if host.is_empty() || !host.bytes().all(sign) {
        return Err("not a host");
    }
    let port: u16 = port.parse().map_err(|_| "not a port")?;
    Ok((host.to_owned(), port))
}

fn http(table: &Table<'_>, base: &Path, kind: HttpKind) -> Option<SinkPlace> {
    let (private, loopback) = (table.flag("private_receiver"), table.flag("danger_loopback"));
    let reach = match (loopback, private) {
        (true, _) => Reach::DangerLoopback,
        (false, true) => Reach::Network,
        (false, false) => Reach::Public,
    };
    let read = |text: &str| {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        reach.check(&url).map_err(|error| error.to_string())?;
        if kind != HttpKind::Webhook && url.path() != "/" {
            return Err("only scheme, host and port are given: the path is this kind's own".to_owned());
        }
        Ok(url)
    };
    let _ = table.required("url");
    let url = table.parsed("url", "an https URL", read);
    let ca = table.text("ca").map(|at| base.join(at.value));
    let secret = match kind {
        HttpKind::Webhook | HttpKind::Splunk => table.required("secret_file"),
        HttpKind::Elasticsearch | HttpKind::Otlp => table.text("secret_file"),
    };
    let index = match kind {
        HttpKind::Elasticsearch => table.required("index"),
        HttpKind::Splunk => table.text("index"),
        HttpKind::Webhook | HttpKind::Otlp => None,
    };
    if kind == HttpKind::Elasticsearch && table.value("index").is_none() {
        return None;
    }
    let needs_secret = matches!(kind, HttpKind::Webhook | HttpKind::Splunk);
    if needs_secret && secret.is_none() {
        return None;
    }
    let secret = secret.map(|at| base.join(at.value));
    Some(SinkPlace::Http { kind, url: url?.value, reach, ca, secret, index: index.map(|at| at.value) })
}
