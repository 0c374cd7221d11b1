//! Sites of a function: checking the count, saving a frame, restoring it.

use wasm_encoder::{BlockType, Instruction as I, ValType};
use wasmparser::WasmModuleResources;

use super::{COUNT, Copy, FRAME, FRAME_TAIL, REWIND, SITE, Saved, Writer, at, size_of, zero};
use crate::module::Error;
use crate::names;

impl<T: WasmModuleResources> Writer<'_, T> {
    /// Checks whether the count is used up. All operands are in their slots.
    pub(super) fn safe_point(&mut self, site: u32, place: Option<usize>) -> Result<(), Error> {
        let count = if self.counts_locally {
            I::LocalGet(self.local(COUNT, ValType::I64))
        } else {
            I::GlobalGet(self.shape.left)
        };
        self.puts(&[count, I::I64Const(0), I::I64LtS]);
        if self.copy == Copy::Rewind {
            // One test covers both cases; they are told apart inside the unlikely branch.
            let rewind = self.local(REWIND, ValType::I32);
            self.puts(&[I::LocalGet(rewind), I::I32Or]);
        }
        self.unlikely_if();
        if self.copy == Copy::Rewind {
            let rewind = self.local(REWIND, ValType::I32);
            self.puts(&[I::LocalGet(rewind), I::I32Eqz, I::If(BlockType::Empty)]);
            self.depth += 1;
            self.check(site, place)?;
            // The check at which the function stopped has already been made.
            self.puts(&[
                I::Else,
                I::LocalGet(rewind),
                I::I32Const(site.cast_signed()),
                I::I32Eq,
                I::If(BlockType::Empty),
            ]);
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

    /// Asks the host for more units; stops if the answer says so.
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
    /// The return is in the `else` arm so that compilers place it last: a compiler that meets a loop exit
    /// first may not hoist invariant code out of the inner loop. Modules that cannot stop have the return
    /// too, though it never runs: with a return behind the rare call, compilers do not spill in the loop
    /// the registers that the call clobbers.
    fn unless_stopping(&mut self, site: u32, place: Option<usize>, height: usize) -> Result<(), Error> {
        self.hints.push((self.code.len(), true));
        self.puts(&[I::If(BlockType::Empty), I::Else]);
        if self.shares_saving() {
            let saved = self.plan_save(place, height)?;
            self.shared.extend(saved.into_iter().map(|(local, _)| local));
            let number = self.local(SITE, ValType::I32);
            // Branches out of the block around the body; this arm is one label more.
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

    /// Pushes zeros as the results of a function that stops.
    fn zeros(&mut self) -> Result<(), Error> {
        let results = self.shape.results_of(self.function);
        for ty in results {
            let ty = self.encoded(ty)?;
            self.put(&zero(ty));
        }
        Ok(())
    }

    /// Writes the one sequence that saves, for all sites, the values that any of them needs. A value that
    /// is dead at a site is saved and restored as it is.
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

    /// Opens an `if` with a hint that it is unlikely.
    fn unlikely_if(&mut self) {
        self.hints.push((self.code.len(), false));
        self.put(&I::If(BlockType::Empty));
        self.depth += 1;
    }

    /// Stores the local count in its global.
    pub(super) fn flush(&mut self) {
        if !self.counts_locally {
            return;
        }
        let count = self.local(COUNT, ValType::I64);
        if self.copy == Copy::Rewind && !self.is_rewound {
            // While a function is being rewound, its local count is not valid.
            let rewind = self.local(REWIND, ValType::I32);
            self.puts(&[
                I::LocalGet(rewind),
                I::I32Eqz,
                I::If(BlockType::Empty),
                I::LocalGet(count),
                I::GlobalSet(self.shape.left),
                I::End,
            ]);
        } else {
            self.puts(&[I::LocalGet(count), I::GlobalSet(self.shape.left)]);
        }
    }

    /// Loads the local count from its global.
    pub(super) fn reload(&mut self) {
        if self.counts_locally {
            let count = self.local(COUNT, ValType::I64);
            self.puts(&[I::GlobalGet(self.shape.left), I::LocalSet(count)]);
        }
    }

    /// Writes the test behind a call during which the stack may have been unwound. The operands below
    /// `height` are kept.
    pub(super) fn site(&mut self, site: u32, place: usize, height: usize) -> Result<(), Error> {
        self.reload();
        // A callee that stopped leaves a count below zero; otherwise that is rare.
        let count = if self.counts_locally {
            I::LocalGet(self.local(COUNT, ValType::I64))
        } else {
            I::GlobalGet(self.shape.left)
        };
        self.puts(&[count.clone(), I::I64Const(0), I::I64LtS]);
        self.unlikely_if();
        self.puts(&[count, I::I64Const(names::STOP), I::I64Ne]);
        self.unless_stopping(site, Some(place), height)?;
        self.put(&I::End);
        self.depth -= 1;
        Ok(())
    }

    /// Lists all locals that may still be read, and all operands.
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
        // Hosts give a job no value for an externref: it is always null.
        saved.retain(|(_, ty)| *ty != ValType::EXTERNREF);
        if self.shape.references.is_none() && saved.iter().any(|(_, ty)| matches!(ty, ValType::Ref(_))) {
            self.lacks_references = true;
            saved.retain(|(_, ty)| !matches!(ty, ValType::Ref(_)));
        }
        Ok(saved)
    }

    /// Pushes the frame: values, function number and site.
    fn save(&mut self, site: &I<'_>, saved: &Saved) {
        let size = saved.iter().map(|(_, ty)| size_of(*ty)).sum::<u64>() + FRAME_TAIL;
        let frame = self.local(FRAME, ValType::I32);
        let memory = self.shape.frames;
        // The memory has room for all frames: it was grown before the unwinding began.
        let top = self.shape.top;
        self.puts(&[
            I::GlobalGet(top),
            I::LocalTee(frame),
            I::I32Const(size as i32),
            I::I32Add,
            I::GlobalSet(top),
        ]);
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
        self.puts(&[
            I::LocalGet(frame),
            I::I32Const(self.function.cast_signed()),
            I::I32Store(at(offset, memory)),
        ]);
        self.puts(&[I::LocalGet(frame), site.clone(), I::I32Store(at(offset + 4, memory))]);
    }

    /// Pops the top frame, which must be of this function, into its locals.
    pub(super) fn restore(&mut self) {
        let rewind = self.local(REWIND, ValType::I32);
        let frame = self.local(FRAME, ValType::I32);
        let (top, memory) = (self.shape.top, self.shape.frames);
        self.puts(&[
            I::GlobalGet(top),
            I::I32Const(FRAME_TAIL as i32),
            I::I32Sub,
            I::LocalTee(frame),
            I::I32Load(at(4, memory)),
            I::LocalSet(rewind),
        ]);
        // A frame of another function means that the checkpoint is of another module: trap.
        self.puts(&[
            I::LocalGet(frame),
            I::I32Load(at(0, memory)),
            I::I32Const(self.function.cast_signed()),
            I::I32Ne,
        ]);
        self.puts(&[I::If(BlockType::Empty), I::Unreachable, I::End]);
        let saved = std::mem::take(&mut self.saved);
        if let (true, Some(values)) = (self.shares_saving(), saved.get(&0)) {
            // Traps on a number that is no site; the body would take it for a site that was passed.
            self.puts(&[
                I::LocalGet(rewind),
                I::I32Const(1),
                I::I32Sub,
                I::I32Const((self.plan.sites - 1).cast_signed()),
                I::I32GeU,
            ]);
            self.puts(&[I::If(BlockType::Empty), I::Unreachable, I::End]);
            return self.restore_values(values);
        }
        let sites = self.plan.sites;
        // One block for each site, site 1 innermost, and one for invalid numbers.
        self.put(&I::Block(BlockType::Empty));
        for _ in 0..sites {
            self.put(&I::Block(BlockType::Empty));
        }
        // Label 0 is for numbers that are no site.
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

    /// Loads the values below the frame's tail and removes them from the saved frames.
    fn restore_values(&mut self, values: &[(u32, ValType)]) {
        let frame = self.local(FRAME, ValType::I32);
        let (top, memory) = (self.shape.top, self.shape.frames);
        let size: u64 = values.iter().map(|(_, ty)| size_of(*ty)).sum();
        self.puts(&[
            I::LocalGet(frame),
            I::I32Const(size as i32),
            I::I32Sub,
            I::LocalTee(frame),
            I::GlobalSet(top),
        ]);
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
