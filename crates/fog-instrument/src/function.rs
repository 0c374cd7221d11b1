//! The second pass: rewrites one function, as the fast copy or as the copy that can be rewound.
//!
//! At every place where the function may stop (a site), all its values are in locals: operands of the
//! original move to *slots* first. An optimising compiler turns both into the same registers. Code between
//! two sites is a *segment*; while the second copy is being rewound, it skips every segment until it
//! reaches the site at which it stopped.

mod operators;
mod sites;

use std::collections::{BTreeMap, BTreeSet};

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{BlockType, BranchHint, Encode as _, Function, Instruction as I, MemArg, ValType};
use wasmparser::{FuncValidator, Operator, WasmModuleResources};

use crate::module::{Error, Renumber, Shape};
use crate::nans::Lanes;
use crate::plan::{Facts, Plan};

/// Kind of copy that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// Runs from its first instruction.
    Fast,
    /// Continues at a site, after restoring its frame.
    Rewind,
}

/// A control frame of the original.
struct Frame {
    kind: Kind,
    /// Height of the operand stack below it.
    base: usize,
    params: Vec<wasmparser::ValType>,
    results: Vec<wasmparser::ValType>,
    /// Number of open labels of the output just inside it.
    label: u32,
    /// Whether it is copied unchanged, because nothing inside can stop.
    is_verbatim: bool,
    leaf: Option<Leaf>,
}

/// A loop whose body is written several times.
struct Leaf {
    /// Offset in the code at which the first copy begins.
    begins: usize,
    copies: usize,
    was_rewound: bool,
}

impl Frame {
    /// Whether a branch to it carries no operands.
    fn carries_nothing(&self) -> bool {
        if self.kind == Kind::Loop { self.params.is_empty() } else { self.results.is_empty() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Block,
    Loop,
    If,
}

/// Values of a frame in the order in which they are saved.
type Saved = Vec<(u32, ValType)>;

pub(crate) struct Writer<'a, T> {
    shape: &'a Shape,
    plan: &'a Plan,
    facts: &'a Facts,
    copy: Copy,
    /// Index among the defined functions of the module.
    function: u32,
    types: FuncValidator<T>,
    renumber: Renumber,
    code: Vec<u8>,
    depth: u32,
    frames: Vec<Frame>,
    /// Whether the operands of the current segment are on the stack, not in their slots.
    is_open: bool,
    /// Whether the current segment is behind a test for rewinding.
    is_guarded: bool,
    /// Whether no rewinding can be under way at this place.
    is_rewound: bool,
    /// Offsets of branches with a known likely direction, and whether they are taken.
    hints: Vec<(usize, bool)>,
    locals: u32,
    /// Types of the locals that were added to those of the original.
    extra: Vec<ValType>,
    slots: BTreeMap<(usize, ValType), u32>,
    named: BTreeMap<&'static str, u32>,
    /// Whether the running count is kept in a local, because the function has loops.
    counts_locally: bool,
    saved: BTreeMap<u32, Saved>,
    /// Locals that any site saves, where all sites share one saving sequence.
    shared: BTreeSet<u32>,
    /// Whether a site holds references although the module was not prepared for that.
    lacks_references: bool,
}

/// A function that has been written.
pub(crate) struct Written {
    pub(crate) function: Function,
    /// Branches with a known likely direction.
    pub(crate) hints: Vec<BranchHint>,
    /// Whether it holds references at a site although the module was not prepared for that.
    pub(crate) lacks_references: bool,
}

const REWIND: &str = "site being rewound to";
const COUNT: &str = "units left";
const FRAME: &str = "frame";
const LENGTH: &str = "length";
const SITE: &str = "site to be saved";
const STACK: &str = "stack left before";
/// Largest function that the engines accept, bytes.
const MOST_FUNCTION_BYTES: usize = 7_654_321;

fn at(offset: u64, memory_index: u32) -> MemArg {
    MemArg { offset, align: 0, memory_index }
}

fn size_of(value: ValType) -> u64 {
    match value {
        // A reference is saved as a number.
        ValType::I32 | ValType::F32 | ValType::Ref(_) => 4,
        ValType::I64 | ValType::F64 => 8,
        ValType::V128 => 16,
    }
}

fn zero(ty: ValType) -> I<'static> {
    match ty {
        ValType::I32 => I::I32Const(0),
        ValType::I64 => I::I64Const(0),
        ValType::F32 => I::F32Const(0.0.into()),
        ValType::F64 => I::F64Const(0.0.into()),
        ValType::V128 => I::V128Const(0),
        ValType::Ref(ty) => I::RefNull(ty.heap_type),
    }
}

