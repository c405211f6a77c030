//! The evidence for those who may see it: what they look for, how an entry is
//! shown, and the archive that they take away.

pub(crate) mod archive;
pub(crate) mod kinds;
pub(crate) mod lines;
pub(crate) mod search;
