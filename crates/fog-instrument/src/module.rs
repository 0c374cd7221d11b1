use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use wasm_encoder::reencode::{Reencode, utils};
use wasm_encoder::{
    BlockType, BranchHints, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, ElementSegment, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction as I, MemorySection, MemoryType, Module, RefType,
    TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{
    CompositeInnerType, FuncToValidate, FuncValidatorAllocations, Operator, Parser, Payload, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

use crate::calls::{Behaviour, CallGraph};
use crate::function::{Copy, Writer};
use crate::nans::{Nans, Watch};
use crate::plan::{self, Facts, Nowhere, Plan};
use crate::{Abilities, Instrumented, names};

/// A module cannot be rewritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not valid under the accepted proposals.
    #[error("not a valid module: {0}")]
    Invalid(#[source] wasmparser::BinaryReaderError),
    /// It uses something that has no place in the output.
    #[error("it uses something this program does not know: {0}")]
    Unknown(String),
    /// It already has a name that the rewriting adds.
    #[error("the export '{0}' is a name this program adds")]
    Reserved(String),
    /// Blocks do not nest; the validator should have seen it.
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

/// Function numbers move up by one behind the import that is added.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renumber {
    imports: u32,
}

impl Reencode for Renumber {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, wasm_encoder::reencode::Error> {
        Ok(self.shift(function))
    }
}

impl Renumber {
    fn shift(self, function: u32) -> u32 {
        if function >= self.imports { function + 1 } else { function }
    }
}

type Signature = (Vec<wasmparser::ValType>, Vec<wasmparser::ValType>);

/// Where everything is: the original's types and functions, and what is added to them.
pub(crate) struct Shape {
    types: Vec<Option<Signature>>,
    /// Type of every function of the original, imports first, and of the added `main`.
    functions: Vec<u32>,
    imports: u32,
    /// The types without parameters, by their results: of blocks, and of second copies.
    blocks: BTreeMap<Vec<wasmparser::ValType>, u32>,
    /// The second copy of a function, by its number among the defined ones.
    second: BTreeMap<u32, u32>,
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) frames: u32,
    pub(crate) by_number: u32,
    pub(crate) check: u32,
    /// Whether it is more than counted.
    pub(crate) can_stop: bool,
    has_tail_calls: bool,
}

impl Shape {
    pub(crate) fn signature(&self, index: u32) -> Signature {
        self.types.get(index as usize).cloned().flatten().unwrap_or_default()
    }

    pub(crate) fn type_of(&self, function: u32) -> u32 {
        self.functions[function as usize]
    }

    pub(crate) fn params_of(&self, defined: u32) -> Vec<wasmparser::ValType> {
        self.signature(self.type_of(self.imports + defined)).0
    }

    pub(crate) fn results_of(&self, defined: u32) -> Vec<wasmparser::ValType> {
        self.signature(self.type_of(self.imports + defined)).1
    }

    /// The copy of a function that continues a frame; `None` when only the frame tells whose it is,
    /// because a tail call may have put another function in its place.
    pub(crate) fn resumed(&self, function: u32) -> Option<u32> {
        if self.has_tail_calls { None } else { self.second.get(&(function - self.imports)).copied() }
    }

    /// The type without parameters that gives these results.
    pub(crate) fn giving(&self, results: &[wasmparser::ValType]) -> u32 {
        self.blocks.get(results).copied().unwrap_or(0)
    }

    pub(crate) fn block_of(&self, results: &[wasmparser::ValType]) -> BlockType {
        match results {
            [] => BlockType::Empty,
            results => self.blocks.get(results).map_or(BlockType::Empty, |index| BlockType::FunctionType(*index)),
        }
    }
}

/// What a pass over the module found.
#[derive(Default)]
struct Input<'a> {
    types: Vec<Option<Signature>>,
    functions: Vec<u32>,
    imported_functions: u32,
    tables: u32,
    /// Others may fill its tables.
    shares_tables: bool,
    memories: u32,
    globals: Vec<bool>,
    exports: Vec<wasmparser::Export<'a>>,
    start: Option<u32>,
    taken: BTreeSet<u32>,
    data_count: Option<u32>,
    bodies: Vec<Body<'a>>,
    sections: Vec<Section<'a>>,
}

