//! First pass: reads and validates a module before anything is written.

use std::collections::BTreeSet;

use wasmparser::{
    CompositeInnerType, FuncToValidate, FuncValidatorAllocations, Operator, Parser, Payload, ValidPayload,
    Validator, ValidatorResources, WasmFeatures,
};

use super::{Error, Segment, Signature};
use crate::names;
use crate::nans::{Nans, Watch};
use crate::plan::{self, Facts};

/// Result of the pass over the module.
#[derive(Default)]
pub(super) struct Input<'a> {
    pub(super) types: Vec<Option<Signature>>,
    pub(super) functions: Vec<u32>,
    pub(super) imported_functions: u32,
    pub(super) tables: u32,
    /// Whether other modules may fill its tables.
    pub(super) shares_tables: bool,
    pub(super) memories: u32,
    pub(super) globals: Vec<wasmparser::GlobalType>,
    pub(super) exports: Vec<wasmparser::Export<'a>>,
    pub(super) start: Option<u32>,
    pub(super) taken: BTreeSet<u32>,
    pub(super) data_count: Option<u32>,
    pub(super) bodies: Vec<Body<'a>>,
    pub(super) sections: Vec<Section<'a>>,
    /// Largest number of bytes of code that may be written.
    pub(super) most_written: u64,
}

/// Largest number of bytes of code for each byte of the module; C programs need about six.
const MOST_GROWTH: u64 = 24;
/// Bytes of code that may be written for any module.
const ALWAYS_WRITTEN: u64 = 32 << 20;

pub(super) struct Body<'a> {
    pub(super) types: FuncToValidate<ValidatorResources>,
    pub(super) operators: Vec<(Operator<'a>, usize)>,
    pub(super) locals: Vec<(u32, wasmparser::ValType)>,
    /// Number of parameters and locals together.
    pub(super) local_count: u32,
    pub(super) facts: Facts,
}

impl<'a> Body<'a> {
    /// Reads and validates the body; all later code relies on the validation.
    fn read(
        types: FuncToValidate<ValidatorResources>,
        body: &wasmparser::FunctionBody<'a>,
    ) -> Result<Self, Error> {
        let mut check = same(&types).into_validator(FuncValidatorAllocations::default());
        let mut watch = Watch::new(check.len_locals());
        check.validate(body).map_err(Error::invalid)?;
        let local_count = check.len_locals();
        let mut check = same(&types).into_validator(FuncValidatorAllocations::default());
        let mut frame =
            FrameSize::new((0..check.len_locals()).filter_map(|local| check.get_local_type(local)));
        let mut locals = Vec::new();
        for local in body.get_locals_reader().map_err(Error::invalid)? {
            let (count, ty) = local.map_err(Error::invalid)?;
            check.define_locals(0, count, ty).map_err(Error::invalid)?;
            locals.push((count, ty));
            frame.locals(count, ty);
        }
        let mut operators = Vec::new();
        for operator in body.get_operators_reader().map_err(Error::invalid)?.into_iter_with_offsets() {
            let (operator, offset) = operator.map_err(Error::invalid)?;
            watch.see(operators.len(), &operator, &check);
            check.op(offset, &operator).map_err(Error::invalid)?;
            frame.operands(check.operand_stack_height());
            operators.push((operator, offset));
        }
        let dead = plan::dead(&operators.iter().map(|(operator, _)| operator.clone()).collect::<Vec<_>>());
        Ok(Self {
            types,
            operators,
            locals,
            local_count,
            facts: Facts { nans: watch.finish(), dead, frame_bytes: frame.bytes() },
        })
    }
}

/// Bytes for return address, frame pointer and values that a compiler adds.
const FRAME_BASE: u32 = 32;
/// Largest number of bytes that a frame counts for; no valid module has such a function.
const MOST_FRAME_BYTES: u64 = 1 << 28;

/// Counted size of a function's frame, as if every local and operand had a place in it. Engines need less
/// for most functions and more for few.
struct FrameSize {
    locals: u64,
    operands: u32,
}

impl FrameSize {
    fn new(params: impl Iterator<Item = wasmparser::ValType>) -> Self {
        let mut size = Self { locals: 0, operands: 0 };
        params.for_each(|ty| size.locals(1, ty));
        size
    }

    fn locals(&mut self, count: u32, ty: wasmparser::ValType) {
        self.locals += u64::from(count) * if ty == wasmparser::ValType::V128 { 16 } else { 8 };
    }

    fn operands(&mut self, height: u32) {
        self.operands = self.operands.max(height);
    }

