//! Liveness of locals at each site of a function: backward data-flow analysis on structured code.

use std::collections::BTreeMap;
use std::rc::Rc;

use wasmparser::Operator;

/// Largest number of bits (locals times depth of blocks) that is analysed; above it every local counts as
/// live.
const MOST_BITS: usize = 1 << 28;
/// Largest number of rounds, and so of nested loops, before every local counts as live.
const MOST_ROUNDS: usize = 200;

/// Set of locals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Locals(Vec<u64>);

impl Locals {
    fn insert(&mut self, local: u32) {
        let word = local as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (local % 64);
    }

    fn remove(&mut self, local: u32) {
        if let Some(word) = self.0.get_mut(local as usize / 64) {
            *word &= !(1 << (local % 64));
        }
    }

    fn union(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn contains(&self, local: u32) -> bool {
        self.0.get(local as usize / 64).is_some_and(|word| word & 1 << (local % 64) != 0)
    }
}

/// Live locals of one function.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// Live locals before the first instruction of a loop's body, or after a call, by place of the loop or
    /// call.
    at: BTreeMap<usize, Rc<Locals>>,
    entry: Rc<Locals>,
    is_unknown: bool,
}

impl Liveness {
    /// Analyses a function. `is_site` tells which calls are sites; `dead` instructions are skipped.
    pub(crate) fn of(
        operators: &[Operator<'_>],
        dead: &[bool],
        locals: u32,
        is_site: impl Fn(usize) -> bool,
    ) -> Self {
        let mut depth = 0_usize;
        let mut deepest = 0;
        for operator in operators {
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
                Operator::End => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        if deepest.saturating_mul(locals as usize) > MOST_BITS {
            return Self { is_unknown: true, ..Self::default() };
        }
        let mut result = Self::default();
        let mut loops: BTreeMap<usize, Rc<Locals>> = BTreeMap::new();
        // Each round propagates reads around one more loop.
        for _ in 0..MOST_ROUNDS {
            if !result.round(operators, dead, &mut loops, &is_site) {
                return result;
            }
        }
        Self { is_unknown: true, ..Self::default() }
    }

    pub(crate) fn is_live(&self, local: u32, place: Option<usize>) -> bool {
        let live = place.map_or(Some(&self.entry), |place| self.at.get(&place));
        self.is_unknown || live.is_none_or(|live| live.contains(local))
    }

    /// Number of live locals at `place`, of `locals` in total.
    pub(crate) fn count(&self, locals: u32, place: Option<usize>) -> u32 {
        let live = place.map_or(Some(&self.entry), |place| self.at.get(&place));
        live.filter(|_| !self.is_unknown).map_or(locals, |live| live.count())
    }

    /// Makes one pass from the end to the beginning; returns whether the live set of a loop has changed.
    fn round(
        &mut self,
        operators: &[Operator<'_>],
        dead: &[bool],
        loops: &mut BTreeMap<usize, Rc<Locals>>,
        is_site: &impl Fn(usize) -> bool,
    ) -> bool {
        /// A block during the backward pass.
        struct Open {
            /// Live locals behind its end, the target of branches to it unless it is a loop.
            end: Rc<Locals>,
            /// Live locals at its beginning, the target of branches to a loop.
            begin: Option<Rc<Locals>>,
            /// Live locals at the beginning of the arm behind `else`.
            other: Option<Rc<Locals>>,
        }
        let openings = openings(operators);
        let mut open: Vec<Open> = Vec::new();
        let mut live: Rc<Locals> = Rc::default();
        let mut has_changed = false;
        let target = |open: &[Open], depth: u32| -> Rc<Locals> {
            let frame = open.len().checked_sub(1 + depth as usize).and_then(|at| open.get(at));
            frame.map_or_else(Rc::default, |frame| {
                frame.begin.clone().unwrap_or_else(|| Rc::clone(&frame.end))
            })
        };
        for (place, operator) in operators.iter().enumerate().rev() {
            use Operator as O;
            if dead.get(place).copied().unwrap_or(false) {
                continue;
            }
            if is_site(place) && !matches!(operator, O::Loop { .. }) {
                self.at.insert(place, Rc::clone(&live));
            }
            match operator {
                O::End => {
                    let opening = openings.get(&place).copied();
                    let begin = opening
                        .filter(|at| matches!(operators[*at], O::Loop { .. }))
                        .map(|at| loops.get(&at).cloned().unwrap_or_default());
                    open.push(Open { end: Rc::clone(&live), begin, other: None });
                }
                O::Else => {
                    if let Some(frame) = open.last_mut() {
                        let end = Rc::clone(&frame.end);
                        frame.other = Some(std::mem::replace(&mut live, end));
                    }
                }
                O::Block { .. } | O::Loop { .. } | O::If { .. } => {
                    let Some(frame) = open.pop() else { continue };
                    if matches!(operator, O::If { .. }) {
                        // Without `else`, the other way leads to the end.
                        Rc::make_mut(&mut live).union(frame.other.as_ref().unwrap_or(&frame.end));
                    }
                    if frame.begin.as_ref().is_some_and(|begin| **begin != *live) {
                        loops.insert(place, Rc::clone(&live));
                        has_changed = true;
                    }
                    if frame.begin.is_some() {
                        self.at.insert(place, Rc::clone(&live));
                    }
                }
                O::LocalGet { local_index } if !live.contains(*local_index) => {
                    Rc::make_mut(&mut live).insert(*local_index)
                }
                O::LocalSet { local_index } | O::LocalTee { local_index } if live.contains(*local_index) => {
                    Rc::make_mut(&mut live).remove(*local_index)
                }
                O::Br { relative_depth } => live = target(&open, *relative_depth),
                O::BrIf { relative_depth } => Rc::make_mut(&mut live).union(&target(&open, *relative_depth)),
                O::BrTable { targets } => {
                    live = target(&open, targets.default());
                    for depth in targets.targets().flatten() {
                        let other = target(&open, depth);
                        Rc::make_mut(&mut live).union(&other);
                    }
                }
                O::Return | O::Unreachable | O::ReturnCall { .. } | O::ReturnCallIndirect { .. } => {
                    live = Rc::default()
                }
                _ => {}
            }
        }
        self.entry = live;
        has_changed
    }
}

/// Place of the opening instruction of each `end`, except the function's own.
fn openings(operators: &[Operator<'_>]) -> BTreeMap<usize, usize> {
    let mut open = Vec::new();
    let mut result = BTreeMap::new();
    for (place, operator) in operators.iter().enumerate() {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push(place),
            Operator::End => _ = open.pop().map(|opening| result.insert(place, opening)),
            _ => {}
        }
    }
    result
}
