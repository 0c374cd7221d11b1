//! Writes the rewritten module, section by section.

use wasm_encoder::reencode::utils;
use wasm_encoder::{
    BlockType, BranchHints, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection,
    ElementSegment, Elements, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, Instruction as I, MemorySection, MemoryType, Module, RefType,
    TableSection, TableType, TypeSection, ValType,
};
use wasmparser::FuncValidatorAllocations;

use super::input::{Input, Section, same};
use super::{Error, Renumber, Segment, Shape};
use crate::function::{Copy, Writer};
use crate::names;
use crate::plan::Plan;

pub(super) fn write(
    input: &Input<'_>,
    shape: &Shape,
    plans: &[Plan],
    main: Option<u32>,
    mut types: TypeSection,
) -> Result<Option<Vec<u8>>, Error> {
    let mut renumber =
        Renumber { imports: input.imported_functions, added: 1 + u32::from(shape.references.is_some()) };
    let (ask, check) = (types.len(), types.len() + 1);
    types.ty().function([ValType::I64], [ValType::I64]);
    types.ty().function([], [ValType::I32]);

    let (mut imports, mut tables, mut memories) =
        (ImportSection::new(), TableSection::new(), MemorySection::new());
    let (mut globals, mut elements, mut data) =
        (GlobalSection::new(), ElementSection::new(), DataSection::new());
    for section in &input.sections {
        match section {
            Section::Types(_) => Ok(()),
            Section::Imports(section) => {
                utils::parse_import_section(&mut renumber, &mut imports, section.clone())
            }
            Section::Tables(section) => {
                utils::parse_table_section(&mut renumber, &mut tables, section.clone())
            }
            Section::Memories(section) => {
                utils::parse_memory_section(&mut renumber, &mut memories, section.clone())
            }
            Section::Globals(section) => {
                utils::parse_global_section(&mut renumber, &mut globals, section.clone())
            }
            Section::Elements(section) => {
                utils::parse_element_section(&mut renumber, &mut elements, section.clone())
            }
            Section::Data(section) => utils::parse_data_section(&mut renumber, &mut data, section.clone()),
        }
        .map_err(Error::encode)?;
    }
    imports.import(names::MODULE, names::CHECK, EntityType::Function(ask));
    if shape.references.is_some() {
        imports.import(names::MODULE, names::REFERENCE, EntityType::Function(types.len()));
        types.ty().function([ValType::FUNCREF], [ValType::I32]);
    }
    globals.global(
        GlobalType { val_type: ValType::I64, mutable: true, shared: false },
        &ConstExpr::i64_const(0),
    );
    globals.global(
        GlobalType { val_type: ValType::I32, mutable: true, shared: false },
        &ConstExpr::i32_const(shape.stack_start),
    );
    if shape.can_stop {
        globals.global(
            GlobalType { val_type: ValType::I32, mutable: true, shared: false },
            &ConstExpr::i32_const(0),
        );
        let count = input.bodies.len() as u64;
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: count,
            maximum: Some(count),
            shared: false,
        });
        memories.memory(MemoryType {
            minimum: 0,
            maximum: Some(names::FRAME_PAGES),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let second = |n| {
            shape.second.get(&n).map_or_else(
                || ConstExpr::ref_null(wasm_encoder::HeapType::FUNC),
                |second| ConstExpr::ref_func(*second),
            )
        };
        let continued: Vec<ConstExpr> = (0..input.bodies.len() as u32).map(second).collect();
        elements.segment(ElementSegment {
            mode: wasm_encoder::ElementMode::Active {
                table: Some(shape.by_number),
                offset: &ConstExpr::i32_const(0),
            },
            elements: Elements::Expressions(RefType::FUNCREF, continued.into()),
        });
        shape.dropped.values().for_each(|_| {
            globals.global(
                GlobalType { val_type: ValType::I32, mutable: true, shared: false },
                &ConstExpr::i32_const(0),
            );
        });
    }
    if let Some(references) = &shape.references {
        let count = references.all.len() as u64 + 1;
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: count,
            maximum: Some(count),
            shared: false,
        });
        let functions: Vec<u32> = references.all.iter().map(|function| renumber.shift(*function)).collect();
        elements.segment(ElementSegment {
            mode: wasm_encoder::ElementMode::Active {
                table: Some(references.functions),
                offset: &ConstExpr::i32_const(1),
            },
            elements: Elements::Functions(functions.into()),
        });
    }

    let mut functions = FunctionSection::new();
    let defined = &input.functions[input.imported_functions as usize..];
    defined.iter().for_each(|ty| _ = functions.function(*ty));
    // Second copies have no parameters: their frames hold all values.
    shape.second.keys().for_each(|n| _ = functions.function(shape.giving(&shape.results_of(*n))));
    functions.function(check);
    let restored = (!shape.dropped.is_empty()).then(|| {
        functions.function(types.len());
        types.ty().function([], []);
        shape.check + 1
    });

    let mut code = CodeSection::new();
    let mut hints = BranchHints::new();
    for copy in [Copy::Fast, Copy::Rewind] {
        for (n, (body, plan)) in input.bodies.iter().zip(plans).enumerate() {
            if copy == Copy::Rewind && !shape.second.contains_key(&(n as u32)) {
                continue;
            }
            let mut types = same(&body.types).into_validator(FuncValidatorAllocations::default());
            for (count, ty) in &body.locals {
                types.define_locals(1, *count, *ty).map_err(Error::invalid)?;
            }
            let writer = Writer::new(shape, plan, &body.facts, copy, n as u32, types, renumber);
            let written = writer.write(&body.operators, &body.locals)?;
            if written.lacks_references {
                return Ok(None);
            }
            if !written.hints.is_empty() {
                // The added imports come before all defined functions.
                hints.function_hints(input.imported_functions + renumber.added + code.len(), written.hints);
            }
            code.function(&written.function);
            if code.byte_len() as u64 > input.most_written {
                return Err(Error::Swells { bytes: input.most_written });
            }
        }
    }
    code.function(&check_function(shape, input.imported_functions));
    if restored.is_some() {
        code.function(&restored_function(shape));
    }

    let mut exports = ExportSection::new();
    for export in &input.exports {
        utils::parse_export(&mut renumber, &mut exports, *export).map_err(Error::encode)?;
    }
    if let Some(main) = main {
        exports.export(names::MAIN, ExportKind::Func, renumber.shift(input.imported_functions + main));
        // A `main` that can never stop has no second copy.
        if let Some(second) = shape.second.get(&main) {
            exports.export(names::RESUME, ExportKind::Func, *second);
        }
    }
    exports.export(names::LEFT, ExportKind::Global, shape.left);
    exports.export(names::STACK, ExportKind::Global, shape.stack);
    if shape.can_stop {
        exports.export(names::BY_NUMBER, ExportKind::Table, shape.by_number);
        exports.export(names::TOP, ExportKind::Global, shape.top);
        exports.export(names::FRAMES, ExportKind::Memory, shape.frames);
    }
    if let Some(references) = &shape.references {
        exports.export(names::FUNCTIONS, ExportKind::Table, references.functions);
        for index in 0..input.tables {
            exports.export(&format!("{}{index}", names::TABLE), ExportKind::Table, index);
        }
    }
    if let Some(restored) = restored {
        exports.export(names::RESTORED, ExportKind::Func, restored);
    }
    let mutable = input.globals.iter().zip(0..).filter(|(global, _)| global.mutable).map(|(_, index)| index);
    for index in mutable.chain(shape.dropped.values().copied()) {
        exports.export(&format!("{}{index}", names::GLOBAL), ExportKind::Global, index);
    }
    for index in 0..input.memories {
        exports.export(&format!("{}{index}", names::MEMORY), ExportKind::Memory, index);
    }

    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
    module.section(&globals).section(&exports);
    if let Some(start) = input.start {
        module.section(&wasm_encoder::StartSection { function_index: renumber.shift(start) });
    }
    module.section(&elements);
    if let Some(count) = input.data_count {
        module.section(&DataCountSection { count });
    }
    if !hints.is_empty() {
        module.section(&hints);
    }
    module.section(&code);
    if !data.is_empty() {
        module.section(&data);
    }
    Ok(Some(module.finish()))
}

