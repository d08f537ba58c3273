//! The table as an OpenAPI 3.0 document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use teu_api::shape::{Object, Shape, Shaped};
use teu_api::{API_VERSION, ErrorBody};

use super::operation::{Answer, Body, Content, Kind, Operation, Parameter, Verb};
use super::operations;

/// The document.
pub(crate) fn document() -> Value {
    let mut pen = Pen::default();
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[method(operation.verb)] = pen.operation(operation);
    }
    let failure = pen.schema(ErrorBody::shape());
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Docker Engine API, as teu serves it",
            "version": API_VERSION,
            "license": {"name": "Apache-2.0 OR MIT"},
            "description": "Paths may also be asked for without a version. Every error is a JSON object with a `message`.",
        },
        "servers": [{"url": format!("/v{API_VERSION}")}],
        "paths": paths,
        "components": {
            "schemas": pen.components,
            "responses": {"Failure": {
                "description": "What went wrong, in one sentence.",
                "content": {"application/json": {"schema": failure}},
            }},
        },
    })
}

fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Head => "head",
        Verb::Post => "post",
        Verb::Put => "put",
        Verb::Delete => "delete",
    }
}

/// Draws, and keeps the objects it has drawn.
#[derive(Default)]
struct Pen {
    components: BTreeMap<String, Value>,
}

impl Pen {
    fn operation(&mut self, operation: &Operation) -> Value {
        let mut parameters: Vec<Value> = operation
            .places()
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        parameters.extend(operation.query.iter().map(|parameter| self.parameter("query", parameter)));
        parameters.extend(operation.headers.iter().map(|parameter| self.parameter("header", parameter)));
        let mut drawn = json!({
            "operationId": operation.id,
            "tags": [operation.room()],
            "summary": operation.about,
            "parameters": parameters,
            "responses": self.answers(operation.answers),
        });
        if let Some(body) = self.body(operation.body) {
            drawn["requestBody"] = body;
        }
        drawn
    }

