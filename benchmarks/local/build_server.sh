#!/bin/sh
# Build llama-server from the source distribution that requirements/llamacpp.txt pins, so that both
# sides of the comparison are the same llama.cpp. Prints the program's path.
#
# Usage: benchmarks/local/build_server.sh [DIRECTORY]     (default: .bench/llama-server)
#
# Needs cmake, ninja and a C++ compiler. About six minutes on two cores, 300 MB of disk; done
# already, it only prints.

set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
target=${1:-$root/.bench/llama-server}
python=${PYTHON:-$root/.venv/bin/python}
jobs=${JOBS:-2}
program=$target/build/bin/llama-server

if [ -x "$program" ]; then
	echo "$program"
	exit
fi
for tool in cmake ninja c++; do
	command -v "$tool" >/dev/null || { echo "$tool was not found on the path" >&2; exit 1; }
done
mkdir -p "$target/source"

# The pin with its hash, as pip verifies it, and nothing of what the package depends on.
sed -n '/^llama-cpp-python==/,/^    --hash/p' "$root/requirements/llamacpp.txt" >"$target/pin.txt"
"$python" -m pip --disable-pip-version-check download --quiet --no-deps --no-binary :all: \
	--require-hashes --build-constraint "$root/requirements/llamacpp-build.txt" \
	--dest "$target" --requirement "$target/pin.txt" >&2
tar -xzf "$target"/llama_cpp_python-*.tar.gz -C "$target/source" --strip-components 1

# The same flags as the package's own build has: native instructions, OpenMP.
cmake -S "$target/source/vendor/llama.cpp" -B "$target/build" -G Ninja \
	-DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
	-DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF >&2
cmake --build "$target/build" --target llama-server -j "$jobs" >&2

echo "$program"
