//! Which stages a build needs, and what each starts from.

use std::collections::{BTreeMap, BTreeSet};

use teu_oci::{Platform, Reference};

use super::{Inputs, PlanError, Scope};
use crate::dockerfile::instruction::{Arg, Instruction};
use crate::dockerfile::{Dockerfile, Span, Stage, Step, suggest};

/// What is to be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The needed stages, in the order of the file.
    pub stages: Vec<PlannedStage>,
    /// The others, which only a trigger of a base could still need.
    pub spare: Vec<Result<PlannedStage, PlanError>>,
    /// Where each stage of the file is, and its name.
    places: Vec<(usize, Option<String>)>,
    /// The one that becomes the image, as an index into `stages`.
    pub target: usize,
    /// The arguments in force before any stage.
    pub scope: Scope,
    /// The ARGs before the first FROM.
    pub args: Vec<Arg>,
    /// Build arguments that nothing declares.
    pub unused_args: Vec<String>,
}

impl Plan {
    /// How many lines "Step n/m" counts.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.args.len() + self.stages.iter().map(|stage| 1 + stage.steps.len()).sum::<usize>()
    }

    /// A stage by its place: one of the needed, or behind them one of the others.
    ///
    /// # Errors
    /// What is wrong with one that was not needed.
    pub fn stage(&self, place: usize) -> Result<&PlannedStage, PlanError> {
        match place.checked_sub(self.stages.len()) {
            None => Ok(&self.stages[place]),
            Some(spare) => self.spare[spare].as_ref().map_err(Clone::clone),
        }
    }

    /// What `from` of a trigger that runs in a stage names.
    ///
    /// # Errors
    /// A number of no stage, a reference that is none.
    pub fn source(&self, stage: &PlannedStage, from: &str) -> Result<Base, PlanError> {
        let names: Vec<_> = self.places.iter().map(|(_, name)| name.as_deref()).collect();
        let mut base = source(&names, stage.number, from)?;
        if let Base::Stage(number) = &mut base {
            *number = self.places[*number].0;
        }
        Ok(base)
    }

    /// Whether the stage at `start` needs the one at `end`, by what stands in the file or by `more`: who, and whom.
    ///
    /// # Errors
    /// As [`Plan::stage`].
    pub fn reaches(&self, start: usize, end: usize, more: &[(usize, usize)]) -> Result<bool, PlanError> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(place) = open.pop() {
            if place == end {
                return Ok(true);
            }
            if seen.insert(place) {
                open.extend(needs(self.stage(place)?));
                open.extend(more.iter().filter(|(who, _)| *who == place).map(|(_, whom)| *whom));
            }
        }
        Ok(false)
    }
}

/// A stage that is needed.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStage {
    /// Its number in the file.
    pub number: usize,
    /// Its name.
    pub name: Option<String>,
    /// What it starts from.
    pub base: Base,
    /// For which platform its base is wanted.
    pub platform: Option<Platform>,
    /// The FROM line, variables expanded.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// Its steps.
    pub steps: Vec<PlannedStep>,
}

/// A step, and where its files come from.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    /// The step.
    pub step: Step,
    /// What `--from` of a COPY, and `from` of the mounts of a RUN, name.
    pub from: Vec<(String, Base)>,
}

impl PlannedStep {
    /// What a name in it stands for.
    #[must_use]
    pub fn base(&self, name: &str) -> Option<&Base> {
        self.from.iter().find(|(have, _)| have == name).map(|(_, base)| base)
    }
}

/// The names by which an instruction speaks of other trees, as written.
pub(crate) fn sources(instruction: &Instruction) -> Vec<&str> {
    match instruction {
        Instruction::Copy(copy) => copy.from.as_deref().into_iter().collect(),
        Instruction::Run(run) => run.mounts.iter().filter_map(super::mount::from).collect(),
        _ => Vec::new(),
    }
}

/// A file system to start or to copy from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image, by reference or ID.
    Image(String),
    /// Another stage, by its place ([`Plan::stage`]).
    Stage(usize),
    /// A tree that came with the request, by its name.
    Tree(String),
}

