//! People whom another system governs, their groups, and the tokens of machines.

use stepgate_core::challenge::{ChallengeState, GrantKind};
use stepgate_core::factor::{FactorSecret, Identity, identity_digest};
use stepgate_core::machine::{Machine, MachineName, Scope};
use stepgate_core::person::Login;
use stepgate_core::ports::{
    Account, AccountChange, Accounts as _, ChangeError, EntryQuery, Group, GroupChange, MembersChange, Part,
    Provisioned, ProvisionedLink, Sought, Store as _,
};
use stepgate_core::provider::ProviderName;
use stepgate_evidence::Event;

use crate::house::{House, MINUTE, SignedIn, is_conflict, is_limit, is_used_before, until};

const ALL: Part = Part { skip: 0, limit: 1_000 };
const BY: &str = "machine:entra";

impl House {
    fn an_account(&self, login: &str) -> Account {
        let mut person = self.somebody(login);
        person.groups.clear();
        let provisioned = Provisioned {
            external_id: Some(format!("00u-{login}")),
            active: true,
            given_name: "A".to_owned(),
            family_name: "B".to_owned(),
        };
        Account {
            person,
            provisioned,
            link: None,
            blocked: false,
            version: 1,
            added_at: self.now(),
            changed_at: self.now(),
        }
    }

    async fn account(&self, login: &str) -> Account {
        let account = self.an_account(login);
        self.store.add_account(&account, None, self.said("added")).await.unwrap();
        account
    }

    /// An account that is signed in with a password.
    async fn account_at_work(&self, login: &str) -> SignedIn {
        let account = self.account(login).await;
        let factor = self.enrol(account.person.id, self.password("$argon2id$x")).await.unwrap();
        self.sign_in(&account.person, factor).await
    }

    fn a_group(&self, name: &str) -> Group {
        Group {
            id: self.id(),
            name: name.to_owned(),
            external_id: None,
            version: 1,
            added_at: self.now(),
            changed_at: self.now(),
        }
    }

    fn change_of(&self, account: &Account) -> AccountChange {
        AccountChange {
            person: account.person.clone(),
            provisioned: account.provisioned.clone(),
            link: None,
            version: account.version,
            at: self.now(),
            by: "machine:hr".to_owned(),
        }
    }

    async fn deactivate(&self, who: &SignedIn) -> Result<(), ChangeError> {
        self.store.set_blocked(who.person.id, true, "machine:hr", self.now(), vec![self.said("left")]).await
    }

    async fn groups_of(&self, who: &SignedIn) -> Vec<String> {
        self.look(who.token).await.unwrap().person.groups.clone()
    }
}

pub(crate) async fn an_account_reads_back_as_it_was_added(house: House) {
    let account = house.account("alice").await;
    assert_eq!(house.store.account(account.person.id).await.unwrap().as_ref(), Some(&account));
    assert_eq!(house.store.person_by_login(&account.person.login).await.unwrap(), Some(account.person));
    assert_eq!(house.store.account(house.id()).await.unwrap(), None);
}

