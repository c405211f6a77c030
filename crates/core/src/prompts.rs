//! How often people are asked, by which rule, and what comes of it: counted from what the ledger holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use stepgate_evidence::{Entry, Event, FactorProof, Grant, Statement};

use crate::factor::{FactorKind, Strength};
use crate::time::Timestamp;

/// Most challenges that are counted together.
pub const CHALLENGES_MAX: usize = 1_000_000;

const DAY_MS: f64 = 86_400_000.0;

/// There are more challenges than are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {CHALLENGES_MAX} challenges: count those of a shorter time")]
pub struct TooMany;

/// Counts challenges and refusals, entry by entry in the order of the ledger.
#[derive(Debug, Default)]
pub struct Prompts {
    challenges: Vec<Asked>,
    /// Where a challenge is among them.
    by_id: HashMap<String, usize>,
    denied: Vec<Denied>,
    /// Until when a person's fresh proof counts for these rules.
    fresh: HashMap<(String, BTreeSet<String>), Timestamp>,
}

/// A challenge.
#[derive(Debug)]
struct Asked {
    at: Timestamp,
    person: String,
    resource: String,
    sensitivity: String,
    rules: BTreeSet<String>,
    /// How long its proof counts; `None` where it counts for one request, or where that was erased.
    counts_for: Option<Duration>,
    is_repeated: bool,
    /// Whether what was proved cannot be phished; `None` if nothing was.
    resists_phishing: Option<bool>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// A confirmation that waits to be spent.
    Confirmed,
    /// It made something fresh, or its request went on.
    Used,
    Ended,
}

/// Refusals that no proof would have turned.
#[derive(Debug)]
struct Denied {
    at: Timestamp,
    person: String,
    resource: String,
    rules: BTreeSet<String>,
    count: u64,
}

/// How often somebody was asked, or something asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Challenges.
    pub asked: u64,
    /// Of them, those that ended and that no decision used: not proved, or confirmed and never spent.
    pub unused: u64,
    /// Of them, those for rules that the same person had just satisfied, while that still counted: on another device,
    /// say.
    pub repeated: u64,
    /// Refusals that no proof would have turned.
    pub denied: u64,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The first and the last moment that was counted.
    pub period: Option<(Timestamp, Timestamp)>,
    /// The days between them, one at least.
    pub days: f64,
    /// All of it.
    pub total: Count,
    /// By rule, most asked first. A challenge for which several rules asked counts for each.
    pub rules: Vec<(String, Count)>,
    /// By person (their id; empty is nobody who is signed in), most asked first.
    pub people: Vec<(String, Count)>,
    /// By operation (its resource), most asked first.
    pub operations: Vec<(String, Count)>,
    /// Of the rules that were given, those that neither asked nor refused.
    pub silent: Vec<String>,
    /// Sensitive operations that were reached at lower assurance than their peers.
    pub weaker: Vec<Weaker>,
    /// Challenges that are open, or confirmed and not spent yet.
    pub open: u64,
}

/// An operation that was let through with proofs that can be phished, where others of its sensitivity never were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weaker {
    /// Its resource.
    pub operation: String,
    /// Its sensitivity.
    pub sensitivity: String,
    /// Proofs for it that can be phished.
    pub phishable: u64,
    /// All proofs for it.
    pub proofs: u64,
    /// The others.
    pub peers: Vec<String>,
}

impl Prompts {
    /// One more entry.
    pub fn add(&mut self, entry: &Entry) -> Result<(), TooMany> {
        let at = Timestamp::from_ms(entry.at_ms);
        match &entry.event {
            Event::ChallengeOpened { challenge, person, asked, policies, .. } => {
                if self.challenges.len() >= CHALLENGES_MAX {
                    return Err(TooMany);
                }
                let rules: BTreeSet<String> = policies.iter().cloned().collect();
                let before = self.fresh.get(&(person.clone(), rules.clone()));
                let opened = Asked {
                    at,
                    person: person.clone(),
                    resource: asked.resource.clone(),
                    sensitivity: asked.sensitivity.clone(),
                    is_repeated: before.is_some_and(|until| at < *until),
                    rules,
                    counts_for: counts_for(entry),
                    resists_phishing: None,
                    state: State::Open,
                };
                self.by_id.insert(challenge.clone(), self.challenges.len());
                self.challenges.push(opened);
            }
            Event::ChallengePassed { challenge, grants, proof, .. } => self.passed(at, challenge, grants, proof),
            Event::OperationSent { challenge, .. } => self.becomes(challenge, State::Used),
            Event::ChallengeFailed { challenge, .. }
            | Event::ChallengeExpired { challenge, .. }
            | Event::ChallengeCancelled { challenge, .. } => self.becomes(challenge, State::Ended),
            Event::OperationRefused { person, asked, policies, count, .. } => self.denied.push(Denied {
                at,
                person: person.clone(),
                resource: asked.resource.clone(),
                rules: policies.iter().cloned().collect(),
                count: u64::from(*count),
            }),
            _ => {}
        }
        Ok(())
    }

