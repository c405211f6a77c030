//! `[[service.operation]]`.

use std::collections::{BTreeMap, BTreeSet};

use stepgate_core::catalogue::{
    ActionName, Admits, CrossSite, Effect, Endpoint, InputKind, InputSource, InputSpec, PathTemplate, Title,
};
use stepgate_core::inputs::Pointer;

use super::read::{At, Table};

/// The actions that were declared so far.
pub(super) type Actions = BTreeMap<String, DeclaredAction>;

/// What is the same wherever an action is used: policy sees one action.
pub(super) struct DeclaredAction {
    inputs: BTreeMap<String, InputKind>,
    effect: Effect,
    resource: String,
}

impl DeclaredAction {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        Self {
            inputs: endpoint.inputs.iter().map(|input| (input.name.clone(), input.kind)).collect(),
            effect: endpoint.effect,
            resource: endpoint.resource.clone(),
        }
    }
}

/// Reads one operation.
pub(super) fn endpoint(table: Table<'_>, service: &str, actions: &mut Actions) -> Option<Endpoint> {
    let on = table.required("on").and_then(|at| match on(&at.value) {
        Ok(on) => Some(on),
        Err(why) => {
            table.mistake(at.span, format!("`on` must be like \"POST /payments/{{id}}/approve\": {why}"));
            None
        }
    });
    let _ = table.required("action");
    let action = table.parsed("action", "a name like payments.approve", |text| match text {
        "read" | "write" => Err("read and write are the actions of what no operation names".to_owned()),
        _ => ActionName::parse(text).map_err(|error| error.to_string()),
    });
    let path = on.as_ref().map(|(_, path)| path);
    let (inputs, named) = table.table("inputs").map(|inputs| input_specs(inputs, path)).unwrap_or_default();
    let title = table.required("title").map(|at| {
        let title = Title::new(at.value);
        for name in title.names() {
            if !named.contains(name) {
                table.mistake(
                    at.span.clone(),
                    format!("the title names {{{name}}}, which is no input of this operation"),
                );
            }
        }
        title
    });
    let sensitivity = table.text("sensitivity").map_or_else(|| "normal".to_owned(), |at| at.value);
    let kind = table.text("kind").map(|at| at.value).unwrap_or_default();
    let mut effect_headers = Vec::new();
    for at in table.texts("effect_headers") {
        match http::HeaderName::from_bytes(at.value.as_bytes()) {
            Ok(name) => effect_headers.push(name.as_str().to_owned()),
            Err(_) => table.mistake(at.span, format!("\"{}\" is no header name", at.value)),
        }
    }
    effect_headers.sort();
    effect_headers.dedup();
    let scopes = scopes(&table);
    let admits = if table.flag("public") { Admits::Anyone } else { Admits::SignedIn };
    let cross_site = table.parsed("cross_site", "refuse or allow", |text| match text {
        "refuse" => Ok(CrossSite::Refuse),
        "allow" => Ok(CrossSite::Allow),
        _ => Err(""),
    });
    let declared = table.parsed("effect", "read or write", |text| match text {
        "read" => Ok(Effect::Read),
        "write" => Ok(Effect::Write),
        _ => Err(""),
    });
    let (methods, path) = match on {
        Some(on) => on,
        None => {
            table.finish();
            return None;
        }
    };
    let safe = methods.iter().all(|method| matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"));
    let by_method = if safe { Effect::Read } else { Effect::Write };
    let resource = format!("{service} {} {}", methods.join("|"), path.as_str());
    let effect = declared.map_or(by_method, |at| at.value);
    // Where an input could not be read, that is told; whether the action agrees is not known.
    if let Some(action) = action.as_ref().filter(|_| inputs.len() == named.len()) {
        let inputs = inputs.iter().map(|input| (input.name.clone(), input.kind)).collect();
        agrees(&table, action, DeclaredAction { inputs, effect, resource: resource.clone() }, actions);
    }
    table.finish();
    Some(Endpoint {
        resource,
        action: action?.value,
        effect,
        kind,
        sensitivity,
        title: title?,
        methods,
        path,
        inputs,
        effect_headers,
        admits,
        cross_site: cross_site.map_or(CrossSite::Refuse, |at| at.value),
        scopes,
    })
}

/// The scopes that an access token needs for the operation (RFC 6749, section 3.3).
pub(super) fn scopes(table: &Table<'_>) -> Vec<String> {
    let is_scope =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    let mut scopes = Vec::new();
    for at in table.texts("scopes") {
        if is_scope(&at.value) {
            scopes.push(at.value);
        } else {
            table.mistake(
                at.span,
                format!("\"{}\" is no scope: visible ASCII without space, quote and backslash", at.value),
            );
        }
    }
    scopes.sort();
    scopes.dedup();
    scopes
}

fn on(text: &str) -> Result<(Vec<String>, PathTemplate), String> {
    let (methods, path) = text.split_once(' ').ok_or("a method, a space, a path")?;
    let methods: Vec<String> = methods.split('|').map(str::to_owned).collect();
    for method in &methods {
        if !matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") {
            return Err(format!("{method:?} is no method that passes the gate (in capitals)"));
        }
    }
    let path = PathTemplate::parse(path.trim()).map_err(|error| error.to_string())?;
    Ok((methods, path))
}