pub(crate) async fn a_link_of_provisioning_follows_it_and_ends_what_rested_on_it(house: House) {
    let link = |subject: &str| {
        let provider = ProviderName::parse("corp").unwrap();
        let issuer = "https://id.example".to_owned();
        let identity = Identity { provider: provider.clone(), issuer, subject: subject.to_owned() };
        let identity = (house.factor(FactorSecret::Idp(identity)), house.said("linked"));
        Some(ProvisionedLink { provider, identity: Some(identity) })
    };
    let who = |subject: &str| {
        let digest = identity_digest("https://id.example", subject);
        let store = &house.store;
        async move { store.person_by_identity(digest).await.unwrap().map(|(person, _)| person) }
    };
    let mut ada = house.an_account("ada");
    ada.link = house.store.add_account(&ada, link("1"), house.said("added")).await.unwrap();
    assert!(ada.link.is_some() && who("1").await == Some(ada.person.id));
    assert_eq!(house.store.account(ada.person.id).await.unwrap().as_ref(), Some(&ada));
    is_used_before(house.store.add_account(&house.an_account("eve"), link("1"), house.said("eve")).await);
    assert_eq!(house.store.person_by_login(&Login::parse("eve").unwrap()).await.unwrap(), None);

    let factor = house.enrol(ada.person.id, house.password("$argon2id$x")).await.unwrap();
    let at_work = house.sign_in(&ada.person, factor).await;
    // The same again changes nothing of it, and nobody is signed out.
    let kept = house.store.change_account(AccountChange { link: link("1"), ..house.change_of(&ada) }, vec![]).await;
    assert_eq!(kept.unwrap(), ada.link);
    assert!(house.look(at_work.token).await.is_some());
    ada.version = 2;
    let changed = house.store.change_account(AccountChange { link: link("2"), ..house.change_of(&ada) }, vec![]).await;
    assert_ne!(changed.unwrap(), ada.link);
    assert_eq!((who("1").await, who("2").await), (None, Some(ada.person.id)));
    assert!(house.look(at_work.token).await.is_none());
    // A transaction that fails leaves all as it was.
    ada.version = 9;
    is_conflict(house.store.change_account(AccountChange { link: link("3"), ..house.change_of(&ada) }, vec![]).await);
    assert_eq!((who("3").await, who("2").await), (None, Some(ada.person.id)));
}

pub(crate) async fn a_login_is_taken_whoever_governs_it(house: House) {
    house.person("alice").await;
    house.account("bob").await;
    for login in ["alice", "bob"] {
        is_used_before(house.store.add_account(&house.an_account(login), None, house.said("twin")).await);
    }
    let carol = house.account("carol").await;
    let mut change = house.change_of(&carol);
    change.person.login = Login::parse("alice").unwrap();
    is_used_before(house.store.change_account(change, vec![house.said("twin")]).await);
    assert_eq!(house.count_said("twin").await, 0);
    assert_eq!(house.store.account(carol.person.id).await.unwrap(), Some(carol));
}

pub(crate) async fn who_was_added_by_hand_is_no_account_until_handed_over(house: House) {
    let alice = house.person("alice").await;
    assert_eq!(house.store.account(alice.id).await.unwrap(), None);
    assert_eq!(house.store.governed(&alice.login).await.unwrap(), Some(false));
    let mut account = house.an_account("alice");
    account.person.id = alice.id;
    account.provisioned.active = false;
    is_conflict(house.store.change_account(house.change_of(&account), Vec::new()).await);
    is_conflict(house.store.remove_account(alice.id, 1, "machine:hr", house.now(), house.said("gone")).await);
    let group = house.a_group("g");
    is_conflict(house.store.add_group(&group, &[alice.id], BY, house.said("group")).await);
    house.store.govern(alice.id, true, house.said("handed over")).await.unwrap();
    is_conflict(house.store.govern(alice.id, true, house.said("again")).await);
    assert_eq!(house.store.account(alice.id).await.unwrap().unwrap().person, alice);
    house.store.add_group(&group, &[alice.id], BY, house.said("group")).await.unwrap();
    house.store.govern(alice.id, false, house.said("taken back")).await.unwrap();
    assert_eq!(house.store.person(alice.id).await.unwrap().unwrap().groups, alice.groups);
    assert_eq!(house.store.governed(&Login::parse("nobody").unwrap()).await.unwrap(), None);
}

pub(crate) async fn accounts_are_found_and_come_in_parts(house: House) {
    let mut ids = Vec::new();
    for login in ["dan", "alice", "carol", "bob"] {
        ids.push(house.account(login).await.person.id);
    }
    house.person("eve").await;
    let names = async |which: &Sought, part| {
        let found = house.store.accounts(which, part).await.unwrap();
        found.into_iter().map(|account| account.person.login.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&Sought::All, ALL).await, ["alice", "bob", "carol", "dan"]);
    assert_eq!(names(&Sought::All, Part { skip: 1, limit: 2 }).await, ["bob", "carol"]);
    assert_eq!(house.store.count_accounts(&Sought::All).await.unwrap(), 4);
    assert_eq!(names(&Sought::Named("ALICE".into()), ALL).await, ["alice"]);
    assert_eq!(names(&Sought::Named("not a login".into()), ALL).await, [""; 0]);
    assert_eq!(names(&Sought::ExternalId("00u-bob".into()), ALL).await, ["bob"]);
    assert_eq!(names(&Sought::ExternalId("00U-bob".into()), ALL).await, [""; 0]);
    let group = house.a_group("staff");
    house.store.add_group(&group, &ids[..2], BY, house.said("group")).await.unwrap();
    assert_eq!(names(&Sought::MemberOf(group.id), ALL).await, ["alice", "dan"]);
    assert_eq!(house.store.count_accounts(&Sought::MemberOf(group.id)).await.unwrap(), 2);
}

