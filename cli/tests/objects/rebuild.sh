#!/usr/bin/env bash
# Compiles the test objects with clang 19. The objects are committed: tests need no compiler.
set -euo pipefail
cd "$(dirname "$0")"
clang=${CLANG:-clang-19}
command -v "$clang" >/dev/null || { echo "skipped: no $clang"; exit 0; }
for source in *.c; do
	"$clang" --target=bpfel -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -fdebug-compilation-dir=. \
		-c "$source" -o "${source%.c}.o"
done
