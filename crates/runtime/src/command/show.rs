//! `state`, `list`, `ps`: what there is.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::{Value, json};

use super::arguments::Given;
use super::state::Container;
use super::{Context, Failure};

/// One container, as JSON.
pub(super) fn state(context: &Context, given: &Given) -> Result<(), Failure> {
    let mut value = Container::load(&context.root, given.argument(0))?.describe();
    value["owner"] = json!("");
    print!("{}", serde_json::to_string_pretty(&value).unwrap_or_default());
    Ok(())
}

/// Every container below the root.
pub(super) fn list(context: &Context, given: &Given) -> Result<(), Failure> {
    let containers = find_all(context)?;
    let text = |value: &Value, key: &str| match &value[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if given.has("quiet") {
        containers.iter().for_each(|one| println!("{}", text(one, "id")));
        return Ok(());
    }
    match given.value("format").unwrap_or("table") {
        "json" if containers.is_empty() => println!("null"),
        "json" => println!("{}", Value::Array(containers)),
        "table" => {
            let keys = ["id", "pid", "status", "bundle", "created", "owner"];
            let rows = containers.iter().map(|one| keys.map(|key| text(one, key)));
            print!("{}", table(&std::iter::once(keys.map(str::to_uppercase)).chain(rows).collect::<Vec<_>>()));
        }
        _ => return Err(Failure::new("invalid format option")),
    }
    Ok(())
}

/// Columns of at least twelve, three apart.
fn table(rows: &[[String; 6]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + 3;
    let widths: Vec<_> = (0..6).map(|column| width(column).max(12)).collect();
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = if column == 5 { 0 } else { widths[column] };
            out.push_str(&format!("{cell:<width$}"));
        }
        out.push('\n');
    }
    out
}

fn find_all(context: &Context) -> Result<Vec<Value>, Failure> {
    let entries = match std::fs::read_dir(&context.root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !context.root_given => return Ok(Vec::new()),
        other => other.map_err(|error| Failure::new(format!("open {}: {error}", context.root.display())))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_dir() {
            continue;
        }
        let id = entry.file_name().to_string_lossy().into_owned();
        match Container::load(&context.root, &id) {
            Ok(container) => {
                let mut value = container.describe();
                value["owner"] = json!(owner(metadata.uid()));
                found.push(value);
            }
            // Being made, or being removed.
            Err(failure) if failure.absent => {}
            Err(failure) => context.log.warn(&format!("load container {id}: {}", failure.message)),
        }
    }
    found.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    Ok(found)
}

/// A user's name, by the file: a static program has no name services.
fn owner(uid: u32) -> String {
    let users = teu_sys::text::read("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("#{uid}"))
}

/// The processes of a container: as the host's ps(1) shows them, or their numbers.
pub(super) fn ps(context: &Context, given: &Given) -> Result<(), Failure> {
    let container = Container::load(&context.root, given.argument(0))?;
    let mut pids = container.record.cgroup.require()?.processes()?;
    pids.sort_unstable();
    match given.value("format").unwrap_or("table") {
        "json" => {
            println!("{}", json!(pids));
            return Ok(());
        }
        "table" => {}
        _ => return Err(Failure::new("invalid format option")),
    }
    let options = if given.arguments.len() > 1 { given.arguments[1..].to_vec() } else { vec!["-ef".to_owned()] };
    let output = Command::new("ps").args(&options).output().map_err(|error| Failure::new(format!("ps: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::new(format!("{}: {said}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{title}")?;
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|text| text.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
