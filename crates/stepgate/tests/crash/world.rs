//! A deployment that lives through many rounds. In each of them one node dies, or both;
//! people go on at the other one, and the audit goes on from round to round.

use std::sync::Arc;
use std::time::Duration;

use stepgate::gate::House;
use stepgate_core::ports::{LeafDetails, Store as _};
use stepgate_evidence::verify::{self, Report};
use stepgate_ledger::export::{Reader, Writer};
use stepgate_ledger::verify::Trust;
use stepgate_ledger::{CheckpointVerifier, SignedCheckpoint};
use tokio::time::{sleep, timeout};

use crate::audit::{Audit, Known, Violation, violated};
use crate::boundary::{AtCommit, Boundary, Plan};
use crate::chance::Chance;
use crate::client::{Browser, Way};
use crate::deployment::{Backend, Deployment, close};
use crate::dying::Without;
use crate::gate;
use crate::life::{End, Killer, Life, Orders};
use crate::nodes::Nodes;
use crate::person::{Done, Payer};
use crate::round::Round;

/// People who work at the same time.
const PAYERS: usize = 2;
/// A gate that says nothing for so long hangs.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(60);
/// Leaves that are read at once.
const PAGE: u32 = 1000;

/// The deployment with all that is known of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) deployment: Deployment,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) lives: Vec<Option<Life>>,
    pub(crate) payers: Vec<Payer>,
    pub(crate) chance: Chance,
    /// What must be true.
    pub(crate) audit: Audit,
    /// Heard in rounds whose entries are not read yet.
    pending: Vec<Known>,
    arrivals: Vec<crate::upstream::Arrival>,
    verifier: String,
    pub(crate) round: u32,
    /// Those who died in this round and serve again.
    pub(crate) came_back: usize,
    pub(crate) is_strict: bool,
    pub(crate) without: Option<Without>,
}

/// What came of a whole deployment.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What was read.
    pub(crate) audit: Audit,
    /// What the verifier says.
    pub(crate) report: Report,
    /// What people saw.
    pub(crate) done: Done,
}

impl World {
    /// A deployment with its people; all that they do follows from the seed.
    pub(crate) async fn new(backend: Backend, seed: u64, without: Option<Without>) -> Self {
        let deployment = Deployment::begin(backend).await;
        let nodes = Arc::new(Nodes::new(backend.nodes()));
        let way = Way::to(&deployment.addresses(), Arc::clone(&nodes));
        let house = gate::open(&deployment.file(0)).await;
        let verifier = house.keys.checkpoint_verifier.to_string();
        let mut payers = Vec::new();
        for number in 0..PAYERS {
            let name = format!("payer{number}");
            let proofs = deployment.enrol(&house.flows, &name).await;
            let seed = seed.wrapping_mul(31).wrapping_add(u64::try_from(number).unwrap());
            let (browser, time) = (Browser::new(way.clone()), deployment.time.clone());
            payers.push(Payer::new(name, browser, proofs, seed, time, Arc::clone(&nodes)));
        }
        close(house).await;
        let audit = Audit::new(CheckpointVerifier::parse(&verifier).unwrap());
        Self {
            deployment,
            nodes,
            lives: (0..backend.nodes()).map(|_| None).collect(),
            payers,
            chance: Chance::new(seed.wrapping_mul(37)),
            audit,
            pending: Vec::new(),
            arrivals: Vec::new(),
            verifier,
            round: 0,
            came_back: 0,
            is_strict: false,
            without,
        }
    }

    /// One round. Says at which boundary its victim died, or `None` where that was at any
    /// moment, and how many died.
    pub(crate) async fn live(&mut self, plan: Plan) -> Result<(Option<Boundary>, usize), Violation> {
        let round = Round::draw(self, plan);
        self.deployment.application.begin_round(self.round);
        let victim = self.awake(&round).await?;
        if let (Plan::At(Boundary::Send(send), times), Some(killer)) = (plan, &victim) {
            self.deployment.application.set_trap((send, times), round.victim, killer.clone());
        }
        let asked = self.lives[round.victim].as_ref().map(|life| life.asked.clone());
        let worked = self.work(&round).await;
        if let Some(killer) = &victim {
            killer.kill();
        }
        let died = self.bury()?;
        for payer in &mut self.payers {
            self.pending.append(&mut payer.known);
        }
        self.audit.proved(&self.pending);
        self.arrivals.extend(self.deployment.application.take_arrivals().await);
        worked?;
        let by_wish = asked.is_some_and(|asked| *asked.borrow()) || self.deployment.application.has_sprung();
        let end = match plan {
            Plan::At(boundary, _) if by_wish => Some(boundary),
            _ => None,
        };
        Ok((end, died))
    }