pub(crate) async fn a_change_of_an_account_needs_the_version_that_was_read(house: House) {
    let alice = house.account("alice").await;
    let mut change = house.change_of(&alice);
    change.person.login = Login::parse("alice.b").unwrap();
    change.person.name = "Alice B".to_owned();
    change.provisioned.external_id = None;
    house.clock.advance(MINUTE);
    change.at = house.now();
    house.store.change_account(change.clone(), vec![house.said("changed")]).await.unwrap();
    let read = house.store.account(alice.person.id).await.unwrap().unwrap();
    assert_eq!((read.person.clone(), read.provisioned), (change.person.clone(), change.provisioned.clone()));
    assert_eq!((read.version, read.added_at, read.changed_at), (2, alice.added_at, house.now()));
    is_conflict(house.store.change_account(change, vec![house.said("changed")]).await);
    assert_eq!(house.count_said("changed").await, 1);
}

pub(crate) async fn who_becomes_inactive_loses_all_in_one_transaction(house: House) {
    let alice = house.account_at_work("alice").await;
    house.enrol(alice.person.id, house.totp()).await.unwrap();
    let again = house.sign_in(&alice.person, alice.factor).await;
    let link = house.link(alice.person.id);
    house.store.put_link(&link, house.said("link")).await.unwrap();
    let ticket = house.ticket(alice.person.id, &[stepgate_core::factor::FactorKind::Totp]).await;
    let pending = house.opened(&alice, GrantKind::Freshness).await;
    let held = house.holding(&alice, GrantKind::Confirmation).await;
    let passed = house.pass(&held, &alice).await;
    assert!(house.look(alice.token).await.is_some());

    let account = house.store.account(alice.person.id).await.unwrap().unwrap();
    let mut change = house.change_of(&account);
    change.provisioned.active = false;
    house.store.change_account(change, vec![house.said("changed")]).await.unwrap();

    for token in [alice.token, again.token] {
        assert!(house.look(token).await.is_none());
    }
    assert!(house.store.factors(alice.person.id).await.unwrap().is_empty());
    assert!(house.store.sessions(alice.person.id, house.now()).await.unwrap().is_empty());
    assert!(house.store.link(link.digest, house.now()).await.unwrap().is_none());
    assert!(house.store.ticket(ticket.digest, ticket.browser, house.now()).await.unwrap().is_none());
    for id in [pending.id, held.id] {
        assert!(matches!(house.read(id).await.state, ChallengeState::Cancelled { .. }));
        assert!(house.store.held(id).await.unwrap().is_none());
    }
    is_conflict(house.store.spend(house.spend(&passed), house.said("spent")).await);
    let events: Vec<Event> = house.all().await.into_iter().map(|entry| entry.entry.event).collect();
    let count = |is: &dyn Fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
    assert_eq!(
        count(&|event| matches!(event, Event::SessionEnded { reason, by, .. }
        if reason == "person_deactivated" && by == "machine:hr")),
        2
    );
    assert_eq!(count(&|event| matches!(event, Event::FactorRemoved { authority, .. } if authority == "machine:hr")), 2);
    assert_eq!(count(&|event| matches!(event, Event::ChallengeCancelled { .. })), 2);
    assert_eq!(count(&|event| matches!(event, Event::PersonDeactivated { sessions: 2, factors: 2, .. })), 1);
    assert_eq!(house.count_said("changed").await, 1);
}

