//! `teu completion`: the shell completes commands, flags, and the names of what the daemon has.
//!
//! ```text
//! shell ─ `teu __complete WORDS… CURRENT` ─▶ one candidate a line, `value<TAB>what it is`; `:files` for file names
//! ```
//! The scripts only ask; everything is known here, from the one table and from the daemon (which is never started for
//! it).

mod candidates;
mod objects;

use clap::{ArgMatches, FromArgMatches};

use crate::failure::Failure;
use crate::table::Verb;
use crate::{Faces, Session, output};

/// What it does, in one line.
pub(crate) const ABOUT: &str = "Print the completion script for a shell";

/// Prints a completion script.
#[derive(Debug, clap::Args)]
pub(crate) struct Completion {
    /// Shell to complete in (bash, zsh, fish)
    #[arg(required = true, value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// Prints it.
pub(crate) fn perform(matches: &ArgMatches, _: &Faces) -> Result<u8, Failure> {
    let args = Completion::from_arg_matches(matches).map_err(|error| Failure::new(error.to_string()))?;
    output::print(script(&args.shell))?;
    Ok(0)
}

fn script(shell: &str) -> &'static str {
    match shell {
        "zsh" => ZSH,
        "fish" => FISH,
        _ => BASH,
    }
}

/// Tells the candidates for the last word.
#[derive(Debug, clap::Args)]
pub(crate) struct Complete {
    /// The words after `teu`, the one to complete last
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

impl Verb for Complete {
    const USAGE: &'static str = "WORD...";
    const ABOUT: &'static str = "Tell the shell how a word may go on";
    const STOPS: bool = true;

    async fn run(self, session: &Session) -> Result<u8, Failure> {
        let Some((current, before)) = self.words.split_last() else { return Ok(0) };
        // A shell that asks wants no daemon started, and no mistake told.
        let wanted = candidates::wanted(before, current);
        output::print(&candidates::lines(wanted, current, session).await)?;
        Ok(0)
    }
}

const BASH: &str = r#"# bash completion for teu; put it where bash-completion looks, or: source <(teu completion bash)
_teu() {
    local current="${COMP_WORDS[COMP_CWORD]}" line values=()
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null; then
        local words cword
        _get_comp_words_by_ref -n := -c current -w words -i cword
    else
        local words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    fi
    while IFS= read -r line; do
        if [ "$line" = ":files" ]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
        else
            values+=("${line%%$'\t'*}")
        fi
    done < <("${words[0]}" __complete -- "${words[@]:1:cword-1}" "$current" 2>/dev/null)
    COMPREPLY+=("${values[@]}")
    if [ "${#values[@]}" -eq 1 ] && [ "${values[0]: -1}" = "=" ]; then compopt -o nospace 2>/dev/null; fi
    if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$current"; fi
}
complete -F _teu teu
"#;

const ZSH: &str = r#"#compdef teu
# zsh completion for teu; put it in a folder of $fpath as _teu, or: source <(teu completion zsh)
_teu() {
    local line value files=0
    local -a shown
    while IFS= read -r line; do
        if [[ "$line" == ":files" ]]; then files=1; continue; fi
        value="${line%%$'\t'*}"
        if [[ "$line" == *$'\t'* ]]; then shown+=("${value//:/\\:}:${line#*$'\t'}"); else shown+=("${value//:/\\:}"); fi
    done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)
    (( $#shown )) && _describe -V teu shown
    (( files )) && _files
}
if [ "$funcstack[1]" = "_teu" ]; then _teu "$@"; else compdef _teu teu; fi
"#;

const FISH: &str = r"# fish completion for teu; put it in ~/.config/fish/completions as teu.fish, or: teu completion fish | source
function __teu_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    for line in ($before[1] __complete -- $before[2..-1] $current 2>/dev/null)
        if test $line = ':files'
            __fish_complete_path $current
        else
            echo $line
        end
    end
end
complete -c teu -f -a '(__teu_complete)'
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_asks_the_program() {
        for shell in ["bash", "zsh", "fish"] {
            assert!(script(shell).contains("__complete --"), "{shell}");
        }
    }
}
