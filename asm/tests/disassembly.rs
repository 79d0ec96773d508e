//! Disassembly against its models: the kernel's log and llvm-objdump.

use ebpfvm_asm::table::TABLE;
use ebpfvm_asm::text::{Dialect, NoSymbols, Style, Symbols, assemble, listing, print};
use ebpfvm_asm::{
    AtomicOp, Builder, ByteOrder, CallTarget, Code, Insn, Operand, Pc, Reg, RmwOp, Size,
};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The helpers that the recorded log calls.
struct Helpers;

impl Symbols for Helpers {
    fn helper(&self, id: u32) -> Option<String> {
        match id {
            1 => Some("bpf_map_lookup_elem".to_owned()),
            5 => Some("bpf_ktime_get_ns".to_owned()),
            _ => None,
        }
    }
}

#[test]
fn kernel_style_is_that_of_the_log() {
    let mut seen = HashSet::new();
    for line in include_str!("data/linux-6.18-log.txt").lines().skip(1) {
        let (hex, text) = line.split_once(' ').expect("bytes and text");
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal digits"))
            .collect();
        let code = Code::from_bytes(&bytes, ByteOrder::Little).expect("the kernel decodes it");
        let insn = code.get(Pc(0)).expect("one instruction");
        assert_eq!(print(insn, Pc(0), Style::Kernel, &Helpers), text);
        // The assembler reads the spelling of the log too.
        let read = assemble(&format!("0: {text}"), Dialect::PseudoC);
        assert_eq!(read.as_ref(), Ok(&code), "{text}");
        seen.insert(insn.op());
    }
    // Maps and kernel functions need objects that exist; `callx` does not.
    let missing: Vec<_> = TABLE.iter().map(|r| r.op).filter(|op| !seen.contains(op)).collect();
    assert_eq!(missing.len(), 8, "not in the log: {missing:?}");
}

/// Something to delete at the end.
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl TemporaryFile {
    fn new(name: &str) -> TemporaryFile {
        let name = format!("ebpfvm-asm-{}-{name}", std::process::id());
        TemporaryFile(std::env::temp_dir().join(name))
    }
}

/// The instructions as llvm-objdump shows them, or none if LLVM 19 is not installed.
fn objdump(code: &Code, order: ByteOrder, options: &[&str], name: &str) -> Option<Vec<String>> {
    let source = TemporaryFile::new(&format!("{name}.s"));
    let object = TemporaryFile::new(&format!("{name}.o"));
    let bytes = code.to_bytes(order).expect("the code has an encoding");
    let mut text = String::from(".text\nf:\n");
    for byte in bytes {
        text.push_str(&format!(".byte {byte}\n"));
    }
    std::fs::write(&source.0, text).expect("the temporary directory is writable");
    let triple = match order {
        ByteOrder::Little => "-triple=bpfel",
        ByteOrder::Big => "-triple=bpfeb",
    };
    let assembled = Command::new("llvm-mc-19")
        .args([triple, "-filetype=obj", "-o"])
        .args([&object.0, &source.0])
        .status();
    if assembled.is_err() {
        return None;
    }
    let output = Command::new("llvm-objdump-19")
        .args(["-d", "--no-show-raw-insn"])
        .args(options)
        .arg(&object.0)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).expect("llvm-objdump writes UTF-8");
    Some(text.lines().skip_while(|l| !l.starts_with("0000")).map(str::to_owned).collect())
}

/// One function at the start.
struct Function;

impl Symbols for Function {
    fn function(&self, _: Pc) -> Option<(String, Pc)> {
        Some(("f".to_owned(), Pc(0)))
    }
}

/// All encodings with a few operands each, jumps staying in the program.
fn samples() -> Vec<Insn> {
    let mut samples = Vec::new();
    for row in TABLE {
        for e in row.encodings {
            for (offset, imm) in [(8, 5), (-8, -5), (0, 0), (i16::MIN, i32::MIN)] {
                let pick = |field: ebpfvm_asm::table::Field, operand: i32| match field {
                    ebpfvm_asm::table::Field::Is(v) => vec![v],
                    ebpfvm_asm::table::Field::OneOf(vs) => vs.to_vec(),
                    ebpfvm_asm::table::Field::Any => vec![operand],
                };
                for offset in pick(e.offset, offset.into()) {
                    for imm in pick(e.imm, imm) {
                        let first = ebpfvm_asm::Slot {
                            opcode: e.opcode,
                            dst: pick(e.dst, 1)[0] as u8,
                            src: pick(e.src, 2)[0] as u8,
                            offset: offset as i16,
                            imm,
                        };
                        let second = ebpfvm_asm::Slot {
                            imm: e.imm2.map_or(0, |imm2| pick(imm2, imm)[0]),
                            ..Default::default()
                        };
                        let insn = ebpfvm_asm::decode(&[first, second]).expect("from the table");
                        samples.push(insn);
                    }
                }
            }
        }
    }
    samples
}

