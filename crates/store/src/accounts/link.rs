//! Who somebody is at an identity provider, as provisioning says.

use stepgate_core::factor::{EnrolledFactor, FactorSecret, identity_digest};
use stepgate_core::id::{FactorId, PersonId};
use stepgate_core::person::Person;
use stepgate_core::ports::{ChangeError, ProvisionedLink};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;

use super::leaving::{LINK_TO_PROVIDER, cancel_challenges, end_sessions, record};
use super::taken;
use crate::changes::Subject;
use crate::error::Stored as _;
use crate::factors;
use crate::intent::Work;
use crate::row::Fields;

const CHANGED: &str = "identity_changed";

/// The link that provisioning keeps of somebody.
pub(super) async fn kept(work: &mut Work<'_>, person: PersonId) -> Result<Option<FactorId>, ChangeError> {
    let row = sqlx::query("SELECT id, link FROM people WHERE id = $1")
        .bind(person.to_string())
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?
        .ok_or(ChangeError::Conflict)?;
    Ok(Fields::of("people", &row).maybe_parsed("link")?)
}

/// Makes the link of somebody, whose row is taken, what it is to be. Gives it.
pub(super) async fn set(
    work: &mut Work<'_>,
    person: &Person,
    link: &ProvisionedLink,
    by: &str,
    at: Timestamp,
) -> Result<Option<FactorId>, ChangeError> {
    let id = person.id.to_string();
    let kept = kept(work, person.id).await?.map(|kept| kept.to_string());
    let rows = sqlx::query("SELECT id, provider, identity FROM factors WHERE person = $1 AND kind = $2")
        .bind(&id)
        .bind(LINK_TO_PROVIDER)
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    let wanted = link.identity.as_ref().and_then(|(factor, _)| digest(factor));
    let (mut old, mut has_it, mut others) = (None, None, false);
    for row in &rows {
        let fields = Fields::of("factors", row);
        let is_kept = kept.as_deref() == Some(fields.key());
        let is_wanted = wanted.is_some() && fields.maybe_text("identity")? == wanted;
        if is_wanted {
            has_it = Some((fields.id("id")?, is_kept));
        } else if is_kept {
            old = Some(fields.text("id")?);
        } else {
            others |= fields.maybe_text("provider")?.as_deref() == Some(link.provider.as_str());
        }
    }
    if let Some(old) = &old {
        unlink(work, person.id, old, by, at).await?;
    }
    let link = match (has_it, &link.identity) {
        (Some((link, is_kept)), _) => is_kept.then_some(link),
        (None, None) => None,
        (None, Some(_)) if others => {
            tracing::warn!(person = id, "a link to the identity provider was made by hand and stays");
            None
        }
        (None, Some((factor, entry))) => {
            let owner = sqlx::query("SELECT id FROM factors WHERE identity = $1")
                .bind(&wanted)
                .fetch_optional(&mut *work.connection)
                .await
                .stored()?;
            match owner {
                Some(_) if person.active => return Err(ChangeError::UsedBefore),
                // Whoever leaves is not kept by that.
                Some(_) => None,
                None => {
                    factors::add(work, person.id, factor).await.map_err(taken)?;
                    work.record(entry)?;
                    Some(factor.id)
                }
            }
        }
    };
    sqlx::query("UPDATE people SET link = $1 WHERE id = $2")
        .bind(link.map(|link| link.to_string()))
        .bind(&id)
        .execute(&mut *work.connection)
        .await
        .stored()?;
    work.changed(Subject::Person(person.id));
    Ok(link)
}

/// Whoever they were there, it is not them any more: nothing that rests on it goes on.
async fn unlink(
    work: &mut Work<'_>,
    person: PersonId,
    factor: &str,
    by: &str,
    at: Timestamp,
) -> Result<(), ChangeError> {
    sqlx::query("DELETE FROM factors WHERE id = $1").bind(factor).execute(&mut *work.connection).await.stored()?;
    let event = Event::FactorRemoved {
        person: person.to_string(),
        factor: LINK_TO_PROVIDER.to_owned(),
        factor_id: factor.to_owned(),
        authority: by.to_owned(),
    };
    record(work, at, event)?;
    end_sessions(work, person, None, CHANGED, by, at).await?;
    cancel_challenges(work, person, None, CHANGED, at).await
}

/// Issuer and subject, as the column has them.
fn digest(factor: &EnrolledFactor) -> Option<String> {
    match &factor.secret {
        FactorSecret::Idp(identity) => Some(hex::encode(identity_digest(&identity.issuer, &identity.subject))),
        _ => None,
    }
}