/// Plans a build.
///
/// # Errors
/// A target or stage that is not there, a reference that is none, stages that need each other.
pub fn plan(dockerfile: &Dockerfile, inputs: &Inputs) -> Result<Plan, PlanError> {
    let scope = Scope::new(inputs, &dockerfile.args, dockerfile.directives.escape)?;
    let stages = &dockerfile.stages;
    let names: Vec<_> = stages.iter().map(|stage| stage.name.as_deref()).collect();
    let target = find_target(&names, inputs.target.as_deref())?;
    let mut all = Vec::with_capacity(stages.len());
    for (number, stage) in stages.iter().enumerate() {
        // A stage that is not needed may be wrong in what only matters when it is built.
        let one = planned(stages, &names, number, &scope, &inputs.contexts);
        all.push(one.map_err(|error| error.at(stage.span.first)));
    }
    let needed = needed(&all, stages, target)?;
    let others = (0..all.len()).filter(|number| !needed.contains(number));
    let order: Vec<usize> = needed.iter().copied().chain(others).collect();
    let place = |number: usize| order.iter().position(|have| *have == number).unwrap_or_default();
    let renumber = |base: &mut Base| {
        if let Base::Stage(number) = base {
            *number = place(*number);
        }
    };
    for stage in all.iter_mut().flatten() {
        renumber(&mut stage.base);
        stage.steps.iter_mut().flat_map(|step| &mut step.from).map(|(_, base)| base).for_each(renumber);
    }
    let places = names.iter().enumerate().map(|(number, name)| (place(number), name.map(str::to_owned))).collect();
    let (kept, spare): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(number, _)| needed.contains(number));
    Ok(Plan {
        stages: kept.into_iter().map(|(_, stage)| stage).collect::<Result<_, _>>()?,
        spare: spare.into_iter().map(|(_, stage)| stage).collect(),
        places,
        target: place(target),
        unused_args: unused_args(dockerfile, &scope),
        scope,
        args: dockerfile.args.clone(),
    })
}

/// The names of stages, in the order of the file.
type Names<'n> = [Option<&'n str>];

fn find_target(names: &Names<'_>, target: Option<&str>) -> Result<usize, PlanError> {
    let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(names.len() - 1) };
    let named = by_name(names, target).or_else(|| target.parse().ok().filter(|number| *number < names.len()));
    named.ok_or_else(|| {
        let names = names.iter().copied().flatten();
        PlanError::new(format!("target stage {target:?} could not be found")).hint(suggest(target, names))
    })
}

/// The last stage of that name.
fn by_name(names: &Names<'_>, name: &str) -> Option<usize> {
    names.iter().rposition(|have| have.is_some_and(|have| have.eq_ignore_ascii_case(name)))
}

/// One stage with its references resolved; `Base::Stage` holds file numbers still.
fn planned(
    stages: &[Stage],
    names: &Names<'_>,
    number: usize,
    scope: &Scope,
    contexts: &BTreeMap<String, Base>,
) -> Result<PlannedStage, PlanError> {
    let stage = &stages[number];
    let name = scope.expand_global(&stage.base)?;
    if name.is_empty() {
        return Err(PlanError::new(format!("base name ({}) should not be blank", stage.base)));
    }
    let given = stage.name.as_deref().and_then(|name| named(contexts, name)).or_else(|| named(contexts, &name));
    let base = match (given, by_name(&names[..number], &name)) {
        (Some(given), _) => given,
        (None, Some(earlier)) => Base::Stage(earlier),
        (None, None) if name == "scratch" => Base::Scratch,
        (None, None) => image(&name)?,
    };
    let platform = match &stage.platform {
        None => None,
        Some(text) => match scope.expand_global(text)? {
            empty if empty.is_empty() => None,
            text => Some(text.parse().map_err(PlanError::new)?),
        },
    };
    let mut steps = Vec::with_capacity(stage.steps.len());
    for step in &stage.steps {
        let from = sources(&step.instruction).into_iter();
        let from = from
            .map(|from| {
                let given = named(contexts, from).map_or_else(|| source(names, number, from), Ok);
                Ok((from.to_owned(), given?))
            })
            .collect::<Result<_, PlanError>>();
        let from = from.map_err(|error| error.at(step.span.first))?;
        steps.push(PlannedStep { step: step.clone(), from });
    }
    let text = match name == stage.base {
        true => stage.text.clone(),
        false => stage.text.replacen(&stage.base, &name, 1),
    };
    Ok(PlannedStage { number, name: stage.name.clone(), base, platform, text, span: stage.span, steps })
}