/// Instructions that `llvm-objdump` of LLVM 19 shows wrongly unless it is told the cpu.
fn needs_cpu(insn: &Insn) -> bool {
    match insn {
        Insn::Atomic { op, size, .. } => *size == Size::W && *op != AtomicOp::Rmw(RmwOp::Add),
        _ => false,
    }
}

/// Instructions that LLVM 19 does not know.
fn unknown_to_llvm(insn: &Insn) -> bool {
    matches!(insn, Insn::LoadAcquire { .. } | Insn::StoreRelease { .. })
}

fn compare(insns: Vec<Insn>, order: ByteOrder, options: &[&str], name: &str) {
    let code: Code = insns.into_iter().collect();
    let ours = listing(&code, Style::Llvm, &Function);
    let ours: Vec<&str> = ours.lines().collect();
    let Some(theirs) = objdump(&code, order, options, name) else {
        eprintln!("SKIPPED disassembly::{name}: LLVM 19 is not installed");
        return;
    };
    assert!(theirs.len() > 10, "{theirs:?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn llvm_style_is_that_of_objdump() {
    for (order, name) in [(ByteOrder::Little, "objdump_el"), (ByteOrder::Big, "objdump_eb")] {
        let insns = samples().into_iter().filter(|i| !needs_cpu(i) && !unknown_to_llvm(i));
        compare(pad(insns.collect()), order, &[], name);
    }
}

#[test]
fn llvm_style_of_32_bit_atomics_is_that_of_objdump_with_a_cpu() {
    let insns = samples().into_iter().filter(needs_cpu).collect();
    compare(insns, ByteOrder::Little, &["--mcpu=v4"], "objdump_v4");
}

/// The functions of a section, from the lines that name them.
struct Functions(Vec<(String, Pc)>);

impl Functions {
    fn of(objdump: &str) -> Functions {
        let header = |line: &str| {
            let (address, name) = line.split_once(" <")?;
            let bytes = u32::from_str_radix(address, 16).ok()?;
            Some((name.strip_suffix(">:")?.to_owned(), Pc(bytes / 8)))
        };
        Functions(objdump.lines().filter_map(header).collect())
    }
}

impl Symbols for Functions {
    fn function(&self, pc: Pc) -> Option<(String, Pc)> {
        self.0.iter().rfind(|(_, start)| *start <= pc).cloned()
    }
}

/// What an LLVM tool prints, or none if it is not installed.
fn output(tool: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(tool).args(arguments).output().ok()?;
    Some(String::from_utf8(output.stdout).expect("the tool writes UTF-8"))
}

/// All object files below a directory.
fn objects(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => objects(&path),
            path => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|e| e == "o"))
        .collect()
}

#[test]
fn compiled_programs_are_as_objdump_shows_them() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut lines = 0;
    for object in objects(&examples) {
        let object = object.to_str().expect("a path in UTF-8");
        let Some(headers) = output("llvm-objdump-19", &["-h", object]) else {
            eprintln!("SKIPPED disassembly::compiled_programs: LLVM 19 is not installed");
            return;
        };
        let sections = headers.lines().filter_map(|line| {
            let mut columns = line.split_whitespace();
            let name = columns.nth(1)?;
            (columns.next_back() == Some("TEXT")).then_some(name)
        });
        for (i, section) in sections.enumerate() {
            let arguments = ["-d", "--no-show-raw-insn", "-j", section, object];
            let theirs = output("llvm-objdump-19", &arguments).expect("installed");
            let theirs: String = theirs
                .lines()
                .skip_while(|line| !line.starts_with("0000"))
                .flat_map(|line| [line, "\n"])
                .collect();
            let binary = TemporaryFile::new(&format!("{i}.bin"));
            let path = binary.0.to_str().expect("a path in UTF-8");
            let only = format!("--only-section={section}");
            if output("llvm-objcopy-19", &["-O", "binary", &only, object, path]).is_none() {
                eprintln!("SKIPPED disassembly::compiled_programs: no llvm-objcopy-19");
                return;
            }
            let bytes = std::fs::read(&binary.0).expect("llvm-objcopy writes the file");
            let code = Code::from_bytes(&bytes, ByteOrder::Little).expect("clang's code");
            let functions = Functions::of(&theirs);
            assert_eq!(listing(&code, Style::Llvm, &functions), theirs, "{object} {section}");
            for style in [Style::PseudoC, Style::Mnemonic] {
                let text = listing(&code, style, &functions);
                assert_eq!(assemble(&text, Dialect::Auto).as_ref(), Ok(&code), "{text}");
            }
            lines += code.iter().count();
        }
    }
    assert!(lines > 500, "only {lines} instructions below {}", examples.display());
}

