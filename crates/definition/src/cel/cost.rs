//! An upper bound of the work of an evaluation.
//!
//! The interpreter has no budget of its own, and a short expression can make a great many values: each `map` multiplies
//! the length of a list by that of a list literal. The bound is computed from the expression and the sizes of the values
//! that it refers to, before anything is evaluated. It counts every value that is made, including those that are dropped
//! again.

use super::names::{CelNames, FieldNames, path};
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use goconductor_saga::{Json, Scope};

/// Maximum bytes of all values that an evaluation makes.
const MAX_MADE_BYTES: u64 = 128 << 20;
/// Maximum operations of an evaluation. An operation takes about a quarter of a microsecond.
const MAX_OPERATIONS: u64 = 4_000_000;
/// The assumed size of a value in bytes.
const VALUE_BYTES: u64 = 64;
/// The assumed size of an entry of a map in bytes, without its key and its value.
const ENTRY_BYTES: u64 = 160;
/// The assumed size of `workflow.id` and the other short texts of the engine.
const SHORT_TEXT_BYTES: u64 = VALUE_BYTES + 128;

/// The work of an evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EvaluationCost {
    operations: u64,
    /// Bytes of all values that are made.
    bytes: u64,
}

impl EvaluationCost {
    /// Returns the cost as one number, in operations.
    pub(super) fn operations(self) -> u64 {
        self.operations.saturating_add(self.bytes / 256)
    }

    /// Refuses an evaluation that would take too much time or memory.
    pub(super) fn check(self) -> Result<(), String> {
        let advice = "use shorter lists, or compute the value in the service";
        if self.bytes > MAX_MADE_BYTES {
            let (size, limit) = (self.bytes >> 20, MAX_MADE_BYTES >> 20);
            return Err(format!(
                "the values of the expression could become too large: up to {size} MiB, and the limit is {limit} MiB; \
                 {advice}"
            ));
        }
        if self.operations > MAX_OPERATIONS {
            return Err(format!(
                "the evaluation would take too long: up to {} operations, and the limit is {MAX_OPERATIONS}; {advice}",
                self.operations
            ));
        }
        Ok(())
    }
}

/// Returns the cost of evaluating an expression over a scope.
pub(super) fn of(expression: &IdedExpr, names: &CelNames, scope: &Scope<'_>) -> EvaluationCost {
    let mut estimate =
        Estimate { scope, cost: EvaluationCost::default(), times: 1, bound: Vec::new(), sizes: Vec::new() };
    estimate.inputs(names);
    let result = estimate.value(expression);
    // The result is copied to the values of the interface.
    estimate.make(result);
    estimate.cost
}

/// The largest size that a value can have.
#[derive(Debug, Clone, Copy, Default)]
struct ValueSize {
    bytes: u64,
    values: u64,
    /// The number of elements.
    length: u64,
    /// The largest element.
    item_bytes: u64,
    item_values: u64,
    /// The longest list inside an element.
    item_length: u64,
}

impl ValueSize {
    /// A number, a boolean or null.
    const SCALAR: Self =
        Self { bytes: VALUE_BYTES, values: 1, length: 0, item_bytes: 0, item_values: 0, item_length: 0 };

    fn text(bytes: usize) -> Self {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Self { bytes: VALUE_BYTES.saturating_add(bytes), ..Self::SCALAR }
    }

    fn of_json(json: &Json) -> Self {
        match json {
            Json::Null | Json::Bool(_) | Json::Number(_) => Self::SCALAR,
            Json::String(text) => Self::text(text.len()),
            Json::Array(items) => {
                items.iter().fold(Self::SCALAR, |list, item| list.with_item(Self::of_json(item)))
            }
            Json::Object(entries) => entries.iter().fold(Self::SCALAR, |map, (key, value)| {
                map.with_entry(Self::text(key.len()), Self::of_json(value))
            }),
        }
    }

    /// Returns the list with one more element.
    fn with_item(self, item: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(item.bytes),
            values: self.values.saturating_add(item.values),
            length: self.length.saturating_add(1),
            item_bytes: self.item_bytes.max(item.bytes),
            item_values: self.item_values.max(item.values),
            item_length: self.item_length.max(item.length).max(item.item_length),
        }
    }

    /// Returns the map with one more entry. A loop over a map has its keys.
    fn with_entry(self, key: Self, value: Self) -> Self {
        let mut map = self.with_item(value);
        map.bytes = map.bytes.saturating_add(key.bytes).saturating_add(ENTRY_BYTES);
        map.item_bytes = map.item_bytes.max(key.bytes);
        map
    }

    fn item(self) -> Self {
        Self { bytes: self.item_bytes, values: self.item_values, length: self.item_length, ..self }
    }

    fn largest(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.max(other.bytes),
            values: self.values.max(other.values),
            length: self.length.max(other.length),
            item_bytes: self.item_bytes.max(other.item_bytes),
            item_values: self.item_values.max(other.item_values),
            item_length: self.item_length.max(other.item_length),
        }
    }

    /// Returns the sum of two texts or lists, `times` times the second one.
    fn joined(self, other: Self, times: u64) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes.saturating_mul(times)),
            values: self.values.saturating_add(other.values.saturating_mul(times)),
            length: self.length.saturating_add(other.length.saturating_mul(times)),
            ..self.largest(other)
        }
    }

    /// The operations to visit all of the value.
    fn operations(self) -> u64 {
        self.values.saturating_add(self.bytes / 64)
    }
}

