//! `[machines]`: the listener of other systems.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stepgate_core::flows::{LinkedBy, SubjectIs};
use stepgate_core::machine::MachineName;
use stepgate_core::provider::ProviderName;
use stepgate_core::signals::Foreign;
use stepgate_identity::http::Reach;
use url::Url;

use super::gate;
use super::read::{At, Table};

/// The machines' listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinesSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its origin as others call it, without a slash at the end.
    pub origin: String,
    /// Certificate and key, if it speaks TLS itself.
    pub tls: Vec<(PathBuf, PathBuf)>,
    /// Whether it may listen in plain beyond loopback (something else ends TLS before it).
    pub danger_plaintext: bool,
    /// Provisioning, if it is served.
    pub scim: Option<ScimSettings>,
    /// Whose security events are taken.
    pub transmitters: Vec<TransmitterSettings>,
    /// Our own security events, if they are told.
    pub streams: Option<StreamsSettings>,
}

/// Our own security events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamsSettings {
    /// How far events are posted.
    pub reach: Reach,
}

/// Another system that tells of security events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransmitterSettings {
    /// Its name in entries and for `stepgate machines add --transmitter`.
    pub name: String,
    /// `iss` of its tokens.
    pub issuer: String,
    /// `aud` of its tokens.
    pub audience: String,
    /// Where its keys are.
    pub jwks_uri: Url,
    /// The issuers of whose subjects it may speak.
    pub subject_issuers: Vec<String>,
    /// The provider of whose sessions it may speak.
    pub provider: Option<ProviderName>,
    /// Whether it may name people by their address.
    pub emails: bool,
    /// Whether it may name people by the `externalId` of provisioning.
    pub external_ids: bool,
    /// What becomes of an event about somebody of whom it may not speak.
    pub foreign: Foreign,
    /// How long what it says of a risk counts.
    pub keep: Duration,
    /// Where it is polled, and the file with the token for that; if it does not push.
    pub poll: Option<(Url, PathBuf)>,
    /// How the gate sets up its stream there by itself, if it does.
    pub subscribe: Option<SubscribeSettings>,
    /// Whether it may be on this machine.
    pub danger_loopback: bool,
}

/// How the gate sets up its own stream at a transmitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeSettings {
    /// The file with the token that the gate is known by there.
    pub token: PathBuf,
    /// The file with the token that the transmitter is to present here, if it pushes.
    pub push_token: Option<PathBuf>,
    /// How far the URLs that it names itself may lead.
    pub reach: Reach,
}

/// Provisioning by SCIM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimSettings {
    /// How people are linked to an identity provider, if they are.
    pub links: Option<LinkedBy>,
}

/// Reads `[machines]`. `named` gets the providers that it names, each with what names it and its place.
pub(super) fn machines(
    table: Table<'_>,
    base: &Path,
    named: &mut Vec<(String, At<ProviderName>)>,
) -> Option<MachinesSettings> {
    // Whether each can be used is another question, and is told with it.
    let serves = ["scim", "transmitter", "streams"].into_iter().any(|key| table.value(key).is_some());
    let danger_plaintext = table.flag("danger_plaintext");
    let origin = gate::origin(&table, "origin", danger_plaintext);
    let _ = table.required("listen");
    let listen = table.parsed("listen", "an address and a port like \"127.0.0.1:4182\"", str::parse::<SocketAddr>);
    let tls = table.table("tls").map(|tls| gate::tls_files(tls, base)).unwrap_or_default();
    if let Some(listen) = &listen
        && tls.is_empty()
        && !danger_plaintext
        && !listen.value.ip().is_loopback()
    {
        table.mistake(
            listen.span.clone(),
            "plain HTTP is spoken on loopback only; set [machines.tls], or danger_plaintext = true",
        );
    }
    let scim = table.table("scim").map(|table| scim(table, named));
    let mut transmitters: Vec<TransmitterSettings> = Vec::new();
    for one in table.tables("transmitter", "[[machines.transmitter]]") {
        let span = one.span();
        if let Some(read) = transmitter(one, base, named) {
            if transmitters.iter().any(|other| other.name == read.name) {
                table.mistake(span, format!("each transmitter has a name of its own, and `{}` is taken", read.name));
            }
            transmitters.push(read);
        }
    }
    let streams = table.table("streams").map(streams);
    if !serves {
        let what = "[machines] serves nothing: set [machines.scim], [machines.streams] or [[machines.transmitter]]";
        table.mistake(table.span(), what);
    }
    table.finish();
    Some(MachinesSettings {
        listen: listen?.value,
        origin: origin?.value.origin().ascii_serialization(),
        tls,
        danger_plaintext,
        scim,
        transmitters,
        streams,
    })
}

fn scim(table: Table<'_>, named: &mut Vec<(String, At<ProviderName>)>) -> ScimSettings {
    let provider = table.parsed("provider", "the name of a [[provider]]", ProviderName::parse);
    let read =
        |text: &str| SubjectIs::ALL.into_iter().find(|subject| subject.name() == text).ok_or("no such attribute");
    let subject = table.parsed("subject", "`externalId` or `userName`", read);
    if let (None, Some(subject)) = (&provider, &subject) {
        table.mistake(subject.span.clone(), "`subject` is for `provider`, which is not there");
    }
    table.finish();
    let subject = subject.map(|at| at.value).unwrap_or_default();
    named.extend(provider.clone().map(|at| ("[machines.scim]".to_owned(), at)));
    ScimSettings { links: provider.map(|at| LinkedBy { provider: at.value, subject }) }
}

