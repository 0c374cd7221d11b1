//! The first pass over a function: places of its safe points and calls, cost of each stretch, and liveness
//! of locals. Reads only the order of the instructions, no types.

use std::collections::BTreeMap;

use wasmparser::Operator;

use crate::cost;
use crate::liveness::Liveness;
use crate::nans::Nans;

/// Facts of the whole module about callees.
pub(crate) trait Callees {
    /// Whether a call to this function (index of the original module) can reach a safe point.
    fn can_unwind(&self, function: u32) -> bool;
    /// Whether a call through a table to a function of this type (index of the original module) can do so.
    fn indirect_can_unwind(&self, ty: u32) -> bool;
}

/// Callees of modules that are only counted: no call can unwind.
pub(crate) struct Nowhere;

impl Callees for Nowhere {
    fn can_unwind(&self, _function: u32) -> bool {
        false
    }

    fn indirect_can_unwind(&self, _ty: u32) -> bool {
        false
    }
}

/// Facts about a function that do not depend on the plan.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) nans: Nans,
    /// Whether each instruction can never run and is left out.
    pub(crate) dead: Vec<bool>,
    /// Bytes of its frame on the counted stack.
    pub(crate) frame_bytes: u32,
}

/// Largest number of units of a stretch that is charged together with the stretch that leads to it, whether
/// or not it is reached: a charge of its own would cost as much as the work it counts.
const SMALL: u64 = 12;

/// Largest product of locals and sites of a function. Above it, no compiler can handle the live values of
/// each site, nor the branches from all sites to one place.
const MOST_SAVED: u64 = 1 << 26;
/// Number of saved values from which a function has one saving sequence for all its sites.
const SHARED_FROM: u64 = 1 << 17;

/// A block, loop or `if` with its contents.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    /// Sites inside: `first..last`; those of the arm before `else` end at `middle`.
    pub(crate) first: u32,
    pub(crate) middle: u32,
    pub(crate) last: u32,
    /// Number of branches to its end.
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

    /// Number of instructions between the opening one at `place` and its `end`.
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
    /// Whether the function has a safe point at its entry, which is site 1.
    pub(crate) has_entry_check: bool,
    /// Whether the function takes its frame off the stack count.
    pub(crate) takes_stack: bool,
    /// Number of sites plus one; sites are numbered from 1.
    pub(crate) sites: u32,
    /// Spans by the place of the opening instruction.
    pub(crate) spans: BTreeMap<usize, Span>,
    /// Units to charge right after an instruction, by its place.
    pub(crate) charges: BTreeMap<usize, u64>,
    /// Units to give back behind a branch that was not taken, by its place.
    pub(crate) refunds: BTreeMap<usize, u64>,
    /// Units to charge at the entry of the function.
    pub(crate) entry_charge: u64,
    /// Whether all sites save the same values with one sequence, because one for each would be too large.
    pub(crate) shares_saving: bool,
    liveness: Liveness,
}

struct Open {
    place: usize,
    is_loop: bool,
    is_if: bool,
    has_else: bool,
    is_dead_inside: bool,
    /// Place of the first `br_if` to its end, if it comes first in its stretch, and that stretch.
    way_out: Option<(usize, Option<usize>)>,
    /// Stretch around it, and whether that stretch had no branch out and no check of the count before it.
    around: (Option<usize>, bool),
    /// Number of loops and calls before it.
    looks: usize,
    /// Smallest depth of a target of the branches inside, 1 for the outermost block.
    reach: usize,
}

/// A stretch that is reached only through another stretch, and at most as often.
struct Follower {
    /// Place of the instruction after which it begins.
    place: usize,
    /// Stretch that leads to it; `None` for the function's first.
    leader: Option<usize>,
    /// First arm of the same `if`; only one of the two arms runs.
    twin: Option<usize>,
}

/// A stretch that is reached by one `br_if` only. It is charged before that branch, together with the
/// stretch that leads there; when the branch is not taken, the units are given back.
struct Early {
    /// Place of the `end` after which it begins.
    end: usize,
    branch: usize,
    stretch: Option<usize>,
}

fn never_goes_on(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::Br { .. }
            | O::BrTable { .. }
            | O::Return
            | O::Unreachable
            | O::ReturnCall { .. }
            | O::ReturnCallIndirect { .. }
    )
}

