//! Logical lines, directives and here-documents.

use super::*;

fn texts(file: &str) -> Vec<String> {
    lex(file).unwrap().lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn physical_lines_become_logical_ones() {
    for (file, want) in [
        ("FROM a\nRUN b\n", vec!["FROM a", "RUN b"]),
        ("FROM a\r\nRUN b\r\n", vec!["FROM a", "RUN b"]),
        ("\u{feff}FROM a", vec!["FROM a"]),
        ("  FROM a  ", vec!["FROM a"]),
        ("# c\n\nFROM a\n  # c\nRUN b", vec!["FROM a", "RUN b"]),
        ("RUN a \\\n  b", vec!["RUN a   b"]),
        ("RUN a\\\nb", vec!["RUN ab"]),
        ("RUN a \\  \n b", vec!["RUN a  b"]),
        ("RUN a \\\n# c\n b", vec!["RUN a  b"]),
        ("RUN a \\\n   # c\n b", vec!["RUN a  b"]),
        ("RUN a \\\n\n b", vec!["RUN a  b"]),
        ("RUN a \\\n", vec!["RUN a"]),
        ("RUN a \\\n# c\n", vec!["RUN a"]),
        ("RUN a \\\\\nRUN b", vec!["RUN a \\\\", "RUN b"]),
        ("RUN echo # no comment", vec!["RUN echo # no comment"]),
        ("RUN a \\ b", vec!["RUN a \\ b"]),
        ("\\\nRUN a", vec!["RUN a"]),
        ("# escape=`\nRUN a `\n b\nRUN c\\", vec!["RUN a  b", "RUN c\\"]),
        ("", vec![]),
        ("# only\n", vec![]),
    ] {
        assert_eq!(texts(file), want, "{file:?}");
    }
}

#[test]
fn lines_know_their_numbers() {
    let lexed = lex("# c\nFROM a\n\nRUN a \\\n # c\n b\nRUN <<E\nx\nE\nRUN z\n").unwrap();
    let spans: Vec<_> = lexed.lines.iter().map(|line| (line.span.first, line.span.last)).collect();
    assert_eq!(spans, [(2, 2), (4, 6), (7, 9), (10, 10)]);
}

#[test]
fn directives_count_only_at_the_top() {
    for (file, escape, syntax) in [
        ("# escape=`\nFROM a", '`', None),
        ("#escape=`\nFROM a", '`', None),
        ("#\tESCAPE = ` \nFROM a", '`', None),
        ("# syntax=docker/dockerfile:1\n# escape=`\nFROM a", '`', Some("docker/dockerfile:1")),
        ("# check=skip=all\n# escape=`\nFROM a", '`', None),
        ("# a comment\n# escape=`\nFROM a", '\\', None),
        ("\n# escape=`\nFROM a", '\\', None),
        ("# unknown=x\n# escape=`\nFROM a", '\\', None),
        ("FROM a\n# escape=`\n", '\\', None),
        ("# escape=\\\nFROM a", '\\', None),
        ("\u{feff}# escape=`\r\nFROM a", '`', None),
    ] {
        let directives = lex(file).unwrap().directives;
        assert_eq!((directives.escape, directives.syntax.as_deref()), (escape, syntax), "{file:?}");
    }
}

#[test]
fn bad_directives_are_refused_with_their_line() {
    let error = lex("# escape=`\n# escape=`\nFROM a").unwrap_err();
    assert_eq!((error.line, error.message.as_str()), (2, "only one escape parser directive can be used"));
    assert!(lex("# escape=x\nFROM a").unwrap_err().message.contains("invalid ESCAPE 'x'"));
    assert!(lex("# syntax=a\n# syntax=b\nFROM a").is_err());
}

#[test]
fn heredocs_are_read_to_their_terminators() {
    let heredocs = |file: &str| lex(file).unwrap().lines.remove(0).heredocs;
    assert_eq!(heredocs("RUN <<EOF\necho a\n# kept \\\n\nEOF\nRUN b")[0].content, "echo a\n# kept \\\n\n");
    assert_eq!(heredocs("RUN <<-EOF\n\t\ta\n\tEOF\n")[0].content, "a\n");
    assert_eq!(heredocs("RUN <<EOF\n\tEOF\nEOF\n")[0].content, "\tEOF\n");
    let two = heredocs("COPY <<a <<'b' /d/\n1\na\n2\nb\n");
    assert_eq!((two[0].content.as_str(), two[1].content.as_str()), ("1\n", "2\n"));
    assert_eq!((two[0].expand, two[1].expand), (true, false));
    assert_eq!(heredocs("ONBUILD RUN <<E\nx\nE\n")[0].content, "x\n");
    assert_eq!(heredocs("run <<E \\\n && b\nx\nE\n")[0].content, "x\n");
    assert!(heredocs("LABEL a=<<E\n").is_empty());
    assert!(heredocs("RUN [\"a\", \"<<E\"]\n").is_empty());
    assert!(heredocs("CMD cat <<E\n").is_empty());
}

#[test]
fn a_heredoc_without_its_end_is_refused_where_it_opens() {
    let error = lex("FROM a\nRUN <<EOF\nx\n").unwrap_err();
    assert_eq!(error.line, 2);
    assert!(error.message.contains("unterminated heredoc"), "{error}");
}