    fn passed(&mut self, at: Timestamp, challenge: &str, grants: &str, proof: &FactorProof) {
        let Some(passed) = self.by_id.get(challenge).and_then(|at| self.challenges.get_mut(*at)) else { return };
        passed.resists_phishing = Some(resists_phishing(proof));
        passed.state = if grants == "confirmation" { State::Confirmed } else { State::Used };
        if let Some(counts_for) = passed.counts_for {
            self.fresh.insert((passed.person.clone(), passed.rules.clone()), at.plus(counts_for));
        }
    }

    fn becomes(&mut self, challenge: &str, state: State) {
        if let Some(known) = self.by_id.get(challenge).and_then(|at| self.challenges.get_mut(*at)) {
            known.state = state;
        }
    }

    /// What was counted, held against `rules`: the ids of those that could have asked.
    pub fn summary(&self, rules: &[&str]) -> Summary {
        let mut total = Count::default();
        let (mut by_rule, mut by_person, mut by_operation) = (Counts::new(), Counts::new(), Counts::new());
        for one in &self.challenges {
            let count = Count {
                asked: 1,
                unused: u64::from(one.state == State::Ended),
                repeated: u64::from(one.is_repeated),
                denied: 0,
            };
            total.add(count);
            one.rules.iter().for_each(|rule| by_rule.entry(rule).or_default().add(count));
            by_person.entry(&one.person).or_default().add(count);
            by_operation.entry(&one.resource).or_default().add(count);
        }
        for one in &self.denied {
            let count = Count { denied: one.count, ..Count::default() };
            total.add(count);
            one.rules.iter().for_each(|rule| by_rule.entry(rule).or_default().add(count));
            by_person.entry(&one.person).or_default().add(count);
            by_operation.entry(&one.resource).or_default().add(count);
        }
        let moments = || self.challenges.iter().map(|one| one.at).chain(self.denied.iter().map(|one| one.at));
        let period = moments().min().zip(moments().max());
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a period, shown with one digit")]
        let days = period.map_or(1.0, |(first, last)| (last.as_ms().saturating_sub(first.as_ms())) as f64 / DAY_MS);
        let open = self.challenges.iter().filter(|one| matches!(one.state, State::Open | State::Confirmed)).count();
        Summary {
            period,
            days: days.max(1.0),
            total,
            silent: rules.iter().filter(|rule| !by_rule.contains_key(**rule)).map(|rule| (*rule).to_owned()).collect(),
            rules: most_first(by_rule),
            people: most_first(by_person),
            operations: most_first(by_operation),
            weaker: self.weaker(),
            open: u64::try_from(open).unwrap_or(u64::MAX),
        }
    }

    /// Operations that took proofs that can be phished, beside those of the same sensitivity that never did.
    fn weaker(&self) -> Vec<Weaker> {
        let mut proofs: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        let sensitive = self.challenges.iter().filter(|one| matches!(one.sensitivity.as_str(), "high" | "critical"));
        for one in sensitive {
            let Some(resists) = one.resists_phishing else { continue };
            let (phishable, all) = proofs.entry((&one.sensitivity, &one.resource)).or_default();
            *phishable = phishable.saturating_add(u64::from(!resists));
            *all = all.saturating_add(1);
        }
        let weaker = proofs.iter().filter(|(_, (phishable, _))| *phishable > 0);
        let weaker = weaker.map(|((sensitivity, operation), (phishable, all))| Weaker {
            operation: (*operation).to_owned(),
            sensitivity: (*sensitivity).to_owned(),
            phishable: *phishable,
            proofs: *all,
            peers: proofs
                .iter()
                .filter(|((other, _), (phishable, _))| other == sensitivity && *phishable == 0)
                .map(|((_, operation), _)| (*operation).to_owned())
                .collect(),
        });
        weaker.filter(|one| !one.peers.is_empty()).collect()
    }
}

type Counts<'a> = BTreeMap<&'a str, Count>;