    fn parameter(&mut self, place: &str, parameter: &Parameter) -> Value {
        let mut drawn = json!({"name": parameter.name, "in": place, "description": parameter.about});
        if parameter.required {
            drawn["required"] = true.into();
        }
        let schema = match parameter.kind {
            Kind::Flag(default) => json!({"type": "boolean", "default": default}),
            Kind::Text => json!({"type": "string"}),
            Kind::Word(words) => json!({"type": "string", "enum": words}),
            Kind::Integer(least, most) => integer(least, most),
            Kind::Moment => json!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,9})?$"}),
            Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Kind::Filters(names) => {
                let one = json!({"type": "array", "items": {"type": "string"}});
                let members: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), one.clone())).collect();
                let schema = json!({"type": "object", "properties": members, "additionalProperties": false});
                drawn["content"] = json!({"application/json": {"schema": schema}});
                return drawn;
            }
            Kind::Json(shape) => {
                drawn["content"] = json!({"application/json": {"schema": self.schema(shape())}});
                return drawn;
            }
            Kind::Encoded(shape) => {
                json!({"type": "string", "format": "byte", "x-json": self.schema(shape())})
            }
        };
        if matches!(parameter.kind, Kind::Texts) {
            drawn["style"] = "form".into();
            drawn["explode"] = true.into();
        }
        drawn["schema"] = schema;
        drawn
    }

    fn body(&mut self, body: Body) -> Option<Value> {
        let (required, kind, schema) = match body {
            Body::None => return None,
            Body::Json(shape) => (true, "application/json", self.schema(shape())),
            Body::Perhaps(shape) => (false, "application/json", self.schema(shape())),
            Body::Bytes(kind) => (true, kind, json!({"type": "string", "format": "binary"})),
        };
        Some(json!({"required": required, "content": {kind: {"schema": schema}}}))
    }

    fn answers(&mut self, answers: &[Answer]) -> Value {
        let failure = json!({"$ref": "#/components/responses/Failure"});
        let mut drawn = Map::new();
        for answer in answers {
            let one = if answer.status >= 400 { failure.clone() } else { self.answer(answer) };
            drawn.insert(answer.status.to_string(), one);
        }
        drawn.insert("default".into(), failure);
        drawn.into()
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let mut drawn = json!({"description": answer.about});
        match answer.content {
            Content::None => {}
            Content::Json(shape) => {
                drawn["content"] = json!({"application/json": {"schema": self.schema(shape())}});
            }
            Content::Lines(shape) => {
                let line = self.schema(shape());
                let lines = json!({"schema": {"type": "string", "format": "binary", "x-line": line}});
                drawn["content"] = json!({"application/json": lines});
            }
            Content::Bytes(kinds) => {
                let content: Map<_, _> = kinds
                    .iter()
                    .map(|kind| ((*kind).to_owned(), json!({"schema": {"type": "string", "format": "binary"}})))
                    .collect();
                drawn["content"] = content.into();
            }
        }
        drawn
    }

    fn schema(&mut self, shape: Shape) -> Value {
        match shape {
            Shape::Text => json!({"type": "string"}),
            Shape::Flag => json!({"type": "boolean"}),
            Shape::Integer(least, most) => integer(least, most),
            Shape::Any => json!({}),
            Shape::List(inner) => json!({"type": "array", "items": self.schema(inner())}),
            Shape::Map(inner) => json!({"type": "object", "additionalProperties": self.schema(inner())}),
            Shape::Words => json!({"type": "array", "nullable": true, "items": {"type": "string"}}),
            Shape::Optional(inner) => nullable(self.schema(inner())),
            Shape::Object(object) => {
                let name = object.full_name();
                if !self.components.contains_key(&name) {
                    // Reserved first: an object may hold itself.
                    self.components.insert(name.clone(), Value::Null);
                    let drawn = self.object(object);
                    self.components.insert(name.clone(), drawn);
                }
                json!({"$ref": format!("#/components/schemas/{name}")})
            }
        }
    }

    fn object(&mut self, object: &Object) -> Value {
        let mut members = Map::new();
        for member in (object.members)() {
            let mut schema = self.schema((member.shape)());
            let about = sentence(member.about);
            if schema.get("$ref").is_some() {
                schema = json!({"allOf": [schema]});
            }
            schema["description"] = about.into();
            members.insert(member.key.into(), schema);
        }
        json!({"type": "object", "description": sentence(object.about), "properties": members})
    }
}

fn nullable(mut schema: Value) -> Value {
    if schema.get("$ref").is_some() {
        return json!({"nullable": true, "allOf": [schema]});
    }
    if schema.as_object().is_some_and(|members| !members.is_empty()) {
        schema["nullable"] = true.into();
    }
    schema
}

fn integer(least: i64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// The lines of a comment as one text.
fn sentence(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that the document refers to.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|item| references(item, found));
            }
            _ => {}
        }
    }

    #[test]
    fn the_document_holds_what_it_refers_to() {
        let document = document();
        let mut found = vec![];
        references(&document, &mut found);
        for reference in found {
            let there = document.pointer(reference.trim_start_matches('#')).is_some_and(Value::is_object);
            assert!(there, "{reference}");
        }
        let create = &document["paths"]["/containers/create"]["post"];
        let body = &create["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(body, "#/components/schemas/ContainerCreateRequest");
        let memory = document.pointer("/components/schemas/ContainerHostConfig/properties/Memory").expect("a member");
        assert_eq!(memory["description"], "Memory limit in bytes; 0 is none.");
    }

    #[test]
    fn what_is_in_a_path_is_a_parameter_and_no_name_comes_twice() {
        for operation in operations() {
            assert_eq!(operation.places().count(), operation.path.matches('{').count(), "{}", operation.id);
            let mut names: Vec<_> = operation.query.iter().map(|parameter| parameter.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}", operation.id);
        }
    }
}
