//! What only some programs ask of the machine: arrays, tables, the context, functions that are called
//! back.

use super::{feature_sets, straight};
use crate::ir::eval::{Input, WINDOW};
use crate::ir::{Address, Check, Fill, Op, Operand, Reg, Unit};
use crate::link::{Array, Callee, Lookup, Way};
use crate::native::{Mode, Native};
use ebpfvm_asm::Size;

fn modes() -> impl Iterator<Item = Mode> {
    let all = [(false, feature_sets()[0]), (true, feature_sets()[1])];
    all.into_iter().map(|(is_metered, features)| Mode {
        features,
        is_metered,
        is_blinded: is_metered,
    })
}

/// What a unit returns that is run on these bytes, with another state than usual.
fn result(unit: &Unit, window: &[u8], prepare: impl Fn(&mut Native)) -> Vec<Result<u64, u32>> {
    let run = |mode| {
        let mut native = Native::new(unit, mode);
        let input = Input { window: window.to_vec(), fuel: 1000, salt: 0 };
        native.run_with(&input, &prepare)
    };
    modes().map(run).collect()
}

fn call(callee: Callee) -> Unit {
    let index =
        Op::Lea { width: ebpfvm_asm::Width::W64, dst: Reg::R2, at: Address::new(Reg::R1, 4) };
    let mut unit = straight([index, Op::Call { callee: 0 }]);
    unit.callees.push(callee);
    unit
}

#[test]
fn elements_of_arrays() {
    for (stride, lane_bytes) in
        [(8, 0), (24, 0), (1, 0), (8, 0x1_0000_0000), (40, 4096), (1 << 31, 0)]
    {
        for entries in [1, 7, 0x8000_0000, u32::MAX] {
            for index in [0, 1, 6, 7, 8, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                let array = Array { base: 0x7f00_1234_5678, stride, entries, lane_bytes };
                let mut window = vec![0xff; 16];
                window[4..8].copy_from_slice(&index.to_le_bytes());
                let expected = match index < entries {
                    true => array
                        .base
                        .wrapping_add(u64::from(index) * u64::from(stride))
                        .wrapping_add(3 * lane_bytes),
                    false => 0,
                };
                let results =
                    result(&call(Callee::Array(array)), &window, |native| native.state.cpu = 3);
                assert_eq!(results, [Ok(expected); 2], "{array:?} {index}");
            }
        }
    }
}

extern "C" fn sum(table: usize, key: u64) -> u64 {
    table as u64 + key
}

#[test]
fn tables() {
    let address = sum as extern "C" fn(usize, u64) -> u64 as usize;
    let unit = call(Callee::Table { address, table: 1000 });
    assert_eq!(result(&unit, &[0; 16], |_| ()), [Ok(1000 + WINDOW + 4); 2]);
    let mut unit = call(Callee::Table { address, table: 1000 });
    unit.is_checked = true;
    let r1 = Op::Move { width: ebpfvm_asm::Width::W64, dst: Reg::R0, src: Reg::R1 };
    unit.blocks[0].insts.push(crate::ir::Inst { op: r1, pc: ebpfvm_asm::Pc(2) });
    assert_eq!(result(&unit, &[0; 16], |_| ()), [Ok(WINDOW); 2]);
}