    /// Who lives looks back and tells; who is dead starts again. The victim comes last.
    /// Gives its killer.
    async fn awake(&mut self, round: &Round) -> Result<Option<Killer>, Violation> {
        let mut order: Vec<usize> = (0..self.lives.len()).filter(|node| *node != round.victim).collect();
        order.push(round.victim);
        let mut is_told = false;
        for node in order {
            let at = round.commit().filter(|_| node == round.victim);
            let from = (!is_told).then(|| self.audit.size());
            let was_alive = self.lives[node].is_some();
            if !was_alive {
                self.start(node, Orders { from, at, without: self.without });
            }
            if let (Plan::SinceStart(micros), true) = (round.plan, node == round.victim) {
                self.kill_after(node, micros);
            }
            if was_alive {
                if let Some(at) = at {
                    self.order(node, &format!("{}{at}", gate::DIE));
                }
                if let Some(from) = from {
                    self.order(node, &format!("{}{from}", gate::TELL));
                    self.listen(node, gate::TOLD).await?;
                }
                self.order(node, gate::LOOK_BACK);
                self.listen(node, gate::LOOKED_BACK).await?;
            } else {
                self.listen(node, gate::SERVES).await?;
            }
            // The first one told everything, unless it died before: then another one tells it.
            is_told = is_told || self.audit.round() == self.round;
        }
        Ok(self.lives[round.victim].as_ref().map(|life| life.killer.clone()))
    }

    /// Starts a node that is dead.
    pub(crate) fn start(&mut self, node: usize, orders: Orders) {
        let (file, listener) = (self.deployment.file(node), &self.deployment.listeners[node]);
        let life = Life::begin(&file, listener, orders);
        self.nodes.begin(node, self.is_strict, life.killer.clone());
        self.lives[node] = Some(life);
    }

    /// Kills a node so much later.
    pub(crate) fn kill_after(&self, node: usize, micros: u64) {
        let Some(killer) = self.lives[node].as_ref().map(|life| life.killer.clone()) else { return };
        tokio::spawn(async move {
            sleep(Duration::from_micros(micros)).await;
            killer.kill();
        });
    }

    fn order(&self, node: usize, order: &str) {
        if let Some(life) = &self.lives[node] {
            life.order(order);
        }
    }

    /// Listens to a node until it says this line, or is dead. What it tells is read.
    pub(crate) async fn listen(&mut self, node: usize, until: &str) -> Result<(), Violation> {
        // Read when it is known whether something lies beside it.
        let mut leaf: Option<String> = None;
        loop {
            let Some(life) = &mut self.lives[node] else { return Ok(()) };
            let line = match timeout(HANGS_AFTER, life.told.recv()).await {
                Ok(Some(line)) => line,
                // It died before: then the next one tells the rest.
                Ok(None) => return Ok(()),
                Err(_) => return violated(format!("a gate hangs; it was to say {until}")),
            };
            if let Some(text) = line.strip_prefix(gate::CHECKPOINT) {
                self.audit.head(&serde_json::from_str::<String>(text).unwrap())?;
            } else if let Some(next) = line.strip_prefix(gate::LEAF) {
                if let Some(leaf) = leaf.replace(next.to_owned()) {
                    self.audit.leaf(leaf.as_bytes())?;
                }
            } else if let Some(body) = line.strip_prefix(gate::DETAILS) {
                if let Some(leaf) = leaf.take() {
                    self.audit.leaf(leaf.as_bytes())?;
                    self.audit.details(serde_json::from_str(body).unwrap())?;
                }
            } else if line == gate::TOLD {
                if let Some(leaf) = leaf.take() {
                    self.audit.leaf(leaf.as_bytes())?;
                }
                self.judge()?;
                self.audit.begin_round(self.round);
            } else if line == gate::SERVES {
                self.nodes.change(node, |known| known.serves = true);
            }
            if line == until {
                return Ok(());
            }
        }
    }

