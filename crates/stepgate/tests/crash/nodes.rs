//! Which nodes there are, as everybody in the test's process knows them.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::life::Killer;
use stepgate::system::monotonic;

/// What is known of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// How often it was started: its processes are numbered.
    pub(crate) life: u32,
    /// Whether it serves.
    pub(crate) serves: bool,
    /// Whether its policy asks for medium payments; `None` while it reads its policies again.
    pub(crate) is_strict: Option<bool>,
}

/// The nodes of a deployment, each with the killer of its process.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: Mutex<Vec<(Node, Option<Killer>)>>,
    refusals: AtomicUsize,
}

/// At which processes something was done, and when.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    node: usize,
    nodes: Vec<Node>,
    at: Duration,
}

/// Other nodes know of a change within a second; tenfold, for a loaded machine.
const OTHERS_KNOW_AFTER: Duration = Duration::from_secs(10);

impl Nodes {
    /// So many, none of which serves.
    pub(crate) fn new(count: usize) -> Self {
        Self { nodes: Mutex::new(vec![(Node::default(), None); count]), refusals: AtomicUsize::new(0) }
    }

    /// What is known of this one.
    pub(crate) fn get(&self, node: usize) -> Node {
        known(&self.nodes.lock()[node])
    }

    /// Changes what is known of this one.
    pub(crate) fn change(&self, node: usize, change: impl FnOnce(&mut Node)) {
        change(&mut self.nodes.lock()[node].0);
    }

    /// This one begins another life.
    pub(crate) fn begin(&self, node: usize, is_strict: bool, killer: Killer) {
        let (known, its) = &mut self.nodes.lock()[node];
        *known = Node { life: known.life + 1, serves: false, is_strict: Some(is_strict) };
        *its = Some(killer);
    }

    /// Completes when the process that is this one's now is gone.
    pub(crate) async fn gone(&self, node: usize) {
        let killer = self.nodes.lock()[node].1.clone();
        if let Some(killer) = killer {
            killer.gone().await;
        }
    }

    /// The first other one that serves, or the same.
    pub(crate) fn another_than(&self, node: usize) -> usize {
        let nodes = self.nodes.lock();
        let others = (0..nodes.len()).filter(|other| *other != node && known(&nodes[*other]).serves);
        others.min().unwrap_or(node)
    }

    /// A node said that it cannot do now what it was asked.
    pub(crate) fn count_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// How often one said so.
    pub(crate) fn refusals(&self) -> usize {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Now, at this node.
    pub(crate) fn moment(&self, node: usize) -> Moment {
        Moment { node, nodes: self.nodes.lock().iter().map(known).collect(), at: monotonic() }
    }

    /// Whether a node must know by now what was acknowledged at that moment.
    pub(crate) fn must_know(&self, node: usize, then: &Moment) -> bool {
        let is_the_same = node == then.node;
        let began_later = self.get(node).life != then.nodes[node].life;
        is_the_same || began_later || monotonic().saturating_sub(then.at) > OTHERS_KNOW_AFTER
    }
}

/// Who is dead does not serve.
fn known((node, killer): &(Node, Option<Killer>)) -> Node {
    let lives = killer.as_ref().is_some_and(|killer| killer.end().is_none());
    Node { serves: node.serves && lives, ..*node }
}
