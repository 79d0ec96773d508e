#!/usr/bin/env bash
# Compiles the test objects with clang 19. The objects are committed: tests need no compiler.
set -euo pipefail
cd "$(dirname "$0")"
clang=${CLANG:-clang-19}
command -v "$clang" >/dev/null || { echo "skipped: no $clang"; exit 0; }
for source in *.c; do
	name=${source%.c}
	[ $name != link_wrong ] || continue
	"$clang" -O2 -g -Wno-ignored-attributes --target=bpfel -mcpu=v3 -ffile-prefix-map="$PWD"=. -c "$source" -o "$name.o"
done
"$clang" -O2 -g -Wno-ignored-attributes --target=bpfeb -mcpu=v3 -ffile-prefix-map="$PWD"=. -c data.c -o data_be.o
"$clang" -O2 -g -Wno-ignored-attributes --target=bpfeb -mcpu=v3 -ffile-prefix-map="$PWD"=. -c calls.c -o calls_be.o
"$clang" -O2 -g -Wno-ignored-attributes --target=bpfeb -mcpu=v3 -ffile-prefix-map="$PWD"=. -c values.c -o values_be.o
"$clang" -O2 -g -Wno-ignored-attributes --target=bpfel -mcpu=v4 -ffile-prefix-map="$PWD"=. -c calls.c -o calls_v4.o
for name in link_a link_b; do
	"$clang" -O2 -g -Wno-ignored-attributes --target=bpfeb -mcpu=v3 -ffile-prefix-map="$PWD"=. -c $name.c -o ${name}_be.o
done
for wrong in 1 2 3 4 5; do
	"$clang" -O2 -g -DWRONG=$wrong -Wno-ignored-attributes --target=bpfel -mcpu=v3 -ffile-prefix-map="$PWD"=. -c link_wrong.c -o link_wrong_$wrong.o
done
# What the project's own linker makes of two of them, for tests with other programs that read objects.
cargo run -q -p ebpfvm-cli -- link link_b.o link_a.o -o linked.o
