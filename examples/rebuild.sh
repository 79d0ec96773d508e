#!/usr/bin/env bash
# Rebuilds the example objects (all, or those named: `examples/rebuild.sh xdp_firewall raw`), the
# bench programs' objects (by the name `benches`) and the objects that are compared with the kernel
# (`conformance`). A source may name its instruction set in a line `// cpu: v1`; v3 else. Needs clang 19 and llvm-strip 19; CLANG and LLVM_STRIP name others.
# The result does not depend on where the repository lies: two runs give the same bytes.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
clang=${CLANG:-clang-19}
strip=${LLVM_STRIP:-llvm-strip-19}

for tool in "$clang" "$strip"; do
	if ! command -v "$tool" >/dev/null; then
		echo "rebuild.sh: '$tool' not found; nothing was rebuilt." >&2
		echo "Install clang 19 and llvm 19 (Debian: packages clang-19 and llvm-19)," >&2
		echo "or name other tools: CLANG=... LLVM_STRIP=... $0" >&2
		exit 3
	fi
done
case $("$clang" --version | head -n 1) in
*"version 19."*) ;;
*) echo "rebuild.sh: warning: $("$clang" --version | head -n 1): not clang 19, objects will differ" >&2 ;;
esac

# The compiler runs in the source's folder with "." as the recorded directory, so that no path of
# this machine lands in debug information. DWARF goes, BTF stays.
build() { # folder, source, object
	local folder=$1 source=$2 object=$3 cpu
	cpu=$(sed -n 's|^// cpu: ||p' "$folder/$source")
	(
		cd "$folder"
		"$clang" --target=bpfel -mcpu="${cpu:-v3}" -O2 -g -Wall -Wextra -Werror \
			-fdebug-compilation-dir=. -ffile-prefix-map="$root"=. \
			-c "$source" -o "$object"
		"$strip" -g "$object"
	)
	echo "built ${folder#"$root"/}/$object"
}

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
	for source in "$root"/examples/*/*.bpf.c; do
		names+=("$(basename "${source%/*}")")
	done
	names+=(benches conformance)
fi
for name in "${names[@]}"; do
	if [ "$name" = benches ]; then
		for source in "$root"/benches/programs/*.c; do
			stem=$(basename "$source" .c)
			build "$root/benches/programs" "$stem.c" "$stem.bpf.o"
		done
	elif [ "$name" = conformance ]; then
		for source in "$root"/conformance/{objects,projects}/*.bpf.c; do
			stem=$(basename "$source" .bpf.c)
			build "${source%/*}" "$stem.bpf.c" "$stem.bpf.o"
		done
	else
		build "$root/examples/$name" "$name.bpf.c" "$name.bpf.o"
	fi
done