pub(crate) async fn nothing_begins_for_who_is_inactive(house: House) {
    let alice = house.account_at_work("alice").await;
    house.deactivate(&alice).await.unwrap();
    is_conflict(house.deactivate(&alice).await);
    is_conflict(house.enrol(alice.person.id, house.totp()).await);
    is_conflict(house.store.put_link(&house.link(alice.person.id), house.said("link")).await);
    let used = (alice.factor, stepgate_core::factor::FactorUse::Nothing);
    let session = house.new_session(alice.person.id, stepgate_core::factor::FactorKind::Password, used);
    is_conflict(house.store.start_session(session, vec![house.said("in")]).await);
    assert_eq!(house.count_said("left").await, 1);
}

pub(crate) async fn who_comes_back_begins_without_factors(house: House) {
    let alice = house.account_at_work("alice").await;
    house.deactivate(&alice).await.unwrap();
    house.store.set_blocked(alice.person.id, false, "machine:hr", house.now(), Vec::new()).await.unwrap();
    assert!(house.look(alice.token).await.is_none());
    assert!(house.store.factors(alice.person.id).await.unwrap().is_empty());
    let factor = house.enrol(alice.person.id, house.password("$argon2id$new")).await.unwrap();
    let back = house.sign_in(&alice.person, factor).await;
    assert!(house.look(back.token).await.is_some());
    assert!(house.all().await.iter().any(|entry| matches!(entry.entry.event, Event::PersonActivated { .. })));
}

pub(crate) async fn a_deactivation_reaches_the_other_node_and_what_is_open_there(house: House) {
    let alice = house.account_at_work("alice").await;
    let other = house.another_node(9).await;
    let look = || async { other.session(alice.token, &stepgate_core::session::Audience::Gate, house.now()).await };
    assert!(look().await.unwrap().is_some());
    let open = tokio::spawn({
        let (other, session) = (std::sync::Arc::clone(&other), alice.session);
        async move { other.ended(session).await }
    });
    house.deactivate(&alice).await.unwrap();
    until("the other node knows", || async { look().await.unwrap().is_none() }).await;
    tokio::time::timeout(crate::house::AT_MOST, open).await.expect("what was open ends").unwrap();
}

pub(crate) async fn b103_no_directory_lifts_what_was_blocked_by_hand(house: House) {
    let alice = house.account_at_work("alice").await;
    let id = alice.person.id;
    let block = async |blocked| {
        house.store.set_blocked(id, blocked, "cli:root", house.now(), vec![house.said("by hand")]).await
    };
    let says = async |active| {
        let mut account = house.store.account(id).await.unwrap().unwrap();
        account.provisioned.active = active;
        account.person.active = active;
        house.store.change_account(house.change_of(&account), Vec::new()).await.unwrap();
        let now = house.store.account(id).await.unwrap().unwrap();
        assert_eq!(now.provisioned.active, active, "what it says is kept");
        now.person.active
    };
    block(true).await.unwrap();
    is_conflict(block(true).await);
    assert!(house.look(alice.token).await.is_none());
    // As Okta does: the whole user again, and as Entra does: off and on.
    assert!(!says(true).await && !says(false).await && !says(true).await);
    is_conflict(house.store.put_link(&house.link(id), house.said("link")).await);
    let came_back = async || {
        let all = house.all().await;
        all.iter().filter(|entry| matches!(entry.entry.event, Event::PersonActivated { .. })).count()
    };
    assert_eq!(came_back().await, 0);
    block(false).await.unwrap();
    assert!(house.store.person(id).await.unwrap().unwrap().active);
    assert_eq!((came_back().await, house.count_said("by hand").await), (1, 2));

    // Nor does a hand that lifts a block speak for the directory; changing hands lets nobody in.
    assert!(!says(false).await);
    block(true).await.unwrap();
    block(false).await.unwrap();
    let active = async || house.store.person(id).await.unwrap().unwrap().active;
    assert!(!active().await);
    house.store.govern(id, false, house.said("by hand")).await.unwrap();
    assert!(!active().await);
    block(false).await.unwrap();
    assert!(active().await);
}

