#!/usr/bin/env bash
# Compiles the test objects with clang 19 and drops their DWARF; BTF stays. The objects are committed:
# tests need no compiler. The result does not depend on where the repository lies.
set -euo pipefail
cd "$(dirname "$0")"
clang=${CLANG:-clang-19} strip=${LLVM_STRIP:-llvm-strip-19} objcopy=${LLVM_OBJCOPY:-llvm-objcopy-19}
for tool in "$clang" "$strip" "$objcopy"; do
	command -v "$tool" >/dev/null || { echo "skipped: no $tool"; exit 0; }
done

build() { # source without .c, suffix of the object, options
	local source=$1 object=$1$2.o
	shift 2
	"$clang" -O2 -Wall -Wno-ignored-attributes -fdebug-compilation-dir=. -ffile-prefix-map="$PWD"=. \
		"$@" -c "$source.c" -o "$object"
	"$strip" -g "$object"
}

for source in *.c; do
	name=${source%.c}
	case $name in
	target | link_wrong) ;;
	needs) build "$name" "" -g --target=bpfel -mcpu=v4 ;;
	no_types) build "$name" "" --target=bpfel -mcpu=v3 ;;
	*) build "$name" "" -g --target=bpfel -mcpu=v3 ;;
	esac
done
# Other versions of the instruction set, where they change what is relocated or how.
for name in atomics calls calls_callbacks core_attr core_bitfields core_resize data_sections insns kfuncs map_nested; do
	for cpu in v1 v2 v4; do
		build "$name" "_$cpu" -g --target=bpfel -mcpu="$cpu"
	done
done
build core_poison _v4 -g --target=bpfel -mcpu=v4
build core_enums _v4 -g --target=bpfel -mcpu=v4
# The other byte order.
for name in calls core_bitfields core_resize data link_a link_b map_nested struct_ops_tables values; do
	build "$name" _be -g --target=bpfeb -mcpu=v3
done

# The types of the made-up kernel.
"$clang" -O2 -g -fdebug-compilation-dir=. -ffile-prefix-map="$PWD"=. \
	--target=bpfel -mcpu=v3 -c target.c -o target.o
"$objcopy" --dump-section .BTF=target.btf target.o
rm target.o

# Objects that do not go together, and what the project's own linker makes of two that do, for tests
# with other programs that read objects.
for wrong in 1 2 3 4 5; do
	build link_wrong "_$wrong" -g --target=bpfel -mcpu=v3 -DWRONG=$wrong
done
cargo run -q -p ebpfvm-cli -- link link_b.o link_a.o -o linked.o