struct Body<'a> {
    types: FuncToValidate<ValidatorResources>,
    operators: Vec<(Operator<'a>, usize)>,
    locals: Vec<(u32, wasmparser::ValType)>,
    /// Parameters and locals.
    local_count: u32,
    facts: Facts,
}

impl<'a> Body<'a> {
    /// Validates it: all that follows relies on that.
    fn read(types: FuncToValidate<ValidatorResources>, body: &wasmparser::FunctionBody<'a>) -> Result<Self, Error> {
        let mut check = same(&types).into_validator(FuncValidatorAllocations::default());
        let mut watch = Watch::new(check.len_locals());
        check.validate(body).map_err(Error::invalid)?;
        let local_count = check.len_locals();
        let mut check = same(&types).into_validator(FuncValidatorAllocations::default());
        let mut locals = Vec::new();
        for local in body.get_locals_reader().map_err(Error::invalid)? {
            let (count, ty) = local.map_err(Error::invalid)?;
            check.define_locals(0, count, ty).map_err(Error::invalid)?;
            locals.push((count, ty));
        }
        let mut operators = Vec::new();
        for operator in body.get_operators_reader().map_err(Error::invalid)?.into_iter_with_offsets() {
            let (operator, offset) = operator.map_err(Error::invalid)?;
            watch.see(operators.len(), &operator, &check);
            check.op(offset, &operator).map_err(Error::invalid)?;
            operators.push((operator, offset));
        }
        let dead = plan::dead(&operators.iter().map(|(operator, _)| operator.clone()).collect::<Vec<_>>());
        Ok(Self { types, operators, locals, local_count, facts: Facts { nans: watch.finish(), dead } })
    }
}