fn streams(table: Table<'_>) -> StreamsSettings {
    let (private, loopback) = (table.flag("private_receivers"), table.flag("danger_loopback"));
    table.finish();
    StreamsSettings { reach: reach(loopback, private) }
}

/// How far URLs lead that others name.
const fn reach(danger_loopback: bool, private: bool) -> Reach {
    match (danger_loopback, private) {
        (true, _) => Reach::DangerLoopback,
        (false, true) => Reach::Network,
        (false, false) => Reach::Public,
    }
}

fn transmitter(
    table: Table<'_>,
    base: &Path,
    named: &mut Vec<(String, At<ProviderName>)>,
) -> Option<TransmitterSettings> {
    const DAY: Duration = Duration::from_secs(86_400);
    let _ = table.required("name");
    let name = table.parsed("name", "a name of a-z, 0-9, - and .", MachineName::parse);
    let issuer = table.required("issuer");
    let audience = table.required("audience");
    let danger_loopback = table.flag("danger_loopback");
    let url = |text: &str| read_url(text, danger_loopback);
    let _ = table.required("jwks_uri");
    let jwks_uri = table.parsed("jwks_uri", "an https URL", url);
    let subject_issuers: Vec<String> = table.texts("subject_issuers").into_iter().map(|at| at.value).collect();
    let provider = table.parsed("provider", "the name of a [[provider]]", ProviderName::parse);
    if let (Some(provider), Some(name)) = (&provider, &name) {
        named.push((format!("the transmitter `{}`", name.value), provider.clone()));
    }
    let (emails, external_ids) = (table.flag("emails"), table.flag("external_ids"));
    let read = |text: &str| Foreign::ALL.into_iter().find(|foreign| foreign.name() == text).ok_or("no such answer");
    let foreign = table.parsed("foreign_subjects", "`ignore` or `refuse`", read);
    let keep = table.duration("keep", Duration::from_secs(60)..=90 * DAY).unwrap_or(DAY);
    let poll = table.parsed("poll", "an https URL", url);
    let token = table.text("poll_token_file");
    let poll = match (poll, token) {
        (Some(poll), Some(token)) => Some((poll.value, base.join(token.value))),
        (None, None) => None,
        (Some(at), None) => {
            table.mistake(at.span, "`poll` needs `poll_token_file`: what the transmitter is asked with");
            None
        }
        (None, Some(at)) => {
            table.mistake(at.span, "`poll_token_file` is for `poll`, which is not there");
            None
        }
    };
    let subscribe = subscribe(&table, base, danger_loopback);
    if let (Some(_), Some(issuer)) = (&subscribe, &issuer)
        && let Err(why) = read_url(&issuer.value, danger_loopback)
    {
        table.mistake(issuer.span.clone(), format!("`subscribe` needs an issuer that can be asked: {why}"));
    }
    if let (Some(_), Some(_)) = (&poll, &subscribe) {
        table.mistake(table.span(), "`subscribe` finds where the transmitter is polled: `poll` is not for it");
    }
    table.finish();
    let issuer = issuer?.value;
    Some(TransmitterSettings {
        name: name?.value.to_string(),
        subject_issuers: if subject_issuers.is_empty() { vec![issuer.clone()] } else { subject_issuers },
        issuer,
        audience: audience?.value,
        jwks_uri: jwks_uri?.value,
        provider: provider.map(|at| at.value),
        emails,
        external_ids,
        foreign: foreign.map(|at| at.value).unwrap_or_default(),
        keep,
        poll,
        subscribe,
        danger_loopback,
    })
}

/// Reads how the gate sets up its own stream, if it does.
fn subscribe(table: &Table<'_>, base: &Path, danger_loopback: bool) -> Option<SubscribeSettings> {
    let pushes = |text: &str| match text {
        "poll" => Ok(false),
        "push" => Ok(true),
        _ => Err("no such delivery"),
    };
    let subscribe = table.parsed("subscribe", "`poll` or `push`", pushes);
    let (token, push_token) = (table.text("subscribe_token_file"), table.text("push_token_file"));
    let private_endpoints = table.value("private_endpoints").map(|value| value.span());
    let reach = reach(danger_loopback, table.flag("private_endpoints"));
    let Some(subscribe) = subscribe else {
        for span in [token, push_token].into_iter().flatten().map(|at| at.span).chain(private_endpoints) {
            table.mistake(span, "this is for `subscribe`, which is not there");
        }
        return None;
    };
    let Some(token) = token else {
        let what = "`subscribe` needs `subscribe_token_file`: what the gate is known by at the transmitter";
        table.mistake(subscribe.span, what);
        return None;
    };
    let token = base.join(token.value);
    match (subscribe.value, push_token) {
        (false, None) => Some(SubscribeSettings { token, push_token: None, reach }),
        (true, Some(file)) => Some(SubscribeSettings { token, push_token: Some(base.join(file.value)), reach }),
        (true, None) => {
            let what =
                "`subscribe = \"push\"` needs `push_token_file`: what `stepgate machines add` gave for the transmitter";
            table.mistake(subscribe.span, what);
            None
        }
        (false, Some(at)) => {
            table.mistake(at.span, "`push_token_file` is for `subscribe = \"push\"`");
            None
        }
    }
}

/// A URL that is called: https, or http to this machine where that is allowed.
pub(super) fn read_url(text: &str, danger_loopback: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let reach = if danger_loopback { Reach::DangerLoopback } else { Reach::Network };
    reach.check(&url).map_err(|error| error.to_string())?;
    Ok(url)
}
