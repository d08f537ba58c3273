//! Results that one build gives to another: for the client they are in the low-level language, one operation that names
//! a result of ours, and it gives them back as it got them.

use prost::Message;
use teu_oci::Digest;

use crate::wire::Empty;
use crate::wire::control::{Definition, Input, Operation, SourceOperation};

const SCHEME: &str = "teu-result://";

/// A result of a build, as the client may pass it on.
pub(crate) fn definition(build: &str, result: &str) -> Definition {
    let source = SourceOperation { identifier: format!("{SCHEME}{build}/{result}") };
    let source = Operation { source: Some(source), ..Operation::default() }.encode_to_vec();
    let digest = Digest::sha256(&source).to_string();
    let last = Operation { inputs: vec![Input { digest: digest.clone(), index: 0 }], ..Operation::default() };
    let last = last.encode_to_vec();
    let metadata = [digest, Digest::sha256(&last).to_string()].map(|digest| (digest, Empty {})).into();
    Definition { operations: vec![source, last], metadata }
}

/// Which result of which build a definition is, if it is one of ours.
pub(crate) fn named(definition: &Definition) -> Option<(String, String)> {
    let operations = definition.operations.iter().map(|bytes| Operation::decode(bytes.as_slice()));
    let operations: Vec<Operation> = operations.collect::<Result<_, _>>().ok()?;
    let mut sources = operations.into_iter().filter_map(|operation| operation.source);
    let (source, None) = (sources.next()?, sources.next()) else { return None };
    let (build, result) = source.identifier.strip_prefix(SCHEME)?.split_once('/')?;
    Some((build.to_owned(), result.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_as_it_went() {
        let given = definition("build", "build-0");
        assert_eq!(named(&given), Some(("build".into(), "build-0".into())));
        assert_eq!(given.operations.len(), given.metadata.len());
        let other =
            Operation { source: Some(SourceOperation { identifier: "docker-image://x".into() }), inputs: vec![] };
        let other = Definition { operations: vec![other.encode_to_vec()], ..Definition::default() };
        assert_eq!((named(&other), named(&Definition::default())), (None, None));
    }
}