/// The inputs that can be read, and the names of all that are there: a mistake in
/// one is told once, not again where its name is used.
fn input_specs(table: Table<'_>, path: Option<&PathTemplate>) -> (Vec<InputSpec>, BTreeSet<String>) {
    let mistake_at = table.span();
    let mut named = BTreeSet::new();
    let mut specs: Vec<InputSpec> = Vec::new();
    let mut wrong = Vec::new();
    // `free` eats the table; its mistakes are noted by itself.
    let mistakes = |span, message: String, wrong: &mut Vec<_>| wrong.push((span, message));
    let notes = table.notes();
    for (name, text) in table.free() {
        named.insert(name.value.clone());
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.value.is_empty() || !name.value.bytes().all(good) {
            mistakes(name.span, "an input's name has letters, digits and _ only".to_owned(), &mut wrong);
            continue;
        }
        match input(&text.value) {
            Ok((source, kind)) => {
                if let (InputSource::Path(placeholder), Some(path)) = (&source, path)
                    && !path.names().any(|known| known == placeholder)
                {
                    mistakes(text.span, format!("the path has no {{{placeholder}}}"), &mut wrong);
                }
                specs.push(InputSpec { name: name.value, source, kind });
            }
            Err(why) => mistakes(text.span, why, &mut wrong),
        }
    }
    let json = specs.iter().any(|spec| matches!(spec.source, InputSource::Json(_)));
    let form = specs.iter().any(|spec| matches!(spec.source, InputSource::Form(_)));
    if json && form {
        mistakes(mistake_at, "a body is JSON or a form, not both".to_owned(), &mut wrong);
    }
    for (span, message) in wrong {
        notes.add(span, message);
    }
    (specs, named)
}

/// `json /amount as long`.
fn input(text: &str) -> Result<(InputSource, InputKind), String> {
    let form = || {
        "an input is like \"json /amount as long\": path, query, json or form; a name or pointer; as long, string, bool or decimal".to_owned()
    };
    let (source, kind) = text.rsplit_once(" as ").ok_or_else(form)?;
    let (place, name) = source.trim().split_once(' ').ok_or_else(form)?;
    let name = name.trim().to_owned();
    if name.is_empty() {
        return Err(form());
    }
    let source = match place {
        "path" => InputSource::Path(name),
        "query" => InputSource::Query(name),
        "json" => {
            Pointer::parse(&name).map_err(|error| error.to_string())?;
            InputSource::Json(name)
        }
        "form" => InputSource::Form(name),
        _ => return Err(form()),
    };
    let kind = match kind.trim() {
        "long" => InputKind::Long,
        "string" => InputKind::String,
        "bool" => InputKind::Bool,
        "decimal" => InputKind::Decimal,
        _ => return Err(form()),
    };
    Ok((source, kind))
}

/// Notes an action, or a mistake if it is not what it is elsewhere.
fn agrees(table: &Table<'_>, action: &At<ActionName>, here: DeclaredAction, actions: &mut Actions) {
    let Some(known) = actions.get(action.value.as_str()) else {
        actions.insert(action.value.to_string(), here);
        return;
    };
    let other = &known.resource;
    if known.inputs != here.inputs {
        let told = |inputs: &BTreeMap<String, InputKind>| {
            let shown = inputs.iter().map(|(name, kind)| format!("{name} as {}", kind_name(*kind)));
            if inputs.is_empty() { "none".to_owned() } else { shown.collect::<Vec<_>>().join(", ") }
        };
        let (there, here) = (told(&known.inputs), told(&here.inputs));
        table.mistake(
            action.span.clone(),
            format!(
                "the action {} has other inputs in \"{other}\" ({there}; here {here}): \
                 one action has the same inputs everywhere",
                action.value
            ),
        );
    } else if known.effect != here.effect {
        table.mistake(
            action.span.clone(),
            format!(
                "the action {} reads in \"{other}\" and writes here, or the other way round: use two actions",
                action.value
            ),
        );
    }
}

/// As it stands in the file.
const fn kind_name(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Long => "long",
        InputKind::String => "string",
        InputKind::Bool => "bool",
        InputKind::Decimal => "decimal",
    }
}
