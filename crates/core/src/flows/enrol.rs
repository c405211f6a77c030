//! Enrolling and removing factors: by a one-time link, or by a passed challenge.

use stepgate_evidence::Event;

use super::Flows;
use crate::factor::{
    EnrolledFactor, EnrolmentAnswer, EnrolmentOffer, FactorKind, FactorSecret, NotEnrolled, PasswordStands,
};
use crate::id::FactorId;
use crate::person::Person;
use crate::ports::{ChangeError, EnrolmentLink, RestsOn, StoreError, Ticket, TicketThen};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::session::SessionView;
use crate::surroundings::shown;

/// Longest name of a factor, in characters.
pub(super) const NAME_LEN_MAX: usize = 60;
/// How long an enrolment may take.
const TICKET_LIFETIME: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// A link as its page shows it, before it is used up.
#[derive(Debug)]
pub struct LinkView {
    /// Whose it is.
    pub person: Person,
    /// What may be enrolled with it.
    pub kinds: Vec<FactorKind>,
    link: EnrolmentLink,
}

/// An enrolment in progress.
#[derive(Debug)]
pub struct TicketView {
    /// Whose it is.
    pub person: Person,
    /// What may be enrolled with it.
    pub kinds: Vec<FactorKind>,
    /// What the person has enrolled.
    pub enrolled: Vec<EnrolledFactor>,
    ticket: Ticket,
}

impl TicketView {
    /// Whether it may be used here: a link's ticket where nobody is signed in, a session's in that session.
    pub fn is_for(&self, session: Option<&SessionView>) -> bool {
        match self.ticket.rests_on {
            RestsOn::Link => session.is_none(),
            RestsOn::Session(own) => session.is_some_and(|session| session.id == own),
        }
    }

    pub(super) const fn digest(&self) -> TokenDigest {
        self.ticket.digest
    }

    /// What allowed it: a link or a challenge.
    pub(super) fn authority(&self) -> &str {
        &self.ticket.authority
    }

    /// Whether it was made for exactly one factor, and ends when that is enrolled.
    pub fn is_single(&self) -> bool {
        self.kinds.len() < 2
    }
}

/// Why something was not enrolled or removed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Unknown, used, late, or another browser's: one answer for all.
    #[error("this link or page is no longer valid")]
    Gone,
    /// This kind is not allowed here.
    #[error("this factor cannot be enrolled here")]
    NotAllowed,
    /// What was sent does not fit; the text is for the person.
    #[error(transparent)]
    Refused(#[from] NotEnrolled),
    /// Without it the person could not sign in any more.
    #[error("this is your only way to sign in; add another first")]
    LastWay,
    /// What would be left is a password that is too short to stand alone.
    #[error("your password is too short to be your only factor; choose a longer one first")]
    ShortPassword,
    /// The authenticator is enrolled already.
    #[error("this passkey is enrolled already")]
    Taken,
    /// It was changed in another tab.
    #[error("it changed in the meantime")]
    Changed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChangeError> for EnrolError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => Self::Store(error),
            ChangeError::UsedBefore => Self::Taken,
            ChangeError::Conflict => Self::Gone,
            ChangeError::Limit(_) => Self::NotAllowed,
        }
    }
}

impl Flows {
    /// Looks at a link without using it: a mail scanner that follows it spoils nothing.
    pub async fn look_at_link(&self, token: &Token) -> Result<LinkView, EnrolError> {
        let digest = token.digest(Purpose::EnrolmentLink);
        let link = self.store.link(digest, self.clock.now()).await?.ok_or(EnrolError::Gone)?;
        let person = self.store.person(link.person).await?.ok_or(EnrolError::Gone)?;
        Ok(LinkView { person, kinds: link.kinds.clone(), link })
    }

