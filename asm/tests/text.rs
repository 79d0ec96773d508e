//! The assembler: round trips, other spellings, arbitrary text.

use arbitrary::{Arbitrary, Unstructured};
use ebpfvm_asm::text::{Dialect, NoSymbols, Style, assemble, listing, print};
use ebpfvm_asm::{Code, Insn, Pc, encode};
use proptest::prelude::*;

const WRITTEN: [(Style, Dialect); 2] =
    [(Style::PseudoC, Dialect::PseudoC), (Style::Mnemonic, Dialect::Mnemonic)];

/// Whatever the generator of the feature `arbitrary` makes.
fn generated<T: for<'a> Arbitrary<'a> + std::fmt::Debug>(bytes: usize) -> impl Strategy<Value = T> {
    proptest::collection::vec(any::<u8>(), bytes / 2..bytes)
        .prop_filter_map("too short", |bytes| T::arbitrary(&mut Unstructured::new(&bytes)).ok())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn instructions_read_back(insn in generated::<Insn>(64)) {
        let code: Code = [insn].into_iter().collect();
        prop_assert!(encode(&insn).is_ok());
        for (style, dialect) in WRITTEN {
            let text = print(&insn, Pc(0), style, &NoSymbols);
            prop_assert_eq!(assemble(&text, dialect), Ok(code.clone()), "{}", text);
        }
    }

    #[test]
    fn programs_read_back(code in generated::<Code>(512)) {
        for (style, dialect) in WRITTEN {
            let text = listing(&code, style, &NoSymbols);
            prop_assert_eq!(assemble(&text, dialect), Ok(code.clone()), "{}", text);
        }
    }

    #[test]
    fn any_text_ends_in_a_program_or_an_error(text in "\\PC*\n?\\PC*") {
        for dialect in [Dialect::Auto, Dialect::PseudoC, Dialect::Mnemonic] {
            if let Err(error) = assemble(&text, dialect) {
                prop_assert!(error.render().contains(&error.source_line));
            }
        }
    }

    #[test]
    fn any_sequence_of_words_ends_in_a_program_or_an_error(
        words in proptest::collection::vec(word(), 0..12)
    ) {
        let text = words.join(" ");
        for dialect in [Dialect::Auto, Dialect::PseudoC, Dialect::Mnemonic] {
            match assemble(&text, dialect) {
                Ok(code) => prop_assert!(code.encode().is_ok()),
                Err(error) => {
                    prop_assert!(error.column >= 1);
                    prop_assert!(error.column <= text.chars().count() + 1);
                    prop_assert!(!error.render().is_empty());
                }
            }
        }
    }
}

/// Pieces of the language.
fn word() -> impl Strategy<Value = &'static str> {
    const WORDS: &[&str] = &[
        "r0",
        "r1",
        "r10",
        "r11",
        "w2",
        "%r3",
        "=",
        "+=",
        "s>>=",
        "-",
        "+",
        "*",
        "(",
        ")",
        "[",
        "]",
        ",",
        ":",
        ";",
        "#",
        "u32",
        "s8",
        "u64",
        "*)",
        "if",
        "goto",
        "gotol",
        "may_goto",
        "exit",
        "call",
        "local",
        "callx",
        "lock",
        "fetch",
        "add",
        "add32",
        "ll",
        "le16",
        "map",
        "fd",
        "idx",
        "skb",
        "subprog",
        "var",
        "btf",
        "pc",
        "label",
        "label:",
        "0",
        "1",
        "-1",
        "0x80000000",
        "0xffffffffffffffff",
        "99999999999999999999999999999999999999999999",
        "0x",
        "1x",
        "lddw",
        "map_fd",
        "ldxw",
        "stxdw",
        "mov",
        "jeq",
        "==",
        "s<",
        "xchg_64",
        "atomic_fetch_add",
        "load_acquire",
        "store_release",
        "addr_space_cast",
        "0:",
        "(18)",
        "\u{e9}",
        "\t",
        "\n",
    ];
    proptest::sample::select(WORDS)
}

