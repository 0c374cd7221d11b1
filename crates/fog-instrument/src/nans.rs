//! Finds the computed floats that must be made canonical, so that a program never sees the NaN bits of a
//! certain processor.
//!
//! The standard and hardware leave the sign and payload of a computed NaN open, but not whether a value is
//! a NaN. So it is enough to replace NaNs where their bits can be seen: before they are stored, passed on
//! or read as integers. A chain of arithmetic, and a local that holds only results of arithmetic, may carry
//! any NaN. Values that were only moved are never changed.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::{FuncValidator, Operator, WasmModuleResources};

/// Division of a value into floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lanes {
    F32,
    F64,
    F32x4,
    F64x2,
}

/// Result for one function.
#[derive(Debug, Default)]
pub(crate) struct Nans {
    /// Instructions whose result must be made canonical at once, by place.
    pub(crate) canonical: BTreeMap<usize, Lanes>,
    /// Locals that may hold any NaN.
    pub(crate) locals: BTreeMap<u32, Lanes>,
}

/// Origin of a value on the operand stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Arithmetic(usize, Lanes),
    Local(usize, u32),
    /// A constant, and whether it is free of NaNs when read as 32-bit or 64-bit lanes.
    Constant {
        narrow: bool,
        wide: bool,
    },
}

/// Collects uses of floats while a function is validated.
pub(crate) struct Watch {
    params: u32,
    stack: Vec<Option<Source>>,
    /// Uses of values, with the lanes whose NaN bits the using instruction ignores; `None` if it may see
    /// them.
    uses: Vec<(Source, Option<Lanes>)>,
    sets: BTreeMap<u32, Vec<Option<Source>>>,
}

impl Watch {
    pub(crate) fn new(params: u32) -> Self {
        Self { params, stack: Vec::new(), uses: Vec::new(), sets: BTreeMap::new() }
    }

    /// Takes the next instruction; called before `operator` is validated.
    pub(crate) fn see<T: WasmModuleResources>(
        &mut self,
        place: usize,
        operator: &Operator<'_>,
        types: &FuncValidator<T>,
    ) {
        use Operator as O;
        // After a branch, the origins of values on the stack are unknown.
        self.stack.resize(types.operand_stack_height() as usize, None);
        match operator {
            O::LocalGet { local_index } => return self.stack.push(Some(Source::Local(place, *local_index))),
            O::LocalSet { local_index } => {
                let source = self.stack.pop().flatten();
                return self.sets.entry(*local_index).or_default().push(source);
            }
            O::LocalTee { local_index } => {
                let source = self.stack.last().copied().flatten();
                return self.sets.entry(*local_index).or_default().push(source);
            }
            O::F32Const { value } => {
                return self.stack.push(constant(!f32::from_bits(value.bits()).is_nan(), false));
            }
            O::F64Const { value } => {
                return self.stack.push(constant(false, !f64::from_bits(value.bits()).is_nan()));
            }
            O::V128Const { value } => {
                let bytes = value.bytes();
                let narrow = bytes.as_chunks::<4>().0.iter().all(|lane| !f32::from_le_bytes(*lane).is_nan());
                let wide = bytes.as_chunks::<8>().0.iter().all(|lane| !f64::from_le_bytes(*lane).is_nan());
                return self.stack.push(constant(narrow, wide));
            }
            O::Drop => {
                self.stack.pop();
                return;
            }
            _ => {}
        }
        let pops_all = is_control(operator);
        let (pops, pushes) = operator.operator_arity(types).unwrap_or((u32::MAX, 0));
        let takes = consumes(operator);
        let keep = if pops_all { 0 } else { self.stack.len().saturating_sub(pops as usize) };
        self.uses.extend(self.stack.drain(keep..).flatten().map(|source| (source, takes)));
        let made = produces(operator).map(|lanes| Source::Arithmetic(place, lanes));
        self.stack.extend(std::iter::repeat_n(made, pushes.min(1000) as usize));
    }

    pub(crate) fn finish(mut self) -> Nans {
        self.uses.extend(std::mem::take(&mut self.stack).into_iter().flatten().map(|source| (source, None)));
        let locals = self.free_locals();
        let mut canonical = BTreeMap::new();
        let mut need = |source: &Source, free: Option<Lanes>| match source {
            Source::Arithmetic(place, lanes) if free != Some(*lanes) => _ = canonical.insert(*place, *lanes),
            Source::Local(place, local) => {
                if let Some(lanes) = locals.get(local).filter(|lanes| free != Some(**lanes)) {
                    canonical.insert(*place, *lanes);
                }
            }
            _ => {}
        };
        self.uses.iter().for_each(|(source, free)| need(source, *free));
        for (local, sources) in &self.sets {
            sources.iter().flatten().for_each(|source| need(source, locals.get(local).copied()));
        }
        Nans { canonical, locals }
    }

