//! Typed inputs, read from path, query and body.
