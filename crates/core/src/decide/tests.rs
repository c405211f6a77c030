pub(crate) mod properties;
mod recorded;
mod sentences;
mod time;
mod tokens;