/// What the request has for a name: by the name as it is written, or as an image is called in full.
fn named(contexts: &BTreeMap<String, Base>, name: &str) -> Option<Base> {
    if contexts.is_empty() {
        return None;
    }
    let full = |name: &str| name.parse::<Reference>().ok().map(|name| name.to_string());
    let wanted = full(name);
    let same = |have: &&String| **have == name || wanted.is_some() && full(have) == wanted;
    contexts.iter().find(|(have, _)| same(have)).map(|(_, base)| base.clone())
}

/// What `--from` names: a stage, a stage's number, or an image.
fn source(names: &Names<'_>, number: usize, from: &str) -> Result<Base, PlanError> {
    if from.contains('$') {
        return Err(PlanError::new("variable expansion is not supported for --from")
            .hint(Some("define a new stage with FROM using ARG from global scope as a workaround".into())));
    }
    if let Some(found) = by_name(&names[..number], from).or_else(|| by_name(names, from)) {
        return Ok(Base::Stage(found));
    }
    if let Ok(index) = from.parse::<usize>() {
        return match index < names.len() {
            true => Ok(Base::Stage(index)),
            false => {
                Err(PlanError::new(format!("invalid stage index {index} in --from: there are {} stages", names.len())))
            }
        };
    }
    if from == "scratch" {
        return Ok(Base::Scratch);
    }
    let earlier = names[..number].iter().copied().flatten();
    image(from).map_err(|error| error.hint(suggest(from, earlier)))
}

/// A reference or an image ID.
fn image(text: &str) -> Result<Base, PlanError> {
    let id = text.strip_prefix("sha256:").unwrap_or(text);
    if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Base::Image(text.into()));
    }
    match text.parse::<Reference>() {
        Ok(_) => Ok(Base::Image(text.into())),
        Err(error) => Err(PlanError::new(format!("cannot use {text:?} as an image: {error}"))),
    }
}

/// The numbers of the stages that `target` needs, itself included, in the order of the file.
fn needed(all: &[Result<PlannedStage, PlanError>], stages: &[Stage], target: usize) -> Result<Vec<usize>, PlanError> {
    let mut done = BTreeSet::new();
    // Stages entered and not yet left, with the needs still to visit: no recursion, however long the file.
    let needs = |number: usize| all[number].as_ref().map(needs).map_err(Clone::clone);
    let mut path = vec![(target, needs(target)?)];
    while let Some((number, rest)) = path.last_mut() {
        let number = *number;
        let Some(next) = rest.pop() else {
            done.insert(number);
            path.pop();
            continue;
        };
        if path.iter().any(|(open, _)| *open == next) {
            let name = stages[next].name.clone().unwrap_or_else(|| next.to_string());
            let message = format!("circular dependency detected on stage: {name}");
            return Err(PlanError::new(message).at(stages[number].span.first));
        }
        if !done.contains(&next) {
            path.push((next, needs(next)?));
        }
    }
    Ok(done.into_iter().collect())
}

/// The stages that one stage names.
fn needs(stage: &PlannedStage) -> Vec<usize> {
    let bases = stage.steps.iter().flat_map(|step| &step.from).map(|(_, base)| base).chain([&stage.base]);
    let stage = |base: &Base| match base {
        Base::Stage(number) => Some(*number),
        _ => None,
    };
    bases.filter_map(stage).collect()
}

fn unused_args(dockerfile: &Dockerfile, scope: &Scope) -> Vec<String> {
    let steps = dockerfile.stages.iter().flat_map(|stage| &stage.steps);
    let in_stages = steps.filter_map(|step| match &step.instruction {
        Instruction::Arg(args) => Some(args),
        _ => None,
    });
    let declared = in_stages.flatten().chain(&dockerfile.args).map(|arg| arg.name.as_str()).collect();
    scope.unused(&declared).into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests;
