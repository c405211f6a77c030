//! An entry as it is told: with its place in the ledger and what is known of who is concerned.

use serde_json::Value;
use stepgate_core::ports::RecordedEntry;

use crate::fact::Fact;

/// Whether what is personal is told: names, addresses, places, what was asked for in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personal {
    /// It is told.
    Told,
    /// Only what stands in the tree is told: pseudonymous ids.
    Withheld,
}

/// An entry as it is told.
#[derive(Clone, Debug)]
pub struct Record {
    /// The entry and its index.
    pub recorded: RecordedEntry,
    /// The sign-in name of whom it concerns, if it is known and told.
    pub login: Option<String>,
}

impl Record {
    /// What it says.
    pub fn fact(&self) -> Fact<'_> {
        Fact::of(&self.recorded.entry.event)
    }

    /// The event as JSON: `kind` and its own fields.
    ///
    /// # Errors
    ///
    /// None that an event of the ledger has.
    pub fn event(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&self.recorded.entry.event)
    }

    /// A text of the details, by JSON pointer.
    pub fn detail(&self, pointer: &str) -> Option<&str> {
        let text = self.recorded.entry.details.as_ref()?.body.pointer(pointer)?.as_str()?;
        (!text.is_empty()).then_some(text)
    }

    /// Where it came from: what a sign-in has, or a challenge.
    pub fn address(&self) -> Option<&str> {
        self.detail("/address").or_else(|| self.detail("/surroundings/address"))
    }

    /// The browser's or program's own words about itself.
    pub fn user_agent(&self) -> Option<&str> {
        self.detail("/agent").or_else(|| self.detail("/surroundings/agent"))
    }

    /// The title of what was asked for, as the person read it.
    pub fn title(&self) -> Option<&str> {
        self.detail("/statement/title")
    }

    /// Takes away what is personal, if it is not to be told.
    #[must_use]
    pub fn telling(mut self, personal: Personal) -> Self {
        if personal == Personal::Withheld {
            self.recorded.entry.details = None;
            self.login = None;
        }
        self
    }
}
