//! What happens in one round: people work, policies are read again, a node dies or two,
//! and one comes back while people work.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::audit::{Violation, violated};
use crate::boundary::{Boundary, Plan};
use crate::gate;
use crate::life::Orders;
use crate::nodes::Nodes;
use crate::person::{Errand, Payer, Stopped};
use crate::world::{HANGS_AFTER, World};

/// Every round begins so long after the last one: the leases of the dead are over by then.
pub(crate) const BETWEEN_ROUNDS: Duration = Duration::from_secs(21);
/// Longer than a session may be unused.
const A_LONG_LUNCH: Duration = Duration::from_secs(6 * 60);
/// Steps of each person in one round. A boundary that was not met by then is not met.
const STEPS: usize = 16;
/// Steps of each person at the node that is left.
const STEPS_AFTER: usize = 5;
/// Policies are read again this long after people began, at most, in microseconds.
const RELOAD_BEFORE_US: usize = 200_000;
/// The second node dies so long after the first, at most, in microseconds.
const BOTH_WITHIN_US: usize = 50_000;

/// What was drawn for a round.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) plan: Plan,
    /// The node that dies.
    pub(crate) victim: usize,
    /// What people set out to do first.
    wish: Option<Errand>,
    /// The other one dies so long after it.
    other_dies_us: Option<u64>,
    /// The victim starts again while people go on at the other node.
    comes_back: bool,
    /// Policies change so long after people began.
    reload_us: Option<u64>,
}

impl Round {
    /// Draws a round and puts the clock forward.
    pub(crate) fn draw(world: &mut World, plan: Plan) -> Self {
        world.round += 1;
        world.came_back = 0;
        let chance = &world.chance;
        let micros = |below: usize| u64::try_from(chance.below(below)).unwrap();
        let nodes = world.lives.len();
        let victim = chance.below(nodes);
        let both = nodes > 1 && chance.one_in(5);
        let other_dies_us = both.then(|| micros(BOTH_WITHIN_US));
        let comes_back = nodes > 1 && !both && chance.one_in(2);
        // A node that serves already records little else.
        let needs_reload = matches!(plan, Plan::At(Boundary::Commit { method: "record", .. }, _));
        let reload_us = (needs_reload || chance.one_in(4)).then(|| micros(RELOAD_BEFORE_US));
        let wish = match plan {
            Plan::At(boundary, _) => Errand::to(boundary),
            Plan::SinceStart(_) | Plan::SinceServing(_) => None,
        };
        let waits_for_lapse =
            matches!(plan, Plan::At(Boundary::Commit { method: "adopt_challenge" | "succeed_challenge", .. }, _));
        let is_long = waits_for_lapse || chance.one_in(12);
        world.deployment.time.advance(if is_long { A_LONG_LUNCH } else { BETWEEN_ROUNDS });
        Self { plan, victim, wish, other_dies_us, comes_back, reload_us }
    }
}

impl World {
    /// Everybody works until nobody is left to work with, or nothing is left to do.
    pub(crate) async fn work(&mut self, round: &Round) -> Result<(), Violation> {
        if let Plan::SinceServing(micros) = round.plan {
            self.kill_after(round.victim, micros);
        }
        let mut payers = std::mem::take(&mut self.payers);
        let nodes = std::sync::Arc::clone(&self.nodes);
        let (finished, is_finished) = watch::channel(false);
        let everybody = async {
            let each = payers.iter_mut().map(|payer| work(payer, &nodes, round));
            let worked = futures_util::future::try_join_all(each).await.map(drop);
            finished.send_replace(true);
            worked
        };
        let (worked, operated) = tokio::join!(everybody, self.operate(round, is_finished));
        self.payers = payers;
        worked.and(operated)
    }

    /// Reads policies again, sees who dies, lets the other one die, starts one again.
    async fn operate(&mut self, round: &Round, mut is_finished: watch::Receiver<bool>) -> Result<(), Violation> {
        if let Some(micros) = round.reload_us {
            sleep(Duration::from_micros(micros)).await;
            self.reload().await?;
        }
        let Some(killer) = self.lives[round.victim].as_ref().map(|life| life.killer.clone()) else { return Ok(()) };
        tokio::select! {
            () = killer.gone() => {}
            _ = is_finished.wait_for(|is_finished| *is_finished) => return Ok(()),
        }
        let other = (0..self.lives.len()).find(|node| *node != round.victim);
        if let (Some(micros), Some(other)) = (round.other_dies_us, other) {
            self.kill_after(other, micros);
        }
        if round.comes_back && !*is_finished.borrow() {
            self.came_back += 1;
            if killer.end() == Some(crate::life::End::ByItself) {
                return violated(format!("node {} ended by itself", round.victim));
            }
            // It tells nothing but the head: what people know of this round is not yet collected.
            self.start(round.victim, Orders { from: None, at: None, without: self.without });
            self.listen(round.victim, gate::SERVES).await?;
        }
        Ok(())
    }

    /// Other policies, as an operator changes them: the files, then SIGHUP to each node.
    async fn reload(&mut self) -> Result<(), Violation> {
        self.is_strict = !self.is_strict;
        for node in 0..self.lives.len() {
            self.nodes.change(node, |known| known.is_strict = None);
        }
        self.deployment.write_policies(self.is_strict);
        for node in 0..self.lives.len() {
            if !self.nodes.get(node).serves {
                continue;
            }
            if let Some(life) = &self.lives[node] {
                life.hang_up();
            }
            self.listen(node, gate::RELOADED).await?;
            let is_strict = Some(self.is_strict);
            self.nodes.change(node, |known| known.is_strict = is_strict);
        }
        Ok(())
    }
}

/// What one person does in a round: at the node that is there, as long as there is one.
async fn work(payer: &mut Payer, nodes: &Nodes, round: &Round) -> Result<(), Violation> {
    let mut wish = round.wish;
    let life = nodes.get(round.victim).life;
    let is_dead = || nodes.get(round.victim).life != life || !nodes.get(round.victim).serves;
    let mut left = STEPS;
    if wish.is_some() {
        // The victim is to meet it.
        payer.browser.node = round.victim;
    }
    while left > 0 {
        left -= 1;
        if is_dead() {
            left = left.min(STEPS_AFTER);
            wish = None;
        }
        if !nodes.get(payer.browser.node).serves {
            payer.browser.node = nodes.another_than(payer.browser.node);
            if !nodes.get(payer.browser.node).serves {
                return Ok(());
            }
        }
        match timeout(HANGS_AFTER, payer.step(wish)).await {
            Ok(Ok(())) => {}
            Ok(Err(Stopped::Gone)) => {
                // If nobody serves any more, that is seen before the next step.
                payer.browser.node = nodes.another_than(payer.browser.node);
            }
            Ok(Err(Stopped::Violation(violation))) => return Err(violation),
            Err(_) => return violated("a gate hangs".to_owned()),
        }
        // A payment takes several steps; anything else is done in one.
        if wish != Some(Errand::Payment) {
            wish = None;
        }
    }
    Ok(())
}
