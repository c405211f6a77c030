//! The machines' listener: what other systems tell the gate, and are told by it.
//! Provisioning of people (SCIM), shared signals (SSF, CAEP).
//!
//! *Architecture invariant:* nothing here decides, and nothing is believed that the
//! caller's own credentials do not allow it to say.