    /// All entries of earlier rounds were read.
    fn judge(&mut self) -> Result<(), Violation> {
        self.audit.heads()?;
        self.audit.arrivals(std::mem::take(&mut self.arrivals))?;
        self.audit.known(&std::mem::take(&mut self.pending))
    }

    /// What the nodes wrote for their operators in their last lives.
    pub(crate) fn logs(&self) -> String {
        let log = |node| std::fs::read_to_string(self.deployment.file(node).with_extension("stderr"));
        (0..self.lives.len()).map(|node| format!("\nnode {node}:\n{}", log(node).unwrap_or_default())).collect()
    }

    /// Who died in this round, and that nobody died by themselves.
    fn bury(&mut self) -> Result<usize, Violation> {
        let mut died = self.came_back;
        for node in 0..self.lives.len() {
            let Some(end) = self.lives[node].as_ref().and_then(|life| life.killer.end()) else { continue };
            self.lives[node] = None;
            died += 1;
            if end == End::ByItself {
                return violated(format!("node {node} ended by itself"));
            }
        }
        Ok(died)
    }

    /// The end: nobody is left. What was being sent gets its outcome, the evidence is
    /// exported and verified with nothing but the export, the public key, and every head that
    /// was told between the kills.
    pub(crate) async fn end(mut self) -> Result<Ended, Violation> {
        self.lives.clear();
        self.round += 1;
        self.deployment.time.advance(crate::round::BETWEEN_ROUNDS);
        let house = gate::open(&self.deployment.file(0)).await;
        self.read_rest(&house).await?;
        self.judge()?;
        self.audit.begin_round(self.round);
        if self.without != Some(Without::LookingBack) {
            house.flows.sweep().await.map_err(|error| error.to_string())?;
        }
        self.read_rest(&house).await?;
        let checkpoint = SignedCheckpoint::parse(&signed_head(&house).await).unwrap();
        let export = self.deployment.file(0).with_extension("export");
        let size = checkpoint.unverified().size;
        let mut writer = Writer::create(&export).unwrap();
        while writer.size() < size {
            let limit = u32::try_from(size - writer.size()).unwrap_or(PAGE).min(PAGE);
            for leaf in house.database.leaves(writer.size(), limit).await.unwrap() {
                let details = match &leaf.details {
                    LeafDetails::Kept(details) => Some(details),
                    LeafDetails::None | LeafDetails::Erased => None,
                };
                writer.append(&leaf.bytes, details.map(verify::exported).as_ref()).unwrap();
            }
        }
        writer.finish(&checkpoint).unwrap();
        close(house).await;
        self.audit.heads()?;
        self.audit.is_complete()?;
        let keys = [CheckpointVerifier::parse(&self.verifier).unwrap()];
        let trust = Trust { keys: &keys, remembered: &self.audit.remembered };
        let report = verify::verify(&Reader::open(&export).unwrap(), trust, &mut |_| {}).unwrap();
        if !report.is_sound() {
            return violated(format!("the evidence is not sound:\n{report}"));
        }
        let mut done = self.payers.iter().fold(Done::default(), |sum, payer| sum.plus(payer.done));
        done.refused = self.nodes.refusals();
        Ok(Ended { audit: self.audit, report, done })
    }

    /// Reads the entries that were not read yet.
    async fn read_rest(&mut self, house: &House) -> Result<(), Violation> {
        loop {
            let leaves = house.database.leaves(self.audit.size(), PAGE).await.unwrap();
            if leaves.is_empty() {
                return Ok(());
            }
            for leaf in leaves {
                self.audit.leaf(&leaf.bytes)?;
                if let LeafDetails::Kept(details) = leaf.details {
                    self.audit.details(details.body)?;
                }
            }
        }
    }
}

/// The newest head, signed: the writer signs after it has committed.
async fn signed_head(house: &House) -> String {
    let size = house.database.ledger_size().await.unwrap();
    loop {
        let head = house.database.checkpoint().await.unwrap();
        if SignedCheckpoint::parse(&head).unwrap().unverified().size >= size {
            return head;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

impl Round {
    /// The commit at which the victim asks to die.
    fn commit(&self) -> Option<AtCommit> {
        match self.plan {
            Plan::At(Boundary::Commit { method, side }, call) => Some(AtCommit { method, side, call }),
            _ => None,
        }
    }
}