enum Section<'a> {
    Types(wasmparser::TypeSectionReader<'a>),
    Imports(wasmparser::ImportSectionReader<'a>),
    Tables(wasmparser::TableSectionReader<'a>),
    Memories(wasmparser::MemorySectionReader<'a>),
    Globals(wasmparser::GlobalSectionReader<'a>),
    Elements(wasmparser::ElementSectionReader<'a>),
    Data(wasmparser::DataSectionReader<'a>),
}

/// Rewrites `module`, which must be valid under `features`.
///
/// Where the module does something that no checkpoint can keep, it is counted only, whatever
/// `abilities` say; [`Instrumented::obstacle`] says what it is.
///
/// # Errors
/// [`Error`] with the reason; never panics on any input.
pub fn instrument(module: &[u8], features: WasmFeatures, abilities: Abilities) -> Result<Instrumented, Error> {
    let mut input = read(module, features)?;
    let main = add_main(&mut input)?;
    if !abilities.canonical_nans {
        input.bodies.iter_mut().for_each(|body| body.facts.nans = Nans::default());
    }
    let obstacle = if abilities.stop { input.obstacle() } else { Some("it was compiled without") };
    if obstacle.is_none()
        && let Some(instrumented) = rewrite(&input, main, None)?
    {
        return Ok(instrumented);
    }
    let obstacle = obstacle.unwrap_or("a function keeps references (funcref, externref) while it calls others");
    rewrite(&input, main, Some(obstacle))?.ok_or(Error::Shape)
}

/// `None` when a function turns out to keep references where it may stop.
fn rewrite(input: &Input<'_>, main: Option<u32>, obstacle: Option<&'static str>) -> Result<Option<Instrumented>, Error> {
    let (shape, plans, sections) = plan(input, obstacle.is_none())?;
    write(input, &shape, &plans, main, sections, obstacle)
}

fn read(module: &[u8], features: WasmFeatures) -> Result<Input<'_>, Error> {
    let mut input = Input::default();
    let mut validator = Validator::new_with_features(features);
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(Error::invalid)?;
        let validated = validator.payload(&payload).map_err(Error::invalid)?;
        if let ValidPayload::Func(types, body) = validated {
            input.bodies.push(Body::read(types, &body)?);
            continue;
        }
        input.section(payload)?;
    }
    Ok(input)
}

/// What is validated once can be validated again.
fn same(types: &FuncToValidate<ValidatorResources>) -> FuncToValidate<ValidatorResources> {
    let FuncToValidate { resources, index, ty, features } = types;
    FuncToValidate { resources: resources.clone(), index: *index, ty: *ty, features: *features }
}

impl<'a> Input<'a> {
    fn section(&mut self, payload: Payload<'a>) -> Result<(), Error> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    for ty in group.map_err(Error::invalid)?.into_types() {
                        self.types.push(match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => Some((ty.params().to_vec(), ty.results().to_vec())),
                            _ => None,
                        });
                    }
                }
                self.sections.push(Section::Types(section));
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    match import.map_err(Error::invalid)?.ty {
                        wasmparser::TypeRef::Func(ty) | wasmparser::TypeRef::FuncExact(ty) => {
                            self.functions.push(ty);
                            self.imported_functions += 1;
                        }
                        wasmparser::TypeRef::Table(_) => {
                            self.tables += 1;
                            self.shares_tables = true;
                        }
                        wasmparser::TypeRef::Memory(_) => self.memories += 1,
                        wasmparser::TypeRef::Global(ty) => self.globals.push(ty.mutable),
                        wasmparser::TypeRef::Tag(_) => {}
                    }
                }
                self.sections.push(Section::Imports(section));
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.functions.push(ty.map_err(Error::invalid)?);
                }
            }
            Payload::TableSection(section) => {
                self.tables += section.count();
                self.sections.push(Section::Tables(section));
            }
            Payload::MemorySection(section) => {
                self.memories += section.count();
                self.sections.push(Section::Memories(section));
            }
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    let global = global.map_err(Error::invalid)?;
                    self.globals.push(global.ty.mutable);
                    self.references(&global.init_expr)?;
                }
                self.sections.push(Section::Globals(section));
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(Error::invalid)?;
                    if export.name.starts_with(names::PREFIX) {
                        return Err(Error::Reserved(export.name.chars().take(60).collect()));
                    }
                    self.shares_tables |= export.kind == wasmparser::ExternalKind::Table;
                    self.exports.push(export);
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => {
                for element in section.clone() {
                    match element.map_err(Error::invalid)?.items {
                        wasmparser::ElementItems::Functions(functions) => {
                            for function in functions {
                                self.taken.insert(function.map_err(Error::invalid)?);
                            }
                        }
                        wasmparser::ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                self.references(&expression.map_err(Error::invalid)?)?;
                            }
                        }
                    }
                }
                self.sections.push(Section::Elements(section));
            }
            Payload::DataCountSection { count, .. } => self.data_count = Some(count),
            Payload::DataSection(section) => self.sections.push(Section::Data(section)),
            // Names and producers say nothing about what runs.
            _ => {}
        }
        Ok(())
    }

    fn references(&mut self, expression: &wasmparser::ConstExpr<'_>) -> Result<(), Error> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator.map_err(Error::invalid)? {
                self.taken.insert(function_index);
            }
        }
        Ok(())
    }
}

/// A command's `main`: the start function, if any, then `_start`. Its number among the defined
/// functions; a library has none and keeps its start section.
fn add_main(input: &mut Input<'_>) -> Result<Option<u32>, Error> {
    let entry = input.exports.iter().find(|export| export.name == "_start" && export.kind == wasmparser::ExternalKind::Func).map(|export| export.index);
    let Some((entry, sample)) = entry.zip(input.bodies.first().map(|body| body.types.resources.clone())) else { return Ok(None) };
    let ty = input.functions[entry as usize];
    if input.types.get(ty as usize).and_then(Option::as_ref) != Some(&(vec![], vec![])) {
        return Ok(None);
    }
    let calls = input.start.take().into_iter().chain([entry]).map(|function_index| Operator::Call { function_index });
    let operators = calls.chain([Operator::End]).map(|operator| (operator, 1)).collect();
    let index = input.functions.len() as u32;
    let features = input.bodies[0].types.features;
    input.functions.push(ty);
    let types = FuncToValidate { resources: sample, index, ty, features };
    input.bodies.push(Body { types, operators, locals: vec![], local_count: 0, facts: Facts { nans: Nans::default(), dead: vec![false; 3] } });
    Ok(Some(index - input.imported_functions))
}