/// Bytes of function number and site at the end of every frame.
const FRAME_TAIL: u64 = 8;

impl<'a, T: WasmModuleResources> Writer<'a, T> {
    pub(crate) fn new(
        shape: &'a Shape,
        plan: &'a Plan,
        facts: &'a Facts,
        copy: Copy,
        function: u32,
        types: FuncValidator<T>,
        renumber: Renumber,
    ) -> Self {
        let locals = types.len_locals();
        Self {
            shape,
            plan,
            facts,
            copy,
            function,
            types,
            renumber,
            code: Vec::new(),
            depth: 0,
            frames: Vec::new(),
            is_open: false,
            is_guarded: false,
            is_rewound: copy == Copy::Fast,
            hints: Vec::new(),
            locals,
            extra: Vec::new(),
            slots: BTreeMap::new(),
            named: BTreeMap::new(),
            counts_locally: !plan.loops.is_empty(),
            saved: BTreeMap::new(),
            shared: BTreeSet::new(),
            lacks_references: false,
        }
    }

    /// Writes the whole function.
    pub(crate) fn write(
        mut self,
        operators: &[(Operator<'_>, usize)],
        locals: &[(u32, wasmparser::ValType)],
    ) -> Result<Written, Error> {
        let results = self.shape.results_of(self.function);
        let block = self.shape.block_of(&results);
        if self.copy == Copy::Rewind {
            self.local(REWIND, ValType::I32);
        }
        self.take_stack();
        if self.counts_locally {
            let count = self.local(COUNT, ValType::I64);
            self.put(&I::GlobalGet(self.shape.left));
            self.put(&I::LocalSet(count));
        }
        // Restoring comes first, but the values that a site saves are known only after the body is written.
        let body_begins = self.code.len();
        if self.shares_saving() {
            // A branch out of this block leads to the saving sequence of all sites.
            self.put(&I::Block(BlockType::Empty));
            self.depth += 1;
        }
        self.put(&I::Block(block));
        self.depth += 1;
        self.frames.push(Frame {
            kind: Kind::Function,
            base: 0,
            params: vec![],
            results,
            label: self.depth,
            is_verbatim: false,
            leaf: None,
        });
        self.entry()?;
        for (place, (operator, offset)) in operators.iter().enumerate() {
            self.operator(place, operator, *offset)?;
            if self.code.len() > MOST_FUNCTION_BYTES {
                return Err(Error::TooLarge { function: self.shape.imported() + self.function });
            }
        }
        // The body's block has ended; the count goes back to its global.
        if self.counts_locally {
            let count = self.local(COUNT, ValType::I64);
            self.put(&I::LocalGet(count));
            self.put(&I::GlobalSet(self.shape.left));
        }
        self.give_stack();
        if self.shares_saving() {
            self.puts(&[I::Return, I::End]);
            self.save_all()?;
        }
        self.put(&I::End);
        let body = self.code.split_off(body_begins);
        if self.copy == Copy::Rewind {
            self.restore();
        }
        let restoring = self.code.len() - body_begins;
        self.code.extend_from_slice(&body);
        let mut declared: Vec<(u32, ValType)> = Vec::new();
        if self.copy == Copy::Rewind {
            // A second copy has no parameters; those of the original are locals.
            for ty in self.shape.params_of(self.function) {
                declared.push((1, self.encoded(ty)?));
            }
        }
        for (count, ty) in locals {
            declared.push((*count, self.encoded(*ty)?));
        }
        declared.extend(self.extra.iter().map(|ty| (1, *ty)));
        let mut function = Function::new(declared);
        let before = function.byte_len();
        // Offsets before the restoring code do not move.
        let moved = |at: usize| if at < body_begins { at } else { at + restoring };
        let hint = |(at, taken): &(usize, bool)| BranchHint {
            branch_func_offset: (before + moved(*at)) as u32,
            branch_hint_value: u32::from(*taken),
        };
        let hints = self.hints.iter().map(hint).collect();
        function.raw(self.code);
        Ok(Written { function, hints, lacks_references: self.lacks_references })
    }

    fn put(&mut self, instruction: &I<'_>) {
        instruction.encode(&mut self.code);
    }

    fn puts(&mut self, instructions: &[I<'_>]) {
        instructions.iter().for_each(|instruction| self.put(instruction));
    }

    fn shares_saving(&self) -> bool {
        self.plan.shares_saving && self.shape.can_stop
    }

    /// Takes the function's frame off the remaining stack, if the function can recurse.
    fn take_stack(&mut self) {
        if !self.plan.takes_stack {
            return;
        }
        let stack = self.shape.stack;
        let before = self.local(STACK, ValType::I32);
        self.puts(&[
            I::GlobalGet(stack),
            I::LocalTee(before),
            I::I32Const(self.frame_bytes()),
            I::I32Sub,
            I::GlobalSet(stack),
        ]);
        self.puts(&[I::LocalGet(before), I::I32Const(self.frame_bytes()), I::I32LtS]);
        self.hints.push((self.code.len(), false));
        self.puts(&[I::If(BlockType::Empty), I::Unreachable, I::End]);
    }

    /// Gives the frame back by setting the saved value, which is cheaper than adding. A function that stops
    /// does not give it back; the host sets the count then.
    fn give_stack(&mut self) {
        if self.plan.takes_stack {
            let before = self.local(STACK, ValType::I32);
            self.puts(&[I::LocalGet(before), I::GlobalSet(self.shape.stack)]);
        }
    }

    fn frame_bytes(&self) -> i32 {
        self.shape.frame_bytes.get(self.function as usize).map_or(0, |bytes| bytes.cast_signed())
    }

    fn fresh(&mut self, ty: ValType) -> u32 {
        self.extra.push(ty);
        self.locals + self.extra.len() as u32 - 1
    }

    fn local(&mut self, name: &'static str, ty: ValType) -> u32 {
        match self.named.get(name) {
            Some(local) => *local,
            None => {
                let local = self.fresh(ty);
                self.named.insert(name, local);
                local
            }
        }
    }

    fn encoded(&mut self, ty: wasmparser::ValType) -> Result<ValType, Error> {
        Ok(match ty {
            // The validator knows function references by their type; in a local, any reference to a
            // function will do.
            wasmparser::ValType::Ref(reference) if reference.is_extern_ref() => ValType::EXTERNREF,
            wasmparser::ValType::Ref(_) => ValType::FUNCREF,
            number => self.renumber.val_type(number).map_err(Error::encode)?,
        })
    }

    fn slot(&mut self, position: usize, ty: wasmparser::ValType) -> Result<u32, Error> {
        let ty = self.encoded(ty)?;
        if let Some(local) = self.slots.get(&(position, ty)) {
            return Ok(*local);
        }
        let local = self.fresh(ty);
        self.slots.insert((position, ty), local);
        Ok(local)
    }

    fn height(&self) -> usize {
        self.types.operand_stack_height() as usize
    }

    /// Type of the operand at an absolute position; unreachable code has none.
    fn operand(&self, position: usize) -> Option<wasmparser::ValType> {
        self.types.get_operand_type(self.height().checked_sub(position + 1)?).flatten()
    }

    fn base(&self) -> usize {
        self.frames.last().map_or(0, |frame| frame.base)
    }

    fn is_verbatim(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.is_verbatim)
    }

    /// Begins a segment: loads operands from their slots.
    fn open(&mut self) -> Result<(), Error> {
        if self.is_open {
            return Ok(());
        }
        self.is_guarded = !self.is_rewound;
        if self.is_guarded {
            let rewind = self.local(REWIND, ValType::I32);
            self.puts(&[I::LocalGet(rewind), I::I32Eqz, I::If(BlockType::Empty)]);
            self.depth += 1;
        }
        self.is_open = true;
        self.load(self.base(), self.height())
    }

    /// Ends a segment: stores operands in their slots.
    fn close(&mut self) -> Result<(), Error> {
        if !self.is_open {
            return Ok(());
        }
        self.store(self.base(), self.height())?;
        self.end_segment();
        Ok(())
    }

    fn end_segment(&mut self) {
        self.is_open = false;
        if self.is_guarded {
            self.put(&I::End);
            self.depth -= 1;
        }
    }

    fn load(&mut self, from: usize, to: usize) -> Result<(), Error> {
        for position in from..to {
            if let Some(ty) = self.operand(position) {
                let slot = self.slot(position, ty)?;
                self.put(&I::LocalGet(slot));
            }
        }
        Ok(())
    }

    fn store(&mut self, from: usize, to: usize) -> Result<(), Error> {
        for position in (from..to).rev() {
            if let Some(ty) = self.operand(position) {
                let slot = self.slot(position, ty)?;
                self.put(&I::LocalSet(slot));
            }
        }
        Ok(())
    }

    /// Loads values of known types from their slots.
    fn load_types(&mut self, base: usize, types: &[wasmparser::ValType]) -> Result<(), Error> {
        for (index, ty) in types.iter().enumerate() {
            let slot = self.slot(base + index, *ty)?;
            self.put(&I::LocalGet(slot));
        }
        Ok(())
    }

    fn store_types(&mut self, base: usize, types: &[wasmparser::ValType]) -> Result<(), Error> {
        for (index, ty) in types.iter().enumerate().rev() {
            let slot = self.slot(base + index, *ty)?;
            self.put(&I::LocalSet(slot));
        }
        Ok(())
    }

    /// Takes units off the count, or gives them back if negative. Does not change the operand stack.
    fn charge(&mut self, units: i64) {
        if units == 0 {
            return;
        }
        let units = I::I64Const(units);
        if self.counts_locally {
            let count = self.local(COUNT, ValType::I64);
            self.puts(&[I::LocalGet(count), units, I::I64Sub, I::LocalSet(count)]);
        } else {
            self.puts(&[I::GlobalGet(self.shape.left), units, I::I64Sub, I::GlobalSet(self.shape.left)]);
        }
    }

    /// Replaces the NaNs of the value on top of the stack by the canonical NaN.
    fn canonical(&mut self, lanes: Lanes) {
        const NARROW: u32 = 0x7fc0_0000;
        const WIDE: u64 = 0x7ff8_0000_0000_0000;
        let wide = (i128::from(WIDE) << 64) | i128::from(WIDE);
        let narrow = i128::from(NARROW);
        let narrow = narrow << 96 | narrow << 64 | narrow << 32 | narrow;
        let (ty, nan, equal, select) = match lanes {
            Lanes::F32 => (ValType::F32, I::F32Const(f32::from_bits(NARROW).into()), I::F32Eq, I::Select),
            Lanes::F64 => (ValType::F64, I::F64Const(f64::from_bits(WIDE).into()), I::F64Eq, I::Select),
            Lanes::F32x4 => (ValType::V128, I::V128Const(narrow), I::F32x4Eq, I::V128Bitselect),
            Lanes::F64x2 => (ValType::V128, I::V128Const(wide), I::F64x2Eq, I::V128Bitselect),
        };
        let name = match ty {
            ValType::F32 => "float",
            ValType::F64 => "double",
            _ => "vector",
        };
        let value = self.local(name, ty);
        // Only a NaN is not equal to itself.
        self.puts(&[I::LocalTee(value), nan, I::LocalGet(value), I::LocalGet(value), equal, select]);
    }

    fn charge_after(&mut self, place: usize) -> Result<(), Error> {
        if let Some(units) = self.plan.charges.get(&place).copied() {
            self.open()?;
            self.charge(units.cast_signed());
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<(), Error> {
        if self.plan.entry_charge > 0 {
            self.open()?;
            self.charge(self.plan.entry_charge.cast_signed());
        }
        if self.plan.has_entry_check {
            self.close()?;
            self.safe_point(1, None)?;
        }
        Ok(())
    }
}