    /// Locals that are only set to results of arithmetic of the same lanes, or to each other.
    fn free_locals(&self) -> BTreeMap<u32, Lanes> {
        let mut locals: BTreeMap<u32, Lanes> = BTreeMap::new();
        for (local, sources) in self.sets.iter().filter(|(local, _)| **local >= self.params) {
            let mut lanes: BTreeSet<Lanes> = BTreeSet::new();
            lanes.extend(sources.iter().flatten().filter_map(|source| {
                if let Source::Arithmetic(_, lanes) = source { Some(*lanes) } else { None }
            }));
            if let (1, Some(lanes)) = (lanes.len(), lanes.first()) {
                locals.insert(*local, *lanes);
            }
        }
        loop {
            let is_free =
                |local: &u32, lanes: &Lanes| {
                    self.sets[local].iter().all(|source| match source {
                        Some(Source::Arithmetic(_, of)) => of == lanes,
                        Some(Source::Local(_, of)) => locals.get(of) == Some(lanes),
                        Some(Source::Constant { narrow, wide }) => {
                            if matches!(lanes, Lanes::F32 | Lanes::F32x4) { *narrow } else { *wide }
                        }
                        None => false,
                    })
                };
            let left: BTreeMap<u32, Lanes> = locals
                .iter()
                .filter(|(local, lanes)| is_free(local, lanes))
                .map(|(local, lanes)| (*local, *lanes))
                .collect();
            if left.len() == locals.len() {
                return locals;
            }
            locals = left;
        }
    }
}

fn constant(narrow: bool, wide: bool) -> Option<Source> {
    Some(Source::Constant { narrow, wide })
}

/// Whether values on the stack may move elsewhere at this instruction.
fn is_control(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::Block { .. }
            | O::Loop { .. }
            | O::If { .. }
            | O::Else
            | O::End
            | O::Br { .. }
            | O::BrIf { .. }
            | O::BrTable { .. }
            | O::Return
            | O::Unreachable
            | O::Call { .. }
            | O::CallIndirect { .. }
            | O::ReturnCall { .. }
            | O::ReturnCallIndirect { .. }
    )
}

/// Lanes of a result that may be any NaN.
fn produces(operator: &Operator<'_>) -> Option<Lanes> {
    use Operator as O;
    Some(match operator {
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max => Lanes::F32,
        O::F32Sqrt | O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest | O::F32DemoteF64 => Lanes::F32,
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max => Lanes::F64,
        O::F64Sqrt | O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest | O::F64PromoteF32 => Lanes::F64,
        O::F32x4Add | O::F32x4Sub | O::F32x4Mul | O::F32x4Div | O::F32x4Min | O::F32x4Max => Lanes::F32x4,
        O::F32x4Sqrt
        | O::F32x4Ceil
        | O::F32x4Floor
        | O::F32x4Trunc
        | O::F32x4Nearest
        | O::F32x4DemoteF64x2Zero => Lanes::F32x4,
        O::F64x2Add | O::F64x2Sub | O::F64x2Mul | O::F64x2Div | O::F64x2Min | O::F64x2Max => Lanes::F64x2,
        O::F64x2Sqrt
        | O::F64x2Ceil
        | O::F64x2Floor
        | O::F64x2Trunc
        | O::F64x2Nearest
        | O::F64x2PromoteLowF32x4 => Lanes::F64x2,
        _ => return None,
    })
}

/// Lanes of operands that may be any NaN: arithmetic passes NaNs on, and comparisons and conversions only
/// test for them.
fn consumes(operator: &Operator<'_>) -> Option<Lanes> {
    use Operator as O;
    Some(match operator {
        O::F64PromoteF32 => Lanes::F32,
        O::F32DemoteF64 => Lanes::F64,
        O::F64x2PromoteLowF32x4 => Lanes::F32x4,
        O::F32x4DemoteF64x2Zero => Lanes::F64x2,
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => Lanes::F32,
        O::I32TruncF32S | O::I32TruncF32U | O::I64TruncF32S | O::I64TruncF32U => Lanes::F32,
        O::I32TruncSatF32S | O::I32TruncSatF32U | O::I64TruncSatF32S | O::I64TruncSatF32U => Lanes::F32,
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => Lanes::F64,
        O::I32TruncF64S | O::I32TruncF64U | O::I64TruncF64S | O::I64TruncF64U => Lanes::F64,
        O::I32TruncSatF64S | O::I32TruncSatF64U | O::I64TruncSatF64S | O::I64TruncSatF64U => Lanes::F64,
        O::F32x4Eq | O::F32x4Ne | O::F32x4Lt | O::F32x4Gt | O::F32x4Le | O::F32x4Ge => Lanes::F32x4,
        O::I32x4TruncSatF32x4S | O::I32x4TruncSatF32x4U => Lanes::F32x4,
        O::F64x2Eq | O::F64x2Ne | O::F64x2Lt | O::F64x2Gt | O::F64x2Le | O::F64x2Ge => Lanes::F64x2,
        O::I32x4TruncSatF64x2SZero | O::I32x4TruncSatF64x2UZero => Lanes::F64x2,
        other => return produces(other),
    })
}