struct Estimate<'e> {
    scope: &'e Scope<'e>,
    cost: EvaluationCost,
    /// How often the present part is evaluated.
    times: u64,
    /// The variables of the enclosing loops.
    bound: Vec<(&'e str, ValueSize)>,
    /// The sizes of the values of the workflow, by address. An expression may refer to a large value many times.
    sizes: Vec<(*const Json, ValueSize)>,
}

impl<'e> Estimate<'e> {
    fn operate(&mut self, operations: u64) {
        let operations = operations.saturating_mul(self.times);
        self.cost.operations = self.cost.operations.saturating_add(operations);
    }

    /// Counts a value that is made.
    fn make(&mut self, size: ValueSize) -> ValueSize {
        self.operate(size.values);
        self.cost.bytes = self.cost.bytes.saturating_add(size.bytes.saturating_mul(self.times));
        size
    }

    /// Counts the values of the workflow that the expression refers to. Each is made twice: for the interface, and for
    /// the interpreter.
    fn inputs(&mut self, names: &CelNames) {
        let mut parts: Vec<&Json> = Vec::new();
        if let Some(fields) = &names.input {
            select(self.scope.input(), fields, &mut parts);
        }
        if let (Some(element), Some(fields)) = (self.scope.element(), &names.element) {
            select(element.value, fields, &mut parts);
        }
        for (name, fields) in &names.steps {
            let output =
                self.scope.step(name).filter(|_| fields.has("output")).and_then(|step| step.output());
            parts.extend(output);
        }
        for (name, fields) in &names.signals {
            if let Some(payload) = self.scope.signal(name) {
                select(payload, fields, &mut parts);
            }
        }
        for part in parts {
            let size = self.json(part);
            self.make(size);
            self.make(size);
        }
    }

    fn json(&mut self, json: &Json) -> ValueSize {
        let address = std::ptr::from_ref(json);
        if let Some((_, size)) = self.sizes.iter().find(|(known, _)| *known == address) {
            return *size;
        }
        let size = ValueSize::of_json(json);
        self.sizes.push((address, size));
        size
    }

    /// Counts the evaluation of an expression. Returns the largest size of its value.
    fn value(&mut self, expression: &'e IdedExpr) -> ValueSize {
        self.operate(1);
        if let Some((root, fields)) = path(&expression.expr) {
            return self.named(root, &fields);
        }
        match &expression.expr {
            Expr::Literal(LiteralValue::String(text)) => ValueSize::text(text.inner().len()),
            Expr::Literal(LiteralValue::Bytes(bytes)) => ValueSize::text(bytes.inner().len()),
            Expr::Literal(_) | Expr::Ident(_) | Expr::Unspecified | Expr::Struct(_) => ValueSize::SCALAR,
            Expr::Select(select) => {
                let item = self.value(&select.operand).item();
                if select.test { ValueSize::SCALAR } else { item }
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => {
                let mut size = ValueSize::SCALAR;
                let mut copied = ValueSize::SCALAR;
                for element in &list.elements {
                    let item = self.value(element);
                    size = size.with_item(item);
                    copied = copied.joined(item, u64::from(!is_made(element)));
                }
                self.make(copied);
                size
            }
            Expr::Map(map) => {
                let mut size = ValueSize::SCALAR;
                let mut copied = ValueSize::SCALAR;
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    let (key, value) = (self.value(&entry.key), self.value(&entry.value));
                    size = size.with_entry(key, value);
                    copied = copied.joined(ValueSize { bytes: ENTRY_BYTES, ..key }, 1).joined(key, 1);
                    copied = copied.joined(value, u64::from(!is_made(&entry.value)));
                }
                self.make(copied);
                size
            }
        }
    }