fn plan(input: &Input<'_>, can_stop: bool) -> Result<(Shape, Vec<Plan>, TypeSection), Error> {
    let mut taken = input.taken.clone();
    let mut behaviours = Vec::new();
    for body in &input.bodies {
        let mut behaviour = Behaviour::default();
        body.operators.iter().zip(&body.facts.dead).filter(|(_, dead)| !**dead).for_each(|((operator, _), _)| behaviour.note(operator, &mut taken));
        behaviours.push(behaviour);
    }
    let graph = CallGraph::new(input.imported_functions, &behaviours, &taken, input.shares_tables);
    let plans: Vec<Plan> = input
        .bodies
        .iter()
        .enumerate()
        .map(|(n, body)| {
            let operators: Vec<Operator<'_>> = body.operators.iter().map(|(operator, _)| operator.clone()).collect();
            let recurses = graph.recurses(n);
            if can_stop {
                Plan::of(&operators, &body.facts.dead, body.local_count, recurses, &graph)
            } else {
                Plan::of(&operators, &body.facts.dead, body.local_count, recurses, &Nowhere)
            }
        })
        .collect();

    let mut renumber = Renumber { imports: input.imported_functions };
    let mut types = TypeSection::new();
    for section in &input.sections {
        if let Section::Types(section) = section {
            utils::parse_type_section(&mut renumber, &mut types, section.clone()).map_err(Error::encode)?;
        }
    }
    let mut blocks = BTreeMap::new();
    for (n, _) in plans.iter().enumerate() {
        let results = input.types[input.functions[input.imported_functions as usize + n] as usize].clone().unwrap_or_default().1;
        if let Entry::Vacant(place) = blocks.entry(results) {
            let encoded: Result<Vec<ValType>, _> = place.key().iter().map(|ty| renumber.val_type(*ty)).collect();
            place.insert(types.len());
            types.ty().function([], encoded.map_err(Error::encode)?);
        }
    }
    let next = input.functions.len() as u32 + 1;
    let with_sites = plans.iter().enumerate().filter(|(_, plan)| can_stop && plan.sites > 1).map(|(n, _)| n as u32);
    let second: BTreeMap<u32, u32> = with_sites.zip(next..).collect();
    let check = next + second.len() as u32;
    let shape = Shape {
        types: input.types.clone(),
        functions: input.functions.clone(),
        imports: input.imported_functions,
        blocks,
        second,
        left: input.globals.len() as u32,
        top: input.globals.len() as u32 + 1,
        frames: input.memories,
        by_number: input.tables,
        check,
        can_stop,
        has_tail_calls: input.any(|operator| matches!(operator, Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. })),
    };
    Ok((shape, plans, types))
}

