//! Instructions, case by case.

use super::super::instruction::{Arg, Healthcheck, Pair, Transfer};
use super::*;

/// The instruction that one line is.
fn one(text: &str) -> Instruction {
    let mut dockerfile = parse(&format!("FROM a\n{text}")).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(dockerfile.stages[0].steps.len(), 1, "{text:?}");
    dockerfile.stages[0].steps.remove(0).instruction
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn pair(name: &str, value: &str) -> Pair {
    Pair { name: name.into(), value: value.into() }
}

fn copy(sources: &[&str], destination: &str) -> Transfer {
    Transfer { sources: strings(sources), destination: destination.into(), ..Transfer::default() }
}

#[test]
fn commands_have_two_forms() {
    let shell = |text: &str| Command::Shell(text.into());
    let exec = |words: &[&str]| Command::Exec(strings(words));
    for (text, want) in [
        ("CMD echo a", shell("echo a")),
        ("CMD [\"a\", \"b c\"]", exec(&["a", "b c"])),
        ("cmd   [ \"a\" ]", exec(&["a"])),
        ("CMD []", exec(&[])),
        ("CMD", shell("")),
        ("CMD ['a']", shell("['a']")),
        ("CMD [ -f x ] && y", shell("[ -f x ] && y")),
        ("CMD [\"a\"] b", shell("[\"a\"] b")),
        ("CMD echo \\\n  a", shell("echo   a")),
    ] {
        assert_eq!(one(text), Instruction::Cmd(want), "{text}");
    }
    assert_eq!(one("ENTRYPOINT [\"/x\"]"), Instruction::Entrypoint(exec(&["/x"])));
    assert_eq!(one("Entrypoint top -b"), Instruction::Entrypoint(shell("top -b")));
    assert_eq!(one("SHELL [\"/bin/bash\", \"-c\"]"), Instruction::Shell(strings(&["/bin/bash", "-c"])));
}

#[test]
fn names_and_values_are_paired() {
    for (text, want) in [
        ("ENV a=b", vec![pair("a", "b")]),
        ("ENV a=b c=d", vec![pair("a", "b"), pair("c", "d")]),
        ("ENV a=\"b c\" d='e f'", vec![pair("a", "\"b c\""), pair("d", "'e f'")]),
        ("ENV a=b\\ c", vec![pair("a", "b\\ c")]),
        ("ENV a=", vec![pair("a", "")]),
        ("ENV a=b=c", vec![pair("a", "b=c")]),
        ("ENV a b", vec![pair("a", "b")]),
        ("ENV a b c=d \"e\"", vec![pair("a", "b c=d \"e\"")]),
        ("ENV a   b  c", vec![pair("a", "b  c")]),
        ("ENV a=1 \\\n    b=2", vec![pair("a", "1"), pair("b", "2")]),
        ("ENV a=$b", vec![pair("a", "$b")]),
    ] {
        assert_eq!(one(text), Instruction::Env(want), "{text}");
    }
    assert_eq!(one("LABEL \"x.y\"=\"a b\""), Instruction::Label(vec![pair("\"x.y\"", "\"a b\"")]));
}

#[test]
fn args_may_be_several() {
    let arg = |name: &str, default: Option<&str>| Arg { name: name.into(), default: default.map(Into::into) };
    assert_eq!(one("ARG a"), Instruction::Arg(vec![arg("a", None)]));
    assert_eq!(
        one("ARG a b=c d=\"e f\" g="),
        Instruction::Arg(vec![arg("a", None), arg("b", Some("c")), arg("d", Some("\"e f\"")), arg("g", Some(""))])
    );
    let dockerfile = parse("ARG v=1\nARG w\nFROM a:$v").unwrap();
    assert_eq!(dockerfile.args, [arg("v", Some("1")), arg("w", None)]);
}

#[test]
fn simple_instructions_keep_their_words() {
    for (text, want) in [
        ("EXPOSE 80 443/tcp", Instruction::Expose(strings(&["80", "443/tcp"]))),
        ("VOLUME /a /b", Instruction::Volume(strings(&["/a", "/b"]))),
        ("VOLUME [\"/a\", \"/b c\"]", Instruction::Volume(strings(&["/a", "/b c"]))),
        ("USER me:us", Instruction::User("me:us".into())),
        ("WORKDIR /a b", Instruction::Workdir("/a b".into())),
        ("STOPSIGNAL SIGINT", Instruction::StopSignal("SIGINT".into())),
        ("MAINTAINER A <a@b>", Instruction::Maintainer("A <a@b>".into())),
        ("ONBUILD RUN a", Instruction::OnBuild("RUN a".into())),
        ("ONBUILD COPY . /x", Instruction::OnBuild("COPY . /x".into())),
        ("ONBUILD RUN <<E\nx\nE", Instruction::OnBuild("RUN <<E\nx\nE".into())),
    ] {
        assert_eq!(one(text), want, "{text}");
    }
}

#[test]
fn sources_and_destination_are_told_apart() {
    let with = |change: fn(&mut Transfer)| {
        let mut transfer = copy(&["a"], "/b");
        change(&mut transfer);
        Instruction::Copy(transfer)
    };
    for (text, want) in [
        ("COPY a /b", with(|_| {})),
        ("COPY [\"a\", \"/b\"]", with(|_| {})),
        ("COPY a c /b", with(|t| t.sources.push("c".into()))),
        ("COPY [\"a b\", \"/b\"]", with(|t| t.sources = vec!["a b".into()])),
        ("COPY --from=x a /b", with(|t| t.from = Some("x".into()))),
        ("COPY --from=0 --chown=1:2 a /b", with(|t| (t.from, t.chown) = (Some("0".into()), Some("1:2".into())))),
        ("COPY --chmod=755 a /b", with(|t| t.chmod = Some("755".into()))),
        ("COPY --link a /b", with(|t| t.link = true)),
        ("COPY --link=false a /b", with(|_| {})),
        ("COPY --parents a /b", with(|t| t.parents = true)),
        ("COPY --exclude=x --exclude=y a /b", with(|t| t.exclude = vec!["x".into(), "y".into()])),
        (
            "COPY --chown=a:b --chmod=u+x [\"a\", \"/b\"]",
            with(|t| {
                (t.chown, t.chmod) = (Some("a:b".into()), Some("u+x".into()));
            }),
        ),
    ] {
        assert_eq!(one(text), want, "{text}");
    }
    let Instruction::Add(add) = one("ADD --checksum=sha256:0 --keep-git-dir --unpack=false a.tar /b") else { panic!() };
    assert_eq!((add.checksum.as_deref(), add.keep_git_dir, add.unpack), (Some("sha256:0"), true, Some(false)));
    let Instruction::Copy(copy) = one("COPY a <<f /b/\nbody\nf") else { panic!() };
    assert_eq!((copy.sources, copy.files[0].content.as_str()), (strings(&["a"]), "body\n"));
}

#[test]
fn run_reads_its_flags() {
    let run = |text: &str| match one(text) {
        Instruction::Run(run) => run,
        other => panic!("{other:?}"),
    };
    assert_eq!(run("RUN a && b").command, Command::Shell("a && b".into()));
    assert_eq!(run("RUN [\"a\", \"b\"]").command, Command::Exec(strings(&["a", "b"])));
    assert_eq!(run("RUN --network=none a").network, RunNetwork::None);
    assert_eq!(run("RUN --network=host a").network, RunNetwork::Host);
    assert!(run("RUN --security=insecure a").insecure);
    let mounts = run("RUN --mount=type=cache,target=/x,ro --mount=target=/y,from=b a").mounts;
    assert_eq!(mounts[0].kind, "cache");
    assert_eq!(mounts[0].options, [("target".into(), Some("/x".into())), ("ro".into(), None)]);
    assert_eq!(mounts[1].kind, "bind");
    assert_eq!(run("RUN --mount=type=tmpfs,target=/t \\\n  a").command, Command::Shell("a".into()));
    assert_eq!(run("RUN <<EOF bash\nx\nEOF").heredocs.len(), 1);
}

#[test]
fn health_checks_are_read() {
    let check = |text: &str| match one(text) {
        Instruction::Healthcheck(check) => check,
        other => panic!("{other:?}"),
    };
    assert_eq!(check("HEALTHCHECK NONE"), Healthcheck::default());
    let full =
        check("HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2s --retries=4 CMD a b");
    assert_eq!((full.interval, full.timeout), (300_000_000_000, 3_000_000_000));
    assert_eq!((full.start_period, full.start_interval, full.retries), (1_000_000_000, 2_000_000_000, 4));
    assert_eq!(full.command, Some(Command::Shell("a b".into())));
    assert_eq!(check("HEALTHCHECK CMD [\"a\"]").command, Some(Command::Exec(strings(&["a"]))));
}

#[test]
fn stages_have_bases_names_and_platforms() {
    let file = "FROM a AS One\nRUN x\nFROM --platform=$BUILDPLATFORM b as two\nFROM one\nCOPY --from=two /x /y";
    let dockerfile = parse(file).unwrap();
    let stages: Vec<_> =
        dockerfile.stages.iter().map(|s| (s.base.as_str(), s.name.as_deref(), s.steps.len())).collect();
    assert_eq!(stages, [("a", Some("one"), 1), ("b", Some("two"), 0), ("one", None, 1)]);
    assert_eq!(dockerfile.stages[1].platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!(dockerfile.stages[1].span.first, 3);
    assert_eq!(dockerfile.stages[2].steps[0].text, "COPY --from=two /x /y");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_mistake_has_its_line_sentence_and_hint() {
    for (text, line, message, hint) in [
        ("", 0, "cannot be empty", None),
        ("# only\n", 0, "file with no instructions", None),
        ("ARG a", 0, "no build stage", None),
        ("RUN a\nFROM b", 1, "no build stage in current context: RUN stands before any FROM", None),
        ("FROM a\nRNU b", 2, "unknown instruction: RNU", Some("did you mean RUN?")),
        ("FROM a\n\nCOPPY a b", 3, "unknown instruction: COPPY", Some("did you mean COPY?")),
        ("FROM a\nentry_point b", 2, "unknown instruction: entry_point", Some("did you mean ENTRYPOINT?")),
        ("FROM a\nxyzzyplugh b", 2, "unknown instruction: xyzzyplugh", None),
        ("FORM a", 1, "unknown instruction: FORM", Some("did you mean FROM?")),
        ("FROM", 1, "FROM requires either one or three arguments", None),
        ("FROM a b", 1, "FROM requires either one or three arguments", None),
        ("FROM a SA b", 1, "where AS is wanted", Some("FROM IMAGE AS NAME")),
        ("FROM a AS 1b", 1, "invalid name for build stage: \"1b\"", None),
        ("FROM a AS b/c", 1, "invalid name for build stage", None),
        ("FROM a AS scratch", 1, "reserved", None),
        ("FROM --platfrom=x a", 1, "unknown flag: --platfrom", Some("did you mean --platform?")),
        ("FROM a\nRUN", 2, "RUN requires at least one argument", None),
        ("FROM a\nRUN []", 2, "RUN requires at least one argument", None),
        ("FROM a\nRUN [\"a\", 1]", 2, "only strings", None),
        ("FROM a\nRUN --mount=type=cach,target=/a b", 2, "unsupported mount type", Some("did you mean cache?")),
        ("FROM a\nRUN --mount=,x b", 2, "empty field", None),
        ("FROM a\nRUN --network=nnoe b", 2, "invalid network mode", Some("did you mean none?")),
        ("FROM a\nRUN --security=none b", 2, "invalid security mode", None),
        ("FROM a\nRUN --moutn=x b", 2, "unknown flag: --moutn", Some("did you mean --mount?")),
        ("FROM a\nCOPY", 2, "COPY requires at least two arguments", None),
        ("FROM a\nCOPY a", 2, "COPY requires at least two arguments", None),
        ("FROM a\nADD [\"a\"]", 2, "ADD requires at least two arguments", None),
        ("FROM a\nADD --from=x a b", 2, "unknown flag: --from", None),
        ("FROM a\nCOPY --chonw=x a b", 2, "unknown flag: --chonw", Some("did you mean --chown?")),
        ("FROM a\nCOPY --from a b", 2, "missing a value on flag: --from", None),
        ("FROM a\nCOPY a <<E\nx\nE", 2, "heredoc as a destination", None),
        ("FROM a\nCOPY --from=b <<E /x\nx\nE", 2, "together with --from", None),
        ("FROM a\nRUN <<E\nx", 2, "unterminated heredoc", None),
        ("FROM a\nENV", 2, "ENV requires at least one argument", None),
        ("FROM a\nENV a", 2, "ENV must have two arguments", Some("ENV a=value")),
        ("FROM a\nENV a=b c", 2, "can't find = in \"c\"", None),
        ("FROM a\nENV =b", 2, "ENV names can not be blank", None),
        ("FROM a\nLABEL", 2, "LABEL requires at least one argument", None),
        ("FROM a\nARG", 2, "ARG requires at least one argument", None),
        ("FROM a\nARG =b", 2, "ARG names can not be blank", None),
        ("FROM a\nEXPOSE", 2, "EXPOSE requires at least one argument", None),
        ("FROM a\nVOLUME", 2, "VOLUME requires at least one argument", None),
        ("FROM a\nVOLUME []", 2, "VOLUME requires at least one argument", None),
        ("FROM a\nVOLUME [\"\"]", 2, "can not be an empty string", None),
        ("FROM a\nUSER", 2, "USER requires exactly one argument", None),
        ("FROM a\nWORKDIR", 2, "WORKDIR requires exactly one argument", None),
        ("FROM a\nSTOPSIGNAL", 2, "STOPSIGNAL requires exactly one argument", None),
        ("FROM a\nSHELL bash", 2, "JSON form", Some("SHELL [\"/bin/sh\", \"-c\"]")),
        ("FROM a\nSHELL []", 2, "SHELL requires at least one argument", None),
        ("FROM a\nHEALTHCHECK", 2, "HEALTHCHECK requires at least one argument", None),
        ("FROM a\nHEALTHCHECK CDM x", 2, "unknown type \"CDM\" in HEALTHCHECK", Some("did you mean CMD?")),
        ("FROM a\nHEALTHCHECK CMD", 2, "missing command after HEALTHCHECK CMD", None),
        ("FROM a\nHEALTHCHECK NONE x", 2, "takes no arguments", None),
        ("FROM a\nHEALTHCHECK --retries=1 NONE", 2, "takes no flags", None),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x", 2, "invalid duration \"5\"", Some("such as 30s or 1m30s")),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x", 2, "less than 1ms", None),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x", 2, "--retries", None),
        ("FROM a\nONBUILD", 2, "ONBUILD requires at least one argument", None),
        ("FROM a\nONBUILD ONBUILD RUN x", 2, "chaining ONBUILD", None),
        ("FROM a\nONBUILD FROM x", 2, "FROM isn't allowed as an ONBUILD trigger", None),
        ("FROM a\nONBUILD RNU x", 2, "unknown instruction: RNU", Some("did you mean RUN?")),
        ("FROM a\nMAINTAINER", 2, "MAINTAINER requires exactly one argument", None),
        ("FROM a\nRUN a \\\n b\nRNU c", 4, "unknown instruction: RNU", Some("did you mean RUN?")),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.message.contains(message), "{text:?}: {error}");
        assert_eq!(error.hint.as_deref(), hint, "{text:?}: {error}");
    }
}

