//! Evaluation, instruction by instruction.

use super::*;
use crate::dockerfile::{Dockerfile, parse};
use crate::plan::Inputs;

/// Evaluates the steps of the only stage on top of an empty image; the last action and the state after it.
fn evaluate(file: &str, given: &[(&str, &str)]) -> Result<(State, Action), PlanError> {
    let dockerfile: Dockerfile = parse(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let build_args = given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let inputs = Inputs { build_args, ..Inputs::default() };
    let scope = Scope::new(&inputs, &dockerfile.args, dockerfile.directives.escape).unwrap();
    let config = ContainerConfig {
        env: vec!["PATH=/bin".into(), "BASE=b".into()],
        cmd: Some(vec!["inherited".into()]),
        working_dir: "/start".into(),
        ..ContainerConfig::default()
    };
    let mut state = State::new(config, scope);
    let mut last = None;
    for step in &dockerfile.stages[0].steps {
        last = Some(state.evaluate(&step.instruction)?);
    }
    Ok((state, last.expect("a step")))
}

fn config(steps: &str) -> ContainerConfig {
    evaluate(&format!("FROM a\n{steps}"), &[]).unwrap_or_else(|error| panic!("{steps:?}: {error}")).0.config
}

fn run(file: &str, given: &[(&str, &str)]) -> RunStep {
    match evaluate(file, given).unwrap_or_else(|error| panic!("{file:?}: {error}")).1 {
        Action::Run(run) => *run,
        other => panic!("{other:?}"),
    }
}

fn copy(steps: &str) -> CopyStep {
    match evaluate(&format!("FROM a\n{steps}"), &[]).unwrap_or_else(|error| panic!("{steps:?}: {error}")).1 {
        Action::Copy(copy) => *copy,
        other => panic!("{other:?}"),
    }
}

fn history(steps: &str) -> String {
    match evaluate(&format!("FROM a\n{steps}"), &[]).unwrap().1 {
        Action::Describe { created_by, .. } | Action::Workdir { created_by, .. } => created_by,
        Action::Run(run) => run.created_by,
        Action::Copy(copy) => copy.created_by,
    }
}

#[test]
fn env_uses_the_values_from_before_its_line() {
    assert_eq!(
        config("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc").env[2..],
        ["abc=bye", "def=hello", "ghi=bye"]
    );
    assert_eq!(config("ENV A=\"x y\" B='$A' C=\\$A D=$BASE").env[2..], ["A=x y", "B=$A", "C=$A", "D=b"]);
    assert_eq!(config("ENV A one \"two\" $BASE").env[2..], ["A=one two b"]);
    assert_eq!(config("ENV PATH=$PATH:/x").env[0], "PATH=/bin:/x");
    assert_eq!(config("ENV $BASE=1").env[2], "b=1");
}

#[test]
fn arguments_have_their_order_of_precedence() {
    let env = |file: &str, given: &[(&str, &str)]| run(file, given).env.split_off(2);
    assert_eq!(env("FROM a\nARG A=1\nRUN x", &[]), ["A=1"]);
    assert_eq!(env("FROM a\nARG A=1\nRUN x", &[("A", "2")]), ["A=2"]);
    assert_eq!(env("FROM a\nARG A\nRUN x", &[]), [""; 0]);
    assert_eq!(env("FROM a\nRUN x", &[("A", "2")]), [""; 0]);
    assert_eq!(env("ARG A=g\nFROM a\nARG A\nRUN x", &[]), ["A=g"]);
    assert_eq!(env("ARG A=g\nFROM a\nARG A=s\nRUN x", &[]), ["A=s"]);
    assert_eq!(env("ARG A=g\nFROM a\nRUN x", &[]), [""; 0]);
    assert_eq!(env("FROM a\nARG A=1\nENV A=e\nRUN x", &[("A", "2")]), ["A=e"]);
    assert_eq!(env("FROM a\nARG A=1\nARG B=$A-x\nRUN x", &[]), ["A=1", "B=1-x"]);
    assert_eq!(env("FROM a\nARG A=1 B=2\nRUN x", &[]), ["A=1", "B=2"]);
    assert_eq!(env("FROM a\nARG TARGETOS\nRUN x", &[]), ["TARGETOS=linux"]);
    assert_eq!(env("FROM a\nRUN x", &[("HTTP_PROXY", "p")]), [""; 0]);
    assert_eq!(run("FROM a\nRUN x", &[("HTTP_PROXY", "p")]).proxies, ["HTTP_PROXY=p"]);
    let declared = run("FROM a\nARG HTTP_PROXY\nRUN x", &[("HTTP_PROXY", "p")]);
    assert_eq!((declared.env.last().map(String::as_str), declared.proxies.len()), (Some("HTTP_PROXY=p"), 0));
    assert_eq!(env("FROM a\nARG A=1\nENV B=${A:-2}\nRUN x", &[]), ["B=1", "A=1"]);
}

#[test]
fn run_has_three_forms() {
    let sh = |line: &str| vec!["/bin/sh".to_string(), "-c".into(), line.into()];
    let args = |steps: &str| run(&format!("FROM a\n{steps}"), &[]).args;
    assert_eq!(args("RUN echo $HOME \"a\""), sh("echo $HOME \"a\""));
    assert_eq!(args("RUN [\"/x\", \"$y\"]"), ["/x", "$y"]);
    assert_eq!(args("SHELL [\"/bin/bash\", \"-ec\"]\nRUN a"), ["/bin/bash", "-ec", "a"]);
    assert_eq!(args("RUN <<EOF\na\nb\nEOF"), sh("a\nb\n"));
    assert_eq!(args("RUN <<EOF bash\na\nEOF"), sh("<<EOF bash\na\nEOF\n"));
    assert_eq!(args("RUN cat <<A <<B > /x\n1\nA\n2\nB"), sh("cat <<A <<B > /x\n1\nA\n2\nB\n"));
    let script = run("FROM a\nRUN <<EOF\n#!/usr/bin/env python3\nprint()\nEOF", &[]);
    assert_eq!(script.args, sh("/dev/pipes/EOF"));
    assert_eq!(script.script.unwrap().content, "#!/usr/bin/env python3\nprint()\n");
}

#[test]
fn run_knows_directory_user_and_network() {
    let step = run("FROM a\nUSER me\nWORKDIR sub\nRUN --network=none x", &[]);
    assert_eq!((step.cwd.as_str(), step.user.as_str(), step.network), ("/start/sub", "me", RunNetwork::None));
    assert_eq!(run("FROM a\nRUN --network=host x", &[]).network, RunNetwork::Host);
}

#[test]
fn metadata_lands_in_the_config() {
    let set = config(
        "LABEL a=1 \"b c\"=\"d e\"\nEXPOSE 80 53/UDP 8000-8002\nVOLUME /v $BASE\nUSER 1:2\nSTOPSIGNAL SIGQUIT\n\
         SHELL [\"/s\"]\nHEALTHCHECK --retries=2 CMD x y\nONBUILD RUN $z\nCMD c d\nENTRYPOINT [\"e\"]",
    );
    assert_eq!(set.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["a=1", "b c=d e"]);
    assert_eq!(set.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
    assert_eq!(set.volumes.keys().collect::<Vec<_>>(), ["/v", "b"]);
    assert_eq!((set.user.as_str(), set.stop_signal.as_deref()), ("1:2", Some("SIGQUIT")));
    assert_eq!(set.shell, Some(vec!["/s".into()]));
    let check = set.healthcheck.unwrap();
    assert_eq!((check.test, check.retries), (vec!["CMD-SHELL".to_string(), "x y".into()], 2));
    assert_eq!(set.on_build, ["RUN $z"]);
    assert_eq!(set.cmd, Some(vec!["/s".into(), "c d".into()]));
    assert_eq!(set.entrypoint, Some(vec!["e".into()]));
}

#[test]
fn an_entrypoint_drops_an_inherited_command_and_keeps_one_of_the_same_file() {
    assert_eq!(config("ENTRYPOINT [\"e\"]").cmd, None);
    assert_eq!(config("CMD [\"c\"]\nENTRYPOINT [\"e\"]").cmd, Some(vec!["c".into()]));
    assert_eq!(config("USER x").cmd, Some(vec!["inherited".into()]));
}

#[test]
fn working_directories_stack() {
    for (steps, want) in [
        ("WORKDIR /a", "/a"),
        ("WORKDIR b", "/start/b"),
        ("WORKDIR /a\nWORKDIR b\nWORKDIR ../c/./d/", "/a/c/d"),
        ("WORKDIR $BASE/x", "/start/b/x"),
        ("WORKDIR /../..", "/"),
        ("WORKDIR \"/a b\"", "/a b"),
    ] {
        assert_eq!(config(steps).working_dir, want, "{steps}");
    }
}

#[test]
fn copies_are_resolved() {
    for (steps, sources, destination) in [
        ("COPY a /b", vec!["a"], "/b"),
        ("COPY a b", vec!["a"], "/start/b"),
        ("COPY a .", vec!["a"], "/start/"),
        ("COPY a ./", vec!["a"], "/start/"),
        ("COPY a /b/.", vec!["a"], "/b/"),
        ("COPY a /", vec!["a"], "/"),
        ("COPY a c /b/", vec!["a", "c"], "/b/"),
        ("COPY $BASE ${BASE}/x/", vec!["b"], "/start/b/x/"),
        ("COPY [\"a b\", \"/c d\"]", vec!["a b"], "/c d"),
        ("COPY a\\ b /x", vec!["a b"], "/x"),
        ("COPY a /x/../y", vec!["a"], "/y"),
        ("ADD a.tar /x/", vec!["a.tar"], "/x/"),
    ] {
        let step = copy(steps);
        assert_eq!(
            (step.sources.iter().map(String::as_str).collect::<Vec<_>>(), step.destination.as_str()),
            (sources, destination),
            "{steps}"
        );
    }
    let step = copy("COPY --chown=$BASE:g --chmod=0640 --link --exclude=*.md a /b");
    assert_eq!(
        (step.chown.as_deref(), step.chmod, step.exclude),
        (Some("b:g"), Chmod::parse("640"), vec!["*.md".to_string()])
    );
    let step = copy("COPY <<one <<\"two\" /d/\n$BASE \"q\"\none\n$BASE\ntwo");
    assert_eq!((step.files[0].content.as_str(), step.files[1].content.as_str()), ("b \"q\"\n", "$BASE\n"));
    assert!(copy("ADD a /b").unpack && !copy("COPY a /b").unpack && !copy("ADD --unpack=false a /b").unpack);
    assert_eq!(copy("COPY --parents a /b").destination, "/b/");
}

#[test]
fn secrets_are_files_or_variables() {
    let read = |options: &str| match run(&format!("FROM a\nRUN --mount=type=secret,{options} x"), &[]).mounts.remove(0)
    {
        StepMount::Secret { id, target, env, required, mode, .. } => (id, target, env, required, mode),
        other => panic!("{other:?}"),
    };
    let own = |text: &str| Some(text.to_owned());
    assert_eq!(read("id=s"), ("s".into(), own("/run/secrets/s"), None, false, 0o400));
    assert_eq!(read("id=s,env=TOKEN,required"), ("s".into(), None, own("TOKEN"), true, 0o400));
    assert_eq!(read("target=/etc/s.txt,mode=0440"), ("s.txt".into(), own("/etc/s.txt"), None, false, 0o440));
    assert_eq!(read("id=s,dst=t,env=E"), ("s".into(), own("/start/t"), own("E"), false, 0o400));
}

#[test]
fn a_fetched_file_is_named_by_its_url() {
    let step = copy("ADD --unpack http://x:1/a/b.tar?c=d/e#f local /d/");
    assert_eq!(
        (step.sources.as_slice(), step.remotes[0].name(), step.remotes[0].unpack),
        (&["local".to_owned()][..], Some("b.tar"), true)
    );
    let name = |url: &str| copy(&format!("ADD {url} /d/")).remotes[0].name().map(str::to_owned);
    assert_eq!((name("https://x"), name("https://x/"), name("https://x/a/..")), (None, None, None));
}

#[test]
fn a_repository_is_told_from_a_file() {
    let step = copy("ADD --keep-git-dir --checksum=ABC https://me:pw@x/b.git#v1:docs /d");
    assert!(step.remotes.is_empty() && step.sources.is_empty() && step.repositories[0].keep_git_dir);
    assert_eq!(step.repositories[0].checksum.as_deref(), Some("abc"));
    assert_eq!(step.created_by, "ADD --keep-git-dir https://x/b.git#v1:docs /d # buildkit");
    let step = copy("ADD git@x:b.git ssh://x/b git://x/b https://x/b.tar a@b local /d/");
    assert_eq!((step.repositories.len(), step.remotes.len()), (3, 1));
    assert_eq!(step.sources, ["a@b", "local"]);
}

#[test]
fn the_history_says_what_was_done() {
    for (steps, want) in [
        ("RUN echo a", "RUN /bin/sh -c echo a # buildkit"),
        ("ARG A=1\nARG HTTP_PROXY=x\nRUN a", "RUN |2 A=1 HTTP_PROXY=x /bin/sh -c a # buildkit"),
        ("COPY --from=b a /b", "COPY a /b # buildkit"),
        ("COPY --chown=1:2 --chmod=755 --link a /b", "COPY --chown=1:2 --chmod=755 --link a /b # buildkit"),
        ("ADD a /b", "ADD a /b # buildkit"),
        ("ADD https://x/y /b", "ADD https://x/y /b # buildkit"),
        ("WORKDIR x", "WORKDIR /start/x"),
        ("ENV A=$BASE B=2", "ENV A=b B=2"),
        ("ARG A=1 B", "ARG A=1 B"),
        ("LABEL a=b", "LABEL a=b"),
        ("CMD [\"a\", \"b c\"]", "CMD [\"a\" \"b c\"]"),
        ("ENTRYPOINT x", "ENTRYPOINT [\"/bin/sh\" \"-c\" \"x\"]"),
        ("EXPOSE 80 81/udp", "EXPOSE [80/tcp 81/udp]"),
        ("VOLUME /a /b", "VOLUME [/a /b]"),
        ("USER u", "USER u"),
        ("STOPSIGNAL 9", "STOPSIGNAL 9"),
        ("SHELL [\"/bin/bash\", \"-c\"]", "SHELL [/bin/bash -c]"),
        ("HEALTHCHECK NONE", "HEALTHCHECK NONE"),
        ("HEALTHCHECK CMD x", "HEALTHCHECK CMD x"),
        ("ONBUILD RUN x", "ONBUILD RUN x"),
        ("MAINTAINER me", "MAINTAINER me"),
    ] {
        assert_eq!(history(steps), want, "{steps}");
    }
    assert_eq!(evaluate("FROM a\nMAINTAINER me", &[]).unwrap().0.author.as_deref(), Some("me"));
}

#[test]
fn what_this_builder_does_not_do_is_refused_by_name() {
    for (steps, want) in [
        ("RUN --mount=type=cache,target=/x,sharing=all a", "unsupported sharing value \"all\""),
        ("RUN --mount=target=/x,id=y a", "unexpected key \"id\""),
        ("RUN --mount=type=cache,id=x a", "target is missing"),
        ("RUN --mount=type=tmpfs,target=/x,id=y a", "unexpected key \"id\""),
        ("RUN --mount=type=secret a", "RUN --mount=type=secret: id or target is missing"),
        ("RUN --device=x a", "RUN --device is not supported yet"),
        ("ADD --checksum=xyz https://h/b.git /b", "invalid checksum xyz for Git URL"),
        ("ADD https://h/b.git#main:../x /b", "is outside of the git repository"),
    ] {
        let error = evaluate(&format!("FROM a\n{steps}"), &[]).unwrap_err();
        assert!(error.message.contains(want), "{steps}: {error}");
    }
}

#[test]
fn values_without_meaning_are_refused() {
    for (steps, want) in [
        ("EXPOSE eighty", "invalid containerPort: eighty"),
        ("EXPOSE 0", "invalid containerPort"),
        ("EXPOSE 90-80", "invalid containerPort"),
        ("EXPOSE 80/icmp", "invalid containerPort"),
        ("STOPSIGNAL SIGTREM", "invalid signal: SIGTREM (did you mean SIGTERM?)"),
        ("STOPSIGNAL 99", "invalid signal: 99"),
        ("COPY a b /c", "must be a directory and end with a /"),
        ("COPY $X /c", "COPY has a source that is empty"),
        ("COPY a $X", "COPY has a destination that is empty"),
        ("COPY --chmod=999 a /b", "invalid --chmod"),
        ("COPY --chmod=77777 a /b", "invalid --chmod"),
        ("COPY --chmod=u+q a /b", "invalid --chmod"),
        ("ADD --checksum=sha256:1 a /b", "checksum can't be specified for non-HTTP(S) sources"),
        ("ADD --checksum=sha256:1 a https://x/y /b/", "checksum can't be specified for multiple sources"),
        ("ADD --checksum=sha256:1 https://x/y /b", "invalid --checksum \"sha256:1\""),
        ("ADD a https://x/y /b", "must be a directory and end with a /"),
        ("COPY <<a/b /x/\n1\na/b", "no file name"),
        ("ENV A=${B", "no closing }"),
        ("ENV A=${B:?wanted}", "B: wanted"),
        ("WORKDIR $X", "WORKDIR needs a path that is not empty"),
        ("RUN <<E\nE", "empty here-document"),
    ] {
        let error = evaluate(&format!("FROM a\n{steps}"), &[]).expect_err(steps).to_string();
        assert!(error.contains(want), "{steps}: {error}");
    }
}

#[test]
fn changes_for_a_commit_are_read_by_the_same_rules() {
    let config = ContainerConfig { env: vec!["A=1".into()], ..ContainerConfig::default() };
    let changes = crate::plan::changes(&config, ["ENV B=$A", "CMD [\"x\"]", "WORKDIR /w", "EXPOSE 80"]).unwrap();
    assert_eq!(changes[0], ConfigChange::Env("B".into(), "1".into()));
    assert_eq!(changes[3], ConfigChange::Expose("80/tcp".into()));
    assert_eq!(changes.len(), 4);
    for text in ["RUN x", "COPY a /b", "nonsense", "FROM a"] {
        assert!(crate::plan::changes(&config, [text]).is_err(), "{text}");
    }
}
