//! Rewrites the instructions of the original one after the other.

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{BlockType, Instruction as I, ValType};
use wasmparser::{Operator, WasmModuleResources};

use super::{COUNT, Copy, FRAME_TAIL, Frame, Kind, LENGTH, Leaf, REWIND, Writer, at};
use crate::cost;
use crate::module::{Error, Segment};

/// Largest number of instructions of all copies of a leaf loop together.
const UNROLLED: usize = 192;
/// Largest number of copies of a leaf loop.
const MOST_COPIES: usize = 8;

impl<T: WasmModuleResources> Writer<'_, T> {
    pub(super) fn operator(
        &mut self,
        place: usize,
        operator: &Operator<'_>,
        offset: usize,
    ) -> Result<(), Error> {
        if self.facts.dead[place] {
            self.types.op(offset, operator).map_err(Error::invalid)?;
            return Ok(());
        }
        match operator {
            Operator::Block { blockty } => self.begin(Kind::Block, *blockty, place, operator, offset),
            Operator::Loop { blockty } => self.begin(Kind::Loop, *blockty, place, operator, offset),
            Operator::If { blockty } => self.begin(Kind::If, *blockty, place, operator, offset),
            Operator::Else => self.alternative(place, operator, offset),
            Operator::End => self.end(place, operator, offset),
            Operator::Call { function_index } if self.plan.calls.contains_key(&place) => {
                let ty = self.shape.type_of(*function_index);
                self.call(place, ty, Some(*function_index), None, operator, offset)
            }
            Operator::CallIndirect { type_index, table_index } if self.plan.calls.contains_key(&place) => {
                self.call(place, *type_index, None, Some(*table_index), operator, offset)
            }
            _ => self.plain(place, operator, offset),
        }
    }

    /// Writes an instruction that neither stops nor opens a block.
    fn plain(&mut self, place: usize, operator: &Operator<'_>, offset: usize) -> Result<(), Error> {
        self.open()?;
        if cost::is_span(operator) {
            let length = self.local(LENGTH, ValType::I32);
            self.puts(&[I::LocalTee(length)]);
            let units = [I::LocalGet(length), I::I64ExtendI32U, I::I64Const(cost::SPAN_SHIFT), I::I64ShrU];
            if self.counts_locally {
                let count = self.local(COUNT, ValType::I64);
                self.put(&I::LocalGet(count));
                self.puts(&units);
                self.puts(&[I::I64Sub, I::LocalSet(count)]);
            } else {
                self.put(&I::GlobalGet(self.shape.left));
                self.puts(&units);
                self.puts(&[I::I64Sub, I::GlobalSet(self.shape.left)]);
            }
        }
        let is_last = match operator {
            Operator::Br { relative_depth } => {
                let label = self.label(*relative_depth);
                self.put(&I::Br(label));
                true
            }
            Operator::BrIf { relative_depth } => {
                let label = self.label(*relative_depth);
                let target = self.frames.len() - 1 - *relative_depth as usize;
                let leaf = self.frames.iter().rposition(|frame| frame.leaf.is_some());
                // The branch back to a leaf loop is likely; a branch out of it is not.
                if leaf == Some(target) {
                    self.hints.push((self.code.len(), true));
                }
                if leaf > Some(target) && self.frames[target].carries_nothing() {
                    self.hints.push((self.code.len(), false));
                    self.puts(&[I::If(BlockType::Empty), I::Br(label + 1), I::End]);
                } else {
                    self.put(&I::BrIf(label));
                }
                if let Some(units) = self.plan.refunds.get(&place) {
                    self.charge(units.cast_signed().saturating_neg());
                }
                false
            }
            Operator::BrTable { targets } => {
                let mut labels = Vec::new();
                for target in targets.targets() {
                    labels.push(self.label(target.map_err(Error::invalid)?));
                }
                let default = self.label(targets.default());
                self.put(&I::BrTable(labels.into(), default));
                true
            }
            // Branches to the end of the body's own block, behind which the count is put back.
            Operator::Return => {
                let outermost = self.frames.len() as u32 - 1;
                let label = self.label(outermost);
                self.put(&I::Br(label));
                true
            }
            other => {
                let is_tail =
                    matches!(other, Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. });
                if is_tail {
                    self.flush();
                    self.give_stack();
                }
                // An imported function may end the program, so the count must be exact.
                let instruction = self.renumber.instruction(other.clone()).map_err(Error::encode)?;
                let is_call = matches!(other, Operator::Call { .. } | Operator::CallIndirect { .. });
                if is_call {
                    self.flush();
                }
                self.put(&instruction);
                if let Some(flag) =
                    Segment::dropped_by(other).and_then(|segment| self.shape.dropped.get(&segment))
                {
                    self.puts(&[I::I32Const(1), I::GlobalSet(*flag)]);
                }
                if let Some(lanes) = self.facts.nans.canonical.get(&place) {
                    self.canonical(*lanes);
                }
                // The callee, or the host for an imported function, changes the count in its global.
                if is_call {
                    self.reload();
                }
                is_tail || matches!(other, Operator::Unreachable)
            }
        };
        self.types.op(offset, operator).map_err(Error::invalid)?;
        if is_last && !self.is_verbatim() {
            // The code that follows is dead; its operands need no slots.
            self.end_segment();
        }
        Ok(())
    }

    fn label(&self, depth: u32) -> u32 {
        let frame = &self.frames[self.frames.len() - 1 - depth as usize];
        self.depth - frame.label
    }

    fn signature(
        &self,
        block: wasmparser::BlockType,
    ) -> (Vec<wasmparser::ValType>, Vec<wasmparser::ValType>) {
        match block {
            wasmparser::BlockType::Empty => (vec![], vec![]),
            wasmparser::BlockType::Type(ty) => (vec![], vec![ty]),
            wasmparser::BlockType::FuncType(index) => self.shape.signature(index),
        }
    }

    fn begin(
        &mut self,
        kind: Kind,
        block: wasmparser::BlockType,
        place: usize,
        operator: &Operator<'_>,
        offset: usize,
    ) -> Result<(), Error> {
        let (params, results) = self.signature(block);
        let span = self.plan.spans.get(&place).copied().unwrap_or_default();
        if kind == Kind::Loop && span.is_leaf() && params.is_empty() {
            return self.begin_leaf(span.length(place), results, place, operator, offset);
        }
        let is_verbatim = !span.has_sites();
        let encoded = self.renumber.block_type(block).map_err(Error::encode)?;
        let opening = match kind {
            Kind::Loop => I::Loop(encoded),
            Kind::If => I::If(encoded),
            Kind::Block | Kind::Function => I::Block(encoded),
        };
        if is_verbatim {
            self.open()?;
            self.put(&opening);
        } else {
            self.close()?;
            let base = self.height() - params.len() - usize::from(kind == Kind::If);
            self.load_types(base, &params)?;
            if kind == Kind::If {
                let condition = self.slot(self.height() - 1, wasmparser::ValType::I32)?;
                self.put(&I::LocalGet(condition));
                if self.copy == Copy::Rewind {
                    let rewind = self.local(REWIND, ValType::I32);
                    let arm = (span.middle - span.first).cast_signed();
                    self.puts(&[
                        I::LocalGet(rewind),
                        I::I32Const(span.first.cast_signed()),
                        I::I32Sub,
                        I::I32Const(arm),
                        I::I32LtU,
                    ]);
                    self.puts(&[I::LocalGet(rewind), I::I32Eqz, I::Select]);
                }
            }
            self.put(&opening);
        }
        self.types.op(offset, operator).map_err(Error::invalid)?;
        self.depth += 1;
        let base = self.height() - params.len();
        self.frames.push(Frame {
            kind,
            base,
            params: params.clone(),
            results,
            label: self.depth,
            is_verbatim,
            leaf: None,
        });
        if is_verbatim {
            return self.charge_after(place);
        }
        self.store_types(base, &params)?;
        // A loop checks the count before it charges, as leaf loops do: charges of the stretch behind it do
        // not change the check.
        if let Some(site) = self.plan.loops.get(&place) {
            self.safe_point(*site, Some(place))?;
        }
        self.charge_after(place)
    }

    /// Begins a leaf loop: one without another safe point and without calls that can stop.
    ///
    /// Its body is written several times in a row, with one check of the count for all copies. The body
    /// takes and leaves its operands in slots, so all copies are the same bytes. Inside, no rewinding can
    /// be under way, so a rewound function runs it at full speed.
    fn begin_leaf(
        &mut self,
        length: usize,
        results: Vec<wasmparser::ValType>,
        place: usize,
        operator: &Operator<'_>,
        offset: usize,
    ) -> Result<(), Error> {
        let Some(site) = self.plan.loops.get(&place).copied() else { return Err(Error::Shape) };
        self.close()?;
        // Label 0 leaves the loop, except inside one of the copies.
        self.put(&I::Block(BlockType::Empty));
        if self.copy == Copy::Rewind {
            let rewind = self.local(REWIND, ValType::I32);
            // Skips the loop while rewinding to another site.
            self.puts(&[
                I::LocalGet(rewind),
                I::I32Const(site.cast_signed()),
                I::I32Ne,
                I::LocalGet(rewind),
                I::I32Const(0),
                I::I32Ne,
                I::I32And,
            ]);
            self.put(&I::BrIf(0));
        }
        self.put(&I::Loop(BlockType::Empty));
        self.types.op(offset, operator).map_err(Error::invalid)?;
        self.depth += 2;
        let base = self.height();
        self.safe_point(site, Some(place))?;
        let copies = (UNROLLED / length.max(1)).clamp(1, MOST_COPIES);
        let leaf = Some(Leaf { begins: self.code.len(), copies, was_rewound: self.is_rewound });
        self.put(&I::Block(BlockType::Empty));
        self.depth += 1;
        self.frames.push(Frame {
            kind: Kind::Loop,
            base,
            params: vec![],
            results,
            label: self.depth,
            is_verbatim: false,
            leaf,
        });
        self.is_rewound = true;
        self.charge_after(place)
    }

    /// Ends a leaf loop; its results are in their slots.
    fn end_leaf(&mut self, leaf: &Leaf) {
        self.puts(&[I::Br(2), I::End]);
        let copy = self.code.split_off(leaf.begins);
        let hints = self.hints.split_off(self.hints.partition_point(|(at, _)| *at < leaf.begins));
        for n in 0..leaf.copies {
            self.code.extend_from_slice(&copy);
            self.hints.extend(hints.iter().map(|(at, taken)| (at + n * copy.len(), *taken)));
        }
        self.puts(&[I::Br(0), I::End, I::End]);
        self.depth -= 3;
        self.is_rewound = leaf.was_rewound;
    }

    fn alternative(&mut self, place: usize, operator: &Operator<'_>, offset: usize) -> Result<(), Error> {
        let is_dead = self.types.get_control_frame(0).is_some_and(|frame| frame.unreachable);
        let Some((is_verbatim, base, params, results)) = self
            .frames
            .last()
            .map(|frame| (frame.is_verbatim, frame.base, frame.params.clone(), frame.results.clone()))
        else {
            return Err(Error::Shape);
        };
        if !is_verbatim {
            if !is_dead {
                self.close()?;
            }
            self.load_types(base, &results)?;
        }
        self.put(&I::Else);
        self.types.op(offset, operator).map_err(Error::invalid)?;
        if !is_verbatim {
            self.store_types(base, &params)?;
        }
        self.charge_after(place)
    }

    fn end(&mut self, place: usize, operator: &Operator<'_>, offset: usize) -> Result<(), Error> {
        let is_dead = self.types.get_control_frame(0).is_some_and(|frame| frame.unreachable);
        let is_verbatim = self.is_verbatim();
        if !is_verbatim && !is_dead {
            self.close()?;
        }
        let Some(frame) = self.frames.pop() else { return Err(Error::Shape) };
        if let Some(leaf) = &frame.leaf {
            self.end_leaf(leaf);
            self.types.op(offset, operator).map_err(Error::invalid)?;
            return self.charge_after(place);
        }
        if !is_verbatim {
            // An `if` without `else` passes its parameters on; both arms end with the results in their
            // slots.
            self.load_types(frame.base, &frame.results)?;
        }
        self.put(&I::End);
        self.depth -= 1;
        self.types.op(offset, operator).map_err(Error::invalid)?;
        if frame.kind == Kind::Function {
            return Ok(());
        }
        if !is_verbatim {
            self.store_types(frame.base, &frame.results)?;
        }
        self.charge_after(place)
    }

    /// Writes a call that may stop: to `callee`, or through `table`.
    fn call(
        &mut self,
        place: usize,
        ty: u32,
        callee: Option<u32>,
        table: Option<u32>,
        operator: &Operator<'_>,
        offset: usize,
    ) -> Result<(), Error> {
        let site = self.plan.calls[&place];
        let (params, results) = self.shape.signature(ty);
        self.open()?;
        self.close()?;
        let below = self.height() - params.len() - usize::from(table.is_some());
        let rewind = (self.copy == Copy::Rewind).then(|| self.local(REWIND, ValType::I32));
        if let Some(rewind) = rewind {
            self.puts(&[
                I::LocalGet(rewind),
                I::I32Eqz,
                I::LocalGet(rewind),
                I::I32Const(site.cast_signed()),
                I::I32Eq,
                I::I32Or,
                I::If(BlockType::Empty),
            ]);
            self.depth += 1;
        }
        self.flush();
        let instruction = self.renumber.instruction(operator.clone()).map_err(Error::encode)?;
        let (frames, top, resumed, by_number) = (
            self.shape.frames,
            self.shape.top,
            callee.and_then(|callee| self.shape.resumed(callee)),
            self.shape.by_number,
        );
        let giving = self.shape.giving(&results);
        let index_slot = if table.is_some() {
            Some(self.slot(self.height() - 1, wasmparser::ValType::I32)?)
        } else {
            None
        };
        if let Some(rewind) = rewind {
            self.puts(&[I::LocalGet(rewind), I::If(BlockType::Empty), I::I32Const(0), I::LocalSet(rewind)]);
            match resumed {
                Some(function) => self.put(&I::Call(function)),
                None => {
                    // The callee is the function whose frame is now on top.
                    self.puts(&[
                        I::GlobalGet(top),
                        I::I32Const(FRAME_TAIL as i32),
                        I::I32Sub,
                        I::I32Load(at(0, frames)),
                    ]);
                    self.put(&I::CallIndirect { type_index: giving, table_index: by_number });
                }
            }
            self.store_types(below, &results)?;
            self.put(&I::Else);
        }
        self.load_types(below, &params)?;
        if let Some(slot) = index_slot {
            self.put(&I::LocalGet(slot));
        }
        self.put(&instruction);
        self.store_types(below, &results)?;
        if rewind.is_some() {
            self.put(&I::End);
        }
        self.site(site, place, below)?;
        if rewind.is_some() {
            self.put(&I::End);
            self.depth -= 1;
        }
        self.types.op(offset, operator).map_err(Error::invalid)
    }
}
