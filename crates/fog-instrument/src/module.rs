//! Layout of the rewritten module: indices of its items and of those that are added.

mod input;
mod write;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use wasm_encoder::reencode::{Reencode, utils};
use wasm_encoder::{BlockType, TypeSection, ValType};
use wasmparser::{Operator, WasmFeatures};

use self::input::{Input, Section, add_main, read};
use self::write::write;
use crate::calls::{Behaviour, CallGraph, Types};
use crate::nans::Nans;
use crate::plan::{Nowhere, Plan};
use crate::{Abilities, names};

/// Error when rewriting a module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The module is not valid under the accepted proposals.
    #[error("not a valid module: {0}")]
    Invalid(#[source] wasmparser::BinaryReaderError),
    /// The module uses a feature that the encoder does not know.
    #[error("it uses something this program does not know: {0}")]
    Unknown(String),
    /// The module uses a name with the reserved prefix in an export or import.
    #[error("'{0}' is a name this program adds")]
    Reserved(String),
    /// A function is too large to be stopped within the bounds.
    #[error(
        "its function {function} has so many variables at so many places where it may have to stop that saving them would take more code than is possible; split it into smaller functions"
    )]
    TooLarge {
        /// Number of the function.
        function: u32,
    },
    /// The rewritten module would be too large in proportion to the original.
    #[error("it would become more than {} MiB when it is prepared to be counted and stopped", *.bytes >> 20)]
    Swells {
        /// Largest allowed size of the rewritten code, bytes.
        bytes: u64,
    },
    /// Blocks do not nest; the validator should have refused the module.
    #[error("its blocks do not nest")]
    Shape,
}

impl Error {
    pub(crate) fn invalid(error: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid(error)
    }

    pub(crate) fn encode(error: wasm_encoder::reencode::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

/// Shifts function numbers past the imports that are added.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renumber {
    imports: u32,
    added: u32,
}

impl Reencode for Renumber {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, wasm_encoder::reencode::Error> {
        Ok(self.shift(function))
    }
}

impl Renumber {
    fn shift(self, function: u32) -> u32 {
        if function >= self.imports { function + self.added } else { function }
    }
}

/// Segment that a program may drop while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Segment {
    Element(u32),
    Data(u32),
}

impl Segment {
    pub(crate) fn dropped_by(operator: &Operator<'_>) -> Option<Self> {
        match operator {
            Operator::ElemDrop { elem_index } => Some(Self::Element(*elem_index)),
            Operator::DataDrop { data_index } => Some(Self::Data(*data_index)),
            _ => None,
        }
    }
}

/// Items that are added to modules that move references.
pub(crate) struct References {
    /// Function that returns the number of a reference.
    pub(crate) number: u32,
    /// Table that maps numbers to functions.
    pub(crate) functions: u32,
    /// Functions in the table, by their numbers in the original.
    all: Vec<u32>,
}

type Signature = (Vec<wasmparser::ValType>, Vec<wasmparser::ValType>);

/// Indices of the original's types and functions, and of the items that are added.
pub(crate) struct Shape {
    types: Vec<Option<Signature>>,
    /// Type of every function of the original, imports first, and of the added `main`.
    functions: Vec<u32>,
    imports: u32,
    /// Types without parameters, by their results, for blocks and second copies.
    blocks: BTreeMap<Vec<wasmparser::ValType>, u32>,
    /// Second copy of a function, by its number among the defined functions.
    second: BTreeMap<u32, u32>,
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) stack: u32,
    /// Bytes of the counted frame of each defined function.
    pub(crate) frame_bytes: Vec<u32>,
    /// Initial value of the stack count.
    stack_start: i32,
    pub(crate) frames: u32,
    pub(crate) by_number: u32,
    pub(crate) check: u32,
    /// Whether the module can stop, or only counts.
    pub(crate) can_stop: bool,
    pub(crate) references: Option<References>,
    /// Globals that record dropped segments.
    pub(crate) dropped: BTreeMap<Segment, u32>,
    has_tail_calls: bool,
}

impl Shape {
    pub(crate) fn signature(&self, index: u32) -> Signature {
        self.types.get(index as usize).cloned().flatten().unwrap_or_default()
    }

    pub(crate) fn type_of(&self, function: u32) -> u32 {
        self.functions[function as usize]
    }

    /// Number of functions that the module imports.
    pub(crate) fn imported(&self) -> u32 {
        self.imports
    }

    pub(crate) fn params_of(&self, defined: u32) -> Vec<wasmparser::ValType> {
        self.signature(self.type_of(self.imports + defined)).0
    }

    pub(crate) fn results_of(&self, defined: u32) -> Vec<wasmparser::ValType> {
        self.signature(self.type_of(self.imports + defined)).1
    }

    /// Returns the copy of a function that continues a frame; `None` in modules with tail calls, where only
    /// the frame tells which function it is of.
    pub(crate) fn resumed(&self, function: u32) -> Option<u32> {
        if self.has_tail_calls { None } else { self.second.get(&(function - self.imports)).copied() }
    }

    /// Index of the type without parameters that has these results.
    pub(crate) fn giving(&self, results: &[wasmparser::ValType]) -> u32 {
        self.blocks.get(results).copied().unwrap_or(0)
    }

    pub(crate) fn block_of(&self, results: &[wasmparser::ValType]) -> BlockType {
        match results {
            [] => BlockType::Empty,
            results => {
                self.blocks.get(results).map_or(BlockType::Empty, |index| BlockType::FunctionType(*index))
            }
        }
    }
}