pub(crate) async fn b104_who_is_deleted_leaves_as_who_is_deactivated_does(house: House) {
    let alice = house.account_at_work("alice").await;
    let held = house.holding(&alice, GrantKind::Confirmation).await;
    let asked = house.opened(&alice, GrantKind::Freshness).await;
    let identity = Identity {
        provider: ProviderName::parse("corp").unwrap(),
        issuer: "https://id.example".to_owned(),
        subject: "00u1".to_owned(),
    };
    let identity = house.factor(FactorSecret::Idp(identity));
    house.store.add_identity(alice.person.id, &identity, house.said("linked")).await.unwrap();
    let (id, version) = (alice.person.id, house.store.account(alice.person.id).await.unwrap().unwrap().version);
    house.store.remove_account(id, version, "machine:hr", house.now(), house.said("removed")).await.unwrap();
    let all = house.all().await;
    for id in [held.id, asked.id] {
        let cancelled = |event: &Event| {
            matches!(event, Event::ChallengeCancelled { challenge, reason, .. }
                if *challenge == id.to_string() && reason == "person_removed")
        };
        assert_eq!(all.iter().filter(|entry| cancelled(&entry.entry.event)).count(), 1);
    }
    let gone: Vec<_> = all
        .iter()
        .filter_map(|entry| match &entry.entry.event {
            Event::FactorRemoved { factor, authority, .. } if authority == "machine:hr" => Some(factor.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(gone, ["password", "idp"]);
}

pub(crate) async fn a_removed_account_takes_its_sessions_along_with_entries(house: House) {
    let alice = house.account_at_work("alice").await;
    let remove = |version| {
        house.store.remove_account(alice.person.id, version, "machine:hr", house.now(), house.said("removed"))
    };
    is_conflict(remove(7).await);
    assert!(house.look(alice.token).await.is_some());
    remove(1).await.unwrap();
    assert!(house.look(alice.token).await.is_none());
    assert_eq!(house.store.person(alice.person.id).await.unwrap(), None);
    let ended = |event: &Event| matches!(event, Event::SessionEnded { reason, .. } if reason == "person_removed");
    assert_eq!(house.all().await.iter().filter(|entry| ended(&entry.entry.event)).count(), 1);
    assert_eq!(house.count_said("removed").await, 1);
}

pub(crate) async fn a_group_reads_back_and_its_name_is_its_own(house: House) {
    let group = Group { external_id: Some("x".into()), ..house.a_group("Payments Approvers") };
    house.store.add_group(&group, &[], BY, house.said("group")).await.unwrap();
    assert_eq!(house.store.group(group.id).await.unwrap().as_ref(), Some(&group));
    is_used_before(house.store.add_group(&house.a_group("payments approvers"), &[], BY, house.said("twin")).await);
    let other = house.a_group("other");
    house.store.add_group(&other, &[], BY, house.said("group")).await.unwrap();
    let named = house.store.groups(&Sought::Named("PAYMENTS approvers".into()), ALL).await.unwrap();
    assert_eq!(named, std::slice::from_ref(&group));
    assert_eq!(house.store.groups(&Sought::ExternalId("x".into()), ALL).await.unwrap(), [group]);
    assert_eq!(house.store.count_groups(&Sought::All).await.unwrap(), 2);
    assert_eq!(house.count_said("twin").await, 0);
}

pub(crate) async fn members_of_a_group_are_in_it_at_once_and_no_longer_than_that(house: House) {
    let (alice, bob) = (house.account_at_work("alice").await, house.account_at_work("bob").await);
    let group = house.a_group("approvers");
    house.store.add_group(&group, &[alice.person.id], BY, house.said("group")).await.unwrap();
    assert_eq!(house.groups_of(&alice).await, ["approvers"]);
    assert_eq!(house.groups_of(&bob).await, [""; 0]);
    let mut change = GroupChange {
        id: group.id,
        version: 1,
        name: "payment-approvers".to_owned(),
        external_id: Some("g1".to_owned()),
        members: MembersChange::Differ { add: vec![bob.person.id, alice.person.id], remove: vec![house.id()] },
        at: house.now(),
        by: BY.to_owned(),
    };
    house.store.change_group(change.clone(), house.said("changed")).await.unwrap();
    for who in [&alice, &bob] {
        assert_eq!(house.groups_of(who).await, ["payment-approvers"]);
    }
    is_conflict(house.store.change_group(change.clone(), house.said("changed")).await);
    change.version = 2;
    change.members = MembersChange::Are(vec![bob.person.id]);
    house.store.change_group(change.clone(), house.said("changed")).await.unwrap();
    assert_eq!(house.groups_of(&alice).await, [""; 0]);
    change.version = 3;
    change.members = MembersChange::Are(vec![house.id()]);
    is_conflict(house.store.change_group(change, house.said("changed")).await);
    assert_eq!(house.groups_of(&bob).await, ["payment-approvers"]);
    is_conflict(house.store.remove_group(group.id, 2, BY, house.now(), house.said("removed")).await);
    house.store.remove_group(group.id, 3, BY, house.now(), house.said("removed")).await.unwrap();
    assert_eq!(house.groups_of(&bob).await, [""; 0]);
    assert_eq!(house.count_said("changed").await + house.count_said("removed").await, 3);
}

pub(crate) async fn a_provisioned_name_is_not_kept_when_somebody_writes_the_person_back(house: House) {
    let alice = house.account("alice").await.person;
    let group = house.a_group("approvers");
    house.store.add_group(&group, &[alice.id], BY, house.said("group")).await.unwrap();
    let mut read = house.store.person(alice.id).await.unwrap().unwrap();
    assert_eq!(read.groups, ["approvers"]);
    read.groups.push("finance".to_owned());
    house.store.change_person(&read, house.said("by hand")).await.unwrap();
    assert_eq!(house.store.person(alice.id).await.unwrap().unwrap().groups, ["approvers", "finance"]);
    house.store.remove_group(group.id, 1, BY, house.now(), house.said("removed")).await.unwrap();
    assert_eq!(house.store.person(alice.id).await.unwrap().unwrap().groups, ["finance"]);
}

pub(crate) async fn a_large_group_changes_for_everybody_at_once(house: House) {
    let mut members = Vec::new();
    for number in 0..510 {
        members.push(house.account(&format!("p{number}")).await.person.id);
    }
    let last = house.store.account(members[509]).await.unwrap().unwrap().person;
    let factor = house.enrol(last.id, house.password("$argon2id$x")).await.unwrap();
    let last = house.sign_in(&last, factor).await;
    let other = house.another_node(9).await;
    let groups = || async {
        let gate = stepgate_core::session::Audience::Gate;
        other.session(last.token, &gate, house.now()).await.unwrap().unwrap().person.groups.clone()
    };
    assert!(groups().await.is_empty());
    let group = house.a_group("everybody");
    house.store.add_group(&group, &members, BY, house.said("group")).await.unwrap();
    until("the other node knows", || async { groups().await == ["everybody"] }).await;
    assert_eq!(house.store.count_accounts(&Sought::MemberOf(group.id)).await.unwrap(), 510);
}

impl House {
    /// Whom entries named as having come into a group or the like, in order of entries.
    async fn told_of_members(&self) -> Vec<(String, Vec<String>)> {
        let told = |recorded: stepgate_core::ports::RecordedEntry| match recorded.entry.event {
            Event::GroupMembers { change, people, by, .. } => {
                assert_eq!(by, BY);
                Some((change, people))
            }
            _ => None,
        };
        self.all().await.into_iter().filter_map(told).collect()
    }
}

pub(crate) async fn everybody_whose_groups_change_is_named_and_found(house: House) {
    let (alice, bob) = (house.account("alice").await.person.id, house.account("bob").await.person.id);
    let carol = house.account("carol").await.person.id;
    let group = house.a_group("approvers");
    house.store.add_group(&group, &[alice], BY, house.said("group")).await.unwrap();
    let change = |version, name: &str, members| GroupChange {
        id: group.id,
        version,
        name: name.to_owned(),
        external_id: None,
        members,
        at: house.now(),
        by: BY.to_owned(),
    };
    // Who is there already does not come, who is not there does not go, and who does both goes.
    let members = MembersChange::Differ { add: vec![alice, bob, carol], remove: vec![carol, house.id()] };
    house.store.change_group(change(1, "approvers", members), house.said("changed")).await.unwrap();
    let members = MembersChange::Are(vec![bob, carol]);
    house.store.change_group(change(2, "payers", members), house.said("changed")).await.unwrap();
    house.store.remove_group(group.id, 3, BY, house.now(), house.said("removed")).await.unwrap();
    let mut last = [bob.to_string(), carol.to_string()];
    last.sort_unstable();
    let named = [
        ("came", vec![alice.to_string()]),
        ("came", vec![bob.to_string()]),
        ("went", vec![alice.to_string()]),
        ("renamed", vec![bob.to_string()]),
        ("came", vec![carol.to_string()]),
        ("went", last.to_vec()),
    ];
    assert_eq!(house.told_of_members().await, named.map(|(change, people)| (change.to_owned(), people)));
    let about = EntryQuery { person: Some(bob), kinds: vec!["group.members".to_owned()], ..EntryQuery::default() };
    let found = house.store.entries(EntryQuery { limit: 100, ..about }).await.unwrap();
    assert_eq!(found.len(), 3, "whoever looks for a person finds the changes of their groups");
}

pub(crate) async fn of_a_large_change_nobody_stays_unnamed(house: House) {
    let mut members = Vec::new();
    for number in 0..1_010 {
        members.push(house.account(&format!("p{number}")).await.person.id);
    }
    let group = house.a_group("everybody");
    house.store.add_group(&group, &members, BY, house.said("group")).await.unwrap();
    house.store.remove_group(group.id, 1, BY, house.now(), house.said("removed")).await.unwrap();
    let mut expected: Vec<String> = members.iter().map(ToString::to_string).collect();
    expected.sort_unstable();
    for change in ["came", "went"] {
        let query = EntryQuery { kinds: vec!["group.members".to_owned()], limit: 100, ..EntryQuery::default() };
        let told = house.store.entries(query).await.unwrap();
        let (mut named, mut largest) = (Vec::new(), 0);
        for recorded in told {
            let Event::GroupMembers { change: what, people, .. } = recorded.entry.event else { continue };
            if what == change {
                largest = largest.max(people.len());
                named.extend(people);
            }
        }
        named.sort_unstable();
        assert_eq!(named, expected, "{change}");
        assert_eq!(largest, 500);
    }
}

pub(crate) async fn nobody_is_in_more_groups_than_the_limit(house: House) {
    let alice = house.account("alice").await.person.id;
    for number in 0..500 {
        let group = house.a_group(&format!("g{number}"));
        house.store.add_group(&group, &[alice], BY, house.said("group")).await.unwrap();
    }
    is_limit(house.store.add_group(&house.a_group("one more"), &[alice], BY, house.said("too many")).await);
    assert_eq!(house.store.count_groups(&Sought::With(alice)).await.unwrap(), 500);
    assert_eq!(house.count_said("too many").await, 0);
}

pub(crate) async fn a_machine_is_known_by_its_token_until_it_is_revoked(house: House) {
    let machine = Machine {
        name: MachineName::parse("entra").unwrap(),
        scopes: vec![Scope::Scim, Scope::SignalsPush],
        transmitter: "corp".to_owned(),
        added_at: house.now(),
        expires_at: Some(house.now().plus(MINUTE)),
    };
    let token = house.digest();
    house.store.add_machine(&machine, token, house.said("machine")).await.unwrap();
    is_used_before(house.store.add_machine(&machine, house.digest(), house.said("twin")).await);
    assert_eq!(house.store.machine(token).await.unwrap().as_ref(), Some(&machine));
    assert_eq!(house.store.machine(house.digest()).await.unwrap(), None);
    assert_eq!(house.store.machines().await.unwrap(), std::slice::from_ref(&machine));
    let other = house.another_node(9).await;
    house.store.remove_machine(&machine.name, house.said("revoked")).await.unwrap();
    assert_eq!(other.machine(token).await.unwrap(), None);
    is_conflict(house.store.remove_machine(&machine.name, house.said("revoked")).await);
    assert_eq!(house.count_said("machine").await + house.count_said("revoked").await, 2);
}
