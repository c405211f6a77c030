mod properties;
mod sentences;
mod time;
