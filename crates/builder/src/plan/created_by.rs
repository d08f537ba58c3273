//! An image's history: the line that says how each entry came to be, in the form that other builders write and that
//! tools which read histories know.

use teu_oci::ConfigChange;

use super::CopyStep;
use crate::dockerfile::instruction::{Command, Instruction};

/// The entry of COPY or ADD.
#[must_use]
pub fn transfer(keyword: &str, step: &CopyStep, link: bool) -> String {
    let mut text = keyword.to_string();
    let mut add = |word: &str| {
        text.push(' ');
        text.push_str(word);
    };
    if let Some(chown) = &step.chown {
        add(&format!("--chown={chown}"));
    }
    if let Some(chmod) = &step.chmod {
        add(&format!("--chmod={chmod}"));
    }
    if link {
        add("--link");
    }
    if step.parents {
        add("--parents");
    }
    if step.repositories.iter().any(|repository| repository.keep_git_dir) {
        add("--keep-git-dir");
    }
    for file in &step.files {
        add(&format!("<<{}", file.name));
    }
    step.sources.iter().for_each(|source| add(source));
    step.remotes.iter().for_each(|remote| add(&remote.url));
    step.repositories.iter().for_each(|repository| add(&repository.to_string()));
    add(&step.destination);
    text + " # buildkit"
}

/// The entry of an instruction that only describes, with the changes it came to.
#[must_use]
pub fn describe(instruction: &Instruction, changes: &[ConfigChange]) -> String {
    let keyword = instruction.keyword();
    let mut words = changes.iter().map(word).collect::<Vec<_>>().join(" ");
    if matches!(instruction, Instruction::Expose(_) | Instruction::Volume(_)) {
        words = format!("[{words}]");
    }
    if let Instruction::Healthcheck(check) = instruction {
        words = match &check.command {
            None => "NONE".into(),
            Some(Command::Shell(line)) => format!("CMD {line}"),
            Some(Command::Exec(argv)) => format!("CMD {}", list(argv)),
        };
    }
    format!("{keyword} {words}")
}

fn word(change: &ConfigChange) -> String {
    match change {
        ConfigChange::Env(name, value) | ConfigChange::Label(name, value) => format!("{name}={value}"),
        ConfigChange::Cmd(words) | ConfigChange::Entrypoint(words) => list(words),
        ConfigChange::Shell(words) => format!("[{}]", words.join(" ")),
        ConfigChange::User(text)
        | ConfigChange::Workdir(text)
        | ConfigChange::Expose(text)
        | ConfigChange::Volume(text)
        | ConfigChange::StopSignal(text)
        | ConfigChange::OnBuild(text) => text.clone(),
        ConfigChange::Healthcheck(_) => String::new(),
    }
}

/// `["a" "b"]`.
fn list(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
