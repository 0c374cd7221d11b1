//! The first pass over a function: where its safe points and calls are, what each stretch of it
//! costs, and which locals matter where. Reads only the order of the instructions, no types.

use std::collections::BTreeMap;

use wasmparser::Operator;

use crate::cost;
use crate::liveness::Liveness;
use crate::nans::Nans;

/// What the whole module says about one callee.
pub(crate) trait Callees {
    /// Whether a call to this function (index of the original module) can reach a safe point.
    fn can_unwind(&self, function: u32) -> bool;
    /// Whether a call through a table to a function of this type (index of the original module) can.
    fn indirect_can_unwind(&self, ty: u32) -> bool;
}

/// For modules that are counted only: nothing unwinds.
pub(crate) struct Nowhere;

impl Callees for Nowhere {
    fn can_unwind(&self, _function: u32) -> bool {
        false
    }

    fn indirect_can_unwind(&self, _ty: u32) -> bool {
        false
    }
}

/// What is found in a function while it is read, whatever is done with it.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) nans: Nans,
    /// Instructions that can never run; they are left out.
    pub(crate) dead: Vec<bool>,
    /// Bytes a frame takes of the stack, as they are counted.
    pub(crate) frame_bytes: u32,
}

/// Most units of a stretch that is charged with the one it is reached from, whether or not it is reached: its
/// own charge would cost as much as what it counts.
const SMALL: u64 = 12;

/// Most locals times sites of a function. Above it, neither what is live where nor the ways from all
/// sites to one place can be held by any compiler.
const MOST_SAVED: u64 = 1 << 26;
/// From so many saved values on, a function has one sequence that saves for all its sites.
const SHARED_FROM: u64 = 1 << 17;

/// A block, loop or `if` with all that lies inside.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    /// Sites inside: `first..last`; those of the arm before `else` end at `middle`.
    pub(crate) first: u32,
    pub(crate) middle: u32,
    pub(crate) last: u32,
    /// Branches that lead to its end.
    branches: u32,
    /// Place of its `end`.
    end: usize,
}

impl Span {
    pub(crate) fn has_sites(self) -> bool {
        self.last > self.first
    }

    /// Whether a loop has no site but its own.
    pub(crate) fn is_leaf(self) -> bool {
        self.last == self.first + 1
    }

