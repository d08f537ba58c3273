//! What templates make of values.

use serde_json::json;
use teu_api::container;
use teu_api::shape::Shaped;

use super::*;

/// What is said of a container, with what it leaves out: no health, no ports of 90/udp.
fn render(text: &str) -> Result<String, Failure> {
    let value = json!({
        "Id": "abc", "Name": "/web", "RestartCount": 42, "Args": ["a", "b"],
        "State": {"Status": "running", "Running": true, "Dead": false, "Pid": 7, "ExitCode": 0},
        "Config": {"Cmd": ["sleep", "1"], "Labels": {"Owner": "me", "html": "<a & b>"}, "ExposedPorts": {"80/tcp": {}}},
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "90/udp": null}},
        "Later": {"Than": "this", "Rate": 1.5},
    });
    Template::parse(text)?.render_typed(&value, container::Inspect::shape())
}

fn filled_in(cases: &[(&str, &str)]) {
    for (text, wanted) in cases {
        assert_eq!(render(text).as_deref().map_err(|failure| failure.message.clone()), Ok(*wanted), "{text}");
    }
}

#[test]
fn values_are_printed_as_go_prints_them() {
    filled_in(&[
        ("plain", "plain"),
        ("{{.Id}} {{.ID}}", "abc abc"),
        ("{{ .State.Status }}!", "running!"),
        ("{{.RestartCount}} {{.State.Running}} {{.Later.Rate}}", "42 true 1.5"),
        ("{{.Args}} {{.ExecIDs}} {{.Mounts}}", "[a b] [] []"),
        ("{{.State}}", "{running true false false false false 7 0    <nil>}"),
        (
            "{{.Config.Labels}} {{.Config.ExposedPorts}} {{.Config.Volumes}}",
            "map[Owner:me html:<a & b>] map[80/tcp:{}] map[]",
        ),
        ("{{.NetworkSettings.Ports}}", "map[80/tcp:[{0.0.0.0 8080}] 90/udp:[]]"),
        ("{{.State.Health}} {{.SizeRw}} {{.Config.Entrypoint}} {{.LogPath}}|", "<nil> <nil> [] |"),
        ("{{.Config.Labels.Owner}} {{.Config.Labels.owner}}", "me <no value>"),
        ("{{index .Config.Labels \"Owner\"}} {{index .Config.Labels \"none\"}}|", "me |"),
        ("{{json .Args}} {{json .State.Health}}", "[\"a\",\"b\"] null"),
        ("{{json .Config.Labels.html}}", "\"<a & b>\""),
        ("{{.Config.Labels | json}}", "{\"Owner\":\"me\",\"html\":\"<a & b>\"}"),
        (
            "{{1e6}} {{1e20}} {{.5}} {{1.0}} {{0x1F}} {{0b11}} {{017}} {{1_000}} {{-5}} {{'a'}}",
            "1e+06 1e+20 0.5 1 31 3 15 1000 -5 97",
        ),
        ("{{`raw \"x\"`}}{{\"q\\\"\\n\\x41\\u00e9\\101\"}}", "raw \"x\"q\"\nAéA"),
    ]);
}

