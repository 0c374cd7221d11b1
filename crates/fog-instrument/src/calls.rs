//! Call graph of a module: which functions can reach a safe point, and which need one at their entry
//! because they may call themselves, directly or not.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::Operator;

use crate::plan::Callees;

/// Calls and loops of one defined function.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    callees: BTreeSet<u32>,
    /// Types of the functions it calls through tables.
    indirect: BTreeSet<u32>,
    has_loop: bool,
}

impl Behaviour {
    pub(crate) fn note(&mut self, operator: &Operator<'_>, taken: &mut BTreeSet<u32>) {
        match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                _ = self.callees.insert(*function_index)
            }
            Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => {
                _ = self.indirect.insert(*type_index)
            }
            Operator::Loop { .. } => self.has_loop = true,
            Operator::RefFunc { function_index } => _ = taken.insert(*function_index),
            _ => {}
        }
    }
}

/// Types of the module and of its functions: a call through a table reaches only functions of its own type.
pub(crate) struct Types<'a> {
    /// Index of the first type that is equal to each type.
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
    /// Index of the first type that is equal to each type.
    first: Vec<u32>,
    /// Graph nodes that stand for all targets of an indirect call, by its type.
    anything: BTreeMap<u32, usize>,
    can_unwind: Vec<bool>,
    recurses: Vec<bool>,
    closes: Vec<bool>,
    chain_bytes: u64,
}

impl CallGraph {
    /// Builds the graph. `taken` are the functions to which references exist; an indirect call may reach
    /// those of its type, and also unknown functions if `is_open`, when other modules fill the tables.
    pub(crate) fn new(
        imports: u32,
        functions: &[Behaviour],
        taken: &BTreeSet<u32>,
        is_open: bool,
        frame_bytes: &[u32],
        types: &Types<'_>,
    ) -> Self {
        // One more node for each type stands for all targets of an indirect call.
        let called: BTreeSet<u32> =
            functions.iter().flat_map(|function| &function.indirect).map(|ty| types.first(*ty)).collect();
        let anything: BTreeMap<u32, usize> = called.into_iter().zip(functions.len()..).collect();
        let defined = |callees: &BTreeSet<u32>| -> Vec<usize> {
            callees.iter().filter_map(|callee| callee.checked_sub(imports)).map(|n| n as usize).collect()
        };
        let mut edges: Vec<Vec<usize>> =
            functions.iter().map(|function| defined(&function.callees)).collect();
        for (edges, function) in edges.iter_mut().zip(functions) {
            let reached: BTreeSet<usize> =
                function.indirect.iter().filter_map(|ty| anything.get(&types.first(*ty)).copied()).collect();
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
        let Cycles { recurses, mut closes, heaviest } = cyclic(&edges, frame_bytes);
        // If an indirect call closes a cycle, its recursive targets check the count instead.
        for node in functions.len()..edges.len() {
            if closes[node] {
                edges[node]
                    .iter()
                    .filter(|function| recurses[**function])
                    .for_each(|function| closes[*function] = true);
            }
        }
        let mut can_unwind: Vec<bool> =
            functions.iter().zip(&closes).map(|(f, closes)| f.has_loop || *closes).collect();
        can_unwind.resize(edges.len(), is_open);
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
        Self {
            imports,
            first: types.first.to_vec(),
            anything,
            can_unwind,
            recurses,
            closes,
            chain_bytes: heaviest,
        }
    }

    /// Largest number of bytes that the frames of non-recursive functions can take on the stack together.
    pub(crate) fn chain_bytes(&self) -> u64 {
        self.chain_bytes
    }

    /// Whether the `n`th defined function may be on the stack more than once.
    pub(crate) fn recurses(&self, n: usize) -> bool {
        self.recurses[n]
    }

    /// Whether the `n`th defined function belongs to the set that has a member on every cycle of calls.
    pub(crate) fn closes_a_cycle(&self, n: usize) -> bool {
        self.closes[n]
    }
}

/// Cycles of a directed graph.
#[derive(Debug, PartialEq, Eq)]
struct Cycles {
    /// Nodes that lie on a cycle.
    recurses: Vec<bool>,
    /// Nodes to which the depth-first search came back; each cycle contains one of them.
    closes: Vec<bool>,
    /// Greatest sum of weights, on one path, of nodes that lie on no cycle.
    heaviest: u64,
}

impl Callees for CallGraph {
    fn can_unwind(&self, function: u32) -> bool {
        function.checked_sub(self.imports).is_some_and(|n| self.can_unwind[n as usize])
    }