/// Puts enough instructions around others that no jump of theirs leads before the program.
fn pad(insns: Vec<Insn>) -> Vec<Insn> {
    let far = |insn: &Insn| insn.jump_offset().is_some_and(|o| o < -100);
    let nop = Insn::Alu {
        width: ebpfvm_asm::Width::W64,
        op: ebpfvm_asm::AluOp::Mov,
        dst: Reg::R0,
        src: Operand::Imm(0),
    };
    let padding = std::iter::repeat_n(nop, 10);
    padding.chain(insns.into_iter().filter(|i| !far(i))).collect()
}

#[test]
fn names_are_used_where_they_are_known() {
    struct Names;
    impl Symbols for Names {
        fn helper(&self, id: u32) -> Option<String> {
            (id == 5).then(|| "bpf_ktime_get_ns".to_owned())
        }
        fn helper_id(&self, name: &str) -> Option<u32> {
            (name == "bpf_ktime_get_ns").then_some(5)
        }
        fn kfunc(&self, btf_id: i32, _: i16) -> Option<String> {
            (btf_id == 77).then(|| "bpf_obj_new_impl".to_owned())
        }
        fn function(&self, pc: Pc) -> Option<(String, Pc)> {
            Some(if pc < Pc(5) { ("main".to_owned(), Pc(0)) } else { ("sub".to_owned(), Pc(5)) })
        }
    }
    let mut b = Builder::new();
    let (sub, out) = (b.new_label(), b.new_label());
    b.call(5).call_local(sub).jump_if(
        ebpfvm_asm::Width::W32,
        ebpfvm_asm::JmpOp::Slt,
        Reg::R0,
        -1,
        out,
    );
    b.insn(Insn::Call { target: CallTarget::Kfunc { btf_id: 77, btf_index: 0 } });
    b.label(out).exit().label(sub).mov(Reg::R0, 0).exit();
    let code = b.build().expect("a sound program");
    let pseudo_c = listing(&code, Style::PseudoC, &Names);
    assert_eq!(
        pseudo_c,
        "\tcall bpf_ktime_get_ns#5\n\tcall sub\n\tif w0 s< -0x1 goto L4\n\tcall kfunc#77\nL4:\n\
         \texit\nsub:\n\tr0 = 0x0\n\texit\n"
    );
    let mnemonic = listing(&code, Style::Mnemonic, &Names);
    assert_eq!(
        mnemonic,
        "\tcall bpf_ktime_get_ns#5\n\tcall local sub\n\tjslt32 %r0, -1, L4\n\tcall kfunc 77\nL4:\n\
         \texit\nsub:\n\tmov %r0, 0\n\texit\n"
    );
    assert_eq!(assemble(&pseudo_c, Dialect::Auto).as_ref(), Ok(&code));
    assert_eq!(assemble(&mnemonic, Dialect::Auto).as_ref(), Ok(&code));
    assert_eq!(
        listing(&code, Style::Kernel, &Names),
        "0: (85) call bpf_ktime_get_ns#5\n1: (85) call pc+3\n2: (c6) if w0 s< 0xffffffff goto \
         pc+1\n3: (85) call bpf_obj_new_impl#77\n4: (95) exit\n5: (b7) r0 = 0\n6: (95) exit\n"
    );
    let by_name = "call bpf_ktime_get_ns; exit";
    assert!(assemble(by_name, Dialect::PseudoC).is_err());
    let code = ebpfvm_asm::text::assemble_with(by_name, Dialect::PseudoC, &Names);
    assert_eq!(code, assemble("call 5; exit", Dialect::PseudoC));
    assert_eq!(
        listing(&code.expect("known by name"), Style::PseudoC, &NoSymbols),
        "\tcall 0x5\n\texit\n"
    );
}
