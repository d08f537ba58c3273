//! Go templates, as far as `--format` uses them: fields, variables, pipelines, `if`, `range`, `with`, functions.
//!
//! ```text
//! text ─ lex ─▶ tokens ─ parse ─▶ nodes ─ evaluate over JSON ─▶ text
//! ```
//! Left out: `define`, `template`, `block`, complex numbers.

mod evaluate;
mod function;
mod lex;
mod parse;

use serde_json::Value;

use super::list::Row;
use crate::failure::Failure;

/// A template that was read.
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let nodes = lex::lex(text).and_then(|tokens| parse::parse(&tokens));
        let nodes = nodes.map_err(|why| Failure::new(format!("template parsing error: {why}")))?;
        Ok(Self { nodes })
    }

    /// Fills it in with a value.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Failure> {
        evaluate::render(&self.nodes, value, None, false)
            .map_err(|why| Failure::new(format!("template parsing error: {why}")))
    }

    /// Fills it in with a row of a list.
    pub(crate) fn render_row(&self, row: &Row) -> Result<String, Failure> {
        evaluate::render(&self.nodes, &row.cells, Some(&row.labels), false)
            .map_err(|why| Failure::new(format!("template parsing error: {why}")))
    }

    /// Fills it in with headings: functions that would change them pass them through.
    pub(crate) fn render_heading(&self, headings: &Value) -> Result<String, Failure> {
        evaluate::render(&self.nodes, headings, None, true)
            .map_err(|why| Failure::new(format!("template parsing error: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(text: &str) -> Result<String, Failure> {
        let value = json!({
            "Id": "abc", "Name": "/web", "Pid": 42, "On": true, "Off": false, "Nothing": null, "Rate": 1.5,
            "Args": ["a", "b"], "Empty": [],
            "State": {"Status": "running", "ExitCode": 0},
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "90/udp": null},
            "Html": "<a & b>", "Labels": {"Owner": "me"},
        });
        Template::parse(text)?.render(&value)
    }

    #[test]
    fn templates_are_filled_in_as_gos_are() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("{{.Id}}", "abc"),
            ("{{ .State.Status }}!", "running!"),
            ("{{.ID}}", "abc"),
            ("{{.Pid}} {{.On}} {{.Rate}}", "42 true 1.5"),
            ("{{.Args}}", "[a b]"),
            ("{{.State}}", "{running 0}"),
            ("{{.Labels}}", "map[Owner:me]"),
            ("{{json .Args}}", "[\"a\",\"b\"]"),
            ("{{.State | json}}", "{\"Status\":\"running\",\"ExitCode\":0}"),
            ("{{json .Html}}", "\"<a & b>\""),
            ("{{index .Args 1}}", "b"),
            ("{{index .Ports \"80/tcp\"}}", "[{0.0.0.0 8080}]"),
            ("{{.Ports}}", "map[80/tcp:[{0.0.0.0 8080}] 90/udp:[]]"),
            ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
            ("{{with index .Ports \"80/tcp\"}}{{(index . 0).HostPort}}{{end}}", "8080"),
            ("{{range .Args}}<{{.}}>{{end}}", "<a><b>"),
            ("{{range $i, $a := .Args}}{{$i}}={{$a}};{{end}}", "0=a;1=b;"),
            (
                "{{range $p, $c := .Ports}}{{$p}} {{if $c}}{{(index $c 0).HostPort}}{{else}}-{{end}}\n{{end}}",
                "80/tcp 8080\n90/udp -\n",
            ),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{if .On}}y{{else}}n{{end}}{{if .Off}}y{{else if .Nothing}}n{{else}}z{{end}}", "yz"),
            ("{{if and .On (eq .Pid 42)}}both{{end}}", "both"),
            ("{{if or .Off (not .On)}}x{{else}}y{{end}}", "y"),
            ("{{eq .Id \"x\" \"abc\"}} {{ne .Pid 1}} {{lt .Pid 50}} {{ge .Pid 42}}", "true true true true"),
            ("{{with .Nothing}}x{{else}}y{{end}}", "y"),
            ("{{$x := .Id}}{{$x}}{{$x = \"n\"}}{{$x}}", "abcn"),
            ("{{range .Args}}{{$.Id}}{{end}}", "abcabc"),
            ("{{len .Args}} {{len .Id}}", "2 3"),
            (
                "{{printf \"%s-%d-%v %q %5s|%-5s|%05d\" .Id .Pid .On .Id \"a\" \"b\" 42}}",
                "abc-42-true \"abc\"     a|b    |00042",
            ),
            ("{{println .Id .Pid}}", "abc 42\n"),
            ("{{join .Args \", \"}}", "a, b"),
            ("{{split \"a,b\" \",\"}}", "[a b]"),
            ("{{upper .Id}}{{lower \"ABC\"}}{{title \"the end\"}}", "ABCabcThe End"),
            ("{{truncate .Id 2}}|{{pad .Id 1 2}}|", "ab| abc  |"),
            ("{{slice .Id 1 2}}", "b"),
            ("{{.Name | printf \"%s\" | upper}}", "/WEB"),
            ("a {{- /* comment */ -}} b", "ab"),
            ("a\n{{- .Id -}}\n b", "aabcb"),
            ("{{`raw \"x\"`}}{{\"q\\\"\\n\"}}", "raw \"x\"q\"\n"),
            ("{{range .Args}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
            ("{{.Nothing}}", "<no value>"),
        ] {
            assert_eq!(render(text).as_deref().map_err(|e| e.message.clone()), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn mistakes_in_templates_are_told() {
        for (text, why) in [
            ("{{.Id", "unclosed action"),
            ("{{if .Id}}", "unexpected EOF"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{nope .Id}}", "function \"nope\" not defined"),
            ("{{.Nope}}", "can't evaluate field Nope"),
            ("{{.Id.X}}", "can't evaluate field X"),
            ("{{$x}}", "undefined variable \"$x\""),
            ("{{index .Args 9}}", "index out of range: 9"),
            ("{{}}", "missing value for command"),
            ("{{\"a}}", "unterminated"),
            ("{{len 3}}", "len of type"),
        ] {
            let failure = render(text).unwrap_err();
            assert!(failure.message.contains(why), "{text}: {}", failure.message);
        }
    }
}