/// Both must be the same program.
#[track_caller]
fn same(a: &str, b: &str) {
    let code = |text| assemble(text, Dialect::Auto).unwrap_or_else(|e| panic!("{}", e.render()));
    assert_eq!(code(a), code(b), "{a} / {b}");
}

#[test]
fn spellings_of_the_same_instruction() {
    same("r0 = *(u32 *)(r1 + 4)", "ldxw %r0, [%r1+4]");
    same("r0 = *(u32*)(r1+0x4);", "ldxw r0, [r1 + 4]");
    same("w0 = *(u32 *)(r1 + 4)", "r0 = *(u32 *)(r1 +4)");
    same("*(u8 *)(r1 - 1) = w2", "stxb [%r1-1], %r2");
    same("if w1 s> 5 goto +3", "jsgt32 %r1, 5, +3");
    same("if r1 == 0x80000000 goto pc+1", "jeq %r1, -2147483648, +1");
    same("lock *(u64 *)(r1 + 0) += r2", "lock add [%r1], %r2");
    same("r0 = atomic_fetch_add((u64 *)(r1 + 0), r0)", "lock fetch add [%r1], %r0");
    same("r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)", "lock fetch add64 [%r1], %r2");
    same("w2 = xchg32_32(r1 + 8, w2)", "lock xchg32 [%r1+8], %r2");
    same("r0 = cmpxchg_64(r10 - 8, r0, r1)", "lock cmpxchg [%r10-8], %r1");
    same("r0 = 1 ll", "lddw %r0, 1");
    same("r0 = -1 ll", "lddw %r0, 0xffffffffffffffff");
    same("r1 = map[fd:3]", "lddw map_fd %r1, 3");
    same("r1 = map[fd:3][0]+16", "lddw map_value %r1, 3, 16");
    same("r1 = map[idx:2]", "lddw map_idx %r1, 2");
    same("r1 = subprog[f]\nexit\nf: exit", "lddw code %r1, +2\nexit\nexit");
    same("call 1", "call helper 1");
    same("call kfunc#5, btf 2", "call runtime 5, 2");
    same("callx r1", "call %r1");
    same("r1 = le16 r1", "le16 %r1");
    same("r1 = bswap32 r1", "swap32 %r1");
    same("r1 = bswap32 r1", "bswap32 %r1");
    same("w1 = (s8)w2", "movsx832 %r1, %r2");
    same("r1 = (s32)r2", "movsx3264 %r1, %r2");
    same("r1 = -r1", "neg64 %r1");
    same("r1 = addr_space_cast(r1, 0x0, 0x1)", "addr_space_cast %r1, %r1, 0, 1");
    same("r0 = load_acquire((u64 *)(r1 + 0))", "ldacqdw %r0, [%r1]");
    same("store_release((u8 *)(r1 + 0), w2)", "strelb [%r1], %r2");
    same("r0 = *(u16 *)skb[12]", "ldabsh 12");
    same("r0 = *(u8 *)skb[r2 + -5]", "ldindb %r2, -5");
    same("gotol out\nout: exit", "ja32 out\nout:\nexit");
    same("may_goto +1; exit; exit", "may_goto +1\nexit # the end\nexit // indeed");
    same("r1 s>>= 3", "arsh %r1, 3");
    same("s: r1 = 5; goto s", "r1=+5\ngoto -2");
}

#[test]
fn the_label_exit_is_the_first_exit() {
    same("jeq %r1, 0, exit\nmov %r0, 1\nexit\nexit", "if r1 == 0 goto +1\nr0 = 1\nexit\nexit");
    same("ja exit\nexit\nexit:\nexit", "goto +1\nexit\nexit");
    assert!(assemble("goto exit\nexit", Dialect::PseudoC).is_err());
}