    /// Uses up a link, exactly once, for this browser. Gives the ticket's token.
    pub async fn use_link(&self, token: &Token, browser: &Token) -> Result<Token, EnrolError> {
        let LinkView { link, .. } = self.look_at_link(token).await?;
        let at = self.clock.now();
        let ticket_token = Token::random(self.random.as_ref());
        let ticket = Ticket {
            digest: ticket_token.digest(Purpose::EnrolmentTicket),
            person: link.person,
            authority: format!("link:{}", link.id),
            rests_on: RestsOn::Link,
            kinds: link.kinds.clone(),
            browser: browser.digest(Purpose::Browser),
            begun: None,
            expires_at: at.plus(TICKET_LIFETIME),
        };
        let event = Event::LinkUsed { link: link.id.to_string(), person: link.person.to_string() };
        self.store.use_link(link.id, &ticket, at, self.entry(at, event)).await?;
        Ok(ticket_token)
    }

    /// A ticket for one factor of one's own. The caller is the operation
    /// `factors.enrol`, which was decided; `authority` says by which challenge.
    pub async fn begin_own(
        &self,
        session: &SessionView,
        kind: FactorKind,
        authority: String,
        browser: &Token,
    ) -> Result<Token, EnrolError> {
        let token = Token::random(self.random.as_ref());
        let ticket = Ticket {
            digest: token.digest(Purpose::EnrolmentTicket),
            person: session.person.id,
            authority,
            rests_on: RestsOn::Session(session.id),
            kinds: vec![kind],
            browser: browser.digest(Purpose::Browser),
            begun: None,
            expires_at: self.clock.now().plus(TICKET_LIFETIME),
        };
        self.store.put_ticket(&ticket).await?;
        Ok(token)
    }

    /// An enrolment in progress, in the browser that it belongs to.
    pub async fn enrolment(&self, ticket: &Token, browser: &Token) -> Result<TicketView, EnrolError> {
        let (digest, browser) = (ticket.digest(Purpose::EnrolmentTicket), browser.digest(Purpose::Browser));
        let ticket = self.store.ticket(digest, browser, self.clock.now()).await?.ok_or(EnrolError::Gone)?;
        let person = self.store.person(ticket.person).await?.ok_or(EnrolError::Gone)?;
        let enrolled = self.store.factors(person.id).await?;
        Ok(TicketView { person, kinds: ticket.kinds.clone(), enrolled, ticket })
    }

    /// Begins to enrol one factor. All secrets are made by the gate.
    pub async fn begin_enrolment(&self, view: &TicketView, kind: FactorKind) -> Result<EnrolmentOffer, EnrolError> {
        if !view.kinds.contains(&kind) {
            return Err(EnrolError::NotAllowed);
        }
        let factor = self.factor(kind).ok_or(EnrolError::NotAllowed)?;
        let begun = factor.begin_enrolment(&view.person, &view.enrolled, self.random.as_ref())?;
        match (begun.link, &self.devices) {
            (None, _) => self.store.begin_on_ticket(view.ticket.digest, (kind, begun.state)).await?,
            (Some(link), Some(devices)) => devices.store.invite_device(view.ticket.digest, link, begun.state).await?,
            (Some(_), None) => return Err(EnrolError::NotAllowed),
        }
        Ok(begun.offer)
    }

    /// What was begun last on this ticket, to show it again after an answer that
    /// did not fit. `None` if it is another kind, or has to be begun anew.
    pub fn offer_again(&self, view: &TicketView, kind: FactorKind) -> Option<EnrolmentOffer> {
        let (begun, state) = view.ticket.begun.as_ref()?;
        begun.is_same_factor(kind).then_some(())?;
        self.factor(kind)?.offer_again(&view.person, state)
    }

    /// Finishes what was begun last on this ticket.
    pub async fn finish_enrolment(
        &self,
        view: &TicketView,
        kind: FactorKind,
        name: &str,
        answer: &EnrolmentAnswer,
    ) -> Result<EnrolledFactor, EnrolError> {
        // What is typed from elsewhere is finished where tries are counted: what one guesses there is not one's own secret.
        if kind.is_typed_from_elsewhere() {
            return Err(EnrolError::NotAllowed);
        }
        self.finish_enrolment_by(view, kind, name, answer).await
    }

