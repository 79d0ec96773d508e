//! What others read of names and lines is what was written.

use super::{Listed, Piece, Symbols, gdb, object as elf, perf};
use crate::emit::Emitted;
use crate::exec;
use ebpfvm_asm::{Code, Insn, Pc};
use ebpfvm_spec::{FuncInfo, LineInfo};
use ebpfvm_spec::{ProgType, Program};
use gimli::{EndianSlice, LittleEndian};
use object::{Object, ObjectSection, ObjectSymbol};
use std::collections::BTreeMap;

/// Two functions; some code of the first lies behind the second.
fn program(name: &str) -> (Program, Emitted) {
    let code: Code = [Insn::Exit; 4].into_iter().collect();
    let mut program = Program::from_code(name, ProgType::Raw, code);
    let function = |start, name: &str| FuncInfo {
        start: Pc(start),
        name: name.into(),
        ..program.funcs[0].clone()
    };
    program.funcs = vec![function(0, name), function(2, "in ner")];
    let line = |pc, line| LineInfo {
        pc: Pc(pc),
        file: "a.bpf.c".into(),
        text: "".into(),
        line,
        column: 3,
    };
    program.lines = vec![line(0, 10), line(1, 11), line(2, 5)];
    let map = vec![(0, Pc(0)), (2, Pc(1)), (5, Pc(2)), (6, Pc(3)), (7, Pc(0)), (9, Pc(1))];
    (
        program,
        Emitted {
            code: vec![0xc3; 12],
            entry: 0,
            functions: vec![Some(0), None],
            extents: Vec::new(),
            calls_helpers: false,
            map,
        },
    )
}

#[test]
fn functions_have_their_code() {
    let (program, emitted) = program("x\ny");
    let pieces = Listed::new(&program, &emitted, 0).pieces;
    let piece = |range, name: &str, function| Piece { range, name: name.into(), function };
    assert_eq!(
        pieces,
        [
            piece(0..5, "bpf_prog_x_y", Pc(0)),
            piece(5..7, "bpf_prog_x_y_in_ner", Pc(2)),
            piece(7..12, "bpf_prog_x_y.cold", Pc(0)),
        ]
    );
}

#[test]
fn maps_for_perf_have_what_lies_there_now() {
    let folder = std::env::temp_dir().join(format!("ebpfvm-perf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("perf.map");
    std::fs::write(&path, "1 2 of_a_process_before\n").expect("a file");
    let mut map = perf::Map::create(&path, BTreeMap::new()).expect("a map");
    let (first, emitted) = program("first");
    for start in [0x1000, 0x2000] {
        map.add(&Listed::new(&first, &emitted, start)).expect("it is written");
    }
    // Its first byte is where the last one of another was.
    let (second, emitted) = program("second");
    map.add(&Listed::new(&second, &emitted, 0x100b)).expect("it is written");
    let text = std::fs::read_to_string(&path).expect("the map");
    std::fs::remove_dir_all(&folder).expect("the folder");
    assert_eq!(
        text,
        "1000 5 bpf_prog_first\n1005 2 bpf_prog_first_in_ner\n\
         100b 5 bpf_prog_second\n1010 2 bpf_prog_second_in_ner\n1012 5 bpf_prog_second.cold\n\
         2000 5 bpf_prog_first\n2005 2 bpf_prog_first_in_ner\n2007 5 bpf_prog_first.cold\n"
    );
}

#[test]
fn objects_have_symbols_and_lines() {
    const START: u64 = 0x7f00_0000_1000;
    let (program, emitted) = program("lines");
    let bytes = elf::file(&Listed::new(&program, &emitted, START)).expect("an object");
    let file = object::File::parse(&*bytes).expect("an object that can be read");
    let symbols: Vec<_> = file
        .symbols()
        .map(|s| (s.name().expect("a name"), s.address() - START, s.size()))
        .collect();
    assert_eq!(
        symbols,
        [("bpf_prog_lines", 0, 5), ("bpf_prog_lines_in_ner", 5, 2), ("bpf_prog_lines.cold", 7, 5)]
    );
    let text = file.section_by_name(".text").expect("code");
    assert_eq!((text.address(), text.data()), (START, Ok(&*emitted.code)));

    let load = |id: gimli::SectionId| {
        let section = file.section_by_name(id.name());
        let data = section.map_or(&[][..], |section| section.data().expect("its bytes"));
        Ok::<_, gimli::Error>(EndianSlice::new(data, LittleEndian))
    };
    let dwarf = gimli::Dwarf::load(load).expect("debug sections");
    let header = dwarf.units().next().expect("units").expect("a unit");
    let unit = dwarf.unit(header).expect("the unit");
    let mut rows = unit.line_program.clone().expect("lines").rows();
    let mut lines = Vec::new();
    while let Some((header, row)) = rows.next_row().expect("a row") {
        let file = row.file(header).expect("a file").path_name();
        let file = dwarf.attr_string(&unit, file).expect("its name").to_string_lossy();
        let line = row.line().map_or(0, |line| line.get());
        lines.push((row.address() - START, file.into_owned(), line, row.end_sequence()));
    }
    let at = |offset, line, ends| (offset, "a.bpf.c".to_owned(), line, ends);
    assert_eq!(
        lines,
        [
            at(0, 10, false),
            at(2, 11, false),
            at(5, 5, false),
            at(7, 10, false),
            at(9, 11, false),
            at(12, 11, true)
        ]
    );
}

#[test]
fn debuggers_know_what_is_alive() {
    let (first, emitted) = program("alive");
    let (second, _) = program("alive_too");
    let tell = |program| {
        let code = exec::Program::load(&emitted).expect("memory for code");
        let told = Symbols { perf: false, gdb: true }.tell(program, &emitted, &code);
        (told.expect("it is told"), code)
    };
    let known = |name: &str| {
        let name = format!("\0{name}\0").into_bytes();
        gdb::files().iter().filter(|file| file.windows(name.len()).any(|w| w == name)).count()
    };
    let told = [tell(&first), tell(&second), tell(&first)];
    assert_eq!((known("bpf_prog_alive"), known("bpf_prog_alive_too")), (2, 1));
    let [one, two, three] = told;
    drop(two);
    assert_eq!((known("bpf_prog_alive"), known("bpf_prog_alive_too")), (2, 0));
    drop(one);
    assert_eq!(known("bpf_prog_alive"), 1);
    drop(three);
    assert_eq!(known("bpf_prog_alive"), 0);
}