/// Drops the segments that had been dropped when the globals were saved.
fn restored_function(shape: &Shape) -> Function {
    let mut function = Function::new([]);
    for (segment, flag) in &shape.dropped {
        let drop = match segment {
            Segment::Element(index) => I::ElemDrop(*index),
            Segment::Data(index) => I::DataDrop(*index),
        };
        for instruction in [I::GlobalGet(*flag), I::If(BlockType::Empty), drop, I::End] {
            function.instruction(&instruction);
        }
    }
    function.instruction(&I::End);
    function
}

/// Asks the host for more units; returns whether to stop instead, or traps if the module cannot. Before a
/// stop it grows the memory for frames to its full size, unless the host has made room.
fn check_function(shape: &Shape, ask: u32) -> Function {
    let mut function = Function::new([]);
    let asks = [I::GlobalGet(shape.left), I::Call(ask), I::GlobalSet(shape.left)];
    let is_stop = [I::GlobalGet(shape.left), I::I64Const(names::STOP), I::I64Eq];
    let frames = shape.frames;
    let is_none = [I::MemorySize(frames), I::I32Eqz, I::If(BlockType::Empty)];
    let most = [I::I32Const(names::FRAME_PAGES as i32), I::MemoryGrow(frames), I::Drop, I::End];
    let grow = [&is_none[..], &most].concat();
    // A module that cannot stop traps here.
    let prepares = if shape.can_stop { &grow[..] } else { &[I::Unreachable] };
    let stops = is_stop
        .iter()
        .chain(&[I::If(BlockType::Empty)])
        .chain(prepares)
        .chain(&[I::End])
        .cloned()
        .collect::<Vec<_>>();
    asks.iter()
        .chain(&stops)
        .chain(&is_stop)
        .chain([&I::End])
        .for_each(|instruction| _ = function.instruction(instruction));
    function
}