    fn named(&mut self, root: &str, fields: &[&str]) -> ValueSize {
        self.operate(u64::try_from(fields.len()).unwrap_or(u64::MAX));
        if let Some((_, size)) = self.bound.iter().rev().find(|(name, _)| *name == root) {
            return fields.iter().fold(*size, |size, _| size.item());
        }
        let scope = self.scope;
        let (value, rest) = match (root, fields) {
            ("input", rest) => (Some(scope.input()), rest),
            (root, rest) if scope.element().is_some_and(|element| element.variable == root) => {
                (scope.element().map(|element| element.value), rest)
            }
            ("steps", [step, "output", rest @ ..]) => (scope.step(step).and_then(|step| step.output()), rest),
            ("signals", [signal, rest @ ..]) => (scope.signal(signal), rest),
            ("steps", [step, "error", ..]) => {
                let error = scope.step(step).and_then(|step| step.error);
                let detail = error.and_then(|error| error.detail.as_ref()).map(|detail| self.json(detail));
                let text = error.map_or(0, |error| error.code.len() + error.message.len());
                return ValueSize::text(text).with_item(detail.unwrap_or_default());
            }
            ("workflow", [] | ["labels", ..]) => {
                let labels = &scope.workflow().labels;
                let entries = labels.iter().fold(ValueSize::SCALAR, |map, (key, value)| {
                    map.with_entry(ValueSize::text(key.len()), ValueSize::text(value.len()))
                });
                return ValueSize { bytes: entries.bytes + 4 * SHORT_TEXT_BYTES, ..entries };
            }
            _ => return ValueSize { bytes: SHORT_TEXT_BYTES, ..ValueSize::SCALAR },
        };
        let field = |value: &'e Json, field: &&str| value.as_object().and_then(|entries| entries.get(*field));
        let found = rest.iter().fold(value, |value, name| value.and_then(|value| field(value, name)));
        found.map_or(ValueSize::SCALAR, |value| self.json(value))
    }

    fn call(&mut self, call: &'e CallExpr) -> ValueSize {
        let mut sizes = Vec::new();
        for part in call.target.as_deref().into_iter().chain(&call.args) {
            sizes.push(self.value(part));
        }
        let all = || sizes.iter().copied().fold(ValueSize::SCALAR, ValueSize::largest);
        match (call.func_name.as_str(), sizes.as_slice()) {
            (operators::CONDITIONAL, [_, yes, no]) => yes.largest(*no),
            (operators::INDEX, [of, _]) => of.item(),
            ("dyn", [value]) => *value,
            (operators::ADD, [a, b]) if a.bytes > VALUE_BYTES || b.bytes > VALUE_BYTES => {
                let sum = a.joined(*b, 1);
                self.make(sum)
            }
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
                self.operate(a.operations().min(b.operations()));
                ValueSize::SCALAR
            }
            ("string", [_]) => {
                let text = all();
                self.make(text)
            }
            (_, sizes) => {
                let operations = sizes.iter().map(|size| size.operations()).fold(0, u64::saturating_add);
                self.operate(operations);
                ValueSize::SCALAR
            }
        }
    }

    fn comprehension(&mut self, comprehension: &'e ComprehensionExpr) -> ValueSize {
        let range = self.value(&comprehension.iter_range);
        let start = self.value(&comprehension.accu_init);
        let (depth, times) = (self.bound.len(), self.times);
        self.bound.push((comprehension.iter_var.as_str(), range.item()));
        self.bound.extend(comprehension.iter_var2.as_deref().map(|name| (name, range.item())));
        self.bound.push((comprehension.accu_var.as_str(), start));
        self.times = times.saturating_mul(range.length);
        self.make(range.item());
        self.value(&comprehension.loop_cond);
        let step = self.value(&comprehension.loop_step);
        self.times = times;
        self.bound.truncate(depth);
        // A list grows by the same amount in each iteration. Other results are replaced.
        let grows = matches!(comprehension.accu_init.expr, Expr::List(_));
        let result = if grows { start.joined(step, range.length) } else { step };
        self.bound.push((comprehension.accu_var.as_str(), result));
        let result = self.value(&comprehension.result);
        self.bound.truncate(depth);
        result
    }
}

/// Returns whether an expression makes its value, which then moves into a list or a map and is not copied.
fn is_made(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::List(_) | Expr::Map(_) | Expr::Comprehension(_) => true,
        Expr::Call(call) => [operators::ADD, "string"].contains(&call.func_name.as_str()),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Select(_) | Expr::Struct(_) => false,
    }
}

/// Collects the fields of an object that an expression refers to.
fn select<'j>(value: &'j Json, fields: &FieldNames, parts: &mut Vec<&'j Json>) {
    match (value, fields) {
        (Json::Object(object), FieldNames::Some(names)) => {
            parts.extend(names.iter().filter_map(|name| object.get(name)));
        }
        (whole, _) => parts.push(whole),
    }
}