#[test]
fn templates_decide_and_repeat() {
    filled_in(&[
        ("{{range .Args}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range $i, $a := .Args}}{{$i}}={{$a}};{{end}}", "0=a;1=b;"),
        (
            "{{range $p, $c := .NetworkSettings.Ports}}{{$p}} {{if $c}}{{(index $c 0).HostPort}}{{else}}-{{end}}\n{{end}}",
            "80/tcp 8080\n90/udp -\n",
        ),
        ("{{range .Mounts}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}{{range $i := 2}}{{$i}}{{end}}", "01201"),
        ("{{range .Args}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .Args}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{end}}", "b"),
        ("{{range .Args}}{{$.Id}}{{end}}", "abcabc"),
        ("{{if .State.Running}}y{{else}}n{{end}}{{if .State.Dead}}y{{else if .State.Health}}n{{else}}z{{end}}", "yz"),
        ("{{if and .State.Running (eq .RestartCount 42)}}both{{end}}", "both"),
        ("{{if or .State.Dead (not .State.Running)}}x{{else}}y{{end}}", "y"),
        ("{{or true (index .Args 9)}} {{and false (index .Args 9)}}", "true false"),
        ("{{with .State.Health}}x{{else}}y{{end}}{{with \"\"}}a{{else with .Id}}{{.}}{{end}}", "yabc"),
        ("{{$x := .Id}}{{$x}}{{$x = \"n\"}}{{$x}}", "abcn"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{$y := 3}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("a {{- /* comment */ -}} b", "ab"),
        ("a\n{{- .Id -}}\n b {{- 3 -}} c", "aabcb3c"),
    ]);
}

#[test]
fn templates_use_each_other() {
    filled_in(&[
        (
            "{{define \"x\"}}[{{.}}{{$}}]{{end}}{{template \"x\" .Id}}{{template \"x\"}}",
            "[abcabc][<no value><no value>]",
        ),
        ("{{template \"x\" 1}}{{define \"x\"}}{{.}}{{end}}", "1"),
        ("{{block \"b\" .Name}}<{{.}}>{{end}}{{template \"b\" 2}}", "</web><2>"),
        ("{{define \"r\"}}{{if .}}a{{template \"r\" slice . 1}}{{end}}{{end}}{{template \"r\" \"xyz\"}}", "aaa"),
        ("{{define \"x\"}} {{end}}{{define \"x\"}}2{{end}}{{template \"x\"}}", "2"),
    ]);
}

#[test]
fn functions_are_gos_and_dockers() {
    filled_in(&[
        ("{{index .Args 1}} {{index \"abc\" 1}}", "b 98"),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{index .NetworkSettings.Ports \"80/tcp\" 0 \"HostPort\"}}", "8080"),
        (
            "{{eq .Id \"x\" \"abc\"}} {{ne .RestartCount 1}} {{lt .State.Pid 50}} {{ge .RestartCount 42}}",
            "true true true true",
        ),
        ("{{html .Config.Labels.none}} {{html .State.Health}}", "&lt;no value&gt; &lt;nil&gt;"),
        ("{{eq .State.Health nil}} {{eq .Id nil}}", "true false"),
        ("{{len .Args}} {{len .Id}} {{len .Mounts}}", "2 3 0"),
        ("{{println .Id 1}}{{print 1 2 \"a\" \"b\" 3 true nil}}", "abc 1\n1 2ab3 true <nil>"),
        ("{{join .Args \", \"}} {{split \"a,b\" \",\"}} {{split \"ab\" \"\"}}", "a, b [a b] [a b]"),
        ("{{upper .Id}}{{lower \"ABC\"}}{{title \"the x-end of_all\"}}", "ABCabcThe X-End Of_all"),
        ("{{truncate .Id 2}}|{{truncate \"éè\" 3}}|{{pad .Id 1 2}}|{{pad \"\" 1 2}}|", "ab|é| abc  ||"),
        ("{{slice .Id 1 2}}{{slice .Args 1}}", "b[b]"),
        ("{{.Name | printf \"%s\" | upper}} {{(.State).Status}} {{(printf \"%d\" 1) | len}}", "/WEB running 1"),
        (
            "{{html \"<a>&'\"}} {{js \"it's <b>\"}} {{urlquery \"a b&c/~\"}}",
            "&lt;a&gt;&amp;&#39; it\\'s \\u003Cb\\u003E a+b%26c%2F~",
        ),
    ]);
}

#[test]
fn printf_is_gos() {
    filled_in(&[
        (
            "{{printf \"%s-%d-%v %q %5s|%-5s|%05d\" .Id .RestartCount .State.Running .Id \"a\" \"b\" 42}}",
            "abc-42-true \"abc\"     a|b    |00042",
        ),
        (
            "{{printf \"%+d %x %X %o %b %c %U %e %g\" 5 255 255 8 5 65 65 1.5 1.5}}",
            "+5 ff FF 10 101 A U+0041 1.500000e+00 1.5",
        ),
        (
            "{{printf \"%.2s|%x|% X|%#q|%+q|%T\" \"defg\" \"ij\" \"kl\" \"a\" \"é\" 1}}",
            "de|696a|6B 6C|`a`|\"\\u00e9\"|int",
        ),
        (
            "{{printf \"%f %.2f %8.3f|%-8.1f| %08.3f %+.1e %6.2f%%\" 1.5 2.345 3.14159 2.0 -3.14159 12345.678 12.345}}",
            "1.500000 2.35    3.142|2.0     | -003.142 +1.2e+04  12.35%",
        ),
        ("{{printf \"%*d|%-*d|%[2]d %[1]d\" 5 1 4 2}}", "    1|2   |1 5"),
        ("{{printf \"%d %s %z %t\" \"a\" 5 1 1}}", "%!d(string=a) %!s(int=5) %!z(int=1) %!t(int=1)"),
        ("{{printf \"%s\"}}{{printf \"%d\" 1 2}}", "%!s(MISSING)1%!(EXTRA int=2)"),
        ("{{printf \"%q %d\" .Args .Args}}", "[\"a\" \"b\"] [%!d(string=a) %!d(string=b)]"),
        (
            "{{printf \"%q %v %#v\" .Config.Labels .Args .Id}}",
            "map[\"Owner\":\"me\" \"html\":\"<a & b>\"] [a b] \"abc\"",
        ),
    ]);
}

#[test]
fn mistakes_in_templates_are_told() {
    for (text, why) in [
        ("{{.Id", ":1: unclosed action"),
        ("a\n{{if .Id}}", ":2: unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{if .Id}}{{else}}{{else}}{{end}}", "expected end; found {{else}}"),
        ("{{nope .Id}}", "function \"nope\" not defined"),
        ("a\nb{{.Nope}}", "template: :2:3: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        ("{{.Id.X}}", "can't evaluate field X in type string"),
        ("{{.State.Health.Status}}", "nil pointer evaluating container.Health.Status"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{define \"x\"}}{{$y}}{{end}}", "undefined variable \"$y\""),
        ("{{$x, $y := .Id}}", "too many declarations in command"),
        ("{{index .Args 9}}", "error calling index: index out of range: 9"),
        ("{{}}", "missing value for command"),
        ("{{()}}", "missing value for parenthesized pipeline"),
        ("{{\"a}}", "unterminated quoted string"),
        ("{{len 3}}", "len of type int"),
        ("{{upper 1}}", "<1>: expected string; found 1"),
        ("{{upper}}", "wrong number of args for upper: want 1 got 0"),
        ("{{lt 1 \"a\"}}", "incompatible types for comparison"),
        ("{{eq 1 1.0}}", "incompatible types for comparison"),
        ("{{eq .Args .Args}}", "non-comparable type"),
        ("{{range .Id}}{{end}}", "range can't iterate over abc"),
        ("{{range $a, $b := 3}}{{end}}", "can't use 3 to iterate over more than one variable"),
        ("{{slice .SizeRw 0}}", "can't slice item of type int"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{template \"x\"}}", "template \"x\" not defined"),
        ("{{define \"x\"}}1{{end}}{{define \"x\"}}2{{end}}", "multiple definition of template \"x\""),
        ("{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}", "exceeded maximum template depth"),
        ("{{if true}}{{define \"x\"}}{{end}}{{end}}", "unexpected <define> in command"),
        ("{{.Id | 1}}", "non executable command in pipeline stage 2"),
        ("{{.Id 1}}", "Id is not a method but has arguments"),
        ("{{nil}}", "nil is not a command"),
        ("{{'ab'}}", "malformed character constant: 'ab'"),
        ("{{1a}}", "bad number syntax: \"1a\""),
        ("{{.Id@}}", "bad character U+0040 '@'"),
        ("{{\"a\".x}}", "unexpected . after term"),
    ] {
        let failure = render(text).unwrap_err();
        assert!(failure.message.contains(why), "{text}: {}", failure.message);
    }
}

#[test]
fn no_nesting_is_too_deep() {
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(render(&deep).unwrap_err().message.contains("too many blocks and parentheses"));
}