/// Rewrites `module`, which must be valid under `features`. The result needs the multi-memory proposal.
///
/// The host must not give it values of type `externref`: a saved frame holds null for them.
///
/// # Errors
/// [`Error`] with the reason; never panics on any input.
pub fn instrument(module: &[u8], features: WasmFeatures, abilities: Abilities) -> Result<Vec<u8>, Error> {
    let mut input = read(module, features)?;
    let main = add_main(&mut input)?;
    if !abilities.canonical_nans {
        input.bodies.iter_mut().for_each(|body| body.facts.nans = Nans::default());
    }
    let can_stop = abilities.stop;
    let moves_references = can_stop && input.moves_references();
    // Most modules hold no references at sites; whether one does is seen when its frames are written.
    match rewrite(&input, main, abilities, moves_references)? {
        Some(module) => Ok(module),
        None => rewrite(&input, main, abilities, true)?.ok_or(Error::Shape),
    }
}

/// Rewrites the module; `None` when a function holds references at a site but `has_references` is false.
fn rewrite(
    input: &Input<'_>,
    main: Option<u32>,
    abilities: Abilities,
    has_references: bool,
) -> Result<Option<Vec<u8>>, Error> {
    let (shape, plans, sections) = plan(input, abilities, has_references)?;
    write(input, &shape, &plans, main, sections)
}

fn plan(
    input: &Input<'_>,
    abilities: Abilities,
    has_references: bool,
) -> Result<(Shape, Vec<Plan>, TypeSection), Error> {
    let can_stop = abilities.stop;
    let mut taken = input.taken.clone();
    let mut behaviours = Vec::new();
    for body in &input.bodies {
        let mut behaviour = Behaviour::default();
        body.operators
            .iter()
            .zip(&body.facts.dead)
            .filter(|(_, dead)| !**dead)
            .for_each(|((operator, _), _)| behaviour.note(operator, &mut taken));
        behaviours.push(behaviour);
    }
    let frame_bytes: Vec<u32> = input.bodies.iter().map(|body| body.facts.frame_bytes).collect();
    let mut first: BTreeMap<&Option<Signature>, u32> = BTreeMap::new();
    let first: Vec<u32> =
        input.types.iter().zip(0..).map(|(signature, n)| *first.entry(signature).or_insert(n)).collect();
    let types = Types { first: &first, of: &input.functions };
    let graph = CallGraph::new(
        input.imported_functions,
        &behaviours,
        &taken,
        input.shares_tables,
        &frame_bytes,
        &types,
    );
    let mut plans = Vec::with_capacity(input.bodies.len());
    for (n, body) in input.bodies.iter().enumerate() {
        let operators: Vec<Operator<'_>> =
            body.operators.iter().map(|(operator, _)| operator.clone()).collect();
        let has_entry_check = graph.closes_a_cycle(n);
        let plan = if can_stop {
            Plan::of(&operators, &body.facts.dead, body.local_count, has_entry_check, &graph)
        } else {
            Plan::of(&operators, &body.facts.dead, body.local_count, has_entry_check, &Nowhere)
        };
        let mut plan = plan.ok_or(Error::TooLarge { function: input.imported_functions + n as u32 })?;
        plan.takes_stack = graph.recurses(n);
        plan.shares_saving |= abilities.share_saving;
        plans.push(plan);
    }

    let mut renumber = Renumber { imports: input.imported_functions, added: 1 + u32::from(has_references) };
    let mut types = TypeSection::new();
    for section in &input.sections {
        if let Section::Types(section) = section {
            utils::parse_type_section(&mut renumber, &mut types, section.clone()).map_err(Error::encode)?;
        }
    }
    let mut blocks = BTreeMap::new();
    // Results of every function, and of types called through tables, which no function need have.
    let called =
        input.bodies.iter().flat_map(|body| &body.operators).filter_map(|(operator, _)| match operator {
            Operator::CallIndirect { type_index, .. } => Some(*type_index),
            _ => None,
        });
    let defined = &input.functions[input.imported_functions as usize..];
    for ty in defined.iter().copied().chain(called) {
        let results = input.types[ty as usize].clone().unwrap_or_default().1;
        if let Entry::Vacant(place) = blocks.entry(results) {
            let encoded: Result<Vec<ValType>, _> =
                place.key().iter().map(|ty| renumber.val_type(*ty)).collect();
            place.insert(types.len());
            types.ty().function([], encoded.map_err(Error::encode)?);
        }
    }
    let next = input.functions.len() as u32 + renumber.added;
    let with_sites =
        plans.iter().enumerate().filter(|(_, plan)| can_stop && plan.sites > 1).map(|(n, _)| n as u32);
    let second: BTreeMap<u32, u32> = with_sites.zip(next..).collect();
    let check = next + second.len() as u32;
    let references = has_references.then(|| References {
        number: input.imported_functions + 1,
        functions: input.tables + 1,
        all: taken.into_iter().collect(),
    });
    let globals = input.globals.len() as u32;
    let dropped = if can_stop { input.dropped() } else { BTreeSet::new() };
    let shape = Shape {
        types: input.types.clone(),
        functions: input.functions.clone(),
        imports: input.imported_functions,
        blocks,
        second,
        left: globals,
        stack: globals + 1,
        stack_start: names::STACK_START.saturating_sub_unsigned(
            u32::try_from(graph.chain_bytes().saturating_sub(names::CHAIN_BYTES)).unwrap_or(u32::MAX),
        ),
        frame_bytes,
        top: globals + 2,
        frames: input.memories,
        by_number: input.tables,
        check,
        can_stop,
        references,
        dropped: dropped.into_iter().zip(globals + 3..).collect(),
        has_tail_calls: input.any(|operator| {
            matches!(operator, Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. })
        }),
    };
    Ok((shape, plans, types))
}