    fn bytes(&self) -> u32 {
        (u64::from(FRAME_BASE) + self.locals + 8 * u64::from(self.operands)).min(MOST_FRAME_BYTES) as u32
    }
}

pub(super) enum Section<'a> {
    Types(wasmparser::TypeSectionReader<'a>),
    Imports(wasmparser::ImportSectionReader<'a>),
    Tables(wasmparser::TableSectionReader<'a>),
    Memories(wasmparser::MemorySectionReader<'a>),
    Globals(wasmparser::GlobalSectionReader<'a>),
    Elements(wasmparser::ElementSectionReader<'a>),
    Data(wasmparser::DataSectionReader<'a>),
}

pub(super) fn read(module: &[u8], features: WasmFeatures) -> Result<Input<'_>, Error> {
    let mut input = Input {
        most_written: (module.len() as u64).saturating_mul(MOST_GROWTH).saturating_add(ALWAYS_WRITTEN),
        ..Input::default()
    };
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

/// Copies the state for validating a function, so that it can be validated again.
pub(super) fn same(types: &FuncToValidate<ValidatorResources>) -> FuncToValidate<ValidatorResources> {
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
                            CompositeInnerType::Func(ty) => {
                                Some((ty.params().to_vec(), ty.results().to_vec()))
                            }
                            _ => None,
                        });
                    }
                }
                self.sections.push(Section::Types(section));
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    let import = import.map_err(Error::invalid)?;
                    // Only the added imports may use the prefix: the host trusts them about limits.
                    if import.module.starts_with(names::PREFIX) {
                        return Err(Error::Reserved(import.module.chars().take(60).collect()));
                    }
                    match import.ty {
                        wasmparser::TypeRef::Func(ty) | wasmparser::TypeRef::FuncExact(ty) => {
                            self.functions.push(ty);
                            self.imported_functions += 1;
                        }
                        wasmparser::TypeRef::Table(_) => {
                            self.tables += 1;
                            self.shares_tables = true;
                        }
                        wasmparser::TypeRef::Memory(_) => self.memories += 1,
                        wasmparser::TypeRef::Global(ty) => self.globals.push(ty),
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
                    self.globals.push(global.ty);
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
            // Names and producers do not affect execution.
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

/// Adds the `main` of a command: the start function, if any, then `_start`. Returns its number among the
/// defined functions; `None` for a library, which keeps its start section.
pub(super) fn add_main(input: &mut Input<'_>) -> Result<Option<u32>, Error> {
    let entry = input
        .exports
        .iter()
        .find(|export| export.name == "_start" && export.kind == wasmparser::ExternalKind::Func)
        .map(|export| export.index);
    let Some((entry, sample)) = entry.zip(input.bodies.first().map(|body| body.types.resources.clone()))
    else {
        return Ok(None);
    };
    let ty = input.functions[entry as usize];
    if input.types.get(ty as usize).and_then(Option::as_ref) != Some(&(vec![], vec![])) {
        return Ok(None);
    }
    let calls =
        input.start.take().into_iter().chain([entry]).map(|function_index| Operator::Call { function_index });
    let operators = calls.chain([Operator::End]).map(|operator| (operator, 1)).collect();
    let index = input.functions.len() as u32;
    let features = input.bodies[0].types.features;
    input.functions.push(ty);
    let types = FuncToValidate { resources: sample, index, ty, features };
    input.bodies.push(Body {
        types,
        operators,
        locals: vec![],
        local_count: 0,
        facts: Facts { nans: Nans::default(), dead: vec![false; 3], frame_bytes: FRAME_BASE },
    });
    Ok(Some(index - input.imported_functions))
}

impl Input<'_> {
    pub(super) fn any(&self, is: impl Fn(&Operator<'_>) -> bool) -> bool {
        self.bodies.iter().any(|body| body.operators.iter().any(|(operator, _)| is(operator)))
    }

    /// Whether references outside of frames can change while the program runs.
    pub(super) fn moves_references(&self) -> bool {
        use Operator as O;
        self.globals
            .iter()
            .any(|global| global.mutable && matches!(global.content_type, wasmparser::ValType::Ref(_)))
            || self.any(|operator| {
                matches!(
                    operator,
                    O::TableSet { .. }
                        | O::TableGrow { .. }
                        | O::TableFill { .. }
                        | O::TableCopy { .. }
                        | O::TableInit { .. }
                )
            })
    }

    pub(super) fn dropped(&self) -> BTreeSet<Segment> {
        self.bodies
            .iter()
            .flat_map(|body| &body.operators)
            .filter_map(|(operator, _)| Segment::dropped_by(operator))
            .collect()
    }
}
