//! `[machines]`: the listener of other systems.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::gate;
use super::read::Table;

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
}

/// Provisioning by SCIM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimSettings {}

pub(super) fn machines(table: Table<'_>, base: &Path) -> Option<MachinesSettings> {
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
    let scim = table.table("scim").map(scim);
    if scim.is_none() {
        table.mistake(table.span(), "[machines] serves nothing: set [machines.scim]");
    }
    table.finish();
    Some(MachinesSettings {
        listen: listen?.value,
        origin: origin?.value.origin().ascii_serialization(),
        tls,
        danger_plaintext,
        scim,
    })
}

fn scim(table: Table<'_>) -> ScimSettings {
    table.finish();
    ScimSettings {}
}