    fn indirect_can_unwind(&self, ty: u32) -> bool {
        let first = self.first.get(ty as usize).copied().unwrap_or(ty);
        // A call of a type that the graph does not know is in code that never runs.
        self.anything.get(&first).and_then(|node| self.can_unwind.get(*node)).copied().unwrap_or(true)
    }
}

/// Finds the nodes on cycles with Tarjan's strongly connected components (1972), without recursion. An edge
/// back to a node that is still being visited closes a cycle.
fn cyclic(edges: &[Vec<usize>], weights: &[u32]) -> Cycles {
    const UNSEEN: usize = usize::MAX;
    let mut order = vec![UNSEEN; edges.len()];
    let mut low = vec![0; edges.len()];
    let mut on_stack = vec![false; edges.len()];
    let mut recurses = vec![false; edges.len()];
    let (mut is_walked, mut closes) = (vec![false; edges.len()], vec![false; edges.len()]);
    let (mut stack, mut next) = (Vec::new(), 0);
    // Greatest sum on a path from each node; a component is finished after all that it leads to.
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
                is_walked[node] = true;
            }
            if let Some(target) = edges[node].get(edge).copied() {
                work.push((node, edge + 1));
                closes[target] |= is_walked[target];
                if order[target] == UNSEEN {
                    work.push((target, 0));
                } else if on_stack[target] {
                    low[node] = low[node].min(order[target]);
                }
                continue;
            }
            is_walked[node] = false;
            if let Some((parent, _)) = work.last() {
                low[*parent] = low[*parent].min(low[node]);
            }
            if low[node] == order[node] {
                let begin = stack.iter().rposition(|n| *n == node).unwrap_or(0);
                let is_cycle = stack.len() - begin > 1 || edges[node].contains(&node);
                let below = stack[begin..]
                    .iter()
                    .flat_map(|member| &edges[*member])
                    .map(|target| heaviest[*target])
                    .max()
                    .unwrap_or(0);
                let own = if is_cycle { 0 } else { weights.get(node).copied().unwrap_or(0) };
                for member in stack.drain(begin..) {
                    on_stack[member] = false;
                    recurses[member] = is_cycle;
                    heaviest[member] = below + u64::from(own);
                }
            }
        }
    }
    Cycles { recurses, closes, heaviest: heaviest.into_iter().max().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_found() {
        let found = |edges: &[Vec<usize>], weights: &[u32]| {
            let Cycles { recurses, heaviest, .. } = cyclic(edges, weights);
            (recurses, heaviest)
        };
        // 0 → 1 → 2 → 1, 3 → 3, 4 → 0
        let edges = [vec![1], vec![2], vec![1], vec![3], vec![0]];
        assert_eq!(found(&edges, &[10, 100, 100, 100, 1]), (vec![false, true, true, true, false], 11));
        assert_eq!(cyclic(&edges, &[]).closes, [false, true, false, true, false]);
        // 0 → 1 → 3, 0 → 2 → 3, 3 → 4 → 4, 4 → 5: nodes behind the cycle count too.
        let edges = [vec![1, 2], vec![3], vec![3], vec![4], vec![4, 5], vec![]];
        assert_eq!(found(&edges, &[1, 20, 300, 4000, 50_000, 600_000]).1, 604_301);
        assert_eq!(found(&[], &[]), (Vec::new(), 0));
        let long: Vec<Vec<usize>> = (0..100_000).map(|n| vec![(n + 1) % 100_000]).collect();
        assert!(found(&long, &[]).0.into_iter().all(|on| on));
        assert_eq!(cyclic(&long, &[]).closes.into_iter().filter(|closes| *closes).count(), 1);
    }

    /// Without the nodes that close cycles no cycle is left, and every such node lies on one.
    #[test]
    fn every_cycle_has_a_node_that_closes_it() {
        let mut state = 1_u64;
        let mut draw = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..2_000 {
            let nodes = 1 + draw(12);
            let edges: Vec<Vec<usize>> =
                (0..nodes).map(|_| (0..draw(4)).map(|_| draw(nodes)).collect()).collect();
            let Cycles { recurses, closes, .. } = cyclic(&edges, &[]);
            assert!(closes.iter().zip(&recurses).all(|(closes, recurses)| !closes || *recurses));
            let without: Vec<Vec<usize>> = edges
                .iter()
                .enumerate()
                .map(|(node, targets)| {
                    if closes[node] {
                        Vec::new()
                    } else {
                        targets.iter().copied().filter(|target| !closes[*target]).collect()
                    }
                })
                .collect();
            assert!(cyclic(&without, &[]).recurses.into_iter().all(|on| !on), "{edges:?}");
        }
    }

    /// Two functions call through the table, each with a type that only the other has.
    #[test]
    fn a_table_leads_to_functions_of_the_type() {
        let types = Types { first: &[0, 1, 0], of: &[0, 1, 2, 1] };
        let calls =
            |ty: Option<u32>| Behaviour { indirect: ty.into_iter().collect(), ..Behaviour::default() };
        let taken: BTreeSet<u32> = [0, 1, 2].into();
        let functions = |second: Option<u32>| [calls(Some(1)), calls(second), calls(None), calls(Some(2))];
        let graph = CallGraph::new(0, &functions(None), &taken, false, &[], &types);
        assert!((0..4).all(|n| !graph.recurses(n) && !graph.can_unwind(n as u32)));
        // Through a type that is equal to the type of the first function.
        let graph = CallGraph::new(0, &functions(Some(2)), &taken, false, &[], &types);
        assert_eq!([0, 1, 2, 3].map(|n| graph.recurses(n)), [true, true, false, false]);
        assert_eq!(
            [0, 1, 2, 3].map(|n| graph.can_unwind(n)),
            [true, true, false, true],
            "the last calls the first"
        );
        assert!(graph.closes_a_cycle(0) || graph.closes_a_cycle(1));
        let graph = CallGraph::new(0, &functions(None), &taken, true, &[], &types);
        assert!(graph.indirect_can_unwind(1) && graph.can_unwind(0), "others fill its tables");
    }
}
