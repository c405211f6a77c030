//! Provisioning as checkers see it that nobody here wrote.

use stepgate_testkit::scim_checkers::{self, Finding};

use crate::machines::{MACHINES, System, with_machines};
use crate::world::{Payments, World};

/// Where a checker demands what the standard does not.
struct Errs {
    checker: &'static str,
    title: &'static str,
    /// What its reason says, so that another failure of the same check is none of these.
    says: &'static str,
    /// The sentence that it does not keep to.
    sentence: &'static str,
}

/// One address is kept, and told as `work` and `primary` though the checker said neither; a member is told with its
/// name, which is read-only; an account is in service or it is not, whatever is removed.
const ERRS: [Errs; 8] = [
    Errs { checker: "scim2-tester", title: "User check_add_attribute", says: "'emails'", sentence: FREE_TO_ALTER },
    Errs { checker: "scim2-tester", title: "User check_replace_attribute", says: "'emails'", sentence: FREE_TO_ALTER },
    Errs {
        checker: "scim2-tester",
        title: "User check_remove_attribute",
        says: "did not remove attribute 'active'",
        sentence: "RFC 7643, 4.1.1: The definitive meaning of this attribute is determined by the service provider.",
    },
    Errs { checker: "scim2-tester", title: "Group check_add_attribute", says: "'members'", sentence: FREE_TO_ALTER },
    Errs {
        checker: "scim2-tester",
        title: "Group check_replace_attribute",
        says: "'members'",
        sentence: FREE_TO_ALTER,
    },
    Errs { checker: "scim-sanity", title: "PATCH /Groups/{id}", says: "got 204", sentence: NO_CONTENT },
    Errs { checker: "scim-sanity", title: "PATCH /Groups/{id} remove members", says: "got 204", sentence: NO_CONTENT },
    Errs {
        checker: "scim-sanity",
        title: "PATCH /Groups/{id} add member",
        // It adds an identifier that it made up.
        says: "got 400",
        sentence: "RFC 7643, 4.2: The \"value\" sub-attribute contains the value of an \"id\" attribute of a SCIM resource",
    },
];

const FREE_TO_ALTER: &str = "RFC 7644, 3.3: Since the server is free to alter and/or ignore POSTed content, returning the \
     full representation can be useful to the client";
const NO_CONTENT: &str = "RFC 7644, 3.5.2: the server either MUST return a 200 OK response code and the entire resource \
     within the response body, [...] or MAY return HTTP status code 204 (No Content)";

/// What is not looked at, because it is declared not to be there, or is of no standard yet.
const SKIPPED: [&str; 5] = [
    "User search_with_attributes",
    "Group search_with_attributes",
    "Agent CRUD Lifecycle",
    "AgenticApplication CRUD Lifecycle",
    "Agent Rapid Lifecycle",
];

fn is_explained(finding: &Finding) -> bool {
    let errs =
        |one: &&Errs| one.checker == finding.checker && one.title == finding.title && finding.reason.contains(one.says);
    match ERRS.iter().find(errs) {
        Some(errs) => {
            println!("{} at \"{}\", but {}", errs.checker, errs.title, errs.sentence);
            true
        }
        None => matches!(finding.verdict.as_str(), "SKIPPED" | "SKIP") && SKIPPED.contains(&finding.title.as_str()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkers_of_scim_servers_find_nothing_that_the_standard_demands() {
    let payments = Payments::start().await;
    let world = World::start(with_machines(&payments, MACHINES)).await;
    let directory = System::new(&world, "checkers", &["scim"], &[]);
    let url = format!("http://{}/scim/v2", world.gate.machines.unwrap());
    let token = directory.token().to_owned();
    let findings = tokio::task::spawn_blocking(move || scim_checkers::check(&url, &token)).await.unwrap();
    let (good, other): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.is_good());
    let wrong: Vec<_> = other.iter().filter(|finding| !is_explained(finding)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Both went all the way.
    for (checker, at_least) in [("scim2-tester", 50), ("scim-sanity", 20)] {
        let content = good.iter().filter(|finding| finding.checker == checker).count();
        assert!(content >= at_least, "{checker} was content {content} times");
    }
    world.verified_evidence();
}