/// The way that is known where the map and the key are what was likely, else the helper.
#[test]
fn lookups_that_are_compared_first() {
    let (map, window) = (0x7f00_0000_1000_u64, [3; 16]);
    let address = sum as extern "C" fn(usize, u64) -> u64 as usize;
    let array = Array { base: 0x7f00_1234_5678, stride: 8, entries: 0x0303_0304, lane_bytes: 0 };
    let ways = [
        (Way::Array(array), array.base + 8 * 0x0303_0303),
        (Way::Table { address, table: 1000 }, 1000 + WINDOW + 4),
    ];
    for (way, expected) in ways {
        for key_bytes in [1, 4, 12, 13, 600] {
            for key in [Check::Window, Check::Frame, Check::Last, Check::None] {
                for (is_known, r1) in [(true, map + 1), (false, map), (false, map + 1)] {
                    let lookup = Lookup {
                        way,
                        map,
                        is_map_known: is_known,
                        key_bytes,
                        key,
                        value_bytes: 8,
                        is_writable: true,
                        site: 7,
                    };
                    let mut unit = call(Callee::Lookup(lookup));
                    let given = Op::Const { dst: Reg::R1, value: r1 };
                    let at = unit.blocks[0].insts.len() - 1;
                    let pc = unit.blocks[0].insts[at].pc;
                    unit.blocks[0].insts.insert(at, crate::ir::Inst { op: given, pc });
                    unit.is_checked = true;
                    let is_inside = match key {
                        Check::Window => key_bytes <= 12,
                        key => key == Check::None,
                    };
                    for mode in modes() {
                        let mut native = Native::new(&unit, mode);
                        let input = Input { window: window.to_vec(), fuel: 1000, salt: 0 };
                        let outcome = native.run(&input);
                        let seen: Vec<Callee> =
                            outcome.calls.iter().map(|(callee, _)| *callee).collect();
                        if is_inside && (is_known || r1 == map) {
                            assert_eq!(
                                (outcome.result, &*seen),
                                (Ok(expected), &[][..]),
                                "{lookup:?}"
                            );
                        } else {
                            let helper = Callee::Helper { site: 7, args: 5, takes_unnamed: false };
                            assert_eq!(*seen, [helper], "{lookup:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn fields_of_the_context() {
    let check = Check::Context { offset: 16, size: Size::Dw };
    let load = |fill| Op::Load {
        size: Size::W,
        fill,
        swap: false,
        check,
        dst: Reg::R0,
        at: Address::new(Reg::R1, 4),
    };
    let mut window = vec![0; 64];
    window[16..24].copy_from_slice(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
    window[4..8].copy_from_slice(&0x8000_0001_u32.to_le_bytes());
    let mut unit = straight([load(Fill::Zero)]);
    unit.is_checked = true;
    let is_context = |native: &mut Native| native.state.context = WINDOW;
    assert_eq!(result(&unit, &window, is_context), [Ok(0x0123_4567_89ab_cdef); 2]);
    // Where the base is something else the access is what it says.
    assert_eq!(result(&unit, &window, |_| ()), [Ok(0x8000_0001); 2]);

    let store =
        |src| Op::Store { size: Size::W, swap: false, check, src, at: Address::new(Reg::R1, 4) };
    let back = Op::Load {
        size: Size::Dw,
        fill: Fill::Zero,
        swap: false,
        check: Check::Window,
        dst: Reg::R0,
        at: Address::new(Reg::R1, 16),
    };
    let mut unit = straight([store(Operand::Imm(-2)), back]);
    unit.is_checked = true;
    assert_eq!(result(&unit, &window, is_context), [Ok(0xffff_fffe); 2]);
    assert_eq!(result(&unit, &window, |_| ()), [Ok(0x0123_4567_89ab_cdef); 2]);
}

/// What [`Runtime::find`](crate::Runtime::find) does for a context of 8 bytes at an address of its own.
#[test]
fn accesses_to_the_context_that_are_looked_for() {
    let at = Address::new(Reg::R1, 0);
    let address = Op::Const { dst: Reg::R1, value: crate::native::TRANSLATED };
    let access = |check| {
        let store = Op::Store { size: Size::H, swap: false, check, src: Operand::Imm(0x1234), at };
        let load =
            Op::Load { size: Size::H, fill: Fill::Zero, swap: false, check, dst: Reg::R0, at };
        let mut unit = straight([address, store, load]);
        unit.is_checked = true;
        unit
    };
    let other = Check::Context { offset: 0, size: Size::Dw };
    for check in [Check::Window, Check::Last, Check::Frame, other] {
        // The store is committed with one added, so that the order is seen.
        assert_eq!(result(&access(check), &[0; 16], |_| ()), [Ok(0x1235); 2], "{check:?}");
    }
}

#[test]
fn functions_that_are_called_back() {
    let mut unit = crate::ir::eval::checked_unit_of(
        "r6 = 5\nr1 = 2\ncall f\nr0 += r6\nexit\nf: r6 = r1\nr7 = r10\n*(u64 *)(r10 - 8) = 1\nr0 = *(u64 *)(r10 - 8)\nr0 += r6\nexit",
    );
    unit.functions[1].is_callback = true;
    for mode in modes() {
        let mut native = Native::new(&unit, mode);
        let input = Input { window: vec![0; 8], fuel: 1000, salt: 0 };
        assert_eq!(native.run_with(&input, &|_| ()), Ok(8));
        assert_eq!(native.call_back(1, [40, 0, 0, 0, 0]), Some(Ok(41)));
        assert_eq!(native.call_back(0, [0; 5]), Some(Ok(8)));
        assert_eq!(native.call_back(2, [0; 5]), None);
    }
}

#[test]
fn runs_stop_at_an_instruction_with_the_fuel_that_is_left() {
    let unit = crate::ir::eval::checked_unit_of(
        "r1 = 1\ncall f\nr0 = 0\nexit\nr0 = 3\nf: r0 += r1\nagain: r0 += 1\ngoto again",
    );
    let mode = Mode { features: feature_sets()[0], is_metered: true, is_blinded: false };
    let mut native = Native::new(&unit, mode);
    for (fuel, pc, left) in [(0, 5, -3), (2, 5, -1), (3, 6, -2), (20, 6, -1)] {
        let input = Input { window: vec![0; 8], fuel, salt: 0 };
        assert_eq!(native.run_with(&input, &|_| ()), Err(crate::State::OUT_OF_FUEL));
        assert_eq!((native.state.pc, native.state.fuel), (pc, left), "{fuel}");
    }
}