impl Count {
    fn add(&mut self, more: Self) {
        self.asked = self.asked.saturating_add(more.asked);
        self.unused = self.unused.saturating_add(more.unused);
        self.repeated = self.repeated.saturating_add(more.repeated);
        self.denied = self.denied.saturating_add(more.denied);
    }
}

fn most_first(counts: Counts<'_>) -> Vec<(String, Count)> {
    let mut counts: Vec<_> = counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    counts.sort_by(|(a, x), (b, y)| (y.asked, y.denied, a).cmp(&(x.asked, x.denied, b)));
    counts
}

/// How long a fresh proof counts, as its statement says.
fn counts_for(entry: &Entry) -> Option<Duration> {
    let statement = entry.details.as_ref()?.body.get("statement")?;
    match serde_json::from_value::<Statement>(statement.clone()).ok()?.grant {
        Grant::Freshness { max_age_s } => max_age_s.parse().ok().map(Duration::from_secs),
        Grant::Confirmation { .. } => None,
    }
}

fn resists_phishing(proof: &FactorProof) -> bool {
    let resists = |strength: Strength| strength.covers(Strength::PHISHING_RESISTANT);
    match &proof.login {
        Some(login) => login.counts_as.iter().filter_map(|name| Strength::named(name)).any(resists),
        None => proof.factor.parse().is_ok_and(|kind: FactorKind| resists(kind.strength())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "ada";

    /// Entries as sentences: `<minute> <what> <challenge> …`.
    fn prompts(sentences: &[&str]) -> Prompts {
        let mut prompts = Prompts::default();
        for sentence in sentences {
            prompts.add(&entry(sentence)).unwrap();
        }
        prompts
    }

    fn entry(sentence: &str) -> Entry {
        let words: Vec<&str> = sentence.split(' ').collect();
        let at_ms = words[0].parse::<i64>().unwrap() * 60_000;
        let challenge = words[2].to_owned();
        let (session, person) = ("s".to_owned(), ADA.to_owned());
        let asked = |resource: &str| stepgate_evidence::Asked {
            service: "app".into(),
            action: "act".into(),
            resource: resource.into(),
            resource_kind: String::new(),
            sensitivity: if resource == "page" { "normal" } else { "high" }.into(),
        };
        let mut details = None;
        let event = match words[1] {
            // opened <challenge> <person> <resource> <rule> [<counts for, minutes>]
            "opened" => {
                if let Some(minutes) = words.get(6) {
                    details = Some(stepgate_evidence::Details {
                        salt: stepgate_evidence::Salt([0; 16]),
                        body: serde_json::json!({ "statement": statement(minutes.parse::<u64>().unwrap() * 60) }),
                    });
                }
                Event::ChallengeOpened {
                    challenge,
                    session,
                    person: words[3].to_owned(),
                    agent: None,
                    asked: asked(words[4]),
                    policies: words[5].split(',').map(str::to_owned).collect(),
                    policy: String::new(),
                    offered: String::new(),
                    statement: String::new(),
                    held: false,
                    succeeds: String::new(),
                }
            }
            // passed <challenge> <grants> <factor>
            "passed" => Event::ChallengePassed {
                challenge,
                session,
                person,
                asked: asked("any"),
                grants: words[3].to_owned(),
                proof: FactorProof {
                    factor: words[4].to_owned(),
                    factor_id: String::new(),
                    assertion: None,
                    user_verified: None,
                    login: None,
                    bound_to: String::new(),
                },
            },
            "sent" => Event::OperationSent {
                challenge,
                session,
                person,
                request: String::new(),
                asked: asked("any"),
                policies: Vec::new(),
                policy: String::new(),
                statement: String::new(),
                body_sha256: String::new(),
            },
            "expired" => Event::ChallengeExpired { challenge, session, person },
            "cancelled" => Event::ChallengeCancelled { challenge, session, person, reason: String::new() },
            // refused <how often> <person> <resource> <rule>
            "refused" => Event::OperationRefused {
                person: words[3].to_owned(),
                agent: None,
                asked: asked(words[4]),
                policies: vec![words[5].to_owned()],
                policy: String::new(),
                count: words[2].parse().unwrap(),
                window_s: 60,
            },
            other => panic!("{other}"),
        };
        Entry { id: String::new(), at_ms, event, details }
    }

    fn statement(max_age_s: u64) -> Statement {
        Statement {
            challenge: String::new(),
            nonce: String::new(),
            principal: String::new(),
            session: String::new(),
            asker: stepgate_evidence::Asker { kind: String::new(), address: String::new(), agent: String::new() },
            service: String::new(),
            action: String::new(),
            resource: String::new(),
            title: String::new(),
            inputs: BTreeMap::new(),
            method: String::new(),
            url: String::new(),
            content_type: String::new(),
            headers: BTreeMap::new(),
            body_sha256: String::new(),
            policies: Vec::new(),
            policy_version: String::new(),
            grant: Grant::Freshness { max_age_s: max_age_s.to_string() },
            asked_at_ms: String::new(),
            expires_at_ms: String::new(),
        }
    }

    /// `asked unused repeated denied`
    #[track_caller]
    fn check(sentences: &[&str], expected: [u64; 4]) {
        let Count { asked, unused, repeated, denied } = prompts(sentences).summary(&[]).total;
        assert_eq!([asked, unused, repeated, denied], expected, "{sentences:?}");
    }

    #[test]
    fn a_prompt_is_unused_when_it_ended_and_no_decision_rested_on_it() {
        check(&["0 opened c ada pay large", "1 passed c confirmation passkey", "1 sent c"], [1, 0, 0, 0]);
        check(&["0 opened c ada pay large", "1 passed c confirmation passkey", "6 expired c"], [1, 1, 0, 0]);
        check(&["0 opened c ada pay large", "6 expired c"], [1, 1, 0, 0]);
        check(&["0 opened c ada pay large", "6 cancelled c"], [1, 1, 0, 0]);
        check(&["0 opened c ada page fresh 5", "1 passed c freshness totp"], [1, 0, 0, 0]);
        check(&["0 opened c ada page fresh 5"], [1, 0, 0, 0]);
        assert_eq!(prompts(&["0 opened c ada page fresh 5"]).summary(&[]).open, 1);
        assert_eq!(prompts(&["0 opened c ada pay x", "1 passed c confirmation passkey"]).summary(&[]).open, 1);
    }

    #[test]
    fn a_prompt_is_a_repeat_while_the_same_persons_proof_for_the_same_rules_counts() {
        let first = ["0 opened a ada page fresh 5", "1 passed a freshness totp"];
        let then = |next: &'static str| [first[0], first[1], next];
        check(&then("5 opened b ada page fresh 5"), [2, 0, 1, 0]);
        check(&then("6 opened b ada page fresh 5"), [2, 0, 0, 0]);
        check(&then("5 opened b bob page fresh 5"), [2, 0, 0, 0]);
        check(&then("5 opened b ada page other 5"), [2, 0, 0, 0]);
        // What was asked and not proved makes nothing fresh; nor does what counts for one request.
        check(&["0 opened a ada page fresh 5", "1 opened b ada page fresh 5"], [2, 0, 0, 0]);
        check(
            &["0 opened a ada pay large", "0 passed a confirmation passkey", "1 opened b ada pay large"],
            [2, 0, 0, 0],
        );
    }

    #[test]
    fn who_was_asked_by_which_rule_is_counted_and_who_never_asked_is_named() {
        let summary = prompts(&[
            "0 opened a ada pay large,abroad",
            "1 opened b bob pay large",
            "2 refused 7 bob export closed",
            "2880 opened c ada export abroad",
        ])
        .summary(&["large", "abroad", "closed", "silent"]);
        let names = |counts: &[(String, Count)]| {
            let one = |(name, count): &(String, Count)| format!("{name} {} {}", count.asked, count.denied);
            counts.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(names(&summary.rules), ["abroad 2 0", "large 2 0", "closed 0 7"]);
        assert_eq!(names(&summary.people), ["ada 2 0", "bob 1 7"]);
        assert_eq!(names(&summary.operations), ["pay 2 0", "export 1 7"]);
        assert_eq!(summary.silent, ["silent"]);
        assert!((summary.days - 2.0).abs() < 1e-9, "{}", summary.days);
        assert_eq!(Prompts::default().summary(&[]).period, None);
    }

    #[test]
    fn an_operation_that_takes_less_than_its_peers_is_named() {
        let pay = ["0 opened a ada pay large", "1 passed a confirmation passkey", "1 sent a"];
        let weak = ["2 opened b ada export fresh 5", "3 passed b freshness totp"];
        let page = ["4 opened c ada page fresh 5", "5 passed c freshness totp"];
        let weaker = prompts(&[&pay[..], &weak, &page].concat()).summary(&[]).weaker;
        let expected = Weaker {
            operation: "export".to_owned(),
            sensitivity: "high".to_owned(),
            phishable: 1,
            proofs: 1,
            peers: vec!["pay".to_owned()],
        };
        assert_eq!(weaker, [expected]);
        assert_eq!(prompts(&weak).summary(&[]).weaker, [], "without a peer it is not lower than anything");
    }
}
