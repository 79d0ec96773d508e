//! `ebpfvm link`

use super::{ebpfvm, ebpfvm_on, root, scratch};

const A: &str = "loader/tests/objects/link_a.o";
const B: &str = "loader/tests/objects/link_b.o";

#[test]
fn the_result_is_an_object_like_any_other() {
    let result = scratch("linked.o", "");
    assert_eq!(ebpfvm(&format!("link {A} {B} -o {result}")).well(), "");
    let packet = "examples/xdp_firewall/web_request.hex";
    let run = ebpfvm(&format!("run {result} -p externs --packet {packet} --json")).json();
    assert_eq!(run["retval"], 62);
    let listing = ebpfvm(&format!("disasm {result} -p locals")).well();
    assert!(listing.contains("link_a.c"), "{listing}");
    // Once more with something else, and through pipes.
    let first = std::fs::read(root().join(A)).unwrap();
    let again = scratch("again.o", "");
    let ended = ebpfvm_on(&["link", "-", B, "-o", &again], &first);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(std::fs::read(&again).unwrap() == std::fs::read(&result).unwrap());
}

#[test]
fn json() {
    let report = ebpfvm(&format!("link {A} {B} -o {} --json", scratch("json.o", ""))).json();
    assert_eq!(report["programs"][0], "externs");
    assert_eq!(report["maps"][1], "counters");
    assert!(report["types"].as_u64().unwrap() > 50);
}

#[test]
fn errors_name_the_files() {
    let error = ebpfvm(&format!("link {B} {B} -o {}", scratch("twice.o", ""))).failed(3);
    assert!(error.contains(&format!("is defined in {B} and in {B}")), "{error}");
    let json = ebpfvm(&format!("link {B} {B} --json -o {}", scratch("twice.o", ""))).json();
    assert_eq!(json["error"]["kind"], "object");
    let error = ebpfvm(&format!("link {A} docs/cli.md")).failed(3);
    assert!(error.contains("docs/cli.md: this is text, not an object file"), "{error}");
    assert!(ebpfvm("link - - -o x.o").failed(2).contains("standard input"));
    assert!(ebpfvm(&format!("link {A} --json")).out.contains("give -o FILE"));
    assert!(ebpfvm("link").failed(2).contains("<FILE>..."));
    let error = ebpfvm(&format!("link {A} {B} -o no/such/folder.o")).failed(3);
    assert!(error.contains("no/such/folder.o: No such file"), "{error}");
}
