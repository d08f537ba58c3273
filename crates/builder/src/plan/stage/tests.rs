//! Stages, targets and references.

use super::*;
use crate::dockerfile::parse;

fn inputs(target: Option<&str>, args: &[(&str, &str)]) -> Inputs {
    let build_args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Inputs { target: target.map(Into::into), build_args, ..Inputs::default() }
}

fn planned(file: &str, inputs: &Inputs) -> Result<Plan, PlanError> {
    plan(&parse(file).unwrap(), inputs)
}

/// Base and sources of each kept stage.
fn shape(file: &str, inputs: &Inputs) -> Vec<(usize, Base, Vec<Base>)> {
    let plan = planned(file, inputs).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let sources =
        |stage: &PlannedStage| stage.steps.iter().flat_map(|step| step.from.clone()).map(|(_, base)| base).collect();
    plan.stages.iter().map(|stage| (stage.number, stage.base.clone(), sources(stage))).collect()
}

fn image(name: &str) -> Base {
    Base::Image(name.into())
}

#[test]
fn stages_nobody_needs_are_dropped() {
    let file =
        "FROM a AS one\nFROM b AS two\nFROM one AS three\nFROM scratch\nCOPY --from=three /x /\nCOPY --from=c /y /";
    let all = inputs(None, &[]);
    assert_eq!(
        shape(file, &all),
        [(0, image("a"), vec![]), (2, Base::Stage(0), vec![]), (3, Base::Scratch, vec![Base::Stage(1), image("c")]),]
    );
    assert_eq!(shape(file, &inputs(Some("two"), &[])), [(1, image("b"), vec![])]);
    assert_eq!(shape(file, &inputs(Some("TWO"), &[])), [(1, image("b"), vec![])]);
    assert_eq!(shape(file, &inputs(Some("0"), &[])), [(0, image("a"), vec![])]);
    assert_eq!(shape(file, &inputs(Some(""), &[])).len(), 3);
}

#[test]
fn a_trigger_may_name_stages_that_nobody_else_needs() {
    let file = "FROM a AS one\nFROM one AS two\nFROM b: AS wrong\nFROM c AS three\nFROM three AS four";
    let plan = planned(file, &inputs(None, &[])).unwrap();
    assert_eq!((plan.stages.len(), plan.spare.len(), plan.target), (2, 3, 1));
    let source = |from: &str| plan.source(&plan.stages[0], from);
    assert_eq!((source("two"), source("1"), source("d")), (Ok(Base::Stage(3)), Ok(Base::Stage(3)), Ok(image("d"))));
    assert!(source("9").unwrap_err().message.contains("invalid stage index 9"));
    assert_eq!(plan.stage(3).unwrap().base, Base::Stage(2));
    assert_eq!(plan.stage(2).unwrap().name.as_deref(), Some("one"));
    assert!(plan.stage(4).is_err());
    assert_eq!(
        (plan.reaches(3, 2, &[]), plan.reaches(2, 3, &[]), plan.reaches(3, 0, &[])),
        (Ok(true), Ok(false), Ok(false))
    );
    assert_eq!((plan.reaches(3, 0, &[(2, 1)]), plan.reaches(0, 0, &[])), (Ok(true), Ok(true)));
}

#[test]
fn names_mean_the_nearest_earlier_stage() {
    let none = inputs(None, &[]);
    assert_eq!(
        shape("FROM a AS x\nFROM b AS x\nFROM x", &none),
        [(1, image("b"), vec![]), (2, Base::Stage(0), vec![])]
    );
    assert_eq!(shape("FROM debian AS debian\nFROM debian", &none).len(), 2);
    assert_eq!(shape("FROM later\nFROM b AS later", &none), [(1, image("b"), vec![])]);
    assert_eq!(shape("FROM a AS One\nFROM ONE", &none)[1].1, Base::Stage(0));
    assert_eq!(shape("FROM a\nFROM b\nCOPY --from=0 /x /", &none)[1].2, [Base::Stage(0)]);
    assert_eq!(shape("FROM a\nCOPY --from=later /x /\nFROM b AS later\nFROM 0", &inputs(Some("0"), &[])).len(), 2);
}