    pub(super) async fn finish_enrolment_by(
        &self,
        view: &TicketView,
        kind: FactorKind,
        name: &str,
        answer: &EnrolmentAnswer,
    ) -> Result<EnrolledFactor, EnrolError> {
        let Some((begun, state)) = &view.ticket.begun else { return Err(EnrolError::Gone) };
        if !begun.is_same_factor(kind) {
            return Err(EnrolError::Changed);
        }
        let factor = self.factor(kind).ok_or(EnrolError::NotAllowed)?;
        let at = self.clock.now();
        let done = factor.finish_enrolment(&view.person, &view.enrolled, state, answer, at).await?;
        let id: FactorId = self.id();
        let name = shown(name.trim(), NAME_LEN_MAX);
        let enrolled = EnrolledFactor {
            id,
            name: if name.is_empty() { default_name(kind) } else { name },
            enrolled_at: at,
            last_used_at: None,
            last_used_from: None,
            secret: done.secret,
        };
        let attestation = match &enrolled.secret {
            FactorSecret::Passkey(passkey) => hex::encode(&passkey.attestation),
            FactorSecret::Push(device) => {
                device.passkey.as_ref().map(|passkey| hex::encode(&passkey.attestation)).unwrap_or_default()
            }
            _ => String::new(),
        };
        let event = Event::FactorEnrolled {
            person: view.person.id.to_string(),
            factor: kind.name().to_owned(),
            factor_id: id.to_string(),
            authority: view.ticket.authority.clone(),
            key: done.key,
        };
        let details = serde_json::json!({ "name": enrolled.name, "attestation": attestation });
        let entry = self.entry_with(at, event, details);
        // A ticket for one factor ends with it, in one transaction.
        let then = if view.is_single() { TicketThen::Ends } else { TicketThen::Stays };
        self.store.enrol(view.ticket.digest, then, view.person.id, &enrolled, at, entry).await?;
        Ok(enrolled)
    }

    /// Ends an enrolment: nothing more can be added with it.
    pub async fn end_enrolment(&self, ticket: &Token) -> Result<(), StoreError> {
        self.store.end_ticket(ticket.digest(Purpose::EnrolmentTicket)).await
    }

    /// Removes one's own factor. The caller is the operation `factors.remove`, which was decided.
    pub async fn remove_factor(
        &self,
        session: &SessionView,
        factor: FactorId,
        authority: String,
    ) -> Result<(), EnrolError> {
        let person = session.person.id;
        let enrolled = self.store.factors(person).await?;
        let found = enrolled.iter().find(|one| one.id == factor).ok_or(EnrolError::Gone)?;
        let signs_in = |one: &&EnrolledFactor| {
            matches!(one.kind(), FactorKind::Password | FactorKind::Passkey(_) | FactorKind::Idp(_))
        };
        if signs_in(&found) && enrolled.iter().filter(signs_in).count() == 1 {
            return Err(EnrolError::LastWay);
        }
        let left = || enrolled.iter().filter(|one| one.id != factor);
        let short = |one: &EnrolledFactor| {
            matches!(one.secret, FactorSecret::Password { stands: PasswordStands::BesideAnother, .. })
        };
        if left().any(short) && !left().any(|one| one.kind().stands_beside_a_password()) {
            return Err(EnrolError::ShortPassword);
        }
        let leaves = left().map(|one| one.id).collect();
        let event = Event::FactorRemoved {
            person: person.to_string(),
            factor: found.kind().name().to_owned(),
            factor_id: factor.to_string(),
            authority,
        };
        let entry = self.entry(self.clock.now(), event);
        Ok(self.store.remove_factor(person, factor, leaves, entry).await?)
    }
}

/// `Authenticator app`.
fn default_name(kind: FactorKind) -> String {
    let mut letters = kind.means_title().chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