fn write(
    input: &Input<'_>,
    shape: &Shape,
    plans: &[Plan],
    main: Option<u32>,
    mut types: TypeSection,
    obstacle: Option<&'static str>,
) -> Result<Option<Instrumented>, Error> {
    let mut renumber = Renumber { imports: input.imported_functions };
    let (ask, check) = (types.len(), types.len() + 1);
    types.ty().function([ValType::I64], [ValType::I64]);
    types.ty().function([], if shape.can_stop { &[ValType::I32][..] } else { &[] }.iter().copied());

    let (mut imports, mut tables, mut memories) = (ImportSection::new(), TableSection::new(), MemorySection::new());
    let (mut globals, mut elements, mut data) = (GlobalSection::new(), ElementSection::new(), DataSection::new());
    for section in &input.sections {
        match section {
            Section::Types(_) => Ok(()),
            Section::Imports(section) => utils::parse_import_section(&mut renumber, &mut imports, section.clone()),
            Section::Tables(section) => utils::parse_table_section(&mut renumber, &mut tables, section.clone()),
            Section::Memories(section) => utils::parse_memory_section(&mut renumber, &mut memories, section.clone()),
            Section::Globals(section) => utils::parse_global_section(&mut renumber, &mut globals, section.clone()),
            Section::Elements(section) => utils::parse_element_section(&mut renumber, &mut elements, section.clone()),
            Section::Data(section) => utils::parse_data_section(&mut renumber, &mut data, section.clone()),
        }
        .map_err(Error::encode)?;
    }
    imports.import(names::MODULE, names::CHECK, EntityType::Function(ask));
    globals.global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(0));
    if shape.can_stop {
        globals.global(GlobalType { val_type: ValType::I32, mutable: true, shared: false }, &ConstExpr::i32_const(0));
        let count = input.bodies.len() as u64;
        tables.table(TableType { element_type: RefType::FUNCREF, table64: false, minimum: count, maximum: Some(count), shared: false });
        memories.memory(MemoryType { minimum: 0, maximum: Some(names::FRAME_PAGES), memory64: false, shared: false, page_size_log2: None });
        let second = |n| shape.second.get(&n).map_or_else(|| ConstExpr::ref_null(wasm_encoder::HeapType::FUNC), |second| ConstExpr::ref_func(*second));
        let continued: Vec<ConstExpr> = (0..input.bodies.len() as u32).map(second).collect();
        elements.segment(ElementSegment {
            mode: wasm_encoder::ElementMode::Active { table: Some(shape.by_number), offset: &ConstExpr::i32_const(0) },
            elements: Elements::Expressions(RefType::FUNCREF, continued.into()),
        });
    }

    let mut functions = FunctionSection::new();
    let defined = &input.functions[input.imported_functions as usize..];
    defined.iter().for_each(|ty| _ = functions.function(*ty));
    // Second copies take nothing: their frames hold it all.
    shape.second.keys().for_each(|n| _ = functions.function(shape.giving(&shape.results_of(*n))));
    functions.function(check);

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
            if shape.can_stop && written.holds_references {
                return Ok(None);
            }
            if !written.hints.is_empty() {
                // The import that is added comes before all that is defined.
                hints.function_hints(input.imported_functions + 1 + code.len(), written.hints);
            }
            code.function(&written.function);
        }
    }
    code.function(&check_function(shape, input.imported_functions));

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
    if let Some(obstacle) = obstacle {
        // What is left of the module after compilation is its exports; the host finds it there.
        exports.export(&format!("{}{obstacle}", names::OBSTACLE), ExportKind::Global, shape.left);
    }
    if shape.can_stop {
        exports.export(names::BY_NUMBER, ExportKind::Table, shape.by_number);
        exports.export(names::TOP, ExportKind::Global, shape.top);
        exports.export(names::FRAMES, ExportKind::Memory, shape.frames);
    }
    for (index, _) in input.globals.iter().enumerate().filter(|(_, mutable)| **mutable) {
        exports.export(&format!("{}{index}", names::GLOBAL), ExportKind::Global, index as u32);
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
    Ok(Some(Instrumented { module: module.finish(), obstacle }))
}

impl Input<'_> {
    fn any(&self, is: impl Fn(&Operator<'_>) -> bool) -> bool {
        self.bodies.iter().any(|body| body.operators.iter().any(|(operator, _)| is(operator)))
    }

    /// What it does that no checkpoint keeps.
    fn obstacle(&self) -> Option<&'static str> {
        use Operator as O;
        if self.any(|operator| {
            matches!(operator, O::TableSet { .. } | O::TableGrow { .. } | O::TableFill { .. } | O::TableCopy { .. } | O::TableInit { .. } | O::ElemDrop { .. })
        }) {
            return Some("it changes its tables while it runs");
        }
        self.any(|operator| matches!(operator, O::DataDrop { .. })).then_some("it drops data segments while it runs")
    }
}

/// Asks the host for more units; returns whether to stop instead, if it can. In that case there is
/// room for the frames.
fn check_function(shape: &Shape, ask: u32) -> Function {
    let mut function = Function::new([]);
    let asks = [I::GlobalGet(shape.left), I::Call(ask), I::GlobalSet(shape.left)];
    let is_stop = [I::GlobalGet(shape.left), I::I64Const(names::STOP), I::I64Eq];
    let frames = shape.frames;
    let grow = [I::I32Const(names::FRAME_PAGES as i32), I::MemorySize(frames), I::I32Sub, I::MemoryGrow(frames), I::Drop];
    let tells = is_stop.iter().chain(&[I::If(BlockType::Empty)]).chain(&grow).chain(&[I::End]).chain(&is_stop).cloned().collect::<Vec<_>>();
    asks.iter().chain(if shape.can_stop { &tells[..] } else { &[] }).chain([&I::End]).for_each(|instruction| _ = function.instruction(instruction));
    function
}
