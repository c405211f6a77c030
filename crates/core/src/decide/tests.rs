mod properties;
mod sentences;
mod time;
mod tokens;
