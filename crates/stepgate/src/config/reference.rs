//! Every key of the configuration, for people: `docs/configuration.md` is made from it.

mod behaviour;
mod client_certificates;
mod codes;
mod environment;
mod gate;
mod hardware;
mod limits;
mod machines;
mod provider;
mod push;
mod service;
mod sinks;

use std::fmt::Write as _;

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The table that it stands in, e.g. `[gate]`.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What is written there.
    pub form: &'static str,
    /// What holds where it is left out; `required` if it cannot be.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

const fn key(
    table: &'static str,
    name: &'static str,
    form: &'static str,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { table, name, form, default, about }
}

/// All keys, in the order in which they are explained.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    [
        gate::KEYS,
        client_certificates::KEYS,
        environment::KEYS,
        behaviour::KEYS,
        provider::KEYS,
        limits::KEYS,
        codes::KEYS,
        push::KEYS,
        hardware::KEYS,
        machines::KEYS,
        sinks::KEYS,
        service::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// The reference as Markdown: one table for each table of the file.
pub fn reference() -> String {
    let mut text = String::new();
    let mut table = "";
    for key in keys() {
        // Writing to a String cannot fail.
        if key.table != table {
            table = key.table;
            let _ = write!(text, "\n## `{table}`\n\n| key | form | default | what it does |\n|---|---|---|---|\n");
        }
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", key.name, cell(key.form), cell(key.default), cell(key.about));
    }
    text.trim_start().to_owned()
}