#[test]
fn an_error_reads_as_one_sentence() {
    let error = parse("FROM a\nRNU b").unwrap_err();
    assert_eq!(error.to_string(), "dockerfile parse error on line 2: unknown instruction: RNU (did you mean RUN?)");
}

#[test]
fn a_trigger_is_one_instruction() {
    assert_eq!(trigger("ENV a=b").unwrap().instruction, Instruction::Env(vec![pair("a", "b")]));
    let Instruction::Run(run) = trigger("RUN <<E\nx\nE").unwrap().instruction else { panic!() };
    assert_eq!(run.heredocs[0].content, "x\n");
    for text in ["", "FROM a", "ENV a=b\nENV c=d"] {
        assert!(trigger(text).is_err(), "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn nothing_that_looks_like_a_dockerfile_makes_it_panic(
        lines in proptest::collection::vec(
            "(FROM|RUN|COPY|ADD|ENV|ARG|HEALTHCHECK|ONBUILD RUN|# escape=) ?(--[a-z]{1,4}=?)?[\\[\\]\"'a-c=<\\\\`${}\\- é]{0,16}",
            0..8,
        )
    ) {
        if let Ok(dockerfile) = parse(&lines.join("\n")) {
            proptest::prop_assert!(!dockerfile.stages.is_empty());
        }
    }
}
