//! Who calls whom: which functions can reach a safe point, and which need one at their entry because
//! they may call themselves, directly or not.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::Operator;

use crate::plan::Callees;

/// What one defined function does, as far as calls go.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    callees: BTreeSet<u32>,
    /// Types of what it calls through tables.
    indirect: BTreeSet<u32>,
    has_loop: bool,
}

impl Behaviour {
    pub(crate) fn note(&mut self, operator: &Operator<'_>, taken: &mut BTreeSet<u32>) {
        match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => _ = self.callees.insert(*function_index),
            Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => _ = self.indirect.insert(*type_index),
            Operator::Loop { .. } => self.has_loop = true,
            Operator::RefFunc { function_index } => _ = taken.insert(*function_index),
            _ => {}
        }
    }
}

/// Types of the module and of its functions: a call through a table reaches only functions of its own type.
pub(crate) struct Types<'a> {
    /// For each type the first that is equal to it.
    pub(crate) first: &'a [u32],
    /// Type of every function, imports first.
    pub(crate) of: &'a [u32],
}

impl Types<'_> {
    fn first(&self, ty: u32) -> u32 {
        self.first.get(ty as usize).copied().unwrap_or(ty)
    }
}

#[derive(Debug)]
pub(crate) struct CallGraph {
    imports: u32,
    /// For each type the first that is equal to it.
    first: Vec<u32>,
    /// The nodes that stand for what an indirect call may reach, by its type.
    anything: BTreeMap<u32, usize>,
    can_unwind: Vec<bool>,
    recurses: Vec<bool>,
    chain_bytes: u64,
}

impl CallGraph {
    /// `taken` are the functions whose reference goes anywhere; an indirect call may reach those of its
    /// type, and with `is_open`, when others fill its tables, what cannot be known.
    pub(crate) fn new(imports: u32, functions: &[Behaviour], taken: &BTreeSet<u32>, is_open: bool, frame_bytes: &[u32], types: &Types<'_>) -> Self {
        // One node more for each type stands for "whatever an indirect call reaches".
        let called: BTreeSet<u32> = functions.iter().flat_map(|function| &function.indirect).map(|ty| types.first(*ty)).collect();
        let anything: BTreeMap<u32, usize> = called.into_iter().zip(functions.len()..).collect();
        let defined = |callees: &BTreeSet<u32>| -> Vec<usize> { callees.iter().filter_map(|callee| callee.checked_sub(imports)).map(|n| n as usize).collect() };
        let mut edges: Vec<Vec<usize>> = functions.iter().map(|function| defined(&function.callees)).collect();
        for (edges, function) in edges.iter_mut().zip(functions) {
            let reached: BTreeSet<usize> = function.indirect.iter().filter_map(|ty| anything.get(&types.first(*ty)).copied()).collect();
            edges.extend(reached);
        }
        let mut reached = vec![BTreeSet::new(); anything.len()];
        for function in taken {
            let ty = types.of.get(*function as usize).map(|ty| types.first(*ty));
            if let Some(node) = ty.and_then(|ty| anything.get(&ty)) {
                reached[node - functions.len()].insert(*function);
            }
        }
        edges.extend(reached.iter().map(defined));
        let (recurses, chain_bytes) = cyclic(&edges, frame_bytes);
        let mut can_unwind: Vec<bool> = functions.iter().zip(&recurses).map(|(f, recurses)| f.has_loop || *recurses).collect();
        can_unwind.extend(recurses.iter().skip(functions.len()).map(|recurses| is_open || *recurses));
        let mut callers = vec![Vec::new(); edges.len()];
        for (caller, callees) in edges.iter().enumerate() {
            callees.iter().for_each(|callee| callers[*callee].push(caller));
        }
        let mut queue: Vec<usize> = (0..edges.len()).filter(|function| can_unwind[*function]).collect();
        while let Some(function) = queue.pop() {
            for caller in &callers[function] {
                if !std::mem::replace(&mut can_unwind[*caller], true) {
                    queue.push(*caller);
                }
            }
        }
        Self { imports, first: types.first.to_vec(), anything, can_unwind, recurses, chain_bytes }
    }