#[test]
fn from_lines_know_global_arguments_only() {
    let file = "ARG V=1\nARG W=$V-slim\nFROM a:$V AS x\nARG V=3\nFROM --platform=$BUILDPLATFORM b:${W}\nFROM x\nCOPY --from=1 / /";
    let got = shape(file, &inputs(None, &[]));
    assert_eq!((&got[0].1, &got[1].1), (&image("a:1"), &image("b:1-slim")));
    let got = shape(file, &inputs(None, &[("V", "2")]));
    assert_eq!((&got[0].1, &got[1].1), (&image("a:2"), &image("b:2-slim")));
    let plan = planned(file, &inputs(None, &[])).unwrap();
    assert_eq!(plan.stages[1].platform, Some(Platform::host()));
    assert_eq!(plan.stages[0].text, "FROM a:1 AS x");
    assert_eq!(plan.steps(), 2 + 2 + 1 + 2);
    assert_eq!(shape("ARG B=base\nFROM a AS base\nFROM $B", &inputs(None, &[]))[1].1, Base::Stage(0));
    assert_eq!(
        shape("FROM a:${TARGETARCH}", &inputs(None, &[]))[0].1,
        image(&format!("a:{}", Platform::host().architecture))
    );
}

#[test]
fn an_image_may_be_named_by_id() {
    let id = "sha256:".to_string() + &"a".repeat(64);
    assert_eq!(shape(&format!("FROM {id}"), &inputs(None, &[])), [(0, Base::Image(id), vec![])]);
}

#[test]
fn what_cannot_be_planned_is_refused_with_its_line() {
    for (file, target, line, message, hint) in [
        ("FROM a AS build", Some("bild"), 0, "target stage \"bild\" could not be found", Some("did you mean build?")),
        ("FROM a", Some("3"), 0, "target stage \"3\" could not be found", None),
        ("FROM $X", None, 1, "base name ($X) should not be blank", None),
        ("FROM Upper", None, 1, "must be lowercase", None),
        ("FROM a:b:c", None, 1, "invalid reference format", None),
        ("FROM ${X", None, 1, "no closing }", None),
        ("FROM --platform=a/b/c/d x", None, 1, "cannot parse platform", None),
        ("FROM a\nFROM b\nCOPY --from=7 /x /", None, 3, "invalid stage index 7", None),
        ("FROM a AS build\nFROM b\nCOPY --from=BILD:x:y /x /", None, 3, "invalid reference", None),
        (
            "FROM a\nFROM b\nCOPY --from=$x /x /",
            None,
            3,
            "variable expansion is not supported for --from",
            Some("define"),
        ),
        ("FROM a AS x\nCOPY --from=y /a /\nFROM b AS y\nCOPY --from=x /b /", None, 1, "circular dependency", None),
        ("FROM a AS x\nCOPY --from=x /a /", None, 1, "circular dependency detected on stage: x", None),
    ] {
        let error = planned(file, &inputs(target, &[])).expect_err(file);
        assert_eq!(error.line, line, "{file:?}: {error}");
        assert!(error.message.contains(message), "{file:?}: {error}");
        match hint {
            Some(hint) => assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{file:?}: {error}"),
            None => assert_eq!(error.hint, None, "{file:?}: {error}"),
        }
    }
}

#[test]
fn a_mistake_in_a_stage_nobody_needs_is_no_mistake() {
    assert_eq!(shape("FROM Upper\nFROM b", &inputs(None, &[])), [(1, image("b"), vec![])]);
}

#[test]
fn arguments_that_nothing_declares_are_told() {
    let given = inputs(
        None,
        &[("A", "1"), ("B", "1"), ("C", "1"), ("HTTP_PROXY", "p"), ("no_proxy", "x"), ("TARGETARCH", "x")],
    );
    assert_eq!(planned("ARG A\nFROM a\nARG B", &given).unwrap().unused_args, ["C"]);
}

#[test]
fn a_very_long_chain_of_stages_is_planned() {
    let mut file = String::from("FROM a AS s0\n");
    for number in 1..3_000 {
        file.push_str(&format!("FROM s{} AS s{number}\n", number - 1));
    }
    assert_eq!(shape(&file, &inputs(None, &[])).len(), 3_000);
}
