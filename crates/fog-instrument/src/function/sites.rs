//! Where a function may stop: looking at the count, saving a frame, restoring it.

use wasm_encoder::{BlockType, Instruction as I, ValType};
use wasmparser::WasmModuleResources;

use super::{COUNT, Copy, FRAME, FRAME_TAIL, REWIND, SITE, Saved, Writer, at, size_of, zero};
use crate::module::Error;
use crate::names;

impl<T: WasmModuleResources> Writer<'_, T> {
    /// Looks whether the count is used up. All operands are in their slots.
    pub(super) fn safe_point(&mut self, site: u32, place: Option<usize>) -> Result<(), Error> {
        let count = if self.counts_locally { I::LocalGet(self.local(COUNT, ValType::I64)) } else { I::GlobalGet(self.shape.left) };
        self.puts(&[count, I::I64Const(0), I::I64LtS]);
        if self.copy == Copy::Rewind {
            // One look for both: what it was is sorted out where it costs nothing.
            let rewind = self.local(REWIND, ValType::I32);
            self.puts(&[I::LocalGet(rewind), I::I32Or]);
        }
        self.unlikely_if();
        if self.copy == Copy::Rewind {
            let rewind = self.local(REWIND, ValType::I32);
            self.puts(&[I::LocalGet(rewind), I::I32Eqz, I::If(BlockType::Empty)]);
            self.depth += 1;
            self.check(site, place)?;
            // The check that stopped it has been made.
            self.puts(&[I::Else, I::LocalGet(rewind), I::I32Const(site.cast_signed()), I::I32Eq, I::If(BlockType::Empty)]);
            self.puts(&[I::I32Const(0), I::LocalSet(rewind)]);
            self.reload();
            self.puts(&[I::End, I::End]);
            self.depth -= 1;
        } else {
            self.check(site, place)?;
        }
        self.put(&I::End);
        self.depth -= 1;
        Ok(())
    }

    /// Asks for more units; stops when the answer says so.
    fn check(&mut self, site: u32, place: Option<usize>) -> Result<(), Error> {
        if self.counts_locally {
            let count = self.local(COUNT, ValType::I64);
            self.puts(&[I::LocalGet(count), I::GlobalSet(self.shape.left)]);
        }
        self.put(&I::Call(self.shape.check));
        self.put(&I::I32Eqz);
        self.unless_stopping(site, place, self.height())?;
        self.reload();
        Ok(())
    }

    /// Saves the frame and returns, unless the condition on the stack holds.
    ///
    /// The way out lies in the other arm so that compilers come to it last: one that meets a way out
    /// of a loop first leaves what it could compute once before the loop inside it. A module that cannot
    /// stop has it too, though it never goes there: with a way out behind the rare call, compilers do not
    /// spill in the loop what the call would clobber.
    fn unless_stopping(&mut self, site: u32, place: Option<usize>, height: usize) -> Result<(), Error> {
        self.hints.push((self.code.len(), true));
        self.puts(&[I::If(BlockType::Empty), I::Else]);
        if self.shares_saving() {
            let saved = self.plan_save(place, height)?;
            self.shared.extend(saved.into_iter().map(|(local, _)| local));
            let number = self.local(SITE, ValType::I32);
            // The block around everything; this arm is one label more.
            self.puts(&[I::I32Const(site.cast_signed()), I::LocalSet(number), I::Br(self.depth), I::End]);
            return Ok(());
        }
        if self.shape.can_stop {
            let saved = self.plan_save(place, height)?;
            self.save(&I::I32Const(site.cast_signed()), &saved);
            self.saved.insert(site, saved);
        }
        self.zeros()?;
        self.puts(&[I::Return, I::End]);
        Ok(())
    }

    /// What a function that stops returns.
    fn zeros(&mut self) -> Result<(), Error> {
        let results = self.shape.results_of(self.function);
        for ty in results {
            let ty = self.encoded(ty)?;
            self.put(&zero(ty));
        }
        Ok(())
    }

    /// Where all sites save what any of them needs; a value that is dead at one of them is what it was,
    /// there as in a copy that was restored.
    pub(super) fn save_all(&mut self) -> Result<(), Error> {
        let mut saved = Saved::new();
        for local in 0..self.locals {
            if let Some(ty) = self.types.get_local_type(local).filter(|_| self.shared.contains(&local)) {
                saved.push((local, self.encoded(ty)?));
            }
        }
        let slots = self.slots.iter().filter(|(_, local)| self.shared.contains(local));
        saved.extend(slots.map(|((_, ty), local)| (*local, *ty)));
        let site = self.local(SITE, ValType::I32);
        self.save(&I::LocalGet(site), &saved);
        self.zeros()?;
        self.saved.insert(0, saved);
        Ok(())
    }

    /// An `if` that the compiler keeps out of the way.
    fn unlikely_if(&mut self) {
        self.hints.push((self.code.len(), false));
        self.put(&I::If(BlockType::Empty));
        self.depth += 1;
    }

    /// Puts the count where everybody reads it.
    pub(super) fn flush(&mut self) {
        if !self.counts_locally {
            return;
        }
        let count = self.local(COUNT, ValType::I64);
        if self.copy == Copy::Rewind && !self.is_rewound {
            // The count of a function that is being rewound is not its own.
            let rewind = self.local(REWIND, ValType::I32);
            self.puts(&[I::LocalGet(rewind), I::I32Eqz, I::If(BlockType::Empty), I::LocalGet(count), I::GlobalSet(self.shape.left), I::End]);
        } else {
            self.puts(&[I::LocalGet(count), I::GlobalSet(self.shape.left)]);
        }
    }

    /// Takes the count from there.
    pub(super) fn reload(&mut self) {
        if self.counts_locally {
            let count = self.local(COUNT, ValType::I64);
            self.puts(&[I::GlobalGet(self.shape.left), I::LocalSet(count)]);
        }
    }

    /// Behind a call during which everything may have been unwound. The operands below `height` stay.
    pub(super) fn site(&mut self, site: u32, place: usize, height: usize) -> Result<(), Error> {
        self.reload();
        // Whoever stops leaves a count below zero, and hardly anybody else does.
        let count = if self.counts_locally { I::LocalGet(self.local(COUNT, ValType::I64)) } else { I::GlobalGet(self.shape.left) };
        self.puts(&[count.clone(), I::I64Const(0), I::I64LtS]);
        self.unlikely_if();
        self.puts(&[count, I::I64Const(names::STOP), I::I64Ne]);
        self.unless_stopping(site, Some(place), height)?;
        self.put(&I::End);
        self.depth -= 1;
        Ok(())
    }

    /// Every local that may still be read, and every operand.
    fn plan_save(&mut self, place: Option<usize>, height: usize) -> Result<Saved, Error> {
        let mut saved = Saved::new();
        for local in 0..self.locals {
            if self.plan.is_live(local, place)
                && let Some(ty) = self.types.get_local_type(local)
            {
                saved.push((local, self.encoded(ty)?));
            }
        }
        for position in 0..height {
            if let Some(ty) = self.operand(position) {
                let slot = self.slot(position, ty)?;
                saved.push((slot, self.encoded(ty)?));
            }
        }
        // No host gives a job anything that an externref could hold: it is null.
        saved.retain(|(_, ty)| *ty != ValType::EXTERNREF);
        if self.shape.references.is_none() && saved.iter().any(|(_, ty)| matches!(ty, ValType::Ref(_))) {
            self.lacks_references = true;
            saved.retain(|(_, ty)| !matches!(ty, ValType::Ref(_)));
        }
        Ok(saved)
    }

    /// Pushes the frame: the values, who and where.
    fn save(&mut self, site: &I<'_>, saved: &Saved) {
        let size = saved.iter().map(|(_, ty)| size_of(*ty)).sum::<u64>() + FRAME_TAIL;
        let frame = self.local(FRAME, ValType::I32);
        let memory = self.shape.frames;
        // There is room: the memory grew to its full size when the unwinding began.
        let top = self.shape.top;
        self.puts(&[I::GlobalGet(top), I::LocalTee(frame), I::I32Const(size as i32), I::I32Add, I::GlobalSet(top)]);
        let mut offset = 0;
        for (local, ty) in saved {
            let place = at(offset, memory);
            self.puts(&[I::LocalGet(frame), I::LocalGet(*local)]);
            if let Some(lanes) = self.facts.nans.locals.get(local) {
                self.canonical(*lanes);
            }
            if let (ValType::Ref(_), Some(references)) = (ty, &self.shape.references) {
                self.put(&I::Call(references.number));
            }
            self.put(&match ty {
                ValType::I32 | ValType::Ref(_) => I::I32Store(place),
                ValType::I64 => I::I64Store(place),
                ValType::F32 => I::F32Store(place),
                ValType::F64 => I::F64Store(place),
                ValType::V128 => I::V128Store(place),
            });
            offset += size_of(*ty);
        }
        self.puts(&[I::LocalGet(frame), I::I32Const(self.function.cast_signed()), I::I32Store(at(offset, memory))]);
        self.puts(&[I::LocalGet(frame), site.clone(), I::I32Store(at(offset + 4, memory))]);
    }

    /// Pops the frame on top, which must be this function's, into its locals.
    pub(super) fn restore(&mut self) {
        let rewind = self.local(REWIND, ValType::I32);
        let frame = self.local(FRAME, ValType::I32);
        let (top, memory) = (self.shape.top, self.shape.frames);
        self.puts(&[I::GlobalGet(top), I::I32Const(FRAME_TAIL as i32), I::I32Sub, I::LocalTee(frame), I::I32Load(at(4, memory)), I::LocalSet(rewind)]);
        // A frame of another function: the checkpoint is not of this module.
        self.puts(&[I::LocalGet(frame), I::I32Load(at(0, memory)), I::I32Const(self.function.cast_signed()), I::I32Ne]);
        self.puts(&[I::If(BlockType::Empty), I::Unreachable, I::End]);
        let saved = std::mem::take(&mut self.saved);
        if let (true, Some(values)) = (self.shares_saving(), saved.get(&0)) {
            // A number that is no site would be taken for one that was passed.
            self.puts(&[I::LocalGet(rewind), I::I32Const(1), I::I32Sub, I::I32Const((self.plan.sites - 1).cast_signed()), I::I32GeU]);
            self.puts(&[I::If(BlockType::Empty), I::Unreachable, I::End]);
            return self.restore_values(values);
        }
        let sites = self.plan.sites;
        // One block for each site, site 1 innermost, and one for numbers that are none.
        self.put(&I::Block(BlockType::Empty));
        for _ in 0..sites {
            self.put(&I::Block(BlockType::Empty));
        }
        // Label 0 is for no site at all.
        let labels: Vec<u32> = (0..sites).collect();
        self.puts(&[I::LocalGet(rewind), I::BrTable(labels.into(), 0)]);
        self.puts(&[I::End, I::Unreachable]);
        for site in 1..sites {
            self.put(&I::End);
            let values = saved.get(&site).map_or(&[][..], Vec::as_slice);
            self.restore_values(values);
            self.put(&I::Br(sites - 1 - site));
        }
        self.put(&I::End);
    }

    /// Takes the values below the frame's tail, and them off the frames.
    fn restore_values(&mut self, values: &[(u32, ValType)]) {
        let frame = self.local(FRAME, ValType::I32);
        let (top, memory) = (self.shape.top, self.shape.frames);
        let size: u64 = values.iter().map(|(_, ty)| size_of(*ty)).sum();
        self.puts(&[I::LocalGet(frame), I::I32Const(size as i32), I::I32Sub, I::LocalTee(frame), I::GlobalSet(top)]);
        let mut offset = 0;
        for (local, ty) in values {
            let place = at(offset, memory);
            self.put(&I::LocalGet(frame));
            self.put(&match ty {
                ValType::I32 | ValType::Ref(_) => I::I32Load(place),
                ValType::I64 => I::I64Load(place),
                ValType::F32 => I::F32Load(place),
                ValType::F64 => I::F64Load(place),
                ValType::V128 => I::V128Load(place),
            });
            if let (ValType::Ref(_), Some(references)) = (ty, &self.shape.references) {
                self.put(&I::TableGet(references.functions));
            }
            self.put(&I::LocalSet(*local));
            offset += size_of(*ty);
        }
    }
}