    /// Most bytes that the frames of functions which do not recurse can take on the stack together.
    pub(crate) fn chain_bytes(&self) -> u64 {
        self.chain_bytes
    }

    /// Whether the `n`th defined function may come to be on the stack twice.
    pub(crate) fn recurses(&self, n: usize) -> bool {
        self.recurses[n]
    }
}

impl Callees for CallGraph {
    fn can_unwind(&self, function: u32) -> bool {
        function.checked_sub(self.imports).is_some_and(|n| self.can_unwind[n as usize])
    }

    fn indirect_can_unwind(&self, ty: u32) -> bool {
        let first = self.first.get(ty as usize).copied().unwrap_or(ty);
        // A call that the graph does not know is one in code that never runs.
        self.anything.get(&first).and_then(|node| self.can_unwind.get(*node)).copied().unwrap_or(true)
    }
}

/// Which nodes lie on a cycle: Tarjan's strongly connected components (1972), without recursion. With
/// it the greatest sum of weights of nodes on one path that lie on none.
fn cyclic(edges: &[Vec<usize>], weights: &[u32]) -> (Vec<bool>, u64) {
    const UNSEEN: usize = usize::MAX;
    let mut order = vec![UNSEEN; edges.len()];
    let mut low = vec![0; edges.len()];
    let mut on_stack = vec![false; edges.len()];
    let mut result = vec![false; edges.len()];
    let (mut stack, mut next) = (Vec::new(), 0);
    // The greatest sum of a path that begins at the node; a component comes after all it leads to.
    let mut heaviest = vec![0_u64; edges.len()];
    for root in 0..edges.len() {
        if order[root] != UNSEEN {
            continue;
        }
        let mut work = vec![(root, 0)];
        while let Some((node, edge)) = work.pop() {
            if edge == 0 {
                (order[node], low[node]) = (next, next);
                next += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(target) = edges[node].get(edge).copied() {
                work.push((node, edge + 1));
                if order[target] == UNSEEN {
                    work.push((target, 0));
                } else if on_stack[target] {
                    low[node] = low[node].min(order[target]);
                }
                continue;
            }
            if let Some((parent, _)) = work.last() {
                low[*parent] = low[*parent].min(low[node]);
            }
            if low[node] == order[node] {
                let begin = stack.iter().rposition(|n| *n == node).unwrap_or(0);
                let is_cycle = stack.len() - begin > 1 || edges[node].contains(&node);
                let below = stack[begin..].iter().flat_map(|member| &edges[*member]).map(|target| heaviest[*target]).max().unwrap_or(0);
                let own = if is_cycle { 0 } else { weights.get(node).copied().unwrap_or(0) };
                for member in stack.drain(begin..) {
                    on_stack[member] = false;
                    result[member] = is_cycle;
                    heaviest[member] = below + u64::from(own);
                }
            }
        }
    }
    (result, heaviest.into_iter().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_found() {
        // 0 → 1 → 2 → 1, 3 → 3, 4 → 0
        let edges = [vec![1], vec![2], vec![1], vec![3], vec![0]];
        assert_eq!(cyclic(&edges, &[10, 100, 100, 100, 1]), (vec![false, true, true, true, false], 11));
        // 0 → 1 → 3, 0 → 2 → 3, 3 → 4 → 4, 4 → 5: what lies behind the cycle counts too.
        let edges = [vec![1, 2], vec![3], vec![3], vec![4], vec![4, 5], vec![]];
        assert_eq!(cyclic(&edges, &[1, 20, 300, 4000, 50_000, 600_000]).1, 604_301);
        assert_eq!(cyclic(&[], &[]), (Vec::new(), 0));
        let long: Vec<Vec<usize>> = (0..100_000).map(|n| vec![(n + 1) % 100_000]).collect();
        assert!(cyclic(&long, &[]).0.into_iter().all(|on| on));
    }
}