/// Marks the instructions that can never run; they are left out.
pub(crate) fn dead(operators: &[Operator<'_>]) -> Vec<bool> {
    use Operator as O;
    // Blocks that open in dead code are dropped as a whole.
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
    /// Plans a function; `dead` is the result of [`dead`]. `None` when it has too many locals at too many
    /// sites.
    pub(crate) fn of(
        operators: &[Operator<'_>],
        dead: &[bool],
        locals: u32,
        has_entry_check: bool,
        callees: &impl Callees,
    ) -> Option<Self> {
        let mut plan = Self { has_entry_check, sites: 1 + u32::from(has_entry_check), ..Self::default() };
        let mut open: Vec<Open> = Vec::new();
        let mut region: Option<usize> = None;
        let mut early: Vec<Early> = Vec::new();
        let mut followers: Vec<Follower> = Vec::new();
        // Whether no branch has left the stretch so far and nothing has checked the count.
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
                    plan.spans.insert(
                        place,
                        Span {
                            first: plan.sites,
                            middle: plan.sites,
                            last: plan.sites,
                            branches: 0,
                            end: place,
                        },
                    );
                    if is_loop {
                        plan.loops.insert(place, plan.sites);
                        plan.sites += 1;
                    }
                    let is_if = matches!(operator, O::If { .. });
                    let around = (region, is_straight);
                    open.push(Open {
                        place,
                        is_loop,
                        is_if,
                        has_else: false,
                        is_dead_inside: false,
                        way_out: None,
                        around,
                        looks,
                        reach: usize::MAX,
                    });
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
                    if let (1, true, Some((branch, stretch))) =
                        (branches, frame.is_dead_inside, frame.way_out)
                    {
                        early.push(Early { end: place, branch, stretch });
                    }
                    let is_join = plan.close(&frame, place);
                    if let Some(outer) = open.last_mut() {
                        outer.reach = outer.reach.min(frame.reach);
                    }
                    if frame.reach > open.len() {
                        // All ways through the block meet here, so the stretch before it continues.
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
                    targets
                        .targets()
                        .flatten()
                        .chain([targets.default()])
                        .for_each(|depth| plan.target(&mut open, depth));
                }
                // A callee may check the count, or end the program with it.
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
        // From the last to the first: moved units may be moved again.
        for Early { end, branch, stretch } in early.into_iter().rev() {
            // The check at the entry comes after the entry charge, and would count code that may never run.
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
        let places = plan
            .calls
            .keys()
            .chain(plan.loops.keys())
            .map(|place| Some(*place))
            .chain(has_entry_check.then_some(None));
        let saved: u64 = places.map(|place| u64::from(plan.liveness.count(locals, place))).sum();
        plan.shares_saving = saved > SHARED_FROM && saved > 2 * u64::from(locals);
        Some(plan)
    }

    fn charge(&mut self, region: Option<usize>, units: u64) {
        if units > 0 {
            *region.map_or(&mut self.entry_charge, |place| self.charges.entry(place).or_default()) += units;
        }
    }

    /// Charges small stretches with the stretch that leads to them. For others, a stretch is charged at
    /// most as many units as it has itself, or [`SMALL`]. The charge of a loop body never moves out of the
    /// loop.
    fn charge_small(&mut self, followers: &[Follower]) {
        let mut paid: BTreeMap<Option<usize>, u64> = BTreeMap::new();
        // From the last to the first: moved units may be moved again.
        for Follower { place, leader, twin } in followers.iter().rev() {
            let units_of = |plan: &Self, place: &usize| plan.charges.get(place).copied().unwrap_or(0);
            // Of two arms, the more expensive one counts.
            let other = twin.as_ref().map_or(0, |twin| units_of(self, twin));
            let (own, both) =
                (units_of(self, place), *twin.as_ref().filter(|_| other <= SMALL).unwrap_or(place));
            let units = if both == *place { own } else { own.max(other) };
            let leading = leader.as_ref().map_or(self.entry_charge, |leader| units_of(self, leader));
            let for_others = paid.entry(*leader).or_default();
            if units == 0
                || own > SMALL
                || *for_others + units > leading.saturating_sub(*for_others).max(SMALL)
            {
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
        // A branch to the function's own block leads to no code that is charged.
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

    /// Whether a local may be read after the safe point of a loop, a call, or the entry.
    pub(crate) fn is_live(&self, local: u32, place: Option<usize>) -> bool {
        self.liveness.is_live(local, place)
    }
}