    /// Instructions between the one at `place`, which opens it, and its `end`.
    pub(crate) fn length(self, place: usize) -> usize {
        self.end.saturating_sub(place + 1)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Site number of a call, by its place.
    pub(crate) calls: BTreeMap<usize, u32>,
    /// Site number of a loop's safe point, by the loop's place.
    pub(crate) loops: BTreeMap<usize, u32>,
    /// The safe point at the function's entry is site 1.
    pub(crate) has_entry_check: bool,
    /// It takes its frame off the count of the stack.
    pub(crate) takes_stack: bool,
    /// Number of sites plus one; sites are numbered from 1.
    pub(crate) sites: u32,
    /// By the place of the instruction that opens it.
    pub(crate) spans: BTreeMap<usize, Span>,
    /// Units to charge right after the instruction at this place.
    pub(crate) charges: BTreeMap<usize, u64>,
    /// Units to give back behind a branch that was not taken.
    pub(crate) refunds: BTreeMap<usize, u64>,
    /// Units to charge at the entry.
    pub(crate) entry_charge: u64,
    /// All sites save the same, in one place: code for each would be too much.
    pub(crate) shares_saving: bool,
    liveness: Liveness,
}

struct Open {
    place: usize,
    is_loop: bool,
    is_if: bool,
    has_else: bool,
    is_dead_inside: bool,
    /// The `br_if` to its end that comes first in its stretch, and that stretch.
    way_out: Option<(usize, Option<usize>)>,
    /// The stretch it lies in, and whether nothing had left it or looked at the count.
    around: (Option<usize>, bool),
    /// Loops and calls before it.
    looks: usize,
    /// How many frames are open around whatever something inside branches to; the least of all branches.
    reach: usize,
}

/// A stretch that is reached only by way of another, and at most as often.
struct Follower {
    /// Where it begins.
    place: usize,
    /// The stretch it is reached from; none for the function's first.
    leader: Option<usize>,
    /// The other arm of an `if`, of which one way takes one.
    twin: Option<usize>,
}

/// A stretch that is reached by one `br_if` only: charged before that branch, in the stretch which
/// leads there, one charge does for both; who does not take the branch gets it back.
struct Early {
    /// Place of the `end` behind which it begins.
    end: usize,
    branch: usize,
    stretch: Option<usize>,
}

fn never_goes_on(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(operator, O::Br { .. } | O::BrTable { .. } | O::Return | O::Unreachable | O::ReturnCall { .. } | O::ReturnCallIndirect { .. })
}

/// Instructions that can never run; they are left out.
pub(crate) fn dead(operators: &[Operator<'_>]) -> Vec<bool> {
    use Operator as O;
    // Blocks that opened in dead code are dropped whole.
    let (mut is_dead, mut dead_depth) = (false, 0_u32);
    let mut dead = Vec::with_capacity(operators.len());
    for operator in operators {
        if is_dead {
            match operator {
                O::Block { .. } | O::Loop { .. } | O::If { .. } => dead_depth += 1,
                O::End if dead_depth > 0 => {
                    dead_depth -= 1;
                    dead.push(true);
                    continue;
                }
                O::End | O::Else if dead_depth == 0 => is_dead = false,
                _ => {}
            }
        }
        dead.push(is_dead);
        is_dead |= never_goes_on(operator);
    }
    dead
}

impl Plan {
    /// `dead` is what [`dead`] says of the operators. `None` when the function is too large for its sites.
    pub(crate) fn of(operators: &[Operator<'_>], dead: &[bool], locals: u32, has_entry_check: bool, callees: &impl Callees) -> Option<Self> {
        let mut plan = Self { has_entry_check, sites: 1 + u32::from(has_entry_check), ..Self::default() };
        let mut open: Vec<Open> = Vec::new();
        let mut region: Option<usize> = None;
        let mut early: Vec<Early> = Vec::new();
        let mut followers: Vec<Follower> = Vec::new();
        // Nothing has left the stretch so far, or looked at the count.
        let mut is_straight = true;
        let mut looks = 0;
        for (place, operator) in operators.iter().enumerate() {
            use Operator as O;
            if dead[place] {
                continue;
            }
            plan.charge(region, cost::of(operator));
            match operator {
                O::Block { .. } | O::If { .. } | O::Loop { .. } => {
                    let is_loop = matches!(operator, O::Loop { .. });
                    plan.spans.insert(place, Span { first: plan.sites, middle: plan.sites, last: plan.sites, branches: 0, end: place });
                    if is_loop {
                        plan.loops.insert(place, plan.sites);
                        plan.sites += 1;
                    }
                    let is_if = matches!(operator, O::If { .. });
                    let around = (region, is_straight);
                    open.push(Open { place, is_loop, is_if, has_else: false, is_dead_inside: false, way_out: None, around, looks, reach: usize::MAX });
                    looks += usize::from(is_loop);
                    if is_if {
                        followers.push(Follower { place, leader: region, twin: None });
                    }
                    if is_loop || is_if {
                        (region, is_straight) = (Some(place), true);
                    }
                }
                O::Else => {
                    if let Some(frame) = open.last_mut() {
                        (frame.has_else, frame.is_dead_inside) = (true, false);
                        followers.push(Follower { place, leader: frame.around.0, twin: Some(frame.place) });
                        if let Some(span) = plan.spans.get_mut(&frame.place) {
                            span.middle = plan.sites;
                        }
                    }
                    (region, is_straight) = (Some(place), true);
                }
                O::End => {
                    let Some(frame) = open.pop() else { break };
                    let branches = plan.spans.get(&frame.place).map_or(0, |span| span.branches);
                    if let (1, true, Some((branch, stretch))) = (branches, frame.is_dead_inside, frame.way_out) {
                        early.push(Early { end: place, branch, stretch });
                    }
                    let is_join = plan.close(&frame, place);
                    if let Some(outer) = open.last_mut() {
                        outer.reach = outer.reach.min(frame.reach);
                    }
                    if frame.reach > open.len() {
                        // All ways through it meet here: who was in the stretch before it comes to what follows.
                        (region, is_straight) = (frame.around.0, frame.around.1 && looks == frame.looks);
                    } else if is_join || frame.is_dead_inside {
                        followers.push(Follower { place, leader: frame.around.0, twin: None });
                        (region, is_straight) = (Some(place), true);
                    }
                }
                O::BrIf { relative_depth } => {
                    plan.target(&mut open, *relative_depth);
                    if let (0, true, Some(frame)) = (relative_depth, is_straight, open.last_mut())
                        && !frame.is_loop
                        && !frame.is_if
                    {
                        frame.way_out = Some((place, region));
                    }
                    is_straight = false;
                }
                O::Br { relative_depth } => plan.target(&mut open, *relative_depth),
                O::BrTable { targets } => {
                    targets.targets().flatten().chain([targets.default()]).for_each(|depth| plan.target(&mut open, depth));
                }
                // Whoever is called may look at the count, or end the program with it.
                O::Call { .. } | O::CallIndirect { .. } => {
                    is_straight = false;
                    looks += 1;
                    let can_unwind = match operator {
                        O::Call { function_index } => callees.can_unwind(*function_index),
                        O::CallIndirect { type_index, .. } => callees.indirect_can_unwind(*type_index),
                        _ => false,
                    };
                    if can_unwind {
                        plan.call(place);
                    }
                }
                _ => {}
            }
            if matches!(operator, O::Return | O::ReturnCall { .. } | O::ReturnCallIndirect { .. })
                && let Some(frame) = open.last_mut()
            {
                frame.reach = 0;
            }
            if never_goes_on(operator)
                && let Some(frame) = open.last_mut()
            {
                frame.is_dead_inside = true;
            }
        }
        plan.charge_small(&followers);
        // The last first: what it moves may move on.
        for Early { end, branch, stretch } in early.into_iter().rev() {
            // The look at the entry comes behind its charge, and would see what may never run.
            if has_entry_check && stretch.is_none() {
                continue;
            }
            if let Some(units) = plan.charges.remove(&end) {
                plan.charge(stretch, units);
                plan.refunds.insert(branch, units);
            }
        }
        if u64::from(locals) * u64::from(plan.sites) > MOST_SAVED {
            return None;
        }
        plan.liveness = Liveness::of(operators, dead, locals, |place| plan.calls.contains_key(&place));
        let places = plan.calls.keys().chain(plan.loops.keys()).map(|place| Some(*place)).chain(has_entry_check.then_some(None));
        let saved: u64 = places.map(|place| u64::from(plan.liveness.count(locals, place))).sum();
        plan.shares_saving = saved > SHARED_FROM && saved > 2 * u64::from(locals);
        Some(plan)
    }

    fn charge(&mut self, region: Option<usize>, units: u64) {
        if units > 0 {
            *region.map_or(&mut self.entry_charge, |place| self.charges.entry(place).or_default()) += units;
        }
    }

    /// Charges small stretches with the ones they are reached from, which none is done for more units than it has
    /// itself, or [`SMALL`]. A loop's own is never moved out of it.
    fn charge_small(&mut self, followers: &[Follower]) {
        let mut paid: BTreeMap<Option<usize>, u64> = BTreeMap::new();
        // The last first: what it moves may move on.
        for Follower { place, leader, twin } in followers.iter().rev() {
            let units_of = |plan: &Self, place: &usize| plan.charges.get(place).copied().unwrap_or(0);
            // Of two arms, the dearer one.
            let other = twin.as_ref().map_or(0, |twin| units_of(self, twin));
            let (own, both) = (units_of(self, place), *twin.as_ref().filter(|_| other <= SMALL).unwrap_or(place));
            let units = if both == *place { own } else { own.max(other) };
            let leading = leader.as_ref().map_or(self.entry_charge, |leader| units_of(self, leader));
            let for_others = paid.entry(*leader).or_default();
            if units == 0 || own > SMALL || *for_others + units > leading.saturating_sub(*for_others).max(SMALL) {
                continue;
            }
            *for_others += units;
            self.charges.remove(place);
            self.charges.remove(&both);
            self.charge(*leader, units);
        }
    }

    fn call(&mut self, place: usize) {
        self.calls.insert(place, self.sites);
        self.sites += 1;
    }

    fn target(&mut self, open: &mut [Open], depth: u32) {
        let reach = open.len().saturating_sub(depth as usize);
        if let Some(frame) = open.last_mut() {
            frame.reach = frame.reach.min(reach);
        }
        // A branch to the function's own block leads nowhere that would have to be charged.
        if let Some(frame) = open.len().checked_sub(1 + depth as usize).and_then(|at| open.get(at))
            && !frame.is_loop
            && let Some(span) = self.spans.get_mut(&frame.place)
        {
            span.branches += 1;
        }
    }

    /// Returns whether several ways meet after the `end` at `place`.
    fn close(&mut self, frame: &Open, place: usize) -> bool {
        let sites = self.sites;
        let Some(span) = self.spans.get_mut(&frame.place) else { return true };
        (span.last, span.end) = (sites, place);
        if !frame.has_else {
            span.middle = sites;
        }
        span.branches > 0 || frame.is_if || frame.is_loop
    }

    /// Whether the value of a local may be read after the safe point of a loop, a call, or the entry.
    pub(crate) fn is_live(&self, local: u32, place: Option<usize>) -> bool {
        self.liveness.is_live(local, place)
    }
}
