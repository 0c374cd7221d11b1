use wasmparser::Operator;

/// Version of the cost table and of the rules by which stretches are charged together. Any change needs a
/// new version: the same program then costs other units, and checkpoints of the old version cannot be
/// continued.
pub const COST_VERSION: u32 = 4;

/// Work units of one instruction.
///
/// One for an instruction that takes about a cycle; more for divisions and roots (10 to 40 cycles on common
/// processors) and for calls. Block structure, `drop`, `local.get` and integer constants are free. Bulk
/// instructions cost one unit per [`SPAN_BYTES_PER_UNIT`] on top.
pub(crate) fn of(operator: &Operator<'_>) -> u64 {
    use Operator as O;
    match operator {
        O::Block { .. }
        | O::Loop { .. }
        | O::Else
        | O::End
        | O::Nop
        | O::Drop
        | O::LocalGet { .. }
        | O::I32Const { .. }
        | O::I64Const { .. } => 0,
        O::I32DivS
        | O::I32DivU
        | O::I32RemS
        | O::I32RemU
        | O::I64DivS
        | O::I64DivU
        | O::I64RemS
        | O::I64RemU => 8,
        O::F32Div
        | O::F64Div
        | O::F32x4Div
        | O::F64x2Div
        | O::F32Sqrt
        | O::F64Sqrt
        | O::F32x4Sqrt
        | O::F64x2Sqrt => 8,
        O::Call { .. } | O::ReturnCall { .. } => 4,
        O::CallIndirect { .. } | O::ReturnCallIndirect { .. } => 8,
        O::MemoryGrow { .. } | O::TableGrow { .. } => 1000,
        _ => 1,
    }
}

/// Bytes or table entries per unit in bulk instructions, as a power of two.
pub(crate) const SPAN_SHIFT: i64 = 4;

/// Bytes (or table entries) that `memory.copy`, `memory.fill` and similar instructions handle for one unit.
pub const SPAN_BYTES_PER_UNIT: u64 = 1 << SPAN_SHIFT;

/// Whether the top of the stack is a length that is charged.
pub(crate) fn is_span(operator: &Operator<'_>) -> bool {
    use Operator as O;
    matches!(
        operator,
        O::MemoryCopy { .. }
            | O::MemoryFill { .. }
            | O::MemoryInit { .. }
            | O::TableCopy { .. }
            | O::TableFill { .. }
            | O::TableInit { .. }
            | O::TableGrow { .. }
    )
}
